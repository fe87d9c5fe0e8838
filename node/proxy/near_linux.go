//go:build amd64 || arm64

package proxy

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"fire/transport/spin"
)

// rawIO reads and writes a socket without telling Go's scheduler of each system call.
// The calls do not block: the socket is non-blocking, and waiting is the poller's. See
// transport/quic's socket for why that matters: the monitor thread stays asleep.
type rawIO struct {
	raw syscall.RawConn
	in  rawOp
	out rawOp
}

// rawOp is one direction; it belongs to that direction's one goroutine.
type rawOp struct {
	awake *spin.Spinner // told of each read
	run   func(fd uintptr) bool
	p     []byte
	n     int
	errno syscall.Errno
}

func newRawIO(c net.Conn, awake *spin.Spinner) *rawIO {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	awake.Watch(raw)
	q := &rawIO{raw: raw}
	q.in.awake = awake
	q.in.run = q.in.receive
	q.out.run = q.out.send
	return q
}

func (q *rawIO) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	o := &q.in
	o.p = p
	err := q.raw.Read(o.run)
	n, errno := o.n, o.errno
	o.p = nil
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// receive takes what is there. p is alive as long as o is.
func (o *rawOp) receive(fd uintptr) bool {
	for {
		n, errno := rawRead(fd, o.p)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		o.n, o.errno = n, errno
		o.awake.Moved(spin.Local)
		return true
	}
}

// quiet reports whether the socket is open and nothing waits to be read. It belongs
// to the reader's goroutine. hear is that of in, bound by the caller so that asking
// does not allocate.
func (q *rawIO) quiet(hear func(fd uintptr)) bool {
	return q.raw.Control(hear) == nil && q.in.errno == syscall.EAGAIN
}

func (q *rawIO) ear() func(fd uintptr) { return q.in.hear }

// hear looks without taking.
func (o *rawOp) hear(fd uintptr) {
	var b [1]byte
	_, _, o.errno = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
}

func (q *rawIO) write(p []byte) (int, error) {
	o := &q.out
	o.p, o.n, o.errno = p, 0, 0
	err := q.raw.Write(o.run)
	n, errno := o.n, o.errno
	o.p = nil
	if err == nil && errno != 0 {
		err = os.NewSyscallError("write", errno)
	}
	return n, err
}

// send gives the kernel as much as it takes, until all is gone.
func (o *rawOp) send(fd uintptr) bool {
	for len(o.p) > 0 {
		n, errno := rawSend(fd, o.p)
		switch errno {
		case 0:
			o.n += n
			o.p = o.p[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			o.errno = errno
			return true
		}
	}
	return true
}
