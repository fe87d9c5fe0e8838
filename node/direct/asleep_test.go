package direct

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"fire/transport/channel"
	"fire/transport/shm"
)

// asleep lets the subscriber sleep, says what is to be said, and is how long the sleep then
// still lasted.
func asleep(t *testing.T, n *node, s *channel.Subscriber, say func()) time.Duration {
	t.Helper()
	woken := make(chan time.Time, 1)
	var said atomic.Bool
	go func() {
		for s.Wait(); !said.Load(); { // what was said earlier may end a first round
			s.Wait()
		}
		woken <- time.Now()
	}()
	eventually(t, "the subscriber sleeps", func() bool {
		return slices.ContainsFunc(n.rings(), func(r Ring) bool {
			return slices.ContainsFunc(r.Readers, func(x RingReader) bool { return x.Stat.Asleep })
		})
	})
	begun := time.Now()
	said.Store(true)
	say()
	select {
	case at := <-woken:
		return at.Sub(begun)
	case <-time.After(10 * time.Second):
		t.Fatal("it sleeps on")
		return 0
	}
}

// early fails unless the median is well within the sleep that a subscriber takes when
// nobody wakes it.
func early(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	whole := shm.Adaptive().Sleep
	if m := took[len(took)/2]; m > whole/4 {
		t.Errorf("%s is heard after %v in the median, the sleep is %v", what, m, whole)
	}
}

// A subscriber sleeps for all its lanes, and for what is said about them: none of it waits
// for the sleep to be over.
func TestSleepingSubscriberHearsMessagesNewLanesAndCutsAtOnce(t *testing.T) {
	n := newNode(t)
	first := n.publisher("orders", "publisher")
	s := n.subscriber("orders", "subscriber")
	defer func() { s.Close(); first.Close() }()
	eventually(t, "the lane is read", func() bool { return len(s.Lanes()) == 1 })
	var messages, arrivals, cuts []time.Duration
	for range 5 {
		var second *channel.Publisher
		arrivals = append(arrivals, asleep(t, n, s, func() { second = n.publisher("orders", "second") }))
		eventually(t, "both lanes are read", func() bool { return len(s.Lanes()) == 2 })
		for _, p := range []*channel.Publisher{first, second} {
			messages = append(messages, asleep(t, n, s, func() { p.Offer(1, nil) }))
			s.Poll(9, &channel.Handler{})
		}
		second.Close()
		eventually(t, "the second lane is over", func() bool { s.Poll(9, &channel.Handler{}); return len(s.Lanes()) == 1 })
	}
	for range 5 {
		cuts = append(cuts, asleep(t, n, s, func() {
			if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "orders", By: "operator", Why: "test"}); err != nil {
				t.Error(err)
			}
		}))
		first.Close()
		s.Close()
		if err := n.b.Restore(t.Context(), "orders", "", "operator"); err != nil {
			t.Fatal(err)
		}
		first, s = n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
		eventually(t, "the lane is read again", func() bool { return len(s.Lanes()) == 1 })
	}
	early(t, "a message", messages)
	early(t, "a new lane", arrivals)
	early(t, "a cut", cuts)
	t.Logf("heard, sorted: messages %v, new lanes %v, cuts %v", messages, arrivals, cuts)
}
