package shm

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Strategy is what a reader does while nothing is there.
type Strategy struct {
	// Spins is how often it looks before it does anything else.
	Spins int
	// Yields is how often it lets other goroutines run and looks again.
	Yields int
	// Sleep is the longest that it then sleeps before it looks by itself; 0 never sleeps.
	// Below a millisecond it is taken for one: no clock here is finer.
	Sleep time.Duration
}

// The strategies by name. Adaptive is what a channel has that names none.
func Spin() Strategy      { return Strategy{Spins: 1 << 16} }
func SpinYield() Strategy { return Strategy{Spins: 256, Yields: 1 << 10} }
func Adaptive() Strategy {
	return Strategy{Spins: 4096, Yields: 16, Sleep: 100 * time.Millisecond}
}

// Waiter lets one goroutine wait for several readers at once. Wait belongs to that
// goroutine, Nudge to anybody.
type Waiter struct {
	nudged atomic.Uint32
	seen   uint32 // of nudged, by Wait
	single bool   // the kernel has no futex_waitv(2)
	words  []futexWord
	until  unix.Timespec
}

// WaiterReadersMax is how many readers one Waiter sleeps for: futex_waitv(2) takes 128
// words, two for each and one for Nudge. With more it looks at all of them each
// millisecond.
const WaiterReadersMax = (futexWordsMax - 1) / 2

// NewWaiter makes one.
func NewWaiter() *Waiter { return &Waiter{words: make([]futexWord, futexWordsMax)} }

// Wait returns true when the Poll of one of the readers has something to say, and false
// after one round of the strategy or a Nudge. A loop around it stays preemptible.
func (w *Waiter) Wait(readers []*Reader, s Strategy) bool {
	if n := w.nudged.Load(); n != w.seen {
		w.seen = n
		return anyReady(readers)
	}
	for range (s.Spins + len(readers) - 1) / max(1, len(readers)) {
		if anyReady(readers) {
			return true
		}
	}
	for range s.Yields {
		runtime.Gosched()
		if anyReady(readers) {
			return true
		}
	}
	if s.Sleep > 0 {
		w.sleep(readers, max(s.Sleep, time.Millisecond))
	}
	return anyReady(readers)
}

// Nudge ends the Wait that sleeps, or the next one. The sender's word for it comes first:
// what it has written before is seen behind Wait.
func (w *Waiter) Nudge() {
	w.nudged.Add(1)
	futexWake((*uint32)(unsafe.Pointer(&w.nudged)))
}

func anyReady(readers []*Reader) bool {
	for _, r := range readers {
		if r.Ready() {
			return true
		}
	}
	return false
}

// sleep waits for a bell, a gate or a nudge. What is said after the words were read and
// before the kernel has looked at them ends the wait at once.
func (w *Waiter) sleep(readers []*Reader, limit time.Duration) {
	words := append(w.words[:0], wordOf((*uint32)(unsafe.Pointer(&w.nudged)), w.seen))
	for _, r := range readers {
		bell := r.ring.half(offBell)
		if len(words)+2 <= cap(w.words) {
			words = append(words, wordOf(bell, atomic.LoadUint32(bell)), wordOf(r.gate.state.Load(), uint32(Open)))
		} else {
			limit = time.Millisecond // the rest has to be looked at
		}
		atomic.StoreUint32(r.own.half(offAsleep), 1)
	}
	if !fenceAll() {
		limit = time.Millisecond // the writers may not see that we sleep
	}
	if !anyReady(readers) {
		for _, r := range readers {
			*r.own.word(offRead + 8*countWaits) += 1
		}
		w.wait(words, limit)
	}
	for _, r := range readers {
		atomic.StoreUint32(r.own.half(offAsleep), 0)
	}
	w.seen = w.nudged.Load()
}

// wait is futex_waitv(2), or futex(2) for one of the words and then a look at the others.
func (w *Waiter) wait(words []futexWord, limit time.Duration) {
	if !w.single {
		w.until = unix.NsecToTimespec(int64(monotonic() + limit))
		_, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&words[0])), uintptr(len(words)), 0,
			uintptr(unsafe.Pointer(&w.until)), unix.CLOCK_MONOTONIC, 0)
		switch errno {
		case 0, unix.EAGAIN, unix.ETIMEDOUT, unix.EINTR:
			return
		}
		w.single = true // Linux before 5.16, or a filter that does not know it
	}
	at, most := words[0], time.Millisecond
	if len(words) == 3 {
		at, most = words[1], lookAtGate // one reader: its bell
	}
	w.until = unix.NsecToTimespec(int64(min(limit, most)))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(at.address), futexOpWait, uintptr(at.value), uintptr(unsafe.Pointer(&w.until)), 0, 0)
}

// lookAtGate is how long one reader sleeps without looking at its gate where the kernel
// cannot wait for both.
const lookAtGate = 10 * time.Millisecond

// Wait returns true when Poll has something to say, and false after one round of the
// strategy or a Nudge. A loop around it stays preemptible.
func (r *Reader) Wait(s Strategy) bool { return r.waiter.Wait(r.self[:], s) }

// Nudge ends the Wait of this reader that sleeps, or the next one. Any goroutine may
// call it.
func (r *Reader) Nudge() { r.waiter.Nudge() }

// futexWord is struct futex_waitv: what must still be there for the wait to begin.
type futexWord struct {
	value    uint64
	address  uint64
	flags    uint32
	reserved uint32
}

// The futexes are shared between processes, so without the flag PRIVATE. Waiting tells
// Go's scheduler, which gives the thread's P to others.
const (
	futexWordsMax = 128 // FUTEX_WAITV_MAX
	futexSize32   = 2   // FUTEX2_SIZE_U32
	futexOpWait   = 0
	futexOpWake   = 1
)

func wordOf(at *uint32, while uint32) futexWord {
	return futexWord{value: uint64(while), address: uint64(uintptr(unsafe.Pointer(at))), flags: futexSize32}
}

func futexWake(word *uint32) {
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexOpWake, 1<<30, 0, 0, 0)
}

// membarrier(2)
const (
	membarrierGlobalExpedited         = 1 << 1
	membarrierRegisterGlobalExpedited = 1 << 2
)

// expectFences lets other processes' fenceAll reach this one.
func expectFences() {
	_, _, _ = unix.RawSyscall(unix.SYS_MEMBARRIER, membarrierRegisterGlobalExpedited, 0, 0)
}

// fenceAll is a full fence on every core that runs a process which expects it; false
// when the kernel refuses.
func fenceAll() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_MEMBARRIER, membarrierGlobalExpedited, 0, 0)
	return errno == 0
}
