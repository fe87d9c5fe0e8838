package shm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// readable waits for the file as a poll loop does.
func readable(t *testing.T, f *os.File, wait time.Duration) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	for end := time.Now().Add(wait); ; {
		n, err := unix.Poll(p, int(max(time.Until(end), 0)/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
}

// doorbellReader attaches a reader with a doorbell to the channel.
func doorbellReader(t *testing.T, c *channel) (*Reader, *Doorbell, *Peer) {
	t.Helper()
	d, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	f, err := CreateCursor(c.spec.Name, c.spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := OpenReader(c.data, f, c.gate.File())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := Seal(f); err != nil {
		t.Fatal(err)
	}
	p, err := c.w.AddReaderWithDoorbell(f, d.Button())
	if err != nil {
		t.Fatal(err)
	}
	return r, d, p
}

// pollLoopChild is the environment that makes TestPollLoopChild the reading process.
const pollLoopChild = "FIRE_SHM_TEST_POLL_LOOP"

// TestPollLoopChild is no test: it reads the ring of descriptors 3 to 5 and waits for it by
// poll(2) on the doorbell, descriptor 6, until it has the messages that it was told.
func TestPollLoopChild(t *testing.T) {
	messages, err := strconv.Atoi(os.Getenv(pollLoopChild))
	if err != nil {
		t.Skip("run by the test that rings for it")
	}
	d := &Doorbell{file: os.NewFile(6, "doorbell")}
	r, err := OpenReader(os.NewFile(3, "data"), os.NewFile(4, "cursor"), os.NewFile(5, "gate"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("mapped")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for got := 0; got < messages; {
		if !d.Arm(r.self[:]) {
			if !readable(t, d.file, 20*time.Second) {
				t.Fatal("nobody rings")
			}
			d.Disarm(r.self[:])
		}
		n, _, err := r.Poll(99, func(uint16, []byte) {})
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	fmt.Println("read")
}

func TestReaderOfAnotherProcessIsWokenInItsPollLoop(t *testing.T) {
	const messages = 100
	c := newChannel(t, Lane, linesMin)
	d, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cursor, err := CreateCursor(c.spec.Name, c.spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPollLoopChild$")
	cmd.Env = append(os.Environ(), pollLoopChild+"="+strconv.Itoa(messages))
	cmd.ExtraFiles = []*os.File{c.data, cursor, c.gate.File(), d.File()}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewReader(out)
	said := func(want string) {
		if line, err := lines.ReadString('\n'); strings.TrimSpace(line) != want {
			t.Fatalf("the child said %q, %v", line, err)
		}
	}
	said("mapped")
	if err := Seal(cursor); err != nil {
		t.Fatal(err)
	}
	if _, err := c.w.AddReaderWithDoorbell(cursor, d.Button()); err != nil {
		t.Fatal(err)
	}
	view, err := OpenCursorView(cursor, c.spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	fmt.Fprintln(in)
	limit := time.Now().Add(15 * time.Second)
	for k := range uint64(messages) {
		for s := view.Stat(); !s.Asleep || s.Messages != k; s = view.Stat() { // it has read all, and waits
			if time.Now().After(limit) {
				t.Fatalf("message %d: the reader does not wait: %+v", k, s)
			}
			time.Sleep(20 * time.Microsecond)
		}
		if res := c.w.Offer(1, []byte("x")); res != Sent {
			t.Fatal(res)
		}
	}
	said("read")
}

func TestDoorbellRingsOnlyForWhoSleeps(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	r, d, _ := doorbellReader(t, c)
	c.w.Offer(1, nil)
	if readable(t, d.File(), 0) {
		t.Error("it rings while its reader is awake")
	}
	if !d.Arm(r.self[:]) {
		t.Error("the message that is there is not seen before the wait")
	}
	r.Poll(9, func(uint16, []byte) {})
	if d.Arm(r.self[:]) {
		t.Error("ready, and nothing is there")
	}
	c.w.Offer(1, nil)
	if !readable(t, d.File(), 5*time.Second) {
		t.Fatal("it does not ring")
	}
	d.Disarm(r.self[:])
	if readable(t, d.File(), 0) {
		t.Error("it rings on")
	}
	if n, _, err := r.Poll(9, func(uint16, []byte) {}); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// TestDoorbellThatNobodyAnswersBlocksNoWriter has a reader that says to sleep for ever,
// empties nothing, and lets both sockets block.
func TestDoorbellThatNobodyAnswersBlocksNoWriter(t *testing.T) {
	c := newChannel(t, Broadcast, linesMin)
	r, d, _ := doorbellReader(t, c)
	for _, f := range []*os.File{d.File(), d.Button()} {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, 0); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 {
			atomic.StoreUint32(r.own.half(offAsleep), 1)
			c.w.Offer(1, nil)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the writer is blocked")
	}
}

func TestOnlyWhatNeverBlocksIsADoorbell(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	cursor, err := CreateCursor(c.spec.Name, c.spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]*os.File{"an eventfd": os.NewFile(uintptr(event), "event"), "memory": cursor,
		"a stream": os.NewFile(uintptr(stream[0]), "stream"), "its other end": os.NewFile(uintptr(stream[1]), "stream")} {
		if _, err := c.w.AddReaderWithDoorbell(cursor, f); err == nil || !strings.Contains(err.Error(), "this is no doorbell") {
			t.Errorf("%s: %v", what, err)
		}
		f.Close()
	}
}

func TestDoorbellsOfReadersThatLeftAreClosed(t *testing.T) {
	c := newChannel(t, Broadcast, linesMin)
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc:", err)
		}
		return len(files)
	}
	_, _, p := doorbellReader(t, c)
	with := open()
	c.w.RemoveReader(p)
	for range 2 {
		c.w.Offer(1, nil)
	}
	_, last := c.reader(0) // reaps
	c.w.RemoveReader(last)
	if now := open(); now >= with {
		t.Errorf("%d descriptors before, %d after", with, now)
	}
}

// TestNextReadersButtonTakesTheNumberOfTheOldOne has a writer that writes nothing between a
// reader that leaves and the next: it may still be looking at the old one.
func TestNextReadersButtonTakesTheNumberOfTheOldOne(t *testing.T) {
	c := newChannel(t, Broadcast, linesMin)
	_, _, old := doorbellReader(t, c)
	number := old.button
	c.w.RemoveReader(old)
	_, d, next := doorbellReader(t, c)
	if next.button != number {
		t.Errorf("button %d, the old one was %d", next.button, number)
	}
	var b byte
	old.ring(&b)
	if !readable(t, d.File(), 0) {
		t.Error("a late look at the old reader rings somewhere else")
	}
	c.w.RemoveReader(next)
	_, last := c.reader(0) // without a doorbell
	if last.button != number {
		t.Errorf("the number is free while a late look may ring it: button %d", last.button)
	}
}
