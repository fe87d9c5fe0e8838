package direct

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// promised is how soon both ends know of a death and of a cut. What is asserted is the middle of
// the rounds: single ones are the machine's.
const promised = 10 * time.Millisecond

func within(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("%s: %v in the middle of %d rounds, %v at most", what, took[len(took)/2], len(took), took[len(took)-1])
	if took[len(took)/2] > promised {
		t.Errorf("%s: %v in the middle of the rounds, %v is promised: %v", what, took[len(took)/2], promised, took)
	}
}

func TestDeathOfAPublisherIsKnownWithinTenMilliseconds(t *testing.T) {
	n := newNode(t)
	s := n.subscriber("orders", "subscriber")
	defer s.Close()
	var known, released []time.Duration
	for range 11 {
		p := start(t, "publisher", n.b.Path(), "orders", "publisher")
		read, ended := 0, false
		h := channel.Handler{Message: func(*channel.Source, uint16, []byte) { read++ }, Ended: func(*channel.Source, *reason.Error) { ended = true }}
		for read < 500 {
			s.Poll(100, &h)
		}
		p.signal(syscall.SIGKILL)
		killed := time.Now()
		eventually(t, "the lane ends", func() bool { s.Poll(1000, &h); return ended })
		known = append(known, time.Since(killed))
		eventually(t, "the lane is released", func() bool { return len(n.rings()) == 0 })
		released = append(released, time.Since(killed))
	}
	within(t, "the reader knows", known)
	within(t, "the lane is released", released)
}

// TestDeathOfAReaderIsKnownWithinTenMilliseconds is what its publisher sees of it.
func TestDeathOfAReaderIsKnownWithinTenMilliseconds(t *testing.T) {
	n := newNode(t)
	p := n.publisher("md", "publisher")
	defer p.Close()
	var took []time.Duration
	for range 11 {
		s := start(t, "subscriber", n.b.Path(), "md", "subscriber")
		eventually(t, "it reads", func() bool { return len(p.Readers()) == 1 })
		s.signal(syscall.SIGKILL)
		killed := time.Now()
		eventually(t, "it is gone", func() bool { return len(p.Readers()) == 0 })
		took = append(took, time.Since(killed))
	}
	within(t, "the publisher knows", took)
}

// TestCutIsSeenByBothEndsWithinTenMilliseconds has each end in a process of its own: two that
// spin in this one would keep its broker from running, which is this test's doing and no cut's. A
// busy machine makes rounds slower and never faster, so one of three batches is enough.
func TestCutIsSeenByBothEndsWithinTenMilliseconds(t *testing.T) {
	n := newNode(t)
	for batch := 1; ; batch++ {
		var took []time.Duration
		for range 11 {
			p := start(t, "publisher", n.b.Path(), "orders", "publisher")
			s := start(t, "subscriber", n.b.Path(), "orders", "subscriber")
			s.until("read ")
			cut := time.Now()
			if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "orders", By: "operator"}); err != nil {
				t.Fatal(err)
			}
			p.until("shut after")
			s.until("lane ended channel_revoked")
			took = append(took, time.Since(cut))
			if err := n.b.Restore(t.Context(), "orders", "", "operator"); err != nil {
				t.Fatal(err)
			}
			p.kill()
			s.kill()
		}
		if slices.Sort(took); took[len(took)/2] <= promised || batch == 3 {
			within(t, "both ends have seen the cut", took)
			return
		}
	}
}

// TestStoppedReaderOfOrdersHoldsItsLaneAndLosesNothing: its publisher is told Full and goes on
// with other things, the lanes of others go on, and after SIGCONT everything is read.
func TestStoppedReaderOfOrdersHoldsItsLaneAndLosesNothing(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	md, feed := n.publisher("md", "second"), n.subscriber("md", "other")
	defer func() { p.Close(); md.Close(); feed.Close() }()
	s := start(t, "subscriber", n.b.Path(), "orders", "subscriber")
	eventually(t, "it reads", func() bool { return len(p.Readers()) == 1 })
	var b [8]byte
	sent := uint64(0)
	offer := func() shm.Result {
		binary.LittleEndian.PutUint64(b[:], sent)
		res := p.Offer(1, b[:])
		if res == shm.Sent {
			sent++
		}
		return res
	}
	for range 1000 {
		offer()
	}
	s.signal(syscall.SIGSTOP)
	eventually(t, "it is stopped", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		return err == nil && bytes.Contains(b, []byte(") T "))
	})
	full, most := 0, time.Duration(0)
	for full < 1000 {
		begun := time.Now()
		if offer() == shm.Full {
			full++
		}
		most = max(most, time.Since(begun))
	}
	held := sent
	t.Logf("the longest of all offers took %v; %d messages are held", most, held)
	got := 0
	h := channel.Handler{Message: func(*channel.Source, uint16, []byte) { got++ }}
	eventually(t, "another channel goes on", func() bool { md.Offer(1, []byte("x")); feed.Poll(100, &h); return got > 100 })
	time.Sleep(300 * time.Millisecond) // longer than anybody's grace for what is silent
	if len(p.Readers()) != 1 || offer() != shm.Full {
		t.Fatal("a reader that is stopped was given up")
	}
	s.signal(syscall.SIGCONT)
	eventually(t, "there is room again", func() bool { return offer() == shm.Sent })
	for sent < held+1000 || sent%1000 != 0 { // it tells of every thousand
		offer()
	}
	eventually(t, "it has read all of them", func() bool { return s.read() >= int(sent) })
}
