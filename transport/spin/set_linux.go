//go:build amd64 || arm64

package spin

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

// The calls here tell Go's scheduler nothing: none of them waits, and telling wakes
// the runtime's monitor thread (see transport/quic's socket).

// set is an epoll set that is only asked.
type set struct {
	fd     int
	events *[eventsMax]syscall.EpollEvent
}

// eventsMax is how many are taken off per look; what is left is there at the next.
const eventsMax = 16

func newSet() (set, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return set{}, fmt.Errorf("a set of sockets to look at: %w", err)
	}
	return set{fd, new([eventsMax]syscall.EpollEvent)}, nil
}

// epollET is EPOLLET, which package syscall has as a negative number.
const epollET = 1 << 31

// add is edge-triggered: what a reader leaves in its socket is no news. Room to write
// is not asked for: a datagram socket tells of it after each packet that it has sent.
func (s set) add(fd uintptr) {
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | epollET, Fd: int32(fd)}
	_ = syscall.EpollCtl(s.fd, syscall.EPOLL_CTL_ADD, int(fd), &e)
}

// look reports whether anything has happened since the last look.
func (s set) look() bool {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(s.fd), uintptr(unsafe.Pointer(s.events)), eventsMax, 0, 0, 0)
	return errno == 0 && n > 0
}

func (s set) close() { _ = syscall.Close(s.fd) }

// yield lets another process have the core, if one waits for it.
func yield() { _, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	const clockThread = 3 // CLOCK_THREAD_CPUTIME_ID
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThread, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}
