package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fire/transport/fix"
)

// slowRisk answers after a delay, refuses orders whose number ends in 7, and counts
// calls at once.
func slowRisk(t *testing.T, delay time.Duration, most *atomic.Int64) string {
	var now atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(delay)
		var q riskQuestion
		json.NewDecoder(r.Body).Decode(&q)
		a := riskAnswer{Verdicts: make([]riskVerdict, len(q.Orders))}
		for i, o := range q.Orders {
			a.Verdicts[i].Pass = !strings.HasSuffix(o.ClOrdID, "7")
			if !a.Verdicts[i].Pass {
				a.Verdicts[i].Why = "seven"
			}
		}
		answerJSON(w, http.StatusOK, a)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestOrdersLeaveInOrderThoughVerdictsComeOutOfOrder(t *testing.T) {
	var most atomic.Int64
	released := make(chan string, 4096)
	l := newRiskLines(slowRisk(t, 3*time.Millisecond, &most), 4, func(p *pending, text string) {
		var m fix.Message
		fix.Next(p.raw, &m, 1<<16)
		released <- p.line.client + string(field(&m, 11)) + text
	}, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	lines := []*line{l.line("A-"), l.line("B-")}
	var b fix.Builder
	const each = 1500
	for i := range each {
		for _, ln := range lines {
			b.Reset()
			b.Begin(fixVersion, "D")
			b.String(11, fmt.Sprint(i))
			var m fix.Message
			fix.Next(b.End(), &m, 1<<16)
			ask := &riskOrder{ClOrdID: fmt.Sprint(i)}
			if i%10 == 3 {
				ask = nil // as a cancel
			}
			if !l.put(ln, &m, ask) {
				t.Fatal("the line is full")
			}
			if i%5 == 0 || i == each-1 {
				l.dispatch(ln)
			}
		}
	}
	next := map[string]int{}
	for range 2 * each {
		var got string
		select {
		case got = <-released:
		case <-time.After(10 * time.Second):
			t.Fatalf("released %v, then nothing", next)
		}
		client, rest := got[:2], got[2:]
		want := fmt.Sprint(next[client])
		if next[client]%10 == 7 {
			want += "risk: seven"
		}
		if rest != want {
			t.Fatalf("%s: released %q, want %q", client, rest, want)
		}
		next[client]++
	}
	cancel()
	<-done
	if calls := l.calls.Load(); most.Load() != 4 || calls > 2*each/5 {
		t.Errorf("%d calls at once, want 4; %d calls in all", most.Load(), calls)
	}
}

func TestFullLineRefuses(t *testing.T) {
	l := newRiskLines("127.0.0.1:1", 1, func(*pending, string) {}, func() {})
	ln := l.line("A")
	var b fix.Builder
	b.Begin(fixVersion, "D")
	var m fix.Message
	fix.Next(b.End(), &m, 1<<16)
	for i := range pendingMax {
		if !l.put(ln, &m, &riskOrder{}) {
			t.Fatalf("refused after %d", i)
		}
	}
	if l.put(ln, &m, &riskOrder{}) {
		t.Fatal("a full line takes more")
	}
}
