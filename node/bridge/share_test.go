package bridge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/channel"
)

func bare(t *testing.T, edit func(*Config)) *Bridge {
	t.Helper()
	cfg := Default()
	if edit != nil {
		edit(&cfg)
	}
	b, err := New(cfg, Deps{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Tell: func(Fact) {}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOneHostLeavesPlacesForOthers(t *testing.T) {
	b := bare(t, func(c *Config) { c.PeersMax = 8 })
	n := 0
	for b.enter("greedy") {
		n++
	}
	if n != 6 {
		t.Errorf("one host has %d of 8", n)
	}
	if !b.enter("second") || !b.enter("third") || b.enter("fourth") {
		t.Error("the places that are kept are not given to who has none")
	}
	for range n {
		b.leave("greedy")
	}
	if !b.enter("fourth") || len(b.share.streams) != 3 {
		t.Error(b.share.streams)
	}
}

func TestMemoryForOneHostIsBounded(t *testing.T) {
	b := bare(t, func(c *Config) { c.HostBytesMax = 64 << 20 })
	if no := b.claim("h", 60<<20); no != nil {
		t.Fatal(no)
	}
	if no := b.claim("h", 5<<20); no == nil || no.Code != reason.ChannelBusy {
		t.Error(no)
	}
	if no := b.claim("other", 5<<20); no != nil {
		t.Error(no)
	}
	b.release("h", 60<<20)
	if no := b.claim("h", 64<<20); no != nil {
		t.Error(no)
	}
}

// TestBeyondPeersMaxTheSameChannelsStay asks again and again, though maps have no order.
func TestBeyondPeersMaxTheSameChannelsStay(t *testing.T) {
	b := bare(t, func(c *Config) { c.PeersMax = 3 })
	r := &Rules{Node: "here", Channels: map[string]policy.Channel{}, Hosts: map[string]Host{},
		Revoked: func(id.Principal) bool { return false }, Placed: func(string, string) bool { return true }}
	var names []string
	for k := range 5 {
		r.Hosts[fmt.Sprint("h", k)] = Host{Address: "127.0.0.1:1"}
		names = append(names, fmt.Sprint("c", k))
		r.Channels[fmt.Sprint("c", k)] = policy.Channel{Kind: policy.Broadcast, Publishers: []string{"p"}}
	}
	late := pullKey{"c4", "h4"} // has come first
	b.pulls[late] = &pull{}
	first := b.wanted(r, names)
	if _, ok := first[late]; !ok || len(first) != 3 || b.beyond != 22 {
		t.Fatalf("%v, %d are left out", first, b.beyond)
	}
	for range 100 {
		again := b.wanted(r, names)
		for k := range first {
			if _, ok := again[k]; !ok {
				t.Fatalf("%v, before %v", again, first)
			}
		}
	}
}

// movedSession counts that it is closed; nothing else of it is used.
type movedSession struct {
	transport.Session
	closed chan string
}

func (s *movedSession) Close(_ reason.Code, why string) error { s.closed <- why; return nil }
func (s *movedSession) Err() error                            { return nil }

// TestSessionToAnOldAddressIsClosed moves a host, once its session is there and once before.
func TestSessionToAnOldAddressIsClosed(t *testing.T) {
	b := bare(t, nil)
	made, go1 := make(chan *movedSession, 3), make(chan struct{}, 3)
	b.deps.Dial = func(context.Context, string, string) (transport.Session, error) {
		<-go1
		s := &movedSession{closed: make(chan string, 2)}
		made <- s
		return s, nil
	}
	go1 <- struct{}{}
	if _, err := b.links.session(t.Context(), "h", "a:1"); err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = b.links.session(waiting, "h", "b:1") // still being dialled
	_, _ = b.links.session(waiting, "h", "c:1")
	go1 <- struct{}{}
	go1 <- struct{}{}
	b.work.Wait()
	closed := 0
	for range 3 {
		s := <-made
		select {
		case <-s.closed:
			closed++
		case <-time.After(10 * time.Millisecond):
		}
	}
	if closed != 2 {
		t.Errorf("%d of the two old sessions are closed", closed)
	}
	if s, err := b.links.session(t.Context(), "h", "c:1"); err != nil || s.Err() != nil {
		t.Error(s, err)
	}
}

// TestPublisherThatIsNotCarriedIsSaidOnce asks for its stream again and again, as each turn does.
func TestPublisherThatIsNotCarriedIsSaidOnce(t *testing.T) {
	said := 0
	b := bare(t, nil)
	b.deps.Log = slog.New(slog.NewTextHandler(countLines{&said}, nil))
	e := newExport(b, "md")
	e.outs = make([]*outLane, outsMax)
	for i := range e.outs {
		e.outs[i] = &outLane{from: &channel.Source{}}
	}
	one, other := &channel.Source{Service: "a"}, &channel.Source{Service: "b"}
	for range 100 {
		if e.mayTake(one) != batchMost || e.mayTake(other) != batchMost {
			t.Fatal("what is not carried must be let go")
		}
	}
	e.sourceEnded(one, nil)
	if said != 2 || len(e.uncarried) != 1 {
		t.Errorf("said %d times, %d are remembered", said, len(e.uncarried))
	}
}

type countLines struct{ n *int }

func (c countLines) Write(b []byte) (int, error) { *c.n++; return len(b), nil }
