package direct

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"fire/policy"
	"fire/transport/channel"
	"fire/transport/shm"
)

// A reader dies while there is no direct node. The next one knows by the cursor that the
// writer still has what it had not read, and counts it once. One that comes back costs nothing.
func TestWhatAReaderHadNotReadThatDiedWithoutADirectNodeIsCounted(t *testing.T) {
	n := newNode(t)
	c := n.floor["orders"]
	c.Keep = policy.Duration(100 * time.Millisecond)
	n.floor["orders"] = c
	n.apply()
	p := n.publisher("orders", "publisher")
	defer p.Close()
	var all []*channel.Subscriber // more than one packet holds up
	for range 5 {
		s := n.subscriber("orders", "other")
		defer s.Close()
		all = append(all, s)
	}
	dies := start(t, "subscriber", n.b.Path(), "orders", "subscriber")
	eventually(t, "all read", func() bool { return len(n.events(Paired)) == 6 })
	dies.signal(syscall.SIGSTOP)
	eventually(t, "it has stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", dies.cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	const messages = 50
	for range messages {
		if res := p.Offer(1, []byte("order")); res != shm.Sent {
			t.Fatal(res)
		}
	}
	cfg := n.b.cfg
	n.stop()
	dies.kill()
	n.start(cfg)
	n.apply()
	eventually(t, "it is given up", func() bool { return len(n.events(Lost)) > 0 })
	for _, s := range all {
		collect(t, s, messages)
	}
	time.Sleep(2 * cfg.Grace) // nothing more is
	if lost := n.events(Lost); len(lost) != 1 || lost[0].Messages != messages || lost[0].Service != "publisher" || lost[0].Channel != "orders" {
		t.Errorf("%+v", lost)
	}
	if k, err := n.b.Count(t.Context()); err != nil || k.LostMsgs != messages {
		t.Errorf("%+v, %v", k, err)
	}
	next := n.subscriber("orders", "subscriber")
	defer next.Close()
	eventually(t, "the next one reads", func() bool { return len(next.Lanes()) == 1 })
	for range 2000 { // the writer has forgotten the dead
		for p.Offer(1, []byte("more")) != shm.Sent {
			for _, s := range append(all, next) {
				s.Poll(1000, &channel.Handler{})
			}
		}
	}
}

// TestWhatADeadReaderHadNotReadIsCountedWhenItsWriterLeaves before anybody has waited for
// long enough.
func TestWhatADeadReaderHadNotReadIsCountedWhenItsWriterLeaves(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	dies := start(t, "subscriber", n.b.Path(), "orders", "subscriber")
	eventually(t, "it reads", func() bool { return len(n.events(Paired)) == 1 })
	dies.signal(syscall.SIGSTOP)
	eventually(t, "it has stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", dies.cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	const messages = 50
	for range messages {
		if res := p.Offer(1, []byte("order")); res != shm.Sent {
			t.Fatal(res)
		}
	}
	cfg := n.b.cfg
	cfg.Grace = time.Hour
	n.stop()
	dies.kill()
	n.start(cfg)
	n.apply()
	eventually(t, "the writer is back", func() bool { return len(n.events(Adopted)) == 1 })
	p.Close()
	eventually(t, "it is counted", func() bool { return len(n.events(Lost)) == 1 })
	if lost := n.events(Lost)[0]; lost.Messages != messages || lost.Service != "publisher" {
		t.Errorf("%+v", lost)
	}
}

// TestNextDirectNodeGoesOnForOtherHostsWhereTheLastWas: its far reader dies with it, and the
// next one's takes its place, with what was published between.
func TestNextDirectNodeGoesOnForOtherHostsWhereTheLastWas(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	defer p.Close()
	far := &Far{policy.Subscribe, []Placed{{"subscriber", "elsewhere"}}}
	first := true
	dial := func(context.Context) (*channel.Wire, error) {
		if !first {
			return nil, errors.New("it has died")
		}
		first = false
		return n.b.AttachFar(t.Context(), far)
	}
	s, err := channel.OpenSubscriber(t.Context(), channel.Options{Channel: "orders", Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "it reads", func() bool { return len(n.events(Paired)) == 1 })
	next := 0
	h := channel.Handler{Message: func(_ *channel.Source, typ uint16, _ []byte) {
		if int(typ) != next {
			t.Errorf("message %d where %d is next", typ, next)
		}
		next = int(typ) + 1
	}}
	k := 0
	offer := func(n int) {
		for end := k + n; k < end; k++ {
			if res := p.Offer(uint16(k), []byte("order")); res != shm.Sent {
				t.Fatal(res)
			}
		}
	}
	offer(100)
	eventually(t, "the first is at 50", func() bool { s.Poll(50-next, &h); return next == 50 })
	cfg := n.b.cfg
	cfg.Grace = 10 * time.Second
	n.stop()
	offer(20)
	n.start(cfg)
	n.apply()
	eventually(t, "the writer is back", func() bool { return len(n.events(Adopted)) == 1 })
	offer(20)
	again, err := channel.OpenSubscriber(t.Context(), channel.Options{Channel: "orders", Dial: n.far(far)})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	eventually(t, "the next goes on and is at the end", func() bool { again.Poll(100, &h); return next == k })
	eventually(t, "the writer respects the dead one no more", func() bool { return len(p.Readers()) == 1 })
	if lost := n.events(Lost); len(lost) > 0 {
		t.Errorf("%+v", lost)
	}
}
