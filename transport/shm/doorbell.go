package shm

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Doorbell lets a reader wait in a poll loop (poll, epoll, io_uring) beside its sockets.
// The reader keeps File, which becomes readable; the writer gets Button. Both are ends of a
// pair of unix datagram sockets.
//
// It is no eventfd: O_NONBLOCK belongs to both ends of one, so a hostile reader could take
// it off, fill the counter and have its writer block for ever. A socket is asked not to
// block with each call. What a hostile reader can do is to connect the button to another
// unix socket of the host, where then a byte of zero arrives in its writer's name.
//
// Neither end is set O_NONBLOCK: Go's own poller would wake, too.
type Doorbell struct{ file, button *os.File }

// NewDoorbell makes one.
func NewDoorbell() (*Doorbell, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("doorbell: %w", err)
	}
	return &Doorbell{os.NewFile(uintptr(fds[0]), "doorbell"), os.NewFile(uintptr(fds[1]), "button")}, nil
}

// File is what is polled for reading. The Doorbell owns it.
func (d *Doorbell) File() *os.File { return d.file }

// Button is what the writer's AddReaderWithDoorbell wants. The Doorbell owns it.
func (d *Doorbell) Button() *os.File { return d.button }

// Close closes both ends. The writer's copy stays, and rings for nobody.
func (d *Doorbell) Close() error { return errors.Join(d.file.Close(), d.button.Close()) }

// quiet takes what was rung out of the socket.
func (d *Doorbell) quiet() {
	_, _ = control(d.file, func(fd int) (int, error) {
		var b [8]byte
		for range ringsMax {
			if _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT); err != nil && err != unix.EINTR {
				break // mostly EAGAIN: it is empty
			}
		}
		return 0, nil
	})
}

// ringsMax bounds what is taken out at once. A socket that is not empty after that is
// readable still, and nothing is lost but a turn of the loop.
const ringsMax = 1024

// Ring rings it from this side: for what no writer says, as a new lane.
func (d *Doorbell) Ring() { _ = RingDoorbell(d.button) }

// Arm is called before the loop waits: from now on the writers of these readers ring the
// doorbell. True means that the Poll of one has something to say already; the loop then
// does not wait. It belongs to the goroutine that polls the readers.
func (d *Doorbell) Arm(readers []*Reader) (ready bool) {
	if anyReady(readers) {
		return true // without the calls
	}
	for _, r := range readers {
		atomic.StoreUint32(r.own.half(offAsleep), 1)
	}
	if fenceAll() && !anyReady(readers) {
		for _, r := range readers {
			*r.own.word(offRead + 8*countWaits) += 1
		}
		return false
	}
	awake(readers)
	return true // also without the fence: a writer may not see that it has to ring
}

// Disarm is called after the loop has waited, and before Poll.
func (d *Doorbell) Disarm(readers []*Reader) {
	awake(readers)
	d.quiet()
}

// awake lets the writers ring no more.
func awake(readers []*Reader) {
	for _, r := range readers {
		atomic.StoreUint32(r.own.half(offAsleep), 0)
	}
}

// Wait waits in a poll loop that has nothing but the doorbell, and not longer than limit,
// in whole milliseconds.
func (d *Doorbell) Wait(limit time.Duration) {
	_, _ = control(d.file, func(fd int) (int, error) {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		return unix.Poll(p[:], int(limit/time.Millisecond))
	})
}

// RingDoorbell rings by a button, and never waits: a full socket is readable already.
func RingDoorbell(button *os.File) error {
	_, err := control(button, func(fd int) (int, error) {
		return unix.SendmsgN(fd, []byte{0}, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	return err
}

// CheckButton refuses what is no unix datagram socket, the only thing that can be rung
// without ever blocking.
func CheckButton(button *os.File) error {
	_, err := control(button, func(fd int) (int, error) { return fd, checkButton(fd) })
	if err != nil {
		return fmt.Errorf("this is no doorbell, which is a unix datagram socket: %w", err)
	}
	return nil
}

func checkButton(fd int) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && (family != unix.AF_UNIX || kind != unix.SOCK_DGRAM) {
		err = fmt.Errorf("socket family %d, type %d", family, kind)
	}
	return err
}

// AddReaderWithDoorbell is AddReader for a reader that waits in a poll loop. The writer
// takes a copy of the button.
func (w *Writer) AddReaderWithDoorbell(cursor, button *os.File) (*Peer, error) {
	if err := CheckButton(button); err != nil {
		return nil, err
	}
	fd, err := control(button, func(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return nil, fmt.Errorf("button: %w", err)
	}
	c, err := w.addReader(cursor, fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return c, nil
}

// ring rings the doorbell of a reader that sleeps. A full socket is readable already.
func (c *Peer) ring(what *byte) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.button), uintptr(unsafe.Pointer(what)), 1, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
}

// noButton is the button of a reader that sleeps by futex.
const noButton = -1

// replaceButton puts a button in the place of that of a reader which has left, whose number
// the writing goroutine may be about to ring: in one step, or a byte would go into whatever
// file has the number next. A reader that sleeps by futex inherits the old button instead,
// and it rings for nobody.
func (c *Peer) replaceButton(button int) (int, error) {
	if c.button == noButton || button == noButton {
		return max(c.button, button), nil
	}
	if err := unix.Dup3(button, c.button, unix.O_CLOEXEC); err != nil {
		return noButton, err
	}
	return c.button, unix.Close(button)
}

func (c *Peer) close() error {
	button := c.button
	c.button = noButton // once: the number may be another file's by the next time
	err := c.unmap()
	if button != noButton {
		err = errors.Join(err, unix.Close(button))
	}
	return err
}
