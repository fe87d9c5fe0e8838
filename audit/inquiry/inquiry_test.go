package inquiry

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/audit"
	"fire/audit/entry"
	"fire/audit/index"
	"fire/audit/order"
	"fire/audit/tlog"
	"fire/policy/reason"
	"fire/transport/fix"
)

// floor is two hosts' logs and an index over them.
type floor struct {
	t     *testing.T
	logs  []*audit.Log
	keys  []string
	index *index.Index
	now   int64
}

func newFloor(t *testing.T) *floor {
	f := &floor{t: t, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC).UnixNano()}
	dir := t.TempDir()
	for _, host := range []string{"h1", "h2"} {
		origin := "eu.floor/audit/" + host
		k, err := tlog.NewKey(rand.Reader, origin)
		if err != nil {
			t.Fatal(err)
		}
		disk, err := audit.OpenFolder(filepath.Join(dir, host))
		if err != nil {
			t.Fatal(err)
		}
		away, err := audit.OpenFolder(filepath.Join(dir, host+"-away"))
		if err != nil {
			t.Fatal(err)
		}
		cfg := audit.Default()
		cfg.Origin, cfg.SegmentBytes, cfg.Rings, cfg.RingBytes = origin, 1<<20, 1, 64<<10
		l, _, err := audit.Open(cfg, audit.Deps{Disk: disk, Away: away, Keys: &audit.Keys{Signing: []*tlog.Key{k}, Known: []string{k.Verifier()}}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f.run(l.Run)
		f.logs, f.keys = append(f.logs, l), append(f.keys, k.Verifier())
	}
	f.index = index.New(index.Deps{Dir: filepath.Join(dir, "index"), Log: slog.New(slog.DiscardHandler), Logs: func() (out []index.Log) {
		for _, l := range f.logs {
			out = append(out, l)
		}
		return out
	}})
	return f
}

func (f *floor) run(part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
}

func (f *floor) desk(x Index) *Desk {
	return New(func() (out []Log) {
		for _, l := range f.logs {
			out = append(out, l)
		}
		return out
	}, nil, x)
}

// hop records a message at a host.
func (f *floor) hop(host int, direction string, raw []byte) {
	f.t.Helper()
	f.now += 20_000
	hop := "client-proxy"
	if host == 1 {
		hop = "server-proxy"
	}
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Message, Bound: 1000, Sync: entry.Synchronised, Clock: entry.ClockPTP, Time: f.now, Source: 1, Seq: 1})
	b.Bytes(entry.Flow, []byte("flow-of-the-desk"))
	b.Str(entry.Hop, hop)
	b.Str(entry.Direction, direction)
	b.Str(entry.Service, "desk")
	b.Str(entry.Peer, "gateway")
	b.Str(entry.Node, []string{"h2", "h1"}[host])
	sum := sha256.Sum256(raw)
	b.Bytes(entry.Digest, sum[:])
	b.Uint(entry.Size, uint64(len(raw)))
	var m order.Message
	_ = m.Read(raw) // what is none is marked
	m.Append(&b)
	b.Bytes(entry.Content, raw)
	if err := f.logs[host].Add(f.t.Context(), b.Raw()); err != nil {
		f.t.Fatal(err)
	}
}

func message(typ, from, to string, seq int, fields ...string) []byte {
	var b fix.Builder
	b.Begin("FIX.4.4", typ)
	b.String(49, from)
	b.String(56, to)
	b.Int(34, int64(seq))
	for i := 0; i < len(fields); i += 2 {
		var tag int
		fmt.Sscan(fields[i], &tag)
		b.String(tag, fields[i+1])
	}
	return bytes.Clone(b.End())
}

// day is a few hundred orders with all that makes them hard to follow.
func (f *floor) day() {
	r := mathrand.New(mathrand.NewPCG(1, 1))
	seq := 0
	for i := range 300 {
		seq++
		id := fmt.Sprint("ORD-", i)
		m := message("D", "DESK", "GATE", seq, "11", id, "55", "ACME")
		f.hop(0, "up", m)
		if r.IntN(20) > 0 {
			f.hop(1, "up", m)
		} else if r.IntN(2) == 0 {
			f.hop(1, "up", bytes.Replace(m, []byte("ACME"), []byte("ACMF"), 1))
		}
		report := message("8", "GATE", "DESK", seq, "11", id, "37", fmt.Sprint("X", i), "17", fmt.Sprint("E", i), "150", "0", "39", "0")
		f.hop(1, "down", report)
		f.hop(0, "down", report)
		switch r.IntN(12) {
		case 0:
			seq = 0
			f.hop(0, "up", message("A", "DESK", "GATE", 1, "141", "Y"))
			f.hop(1, "up", message("A", "DESK", "GATE", 1, "141", "Y"))
			seq++
		case 1:
			f.hop(0, "up", message("4", "DESK", "GATE", seq, "123", "Y", "36", "99"))
		case 2:
			f.hop(1, "up", []byte("garbled"))
		case 3:
			seq++
			c := message("G", "DESK", "GATE", seq, "11", id+"R", "41", id)
			f.hop(0, "up", c)
			f.hop(1, "up", c)
		}
	}
	if _, err := f.logs[0].Append(f.t.Context(), blank(f.now)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.logs[1].Append(f.t.Context(), blank(f.now)); err != nil {
		f.t.Fatal(err)
	}
}

func blank(at int64) []byte {
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Log, Time: at})
	return b.Raw()
}

// TestATraceByTheIndexIsTheTraceOfTheLogs: before the index has anything, in the middle, and when it
// has all.
func TestATraceByTheIndexIsTheTraceOfTheLogs(t *testing.T) {
	f := newFloor(t)
	f.day()
	compare := func(when string) {
		t.Helper()
		for i := 0; i < 300; i += 23 {
			q := order.Query{ClOrdID: fmt.Sprint("ORD-", i)}
			want, err := f.desk(nil).Trace(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.desk(f.index).Trace(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			w, _ := json.Marshal(want)
			g, _ := json.Marshal(got)
			if !bytes.Equal(w, g) {
				t.Fatalf("%s, %s:\n%s\nand without the index\n%s", when, q.ClOrdID, g, w)
			}
			if len(want.Orders) != 1 {
				t.Errorf("%s is %d orders", q.ClOrdID, len(want.Orders))
			}
		}
	}
	compare("before it runs")
	f.run(f.index.Run)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		lag := int64(0)
		for _, s := range f.index.States() {
			lag += s.Lag()
		}
		if len(f.index.States()) == 2 && lag == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the index never has all")
		}
	}
	compare("when it has all")
	f.day()
	compare("while it catches up")
}

func TestAProofOfTheDeskHoldsUnderItsPolicy(t *testing.T) {
	f := newFloor(t)
	f.day()
	policy, err := tlog.ParsePolicy([]byte("log " + f.keys[0] + "\nlog " + f.keys[1] + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"h2", "eu.floor/audit/h2"} {
		proof, err := f.desk(nil).Prove(t.Context(), name, 7)
		if err != nil {
			t.Fatal(err)
		}
		p, head, err := tlog.Check(proof.Format(), policy)
		want, _ := f.logs[1].Entry(7)
		if err != nil || p.Index != 7 || !bytes.Equal(p.Entry, want) || head.Origin != "eu.floor/audit/h2" {
			t.Errorf("%v %+v", err, head)
		}
	}
	_, err = f.desk(nil).Prove(t.Context(), "h9", 7)
	if e, ok := errors.AsType[*reason.Error](err); !ok || e.Code != reason.NoSuchNode || !strings.Contains(err.Error(), "h1, h2") {
		t.Error(err)
	}
	if _, err := f.desk(nil).Prove(t.Context(), "h1", 1<<40); !errors.Is(err, audit.ErrNoEntry) {
		t.Error(err)
	}
}

// TestALogThatIsNotHereIsNotCalledMissing: of one host alone nobody can say what the other saw.
func TestALogThatIsNotHereIsNotCalledMissing(t *testing.T) {
	f := newFloor(t)
	m := message("D", "DESK", "GATE", 1, "11", "ORD-1", "55", "ACME")
	f.hop(0, "up", m)
	f.hop(1, "up", m)
	for i, l := range f.logs {
		if _, err := l.Append(t.Context(), blank(f.now)); err != nil {
			t.Fatal(err)
		}
		alone := New(func() []Log { return []Log{l} }, nil, nil)
		r, err := alone.Trace(t.Context(), order.Query{ClOrdID: "ORD-1"})
		if err != nil || len(r.Orders) != 1 {
			t.Fatalf("%v %+v", err, r)
		}
		if s := r.Orders[0].Steps[0]; s.Verdict != order.NotSearched || !strings.Contains(s.Sentence, "that of h"+fmt.Sprint(2-i)) {
			t.Errorf("%s: %q", s.Verdict, s.Sentence)
		}
	}
	r, err := f.desk(nil).Trace(t.Context(), order.Query{ClOrdID: "ORD-1"})
	if err != nil || r.Orders[0].Steps[0].Verdict != order.Unchanged {
		t.Errorf("%v %+v", err, r.Orders)
	}
}
