package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/spin"
)

// httpApp leads to one local application over a bounded number of connections,
// which all streams of all sources share.
//
// A slot is held while a connection is in use. A new connection is made only when
// none is kept, so there are never more than slots.
type httpApp struct {
	app     App
	awake   *spin.Spinner
	connect time.Duration
	pool    *httpPool
	slots   chan struct{}
}

func newHTTPApp(app App, connect time.Duration, awake *spin.Spinner, cfg HTTPConfig) *httpApp {
	return &httpApp{
		app: app, awake: awake, connect: connect,
		pool:  newHTTPPool(cfg.AppIdleTimeout, cfg.AppConnectionsMax),
		slots: make(chan struct{}, cfg.AppConnectionsMax),
	}
}

// get returns a connection to the application: a kept one, or on a later try a new
// one, waiting for its turn when all are in use.
func (a *httpApp) get(ctx context.Context, try int) (*httpFar, error) {
	if err := a.takeSlot(ctx); err != nil {
		return nil, err
	}
	if try == 0 {
		if f := a.pool.get(a.app.Address); f != nil {
			return f, nil
		}
	}
	conn, err := (&net.Dialer{Timeout: a.connect}).DialContext(ctx, a.app.Network, a.app.Address)
	if err != nil {
		<-a.slots
		return nil, reason.New(reason.AppUnreachable, "%w", err)
	}
	return &httpFar{Stream: newConnStream(conn, a.awake), gone: reason.AppReset, slow: reason.IdleTimeout, owner: a, key: a.app.Address}, nil
}

func (a *httpApp) takeSlot(ctx context.Context) error {
	select {
	case a.slots <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(a.connect)
	defer wait.Stop()
	select {
	case a.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wait.C:
		return reason.New(reason.TooManyConnections, "all %d connections to %s are in use", cap(a.slots), a.app.Address)
	}
}

// finished keeps the connection or ends it.
func (a *httpApp) finished(f *httpFar, end httpEnd) {
	if end.reusable {
		a.pool.put(f) // before the slot, so that whoever gets the slot finds the connection
	} else {
		f.Cancel(reason.OK)
	}
	<-a.slots
}

func (a *httpApp) dropped(*httpFar) {}

func (a *httpApp) close() { a.pool.close() }

// connStream is a TCP or unix connection seen as a stream.
type connStream struct {
	net.Conn
	once sync.Once
	raw  *rawIO // nil where it does not exist, or there is no socket
	ear  func(fd uintptr)
}

func newConnStream(c net.Conn, awake *spin.Spinner) *connStream {
	return &connStream{Conn: c, raw: newRawIO(c, awake)}
}

func (s *connStream) Read(p []byte) (int, error) {
	if s.raw != nil {
		return s.raw.read(p)
	}
	return s.Conn.Read(p)
}

func (s *connStream) Write(p []byte) (int, error) {
	if s.raw != nil {
		return s.raw.write(p)
	}
	return s.Conn.Write(p)
}

// CloseWrite sends the end of the stream and keeps the other direction open.
func (s *connStream) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("connection cannot close one half")
}

// Cancel closes both directions; with any code but OK the other side sees a reset.
func (s *connStream) Cancel(code reason.Code) {
	s.once.Do(func() {
		if tcp, ok := s.Conn.(*net.TCPConn); ok && code != reason.OK {
			_ = tcp.SetLinger(0)
		}
		_ = s.Conn.Close()
	})
}

// quiet looks at the socket itself: a Go deadline in the past would hide its end.
func (s *connStream) quiet() bool {
	if s.raw != nil {
		if s.ear == nil {
			s.ear = s.raw.ear()
		}
		return s.raw.quiet(s.ear)
	}
	return s.SetReadDeadline(time.Time{}) == nil && socketQuiet(s.Conn)
}

// socketQuiet is for where rawIO does not exist.
func socketQuiet(c net.Conn) bool {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = err == syscall.EAGAIN
		return true
	})
	return err == nil && silent
}

var _ transport.Stream = (*connStream)(nil)
