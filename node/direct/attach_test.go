package direct

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"fire/policy"
	"fire/transport/channel"
	"fire/transport/shm"
)

// answerer is the cheapest that could let a program in: it takes the connection, asks the
// kernel who that is, and answers one packet.
func answerer(t *testing.T) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "answer")
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			w := channel.NewWire(c)
			if p, err := identify(c); err != nil {
				t.Error(err)
			} else {
				p.fd.Close()
			}
			if k, _, err := w.Receive(); err == nil {
				k = channel.Packet{Type: channel.TypeWelcome, Service: k.Service}
				_ = w.Send(&k)
			}
			w.Close()
		}
	})
	return socket, func() { ln.Close(); serving.Wait() }
}

func ask(ctx context.Context, socket string) error {
	w, err := channel.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Side: 1, Channel: "orders", Service: "publisher"}); err != nil {
		return err
	}
	_, _, err = w.Receive()
	return err
}

// An attach is a few round trips over a unix socket and the making of some memory: it takes a
// small multiple of one such round trip. On a machine with a core to spare that is far below
// a millisecond.
func TestAttachCostsAFewRoundTrips(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	n := newNode(t)
	socket, stop := answerer(t)
	defer stop()
	const rounds = 100
	c := n.floor["md"]
	c.Size = policy.DefaultChannel().Size
	n.floor["md"] = c
	n.apply()
	var answers, publishers, subscribers, large, made []time.Duration
	since := func(all *[]time.Duration, do func() error) {
		t.Helper()
		begun := time.Now()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		*all = append(*all, time.Since(begun))
	}
	for range rounds {
		since(&answers, func() error { return ask(t.Context(), socket) })
		var p *channel.Publisher
		since(&publishers, func() (err error) {
			p, err = channel.OpenPublisher(t.Context(), n.options("orders", "publisher"))
			return err
		})
		var s *channel.Subscriber
		since(&subscribers, func() (err error) { // until it can read
			if s, err = channel.OpenSubscriber(t.Context(), n.options("orders", "subscriber")); err != nil {
				return err
			}
			for len(s.Lanes()) == 0 && err == nil {
				s.Wait()
				err = s.Err()
			}
			return err
		})
		s.Close()
		p.Close()
		eventually(t, "a ring is ready", func() (ready bool) {
			if err := n.b.ask(t.Context(), func() { ready = n.b.spares["md"] != nil }); err != nil {
				t.Fatal(err)
			}
			return ready
		})
		since(&large, func() (err error) {
			p, err = channel.OpenPublisher(t.Context(), n.options("md", "publisher"))
			return err
		})
		p.Close()
		since(&made, func() error {
			f, err := shm.CreateData(shm.Spec{Name: "md", Discipline: shm.Broadcast, Lines: shm.LinesFor(int(c.Size)), Epoch: 1})
			if err == nil {
				err = f.Close()
			}
			return err
		})
	}
	at := func(all []time.Duration, q float64) time.Duration {
		slices.Sort(all)
		return all[int(q*float64(len(all)-1))]
	}
	for who, all := range map[string][]time.Duration{"a publisher": publishers, "a subscriber": subscribers, "a publisher of " + c.Size.String(): large} {
		t.Logf("%s attaches in %v (p50), %v (p99); the cheapest answer takes %v, %v: %.1f times", who, at(all, .5), at(all, .99), at(answers, .5), at(answers, .99),
			float64(at(all, .5))/float64(at(answers, .5)))
		if at(all, .5) > 15*at(answers, .5) {
			t.Errorf("%s takes %v to attach, the cheapest answer %v", who, at(all, .5), at(answers, .5))
		}
	}
	t.Logf("the kernel makes %v of memory in %v", c.Size, at(made, .5))
}
