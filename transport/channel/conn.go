package channel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy/reason"
	"fire/transport/shm"
)

// Conn is a Pair as a net.Conn: a stream of bytes each way, for programs that speak a
// protocol of their own over a connection. Read and Write may be called at once, each from
// one goroutine at a time; Close from any.
type Conn struct {
	pair  *Pair
	end   io.Closer // what ends with the connection; nil is nothing
	local string

	rest   []byte // read from the lane and not yet by Read
	buf    []byte
	copied func(typ uint16, b []byte)

	closed       atomic.Bool
	reads, wants sync.Mutex // held by the Read and the Write under way, so that Close unmaps after them
	readBy       atomic.Int64
	writeBy      atomic.Int64 // unix nanoseconds, 0 is never
	once         sync.Once
	err          error
}

// DialConn attaches as a caller and waits for the server.
func DialConn(ctx context.Context, o Options) (*Conn, error) {
	c, err := OpenCaller(ctx, o)
	if err != nil {
		return nil, err
	}
	p, err := c.Connect(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return newConn(p, c, c.Service()), nil
}

// AcceptConn waits for the next caller.
func (s *Server) AcceptConn(ctx context.Context) (*Conn, error) {
	p, err := s.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return newConn(p, nil, s.Service()), nil
}

func newConn(p *Pair, end io.Closer, local string) *Conn {
	c := &Conn{pair: p, end: end, local: local, buf: make([]byte, 0, shm.MessageMax)}
	c.copied = func(_ uint16, b []byte) { c.buf = append(c.buf[:0], b...) }
	return c
}

// connMost is the most bytes of one message: small rings take no larger ones.
const connMost = 1 << 10

// Read waits for bytes as the channel's strategy says.
func (c *Conn) Read(b []byte) (int, error) {
	c.reads.Lock()
	defer c.reads.Unlock()
	for len(c.rest) == 0 {
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		n, err := c.pair.Poll(1, c.copied)
		if n > 0 {
			c.rest = c.buf
			continue
		}
		if err != nil {
			if reason.Of(err, 0) == reason.PeerClosed {
				err = io.EOF
			}
			return 0, err
		}
		if late(&c.readBy) {
			return 0, os.ErrDeadlineExceeded
		}
		c.pair.Wait()
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// writePause is between two tries at a full lane, once looking has not helped.
const writePause = time.Millisecond

// Write publishes everything, waiting while the lane is full.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.wants.Lock()
	defer c.wants.Unlock()
	tries := 0
	for n < len(b) || n == 0 && len(b) == 0 {
		if c.closed.Load() {
			return n, net.ErrClosed
		}
		part := b[n:min(len(b), n+connMost)]
		switch c.pair.Offer(0, part) {
		case shm.Sent:
			n += len(part)
			if len(b) == 0 {
				return 0, nil
			}
			tries = 0
			continue
		case shm.Full:
		default:
			return n, io.ErrClosedPipe
		}
		if late(&c.writeBy) {
			return n, os.ErrDeadlineExceeded
		}
		if tries++; tries > 100 {
			t := time.NewTimer(writePause)
			<-t.C
		}
	}
	return n, nil
}

func late(by *atomic.Int64) bool {
	at := by.Load()
	return at != 0 && time.Now().UnixNano() >= at
}

// Close ends both directions. It waits for a Read under way, which sees it within one
// round of the wait strategy.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.closed.Store(true)
		c.pair.Nudge()
		c.reads.Lock()
		c.wants.Lock()
		defer c.reads.Unlock()
		defer c.wants.Unlock()
		c.err = c.pair.Close()
		if c.end != nil {
			c.err = errors.Join(c.err, c.end.Close())
		}
	})
	return c.err
}

// SetDeadline sets both.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline ends a waiting Read, too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	setBy(&c.readBy, t)
	if !t.IsZero() && !c.closed.Load() {
		c.pair.Nudge()
	}
	return nil
}

// SetWriteDeadline bounds the wait at a full lane.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	setBy(&c.writeBy, t)
	return nil
}

func setBy(by *atomic.Int64, t time.Time) {
	if t.IsZero() {
		by.Store(0)
		return
	}
	by.Store(max(1, t.UnixNano()))
}

// LocalAddr is this end's service.
func (c *Conn) LocalAddr() net.Addr { return addr(c.local) }

// RemoteAddr is the other end's service.
func (c *Conn) RemoteAddr() net.Addr { return addr(c.pair.Peer) }

type addr string

func (addr) Network() string  { return "channel" }
func (a addr) String() string { return string(a) }
