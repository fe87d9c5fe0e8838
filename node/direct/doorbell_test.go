package direct

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// polled waits in poll(2) for the files, in this order, and says which are readable.
func polled(wait time.Duration, files ...*os.File) (ready []bool, err error) {
	fds := make([]unix.PollFd, len(files))
	for i, f := range files {
		fds[i] = unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN}
	}
	for end := time.Now().Add(wait); ; {
		_, err = unix.Poll(fds, int(max(time.Until(end), 0)/time.Millisecond))
		if err != unix.EINTR {
			break
		}
	}
	for _, p := range fds {
		ready = append(ready, p.Revents&unix.POLLIN != 0)
	}
	return ready, err
}

// childPolls is the loop of a program that has one thread for a socket (its standard input
// here) and a channel.
func childPolls(s *channel.Subscriber) {
	fmt.Println("attached")
	h := channel.Handler{
		Message: func(from *channel.Source, _ uint16, b []byte) { fmt.Println("message", from.Service, string(b)) },
		Ended:   func(from *channel.Source, why *reason.Error) { fmt.Println("lane ends", from.Service, why.Code) },
	}
	lanes := 0
	for {
		n, err := s.Poll(1, &h)
		if err != nil {
			fmt.Println("ended", reason.Of(err, 0))
			return
		}
		if now := len(s.Lanes()); now != lanes {
			lanes = now
			fmt.Println("lanes", lanes)
		}
		if n > 0 || s.Arm() {
			continue
		}
		ready, err := polled(time.Minute, os.Stdin, s.File())
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		s.Disarm()
		if ready[0] {
			var b [64]byte
			n, _ := os.Stdin.Read(b[:])
			fmt.Println("socket", string(b[:n]))
		}
	}
}

// sleeps waits until the readers of a service say that they sleep, and have read so many.
func (n *node) sleeps(service string, messages uint64) {
	n.t.Helper()
	eventually(n.t, service+" sleeps", func() bool {
		for _, ring := range n.rings() {
			for _, r := range ring.Readers {
				if r.Service == service && (!r.Stat.Asleep || r.Stat.Messages != messages) {
					return false
				}
			}
		}
		return true
	})
}

// A process that sleeps in poll(2) beside a socket, for a minute, hears everything that its
// channel has to say long before.
func TestPollLoopOfAnotherProcessHearsMessagesSocketsLanesAndCuts(t *testing.T) {
	n := newNode(t)
	c := start(t, "poller", n.b.Path(), "orders", "subscriber")
	c.say("before any lane")
	c.until("socket before any lane")
	p := n.publisher("orders", "publisher")
	defer p.Close()
	c.until("lanes 1")
	for k := range 20 {
		n.sleeps("subscriber", uint64(k))
		if res := p.Offer(1, fmt.Append(nil, k)); res != shm.Sent {
			t.Fatal(res)
		}
		c.until(fmt.Sprint("message publisher ", k))
	}
	n.sleeps("subscriber", 20)
	c.say("between")
	c.until("socket between")
	second := n.publisher("orders", "second")
	c.until("lanes 2")
	second.Offer(1, []byte("hello"))
	c.until("message second hello")
	second.Close()
	c.until("lane ends second")
	third := n.publisher("orders", "second")
	defer third.Close()
	c.until("lanes 2")
	n.deny["apart"] = policy.Rule{From: []string{"second"}, To: []string{"subscriber"}, Action: policy.Deny}
	n.apply() // says nothing to the reader but by its gate
	c.until("lane ends second")
	if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "orders", By: "operator"}); err != nil {
		t.Fatal(err)
	}
	c.until("lane ends publisher")
	c.until(fmt.Sprint("ended ", reason.ChannelRevoked))
}

func TestPollLoopHearsThatItsWriterWasKilled(t *testing.T) {
	n := newNode(t)
	p := start(t, "publisher", n.b.Path(), "md", "publisher")
	c := start(t, "poller", n.b.Path(), "md", "subscriber")
	c.until("message publisher")
	p.signal(syscall.SIGKILL)
	c.until("lane ends publisher")
}

// The doorbell outlives the direct node: while none runs, and under the next one.
func TestDoorbellGoesOnWithoutTheDirectNodeAndUnderTheNext(t *testing.T) {
	socket := t.TempDir() + "/attach"
	direct := start(t, "broker", socket, "", "")
	p, err := channel.OpenPublisher(t.Context(), channel.Options{Socket: socket, Channel: "orders", Service: "publisher"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := start(t, "poller", socket, "orders", "subscriber")
	c.until("lanes 1")
	heard := func(when string) {
		t.Helper()
		for k := range 5 {
			// Nobody can be asked here whether it sleeps: it does, soon, and must be woken.
			time.Sleep(5 * time.Millisecond)
			p.Offer(1, fmt.Append(nil, when, k))
			c.until(fmt.Sprint("message publisher ", when, k))
		}
	}
	heard("before")
	direct.kill()
	heard("without")
	next := start(t, "broker", socket, "", "")
	for missing := map[string]bool{"event adopted publisher": true, "event attached subscriber": true}; len(missing) > 0; {
		delete(missing, next.until("event "))
	}
	time.Sleep(700 * time.Millisecond) // beyond the grace
	heard("after")
	second, err := channel.OpenPublisher(t.Context(), channel.Options{Socket: socket, Channel: "orders", Service: "second"})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	c.until("lanes 2") // the next one hands the button on
	time.Sleep(5 * time.Millisecond)
	second.Offer(1, []byte("x"))
	c.until("message second x")
	next.kill()
	start(t, "broker", socket, "", "", "FIRE_TEST_DENY=1")
	c.until(fmt.Sprint("ended ", reason.NoSuchChannel))
}

// The channel's own strategy makes a doorbell, and Wait waits for it.
func TestWaitOfAChannelForPollLoopsSleepsUntilItIsRung(t *testing.T) {
	n := newNode(t)
	spec := n.floor["orders"]
	spec.Wait = policy.WaitPoll
	n.floor["orders"] = spec
	n.apply()
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer func() { s.Close(); p.Close() }()
	if s.File() == nil {
		t.Fatal("it has no doorbell")
	}
	eventually(t, "the lane is read", func() bool { s.Poll(9, &channel.Handler{}); return len(s.Lanes()) == 1 })
	var took []time.Duration
	for range 5 {
		took = append(took, asleep(t, n, s, func() { p.Offer(1, nil) }))
		if got, err := s.Poll(9, &channel.Handler{}); got != 1 || err != nil {
			t.Fatal(got, err)
		}
	}
	early(t, "a message", took)
	o := n.options("orders", "other")
	o.Wait = "adaptive"
	other, err := channel.OpenSubscriber(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other.File() != nil || !other.Arm() {
		t.Error("a doorbell that was not asked for; or a loop that would wait for none")
	}
	other.Disarm()
}

// TestReaderThatNeverEmptiesItsDoorbellBlocksNobody has a reader that says to sleep for
// ever, and lets its sockets block whoever does not ask otherwise.
func TestReaderThatNeverEmptiesItsDoorbellBlocksNobody(t *testing.T) {
	n := newNode(t)
	p := n.publisher("md", "publisher")
	defer p.Close()
	d, err := shm.NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, f := range []*os.File{d.File(), d.Button()} {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, 0); err != nil {
			t.Fatal(err)
		}
	}
	w, lane, files := n.halfReader("md")
	mapped, err := unix.Mmap(int(files[1].Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	if err := w.Send(&channel.Packet{Type: channel.TypeMapped, ID: lane}, d.Button()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the writer knows it", func() bool { return len(p.Readers()) == 1 })
	var sent atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5000 {
			binary.NativeEndian.PutUint32(mapped[256:], 1) // asleep
			if p.Offer(1, nil) == shm.Sent {
				sent.Add(1)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("the writer is blocked after %d messages", sent.Load())
	}
	if sent.Load() != 5000 {
		t.Errorf("%d of 5000 were sent", sent.Load())
	}
	if rung, err := polled(0, d.File()); err != nil || !rung[0] {
		t.Errorf("it was not rung: %v", err)
	}
	// Nor is the direct node, which rings for the cut.
	if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "md", By: "operator"}); err != nil {
		t.Fatal(err)
	}
	n.rings()
}

// halfReader attaches a subscriber by hand up to its first lane, of which it is to say that
// it is mapped.
func (n *node) halfReader(name string) (w *channel.Wire, lane uint64, files []*os.File) {
	n.t.Helper()
	w = n.raw()
	if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(policy.Subscribe), Channel: name, Service: "subscriber"}); err != nil {
		n.t.Fatal(err)
	}
	for {
		k, files, err := w.Receive()
		if err != nil {
			n.t.Fatal(err)
		}
		if k.Type == channel.TypeLane {
			n.t.Cleanup(func() { channel.CloseAll(files) })
			return w, k.ID, files
		}
	}
}

func TestWrongDoorbellIsRefusedAndDisturbsNoWriter(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	defer p.Close()
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(stream[1])
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]*os.File{"an eventfd": os.NewFile(uintptr(event), "event"), "a stream": os.NewFile(uintptr(stream[0]), "stream"),
		"a datagram socket of the network": os.NewFile(uintptr(udp), "udp"), "a file": file} {
		w, lane, _ := n.halfReader("orders")
		if err := w.Send(&channel.Packet{Type: channel.TypeMapped, ID: lane}, f); err != nil {
			t.Fatal(err)
		}
		k, _, err := w.Receive()
		if err != nil || k.Type != channel.TypeRefused || k.Reason != reason.FrameMalformed || !strings.Contains(k.Text, "no doorbell") {
			t.Errorf("%s: %+v, %v", what, k, err)
		}
		f.Close()
	}
	if _, losses := p.Linked(); losses != 0 || p.Offer(1, nil) != shm.Sent {
		t.Errorf("the writer lost its direct node %d times", losses)
	}
	if cuts := n.events(Cut); len(cuts) != 4 {
		t.Errorf("%+v", cuts)
	}
}

// An end that has no doorbell gives none: it would reach a writer that takes none.
func TestOnlySubscribersHaveADoorbell(t *testing.T) {
	n := newNode(t)
	d, err := shm.NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	w := n.raw()
	if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(policy.Publish), Channel: "orders", Service: "publisher"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(&channel.Packet{Type: channel.TypeMapped, ID: 1}, d.Button()); err != nil {
		t.Fatal(err)
	}
	for {
		k, files, err := w.Receive()
		channel.CloseAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if k.Type == channel.TypeRefused {
			break
		}
	}
	o := n.options("ask", "subscriber")
	o.Wait = "poll"
	if s, err := channel.OpenServer(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no doorbell") {
		t.Error(s, err)
	}
}

// The next direct node has the button, too: it rings for its own cuts.
func TestNextDirectNodeRingsWhenItKeepsAPairApart(t *testing.T) {
	n := newNode(t)
	cfg := Default()
	cfg.Socket = n.b.Path()
	o := n.options("orders", "subscriber")
	o.Wait = "poll"
	s, err := channel.OpenSubscriber(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := n.publisher("orders", "publisher")
	defer func() { s.Close(); p.Close() }()
	eventually(t, "the lane is read", func() bool { s.Poll(9, &channel.Handler{}); return len(s.Lanes()) == 1 })
	n.stop()
	n.start(cfg)
	n.apply()
	eventually(t, "the lane is adopted with its reader", func() bool {
		rings := n.rings()
		return len(rings) == 1 && len(rings[0].Readers) == 1 && rings[0].Readers[0].State == "reading"
	})
	for rung := []bool{true}; rung[0]; { // until all that the adoption had to say is heard
		s.Poll(9, &channel.Handler{})
		if !s.Arm() {
			if rung, err = polled(200*time.Millisecond, s.File()); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.deny["apart"] = policy.Rule{From: []string{"publisher"}, To: []string{"subscriber"}, Action: policy.Deny}
	n.apply()
	if rung, err := polled(10*time.Second, s.File()); err != nil || !rung[0] {
		t.Fatal("the cut is not rung for", err)
	}
	var ended *reason.Error
	s.Poll(9, &channel.Handler{Ended: func(_ *channel.Source, why *reason.Error) { ended = why }})
	if ended == nil || ended.Code != reason.DeniedByRule {
		t.Error(ended)
	}
}

// An end that gives a doorbell over and over costs one descriptor, as long as it is there.
func TestDoorbellsGivenOverAndOverAreClosed(t *testing.T) {
	n := newNode(t)
	c := n.floor["orders"]
	c.Keep = 0
	n.floor["orders"] = c
	n.apply()
	p := n.publisher("orders", "publisher")
	defer p.Close()
	d, err := shm.NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := openFiles(t)
	w, lane, files := n.halfReader("orders")
	for range 50 {
		if err := w.Send(&channel.Packet{Type: channel.TypeMapped, ID: lane}, d.Button()); err != nil {
			t.Fatal(err)
		}
		if err := w.Send(&channel.Packet{Type: channel.TypeAdded, ID: 1 << 40}, d.Button(), d.Button()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "its writer knows it", func() bool { return len(p.Readers()) == 1 })
	w.Close()
	channel.CloseAll(files)
	eventually(t, "it is gone", func() bool { return len(p.Readers()) == 0 })
	p.Offer(1, nil) // what its writer had of it is closed when it has written on
	p.Offer(1, nil)
	s := n.subscriber("orders", "other")
	eventually(t, "another takes its place", func() bool { return len(p.Readers()) == 1 })
	s.Close()
	eventually(t, "all is closed", func() bool { return openFiles(t) <= before+2 })
}
