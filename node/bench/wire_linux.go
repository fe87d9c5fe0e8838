package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// wire is a connected blocking TCP socket. Reads and writes give up after
// AnswerTimeout. shut may be called while another goroutine reads.
type wire struct {
	file *os.File
	fd   int

	mu     sync.Mutex // guards closed against shut of a number that is in use again
	closed bool
}

// dial connects through Go's resolver and dialer and takes the socket out of them.
func dial(ctx context.Context, address string) (*wire, error) {
	d := net.Dialer{Timeout: AnswerTimeout}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	w := &wire{file: f, fd: int(f.Fd())}
	limit := unix.NsecToTimeval(int64(AnswerTimeout))
	err = errors.Join(
		unix.SetNonblock(w.fd, false),
		unix.SetsockoptInt(w.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("socket options: %w", err)
	}
	return w, nil
}

// The calls below do not tell Go's scheduler that they block: telling wakes its
// monitor thread, which then takes processor time that the path needs. The thread
// that waits keeps its P meanwhile, and gives it up when the runtime interrupts it,
// which is every 10 ms (runtime.Gosched after EINTR).

func (w *wire) write(b []byte) error {
	for len(b) > 0 {
		n, errno := rawSend(w.fd, b, 0)
		if errno == unix.EINTR {
			runtime.Gosched()
			continue
		}
		if errno != 0 {
			return w.explain("write", errno)
		}
		b = b[n:]
	}
	return nil
}

func (w *wire) readFull(b []byte) error {
	for len(b) > 0 {
		n, errno := rawReceive(w.fd, b, 0)
		if errno == unix.EINTR {
			runtime.Gosched()
			continue
		}
		if errno != 0 {
			return w.explain("read", errno)
		}
		if n == 0 {
			return errEarly()
		}
		b = b[n:]
	}
	return nil
}

// offer writes what the socket takes at once, which may be nothing.
func (w *wire) offer(b []byte) (int, error) {
	for {
		switch n, errno := rawSend(w.fd, b, unix.MSG_DONTWAIT); errno {
		case 0:
			return n, nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, w.explain("write", errno)
		}
	}
}

// take reads what is there, which may be nothing.
func (w *wire) take(b []byte) (int, error) {
	for {
		switch n, errno := rawReceive(w.fd, b, unix.MSG_DONTWAIT); {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return 0, nil
		case errno != 0:
			return 0, w.explain("read", errno)
		case n == 0:
			return 0, errEarly()
		default:
			return n, nil
		}
	}
}

func errEarly() error { return fmt.Errorf("the connection ended early: %w", io.ErrUnexpectedEOF) }

func rawSend(fd int, b []byte, flags uintptr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		flags|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

func rawReceive(fd int, b []byte, flags uintptr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		flags, 0, 0)
	return int(n), errno
}

func (w *wire) explain(what string, err error) error {
	if err == unix.EAGAIN {
		return fmt.Errorf("%s: nothing for %v: %w", what, AnswerTimeout, os.ErrDeadlineExceeded)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// shut ends both directions, which wakes a blocked reader.
func (w *wire) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		_ = unix.Shutdown(w.fd, unix.SHUT_RDWR) // already down is as good
	}
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.file.Close()
}

// sharpenTimer lets this thread's sleeps end on time instead of up to 50 us later,
// the kernel's default slack. The thread is locked and ends with its goroutine.
func sharpenTimer() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// waiter waits for connections and for the clock in one call.
type waiter struct {
	fd, bell int // the epoll set, and an eventfd in it that ends the wait
	events   [64]unix.EpollEvent

	mu     sync.Mutex // guards closed against stop of a number that is in use again
	closed bool
}

const bellRings = -1 // in place of a lane's number

func newWaiter() (*waiter, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: bellRings})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), unix.Close(fd))
	}
	return &waiter{fd: fd, bell: bell}, nil
}

func (p *waiter) add(w *wire, n int) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, w.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(n)})
}

// want asks, or no longer asks, for room to write.
func (p *waiter) want(w *wire, n int, room bool) error {
	e := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(n)}
	if room {
		e.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, w.fd, e)
}

// ready waits until something can be done, at most for d, and calls serve for each
// lane that can do something.
func (p *waiter) ready(d time.Duration, serve func(n int, readable, writable bool) error) (stopped bool, err error) {
	ts := unix.NsecToTimespec(int64(max(d, 0)))
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)),
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == unix.EINTR {
		runtime.Gosched()
		return false, nil
	}
	if errno != 0 {
		return false, fmt.Errorf("wait for answers: %w (Linux 5.11 or newer is needed)", errno)
	}
	for _, e := range p.events[:n] {
		if e.Fd == bellRings {
			return true, nil
		}
		if err := serve(int(e.Fd), e.Events&^unix.EPOLLOUT != 0, e.Events&unix.EPOLLOUT != 0); err != nil {
			return false, err
		}
	}
	return false, nil
}

// stop ends a wait, also one that has not begun.
func (p *waiter) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full is rung, too
	}
}

func (p *waiter) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	_ = unix.Close(p.bell)
	_ = unix.Close(p.fd)
}

// processCPU reads a process's processor clock; 0 is this process. The clock's
// number is built as clock_getcpuclockid(3) does.
func processCPU(pid int) (time.Duration, error) {
	const cpuClockSched, pidMax = 2, 1 << 22 // proc(5), pid_max
	if pid < 0 || pid > pidMax {
		return 0, fmt.Errorf("process %d: no such number", pid)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
