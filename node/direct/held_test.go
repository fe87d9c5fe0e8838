package direct

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// clinger is a program that was cut and does not let go, beside one that does and one that may read on.
func (n *node) clinger(t *testing.T) (c *child, p *channel.Publisher) {
	t.Helper()
	p = n.publisher("md", "publisher")
	t.Cleanup(func() { p.Close() })
	c = start(t, "clinger", n.b.Path(), "md", "subscriber")
	reads := start(t, "subscriber", n.b.Path(), "md", "other")
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if p.Offer(1, []byte("tick")) != shm.Sent {
					return
				}
			}
		}
	}()
	c.until("clings")
	reads.read()
	return c, p
}

func (n *node) cutSubscriber(t *testing.T) {
	t.Helper()
	if cut, err := n.b.Revoke(t.Context(), Revocation{Channel: "md", Service: "subscriber", By: "operator"}); err != nil || cut != 1 {
		t.Fatal(cut, err)
	}
}

func TestProcessThatWasCutAndKeepsTheRingIsTold(t *testing.T) {
	n := newNode(t)
	n.restart(func(c *Config) { c.CutGrace = 200 * time.Millisecond })
	c, _ := n.clinger(t)
	n.cutSubscriber(t)
	eventually(t, "it is told", func() bool { return len(n.events(Held)) > 0 })
	time.Sleep(300 * time.Millisecond)
	held := n.events(Held)
	if len(held) != 1 || held[0].PID != c.cmd.Process.Pid || held[0].Service != "subscriber" || held[0].Channel != "md" || !strings.Contains(held[0].Detail, "200ms after the cut") {
		t.Errorf("%+v", held)
	}
	if counts, err := n.b.Count(t.Context()); err != nil || counts.Held != 1 || counts.Ended != 0 {
		t.Errorf("%+v %v", counts, err)
	}
	if len(n.events(Ended)) > 0 || c.cmd.ProcessState != nil {
		t.Error("it was ended though it is only to be told")
	}
}

func TestProcessThatWasCutAndKeepsTheRingIsEndedWhereThatIsSaid(t *testing.T) {
	n := newNode(t)
	n.restart(func(c *Config) { c.CutGrace, c.AfterCut = 200*time.Millisecond, CutEnd })
	c, p := n.clinger(t)
	n.cutSubscriber(t)
	cut := time.Now()
	eventually(t, "it is ended", func() bool { return len(n.events(Ended)) > 0 })
	if d := time.Since(cut); d < 200*time.Millisecond {
		t.Errorf("ended after %v", d)
	}
	ended := make(chan struct{})
	go func() { _ = c.cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the process lives")
	}
	if e := n.events(Ended); len(e) != 1 || e[0].PID != c.cmd.Process.Pid {
		t.Errorf("%+v", e)
	}
	if state, _ := p.State(); state != shm.Open || len(p.Readers()) != 1 {
		t.Errorf("others were touched: %v, %d readers", state, len(p.Readers()))
	}
}

// TestProcessThatLetsGoIsNotTold cuts programs that poll, and one that may attach again at once.
func TestProcessThatLetsGoIsNotTold(t *testing.T) {
	n := newNode(t)
	n.restart(func(c *Config) { c.CutGrace, c.AfterCut = 100*time.Millisecond, CutEnd })
	p := n.publisher("md", "publisher")
	defer p.Close()
	polls := start(t, "subscriber", n.b.Path(), "md", "subscriber")
	eventually(t, "it reads", func() bool { return len(p.Readers()) == 1 })
	n.cutSubscriber(t)
	polls.until("ended")
	time.Sleep(300 * time.Millisecond)
	if e := append(n.events(Held), n.events(Ended)...); len(e) > 0 {
		t.Errorf("%+v", e)
	}
	// Cut by a rule, and let in again before its time to let go is up: it holds the ring by right.
	if err := n.b.Restore(t.Context(), "md", "subscriber", "operator"); err != nil {
		t.Fatal(err)
	}
	back := start(t, "clinger", n.b.Path(), "md", "subscriber")
	eventually(t, "it reads again", func() bool { p.Offer(1, []byte("x")); return len(p.Readers()) == 1 })
	n.deny["no"] = policy.Rule{From: []string{"publisher"}, To: []string{"subscriber"}, Action: policy.Deny}
	n.apply()
	delete(n.deny, "no")
	n.apply()
	eventually(t, "the pair is back", func() bool { return len(p.Readers()) == 1 })
	time.Sleep(300 * time.Millisecond)
	if e := append(n.events(Held), n.events(Ended)...); len(e) > 0 || back.cmd.ProcessState != nil {
		t.Errorf("%+v", e)
	}
}

func TestMapsOfAProcessAreReadAsTheKernelWritesThem(t *testing.T) {
	for line, want := range map[string]inode{
		"7f0000000000-7f0000001000 rw-s 00000000 00:01 33525                      /memfd:fire-ring-orders (deleted)": {1, 33525},
		"7f0000000000-7f0000001000 r--s 00001000 103:0a 12 /memfd:fire-cursor-md":                                    {0x1030a, 12},
	} {
		if got, ok := mappedMemory(line); !ok || got.ino != want.ino {
			t.Errorf("%q is %+v", line, got)
		}
	}
	for _, line := range []string{"", "7f00 rw-s 0 00:01 33525 /memfd:other (deleted)", "7f00 rw-s 0 zz:01 33525 /memfd:fire-ring-x", "7f00 rw-s 0 0001 33525 /memfd:fire-ring-x", "7f00 rw-s 0 00:01 x /memfd:fire-ring-x"} {
		if m, ok := mappedMemory(line); ok {
			t.Errorf("%q is %+v", line, m)
		}
	}
	f, err := shm.CreateData(shm.Spec{Name: "md", Discipline: shm.Lane, Lines: 64, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pin, err := shm.Pin(f)
	if err != nil {
		t.Skip(err)
	}
	defer pin.Close()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	files, _, err := memories("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(strings.Split(string(maps), "\n"), func(line string) bool {
		m, ok := mappedMemory(line)
		return ok && files[m] != nil && slices.ContainsFunc(files[m].heldBy, func(h Holder) bool { return h.PID == os.Getpid() })
	}) {
		t.Error("what is mapped and what is open are not found to be the same memory")
	}
}

// TestOnlyADecisionIsFollowedByALook cuts a program since the direct node cannot go on with it: it did
// nothing wrong, and is neither told of nor ended.
func TestOnlyADecisionIsFollowedByALook(t *testing.T) {
	n := newNode(t)
	n.restart(func(c *Config) { c.CutGrace, c.AfterCut = 100*time.Millisecond, CutEnd })
	c, p := n.clinger(t)
	if err := n.b.ask(t.Context(), func() {
		for e := range n.b.ends {
			if e.service == "subscriber" {
				n.b.cut(e, reason.New(reason.RingUnavailable, "no memory"), decision{})
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is cut", func() bool { return len(p.Readers()) == 1 })
	time.Sleep(400 * time.Millisecond)
	if e := append(n.events(Held), n.events(Ended)...); len(e) > 0 || c.cmd.ProcessState != nil {
		t.Errorf("%+v", e)
	}
	if err := c.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("the process was ended:", err)
	}
}
