package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// Stream is one flow inside a session. See the package comment for its promises.
type Stream interface {
	io.Reader
	io.Writer
	CloseWrite() error
	Cancel(reason.Code) // resets both directions; idempotent
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Session is a link to one proved identity. All methods may be called concurrently.
type Session interface {
	Peer() id.Principal // zero when the protocol does not ask the peer who it is
	Protocol() string   // the ALPN that was agreed
	Class() Class

	Open(ctx context.Context) (Stream, error)   // TooManyStreams when ctx ends at the peer's limit
	Accept(ctx context.Context) (Stream, error) // the next stream of the peer

	Close(code reason.Code, why string) error // ends everything at once, also what is under way
	Done() <-chan struct{}                    // closed when the session has ended
	Err() error                               // nil before Done; then *reason.Error
	RTT() time.Duration                       // 0 while not known
	RemoteAddr() net.Addr
}

// Holder is the node that holds the key of a session's peer: a service's identity
// lives on a node, and whoever revokes the node means its services there as well.
func Holder(s Session) id.Principal {
	if h, ok := s.(interface{ Holder() id.Principal }); ok {
		return h.Holder()
	}
	return s.Peer()
}

// Export derives n bytes that the two ends of a session know and nobody else: both get the
// same for the same label and context (RFC 8446 section 7.5). A session that proves nothing
// has none.
func Export(s Session, label string, context []byte, n int) ([]byte, error) {
	e, ok := s.(interface {
		Export(label string, context []byte, n int) ([]byte, error)
	})
	if !ok {
		return nil, fmt.Errorf("session with %v exports no keys", s.RemoteAddr())
	}
	return e.Export(label, context, n)
}
