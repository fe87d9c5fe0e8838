package shm

import (
	"bufio"
	"fmt"
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

// loadChild is the environment that makes TestLoadChild the writing process.
const loadChild = "FIRE_SHM_TEST_LOAD"

// TestLoadChild is no test: it writes and reads a ring on one locked thread, and says so
// before and after by a write to descriptor 2 that its tracer sees.
func TestLoadChild(t *testing.T) {
	load, doorbell := strings.CutSuffix(os.Getenv(loadChild), " doorbell")
	messages, err := strconv.Atoi(load)
	if err != nil {
		t.Skip("run by the test that counts its system calls")
	}
	c := newChannel(t, Lane, 1024)
	var r *Reader
	if doorbell {
		r, _, _ = doorbellReader(t, c)
	} else {
		r, _ = c.reader(0)
	}
	p := make([]byte, 64)
	each := func(uint16, []byte) {}
	runtime.LockOSThread()
	fmt.Printf("thread %d\n", unix.Gettid())
	bufio.NewReader(os.Stdin).ReadString('\n')
	mark := []byte("M")
	syscall.Write(2, mark)
	for k := 0; k < messages; {
		for c.w.Offer(1, p) == Sent {
			k++
		}
		for r.Wait(Adaptive()) {
			if n, _, err := r.Poll(1<<20, each); n == 0 || err != nil {
				t.Fatal(n, err)
			}
			break
		}
	}
	syscall.Write(2, mark)
}

// The thread that writes and reads makes no system call between its two marks, but what
// the sampled looks at the clock may be where there is no vDSO.
func TestNoSystemCallUnderLoad(t *testing.T) { noSystemCallUnderLoad(t, "") }

func TestNoSystemCallForADoorbellWhoseReaderIsAwake(t *testing.T) {
	noSystemCallUnderLoad(t, " doorbell")
}

func noSystemCallUnderLoad(t *testing.T, reader string) {
	if raceDetector {
		t.Skip("the race detector makes calls of its own")
	}
	const messages = 100_000
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLoadChild$")
	cmd.Env = append(os.Environ(), loadChild+"="+strconv.Itoa(messages)+reader)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	thread, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "thread ")))
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(thread); err != nil {
		t.Skip("ptrace is refused here:", err)
	}
	if err := unix.PtraceInterrupt(thread); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	defer func() { // the process is not gone before its tracer has seen the thread's end
		cmd.Process.Kill()
		for {
			if _, err := unix.Wait4(thread, &status, unix.WALL, nil); err != nil && err != unix.EINTR || status.Exited() || status.Signaled() {
				return
			}
		}
	}()
	if _, err := unix.Wait4(thread, &status, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("\n"))
	calls := map[uint64]int{}
	for marks := 0; marks < 2; {
		if err := unix.PtraceSyscall(thread, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Wait4(thread, &status, unix.WALL, nil); err != nil || !status.Stopped() {
			t.Fatalf("%v, status %x", err, status)
		}
		if status.StopSignal() != syscall.SIGTRAP { // the runtime preempts by signals
			continue
		}
		nr, first, entry := callOf(t, thread)
		switch {
		case !entry:
		case nr == unix.SYS_WRITE && first == 2:
			marks++
		case marks == 1:
			calls[nr]++
		}
	}
	total := 0
	for nr, n := range calls {
		t.Logf("system call %d: %d", nr, n)
		total += n
	}
	if total > messages/sampleEvery+20 { // the runtime's own, and clocks without a vDSO
		t.Errorf("%d system calls for %d messages", total, messages)
	}
}

// A reader that spins is stopped for the collector like any other goroutine. It keeps a
// core, as it was asked to: with as many of them as cores nothing else runs in time.
func TestCollectorIsNotHeldUpByAReaderThatSpins(t *testing.T) {
	const (
		promised = 10 * time.Millisecond // in the median, on a machine that has a core to spare for it
		slower   = 10                    // times one beside nobody who spins, where others have the cores
		rounds   = 21
		never    = time.Second
		batches  = 3 // a busy machine makes a collection slower, never faster
	)
	collections := func() (median, most time.Duration) {
		var took []time.Duration
		for range rounds {
			begun := time.Now()
			runtime.GC()
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[rounds/2], took[rounds-1]
	}
	quiet, _ := collections()
	c := newChannel(t, Broadcast, 64)
	var stop atomic.Bool
	done := make(chan struct{})
	r, _ := c.reader(0)
	go func() {
		for !stop.Load() {
			r.Wait(Spin())
		}
		close(done)
	}()
	defer func() { stop.Store(true); <-done }()
	for batch := 1; ; batch++ {
		median, most := collections()
		t.Logf("a collection while a reader spins: %v in the median of %d, %v at most; %v in the median beside none", median, rounds, most, quiet)
		if median <= max(promised, slower*quiet) && most <= never { // a loop that cannot be preempted holds it for ever
			return
		}
		if batch == batches {
			t.Fatalf("a collection takes %v in the median, %v is promised, and %v at most", median, promised, most)
		}
	}
}
