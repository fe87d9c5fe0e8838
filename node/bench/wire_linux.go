package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

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

func (w *wire) write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(w.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return w.explain("write", err)
		}
		b = b[n:]
	}
	return nil
}

func (w *wire) readFull(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(w.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return w.explain("read", err)
		}
		if n == 0 {
			return fmt.Errorf("the connection ended early: %w", io.ErrUnexpectedEOF)
		}
		b = b[n:]
	}
	return nil
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

// sleepUntil blocks the thread, not the goroutine, until t.
func sleepUntil(t time.Time) {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		return
	}
	until := unix.NsecToTimespec(now.Nano() + int64(wait))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil) == unix.EINTR {
	}
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
