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

// Wait returns true when Poll has something to say, and false after one round of the
// strategy. A loop around it stays preemptible.
func (r *Reader) Wait(s Strategy) bool {
	for range s.Spins {
		if r.Ready() {
			return true
		}
	}
	for range s.Yields {
		runtime.Gosched()
		if r.Ready() {
			return true
		}
	}
	if s.Sleep > 0 {
		r.sleep(max(s.Sleep, time.Millisecond))
	}
	return r.Ready()
}

// sleep waits for the writer's bell.
func (r *Reader) sleep(limit time.Duration) {
	asleep, bell := r.own.half(offAsleep), r.ring.half(offBell)
	rung := atomic.LoadUint32(bell)
	atomic.StoreUint32(asleep, 1)
	if !fenceAll() {
		limit = time.Millisecond // the writer may not see that we sleep
	}
	if !r.Ready() {
		*r.own.word(offRead + 8*countWaits) += 1
		futexWait(bell, rung, limit)
	}
	atomic.StoreUint32(asleep, 0)
}

// Nudge wakes a Wait of this reader, and any other that sleeps at the same ring, before
// their time. Any goroutine may call it.
func (r *Reader) Nudge() { futexWake(r.ring.half(offBell)) }

// The futex is shared between processes, so without FUTEX_PRIVATE_FLAG. Waiting tells
// Go's scheduler, which gives the thread's P to others.
const (
	futexOpWait = 0
	futexOpWake = 1
)

func futexWait(word *uint32, while uint32, limit time.Duration) {
	ts := unix.NsecToTimespec(int64(limit))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexOpWait, uintptr(while), uintptr(unsafe.Pointer(&ts)), 0, 0)
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
