package shm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stepChild is the environment that makes TestStepChild the writing process, by the number
// of its situation.
const stepChild = "FIRE_SHM_TEST_STEP"

// situation is one Offer that is looked at store by store.
type situation struct {
	name   string
	d      Discipline
	at     uint64 // the position before it: so many messages of one line
	bytes  int    // of the message
	claim  bool   // by Claim and Commit
	asleep bool   // its reader is about to sleep
	behind bool   // its reader reads before it no more than upto
	upto   uint64
	words  []int // what it must store to, of the head
	pads   bool
}

var situations = []situation{
	{name: "first of a lane", d: Lane, bytes: 48, words: []int{offMark, offIntent, offSampled, offSampledAt}},
	{name: "first of a broadcast", d: Broadcast, bytes: 48, words: []int{offMark, offIntent, offSampled, offSampledAt}},
	{name: "one line", d: Lane, at: 3, bytes: 8},
	{name: "nothing but a head", d: Lane, at: 3},
	{name: "the longest", d: Lane, at: 16, bytes: linesMin/4*lineBytes - headerBytes},
	{name: "claimed", d: Lane, at: 3, bytes: 300, claim: true},
	{name: "padding of a lane", d: Lane, at: 61, bytes: 300, pads: true},
	{name: "the end without padding", d: Lane, at: 63, bytes: 48},
	{name: "to a sleeper", d: Lane, at: 3, bytes: 48, asleep: true, words: []int{offBell}},
	{name: "broadcast within the intent", d: Broadcast, at: 3, bytes: 48},
	{name: "broadcast beyond the intent", d: Broadcast, at: 8, bytes: 300, words: []int{offMark, offMarks, offMarks + 8, offIntent}},
	{name: "padding of a broadcast", d: Broadcast, at: 61, bytes: 900, pads: true, words: []int{offMark, offIntent}},
	{name: "over what its reader wants", d: Broadcast, at: 64, bytes: 900, behind: true, words: []int{offMark, offIntent}},
	{name: "padding over the one that its reader wants", d: Broadcast, at: 120, bytes: 900, behind: true, upto: 56, pads: true, words: []int{offMark, offIntent}},
	{name: "over the one that its reader wants", d: Broadcast, at: 80, bytes: 300, behind: true, upto: 16, words: []int{offMark, offIntent}},
	{name: "over what its reader wants, with padding", d: Broadcast, at: 125, bytes: 900, behind: true, pads: true, words: []int{offMark, offIntent}},
}

// payload is message k of the situation.
func (s *situation) payload(k uint64) []byte {
	n := 8
	if k == s.at {
		n = s.bytes
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(k)*31 + byte(i)*7 + 1
	}
	if n >= 8 {
		binary.LittleEndian.PutUint64(b, k)
	}
	return b
}

// TestStepChild is no test: it is the process that is stopped after each instruction. It
// stops itself before the one Offer.
func TestStepChild(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(stepChild))
	if err != nil {
		t.Skip("run by the test that steps through it")
	}
	s := &situations[n]
	runtime.LockOSThread()
	w, err := OpenWriter(os.NewFile(3, "data"), os.NewFile(4, "gate"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("thread %d\n", unix.Gettid())
	bufio.NewReader(os.Stdin).ReadString('\n')
	reader, err := w.AddReader(os.NewFile(5, "cursor"))
	if err != nil {
		t.Fatal(err)
	}
	for k := range s.at {
		for s.behind && atomic.LoadUint64(reader.position) < min(k, s.upto) {
			runtime.Gosched()
		}
		for p := s.payload(k); w.Offer(1, p) != Sent; {
			runtime.Gosched()
		}
	}
	p := s.payload(s.at)
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	if s.claim {
		b, _ := w.Claim(len(p))
		copy(b, p)
		w.Commit(1, len(p))
	} else {
		w.Offer(1, p)
	}
	stepped()
	for {
		time.Sleep(time.Hour)
	}
}

// stepped is where the tracer knows that the Offer is over.
//
//go:noinline
func stepped() { _, _, _ = syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0) }

// stepping is a situation in a process that its tracer holds before the Offer.
type stepping struct {
	*situation
	t      *testing.T
	cmd    *exec.Cmd
	thread int
	data   *os.File
	gate   *Gate
	mem    *ring // as an onlooker sees it
	before []byte
	reader *Reader
	next   uint64
	gone   bool
}

// begin starts the process, and lets it write up to the Offer.
func begin(t *testing.T, number int) *stepping {
	t.Helper()
	x := &stepping{situation: &situations[number], t: t}
	spec := Spec{Name: "stepped", Discipline: x.d, Lines: linesMin, Epoch: 1}
	var err error
	if x.data, err = CreateData(spec); err != nil {
		t.Fatal(err)
	}
	cursor, err := CreateCursor(spec.Name, spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	if x.gate, err = CreateGate(spec.Name, spec.Epoch); err != nil {
		t.Fatal(err)
	}
	x.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStepChild$")
	x.cmd.Env = append(os.Environ(), stepChild+"="+strconv.Itoa(number), "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	x.cmd.ExtraFiles = []*os.File{x.data, x.gate.File(), cursor}
	in, _ := x.cmd.StdinPipe()
	out, _ := x.cmd.StdoutPipe()
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if x.thread, err = strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "thread "))); err != nil {
		t.Fatal(line, err)
	}
	if err := Seal(x.data); err != nil {
		t.Fatal(err)
	}
	if x.reader, err = OpenReader(x.data, cursor, x.gate.File()); err != nil {
		t.Fatal(err)
	}
	if err := Seal(cursor); err != nil {
		t.Fatal(err)
	}
	if x.mem, err = openRing(x.data, false); err != nil {
		t.Fatal(err)
	}
	if err := syscall.PtraceAttach(x.thread); err != nil {
		x.end()
		t.Skipf("ptrace is not allowed here: %v", err)
	}
	x.wait(0)
	if err := syscall.PtraceCont(x.thread, 0); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "go\n")
	for x.wait(unix.WNOHANG) != syscall.SIGSTOP {
		x.drain(x.due())
	}
	if x.drain(x.due()); x.next != x.due() {
		t.Fatalf("%d messages before it, %d are due", x.next, x.due())
	}
	if x.asleep {
		x.reader.own.storeHalf(offAsleep, 1)
	}
	x.before = bytes.Clone(x.mem.b)
	return x
}

// due is what the reader reads before the Offer.
func (x *stepping) due() uint64 {
	if x.behind {
		return x.upto
	}
	return x.at
}

// wait waits for a stop of the thread and says by which signal. Signals of the runtime are
// left out; with WNOHANG it may return without one.
func (x *stepping) wait(options int) syscall.Signal {
	x.t.Helper()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(x.thread, &ws, unix.WALL|options, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid != 0 && !ws.Stopped():
			x.t.Fatalf("the thread: %v, status %#x", err, ws)
		case pid == 0 || ws.StopSignal() == syscall.SIGSTOP || ws.StopSignal() == syscall.SIGTRAP:
			return ws.StopSignal()
		default:
			if err := syscall.PtraceCont(x.thread, 0); err != nil {
				x.t.Fatal(err)
			}
		}
	}
}

// store steps on until memory has changed and returns where; false when the Offer is over.
func (x *stepping) store() (words []int, more bool) {
	x.t.Helper()
	for range 1 << 20 {
		if err := syscall.PtraceSingleStep(x.thread); err != nil {
			x.t.Fatal(err)
		}
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(x.thread, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
			x.t.Fatalf("the thread: %v, status %#x", err, ws)
		}
		if !bytes.Equal(x.mem.b, x.before) {
			for at := 0; at < len(x.before); at += 8 {
				if !bytes.Equal(x.mem.b[at:at+8], x.before[at:at+8]) {
					words = append(words, at)
				}
			}
			copy(x.before, x.mem.b)
			return words, true
		}
		var regs syscall.PtraceRegs
		if err := syscall.PtraceGetRegs(x.thread, &regs); err != nil {
			x.t.Fatal(err)
		}
		if f := runtime.FuncForPC(uintptr(regs.PC())); f != nil && strings.HasSuffix(f.Name(), "/shm.stepped") {
			return nil, false
		}
	}
	x.t.Fatal("the Offer never ends")
	return nil, false
}

// drain reads what the reader is given and fails on anything but whole messages in order,
// or the exact numbers of those lost.
func (x *stepping) drain(upto uint64) {
	x.t.Helper()
	for x.next < upto {
		n, gap, err := x.reader.Poll(int(upto-x.next), func(_ uint16, p []byte) {
			if !bytes.Equal(p, x.payload(x.next)) {
				x.t.Fatalf("%d bytes that are not message %d", len(p), x.next)
			}
			x.next++
		})
		if err != nil || x.next > x.at+1 {
			x.t.Fatal(x.next, err)
		}
		if gap != (Gap{}) {
			if !x.behind || gap.First != x.next || gap.Last >= x.at {
				x.t.Fatalf("%+v where %d was due, of %d", gap, x.next, x.at)
			}
			x.next = gap.Last + 1
		} else if n == 0 {
			return
		}
	}
}

// onlook is what one sees who comes now: at the mark, or from the start.
func (x *stepping) onlook(fromStart bool) (next uint64) {
	x.t.Helper()
	tail, err := OpenTail(x.data)
	if err != nil {
		x.t.Fatal(err)
	}
	defer tail.Close()
	if fromStart {
		tail.FromStart()
	}
	next = tail.Next()
	for {
		n, gap, err := tail.Poll(1000, func(number uint64, _ uint16, p []byte) {
			if number != next || !bytes.Equal(p, x.payload(number)) {
				x.t.Fatalf("an onlooker gets %d bytes that are not message %d", len(p), number)
			}
			next++
		})
		if err != nil || next > x.at+1 {
			x.t.Fatal(next, err)
		}
		if gap != (Gap{}) {
			next = gap.Last + 1
		} else if n == 0 {
			return next
		}
	}
}

// kill ends the process where it is.
func (x *stepping) kill() {
	if x.gone {
		return
	}
	x.gone = true
	x.cmd.Process.Kill()
	for { // the process is not gone before its tracer has seen the thread's end
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(x.thread, &ws, unix.WALL, nil); err != nil && err != syscall.EINTR || ws.Exited() || ws.Signaled() {
			break
		}
	}
	x.cmd.Wait()
}

func (x *stepping) end() {
	x.kill()
	errs := []error{x.reader.Close(), x.gate.Close(), x.data.Close()}
	if x.mem != nil {
		errs = append(errs, x.mem.unmap())
	}
	if err := errors.Join(errs...); err != nil {
		x.t.Error(err)
	}
}

// TestOfferIsWholeAfterEachOfItsStores steps through one Offer in each situation and reads
// after every store that it makes; and then kills a process at each of these places.
func TestOfferIsWholeAfterEachOfItsStores(t *testing.T) {
	if raceDetector {
		t.Skip("its own instructions are too many")
	}
	killUntil := time.Now().Add(14 * time.Second) // on a machine that has better to do, some places are left out
	for number := range situations {
		t.Run(situations[number].name, func(t *testing.T) {
			runtime.LockOSThread() // ptrace knows its tracer by the thread
			defer runtime.UnlockOSThread()
			places, seenAt := everyStore(t, number)
			killed := 0
			for k, payload := range places {
				// Of a payload's stores one is like the next.
				if payload && k > 0 && places[k-1] && k+1 < len(places) && places[k+1] || time.Now().After(killUntil) {
					continue
				}
				killed++
				killAt(t, number, k+1, seenAt)
			}
			t.Logf("%d stores, seen from store %d on; killed at %d of them", len(places), seenAt, killed)
		})
	}
}

// everyStore reads after each store. It returns which of them are of the payload, and after
// which one the message is seen.
func everyStore(t *testing.T, number int) (payload []bool, seenAt int) {
	x := begin(t, number)
	defer x.end()
	head := map[int]bool{}
	padded := false
	first := dataHeadBytes + int(x.at&(linesMin-1))*lineBytes
	start := first
	if x.pads {
		start = dataHeadBytes
	}
	for {
		words, more := x.store()
		if !more {
			break
		}
		within := func(w int) bool { return w >= start+offPayload && w < start+offPayload+x.bytes+8 }
		payload = append(payload, !slices.ContainsFunc(words, func(w int) bool { return !within(w) }))
		for _, w := range words {
			head[w] = true
			padded = padded || x.pads && w == first
		}
		x.drain(x.at + 1)
		x.onlook(false)
		if now := x.onlook(true); now > x.at && seenAt == 0 {
			seenAt = len(payload)
		} else if seenAt > 0 && now != x.at+1 {
			t.Fatalf("after store %d the message is gone again", len(payload))
		}
	}
	if x.drain(x.at + 1); x.next != x.at+1 || seenAt == 0 {
		t.Fatalf("%d is next after the Offer of %d", x.next, x.at)
	}
	for _, w := range x.words {
		if !head[w] {
			t.Errorf("no store to offset %d was seen", w)
		}
	}
	if !head[start] || x.pads && !padded || !head[offWritten] {
		t.Errorf("the message's sequence, its padding's or its counter was not seen to be stored: %v", head)
	}
	return payload, seenAt
}

// killAt kills a process right after its store k of the Offer.
func killAt(t *testing.T, number, k, seenAt int) {
	x := begin(t, number)
	defer x.end()
	for range k {
		if _, more := x.store(); !more {
			t.Fatalf("the Offer has no store %d this time", k)
		}
	}
	x.kill()
	want := x.at
	if k >= seenAt {
		want++
	}
	x.drain(x.at + 1)
	// Who is passed by an intent goes on at the mark, and there may be nothing yet.
	if seen := x.onlook(true); x.next != want || seen != want {
		t.Errorf("killed at store %d: its reader is at %d, an onlooker at %d, want %d", k, x.next, seen, want)
	}
	if _, err := OpenWriter(x.data, x.gate.File()); err == nil {
		t.Errorf("killed at store %d: the ring takes another writer", k)
	}
}
