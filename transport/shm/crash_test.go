package shm

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crashChild is the environment that makes TestCrashChild the writing process.
const crashChild = "FIRE_SHM_TEST_CHILD"

// crashMost is the largest message of the child.
const crashMost = 300

// TestCrashChild is no test: it is the process that dies. It maps the ring of
// descriptor 3, tells its thread, waits for a line, adds the reader of descriptor 5 and
// writes for ever.
func TestCrashChild(t *testing.T) {
	if os.Getenv(crashChild) == "" {
		t.Skip("run by the tests that kill it")
	}
	runtime.LockOSThread()
	w, err := OpenWriter(os.NewFile(3, "data"), os.NewFile(4, "gate"))
	if err != nil {
		t.Fatal(err)
	}
	messages := make([][]byte, 64)
	for k := range messages {
		messages[k] = message(uint64(k), crashMost)
	}
	fmt.Printf("thread %d\n", unix.Gettid())
	bufio.NewReader(os.Stdin).ReadString('\n')
	if _, err := w.AddReader(os.NewFile(5, "cursor")); err != nil {
		t.Fatal(err)
	}
	for k := 0; ; {
		if w.Offer(0, messages[k%len(messages)]) == Sent {
			k++
		}
	}
}

// dying is a ring whose writer is another process.
type dying struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	thread int
	reader *Reader
	next   uint64
}

func startDying(t *testing.T, d Discipline) *dying {
	t.Helper()
	spec := Spec{Name: "dying", Discipline: d, Lines: linesMin, Epoch: 1}
	data, err := CreateData(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	cursor, err := CreateCursor(spec.Name, spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	g, err := CreateGate(spec.Name, spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	x := &dying{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")}
	x.cmd.Env = append(os.Environ(), crashChild+"=1")
	x.cmd.ExtraFiles = []*os.File{data, g.File(), cursor}
	x.in, _ = x.cmd.StdinPipe()
	out, _ := x.cmd.StdoutPipe()
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.cmd.Process.Kill(); x.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "thread ") {
		t.Fatalf("the child said %q, %v", line, err)
	}
	if x.thread, err = strconv.Atoi(strings.TrimSpace(line[len("thread "):])); err != nil {
		t.Fatal(err)
	}
	if err := Seal(data); err != nil {
		t.Fatal(err)
	}
	if x.reader, err = OpenReader(data, cursor, g.File()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.reader.Close() })
	if err := Seal(cursor); err != nil {
		t.Fatal(err)
	}
	io.WriteString(x.in, "go\n")
	return x
}

// drain reads what is there and fails on anything but whole messages in their order.
func (x *dying) drain(t *testing.T) {
	t.Helper()
	for {
		n, gap, err := x.reader.Poll(1000, func(_ uint16, p []byte) {
			if k := number(t, p, crashMost); k != x.next%64 {
				t.Fatalf("message %d where %d was due", k, x.next%64)
			}
			x.next++
		})
		if err != nil {
			t.Fatal(err)
		}
		if gap != (Gap{}) {
			if gap.First != x.next {
				t.Fatalf("%+v where %d was due", gap, x.next)
			}
			x.next = gap.Last + 1
		} else if n == 0 {
			return
		}
	}
}

// TestWriterStoppedAtAnyInstructionLeavesWholeMessages steps the writing thread through
// Offer and reads after each instruction: memory then is what a SIGKILL at that place
// would leave, since a process that dies leaves all stores that it has made.
func TestWriterStoppedAtAnyInstructionLeavesWholeMessages(t *testing.T) {
	if raceDetector {
		t.Skip("its own instructions are too many")
	}
	const wanted = 3_000 // instructions of this package; an Offer has about 150
	for _, d := range []Discipline{Lane, Broadcast} {
		t.Run(fmt.Sprintf("discipline %d", d), func(t *testing.T) {
			runtime.LockOSThread() // ptrace knows its tracer by the thread
			defer runtime.UnlockOSThread()
			x := startDying(t, d)
			for !x.reader.Ready() {
				time.Sleep(time.Millisecond)
			}
			if err := syscall.PtraceAttach(x.thread); err != nil {
				t.Skipf("ptrace is not allowed here: %v", err)
			}
			defer x.end()
			x.stopped(t)
			ours, began := 0, time.Now()
			for ours < wanted && time.Since(began) < 15*time.Second {
				ours += x.step(t)
				// Elsewhere, mostly in the scheduler, which takes a stepped goroutine for one
				// that runs too long: let it go on, and stop it again somewhere.
				if err := syscall.PtraceCont(x.thread, 0); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
				if err := unix.Tgkill(x.cmd.Process.Pid, x.thread, unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				x.stopped(t)
				x.drain(t)
			}
			t.Logf("%d messages read, %d instructions stepped through", x.next, ours)
			if ours < wanted/20 {
				t.Fatalf("only %d instructions of Offer were seen", ours)
			}
		})
	}
}

// end kills the process and takes its traced thread off: a process whose traced thread nobody
// has waited for cannot be waited for itself.
func (x *dying) end() {
	x.cmd.Process.Kill()
	for {
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(x.thread, &ws, unix.WALL, nil)
		if err != syscall.EINTR && (err != nil || ws.Exited() || ws.Signaled()) {
			return
		}
	}
}

// stopped waits until the thread has stopped.
func (x *dying) stopped(t *testing.T) {
	t.Helper()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(x.thread, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		t.Fatalf("the thread: %v, status %#x", err, ws)
	}
}

// step steps on as long as the thread is in this package or copies for it, and reads
// after each instruction.
func (x *dying) step(t *testing.T) (instructions int) {
	for ; ; instructions++ {
		var regs syscall.PtraceRegs
		if err := syscall.PtraceGetRegs(x.thread, &regs); err != nil {
			t.Fatal(err)
		}
		f := runtime.FuncForPC(uintptr(regs.PC())) // the child is this very program
		if f == nil || !strings.Contains(f.Name(), "/shm.") && f.Name() != "runtime.memmove" {
			return instructions
		}
		if err := syscall.PtraceSingleStep(x.thread); err != nil {
			t.Fatal(err)
		}
		x.stopped(t) // the runtime's signals are left out
		x.drain(t)
	}
}

func TestKilledWriterLeavesWholeMessages(t *testing.T) {
	for i := range 20 {
		x := startDying(t, [...]Discipline{Lane, Broadcast}[i%2])
		end := time.Now().Add(time.Duration(rand.IntN(3000)) * time.Microsecond)
		for time.Now().Before(end) {
			x.drain(t)
		}
		x.cmd.Process.Kill()
		x.cmd.Wait()
		x.drain(t)
	}
}
