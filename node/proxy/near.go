package proxy

import (
	"net"
	"time"

	"fire/policy/reason"
)

// nearConn is an application's connection as a transport.Stream.
type nearConn struct {
	conn halfCloser
	tcp  *net.TCPConn // nil for a unix socket
	raw  *rawIO       // nil where it does not exist
}

// halfCloser is what *net.TCPConn and *net.UnixConn have in common.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// newNear wraps a connection that was just accepted or dialled. Only TCP and unix
// sockets reach it.
func (p *Proxy) newNear(c net.Conn) *nearConn {
	n := &nearConn{}
	n.conn, _ = c.(halfCloser)
	if n.tcp, _ = c.(*net.TCPConn); n.tcp != nil {
		_ = n.tcp.SetNoDelay(true) // Go's default; said here because orders depend on it
	}
	n.raw = newRawIO(c, p.deps.Awake)
	return n
}

func (n *nearConn) Read(p []byte) (int, error) {
	if n.raw != nil {
		return n.raw.read(p)
	}
	return n.conn.Read(p)
}

func (n *nearConn) Write(p []byte) (int, error) {
	if n.raw != nil {
		return n.raw.write(p)
	}
	return n.conn.Write(p)
}

func (n *nearConn) CloseWrite() error                  { return n.conn.CloseWrite() }
func (n *nearConn) SetReadDeadline(t time.Time) error  { return n.conn.SetReadDeadline(t) }
func (n *nearConn) SetWriteDeadline(t time.Time) error { return n.conn.SetWriteDeadline(t) }

// Cancel makes the failure visible: the application sees a reset, not an end that it
// could take for a whole answer. Unix sockets know no reset; there it is an end.
func (n *nearConn) Cancel(reason.Code) {
	if n.tcp != nil {
		_ = n.tcp.SetLinger(0)
	}
	_ = n.conn.Close()
}

// Close ends a connection whose both halves are over.
func (n *nearConn) Close() { _ = n.conn.Close() }
