package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"fire/policy/reason"

	"golang.org/x/sys/unix"
)

// Wire is one attach connection, of either side. Send may be called from any goroutine,
// Receive from one.
type Wire struct {
	conn *net.UnixConn
	buf  [PacketBytesMax + 1]byte
	oob  [256]byte
}

// NewWire takes a connected SOCK_SEQPACKET socket over.
func NewWire(c *net.UnixConn) *Wire { return &Wire{conn: c} }

// Dial connects to the direct node of the host.
func Dial(ctx context.Context, socket string) (*Wire, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixpacket", socket)
	if err != nil {
		return nil, err
	}
	return NewWire(c.(*net.UnixConn)), nil
}

// sendWithin bounds the time that a peer may leave its packets in the socket.
const sendWithin = time.Second

// Send writes one packet with its descriptors, which stay the caller's. A peer that does
// not take it within a second is an error.
func (w *Wire) Send(p *Packet, files ...*os.File) error {
	b, err := p.Append(nil)
	if err != nil {
		return err
	}
	if len(files) > fdsMax {
		return fmt.Errorf("packet type %d with %d descriptors, %d are legal", p.Type, len(files), fdsMax)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
		return err
	}
	_, _, err = w.conn.WriteMsgUnix(b, oob, nil)
	return err
}

// Receive waits for the next packet. The descriptors are the caller's to close; after an
// error there are none. io.EOF is the peer's end.
func (w *Wire) Receive() (Packet, []*os.File, error) {
	n, oobn, flags, _, err := w.conn.ReadMsgUnix(w.buf[:], w.oob[:])
	if err != nil {
		return Packet{}, nil, err
	}
	files, err := descriptors(w.oob[:oobn])
	switch {
	case err != nil:
	case flags&unix.MSG_TRUNC != 0:
		err = errors.New("packet is longer than legal")
	case flags&unix.MSG_CTRUNC != 0: // no more than legal, so this process could not take them
		err = errNoDescriptor()
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	var p Packet
	if err == nil {
		p, err = Parse(w.buf[:n])
	}
	if err != nil {
		CloseAll(files)
		return Packet{}, nil, err
	}
	return p, files, nil
}

// errNoDescriptor is what Receive says when descriptors came that this process has no room for:
// the kernel has dropped them.
func errNoDescriptor() error {
	limit := unix.Rlimit{}
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // only told
	return reason.New(reason.RingUnavailable, "this process has no descriptor left for the memory of a ring: its limit is %d; raise LimitNOFILE of its unit, or look what it leaves open", limit.Cur)
}

// descriptors owns what came with a packet. The kernel has installed all of them, so all
// are closed when anything is wrong.
func descriptors(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		fds, ferr := unix.ParseUnixRights(&m)
		err = errors.Join(err, ferr)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "channel memory"))
		}
	}
	if err == nil && len(files) > fdsMax {
		err = fmt.Errorf("%d descriptors with one packet, %d are legal", len(files), fdsMax)
	}
	return files, err
}

// CloseAll closes what nobody wants.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// SetReceiveDeadline bounds Receive.
func (w *Wire) SetReceiveDeadline(t time.Time) error { return w.conn.SetReadDeadline(t) }

// Conn is the socket, for its credentials.
func (w *Wire) Conn() *net.UnixConn { return w.conn }

// Close ends the connection; Receive then fails.
func (w *Wire) Close() error { return w.conn.Close() }

// TrySend is Send that never waits: a peer that leaves its packets in the socket is an
// error. The direct node's one loop uses it.
func (w *Wire) TrySend(p *Packet, files ...*os.File) error {
	b, err := p.Append(nil)
	if err != nil {
		return err
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), b, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	})
	return errors.Join(cerr, err)
}
