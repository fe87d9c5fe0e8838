package quic

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"

	quicgo "github.com/quic-go/quic-go"
)

// session is one QUIC connection with a proved peer.
type session struct {
	conn     *quicgo.Conn
	peer     id.Principal
	holder   id.Principal
	protocol string
	class    transport.Class
	rtt      atomic.Int64 // of the last heartbeat, at the side that asks
	born     time.Time    // what alarms count from
	gather   gather
}

// newSession takes the identity from the leaf that VerifyConnection has passed. Only
// a protocol without client certificates (join) leaves it empty.
func newSession(conn *quicgo.Conn, class transport.Class) (*session, error) {
	cs := conn.ConnectionState().TLS
	s := &session{conn: conn, class: class, born: time.Now(), protocol: cs.NegotiatedProtocol}
	if len(cs.PeerCertificates) == 0 {
		return s, nil
	}
	var err error
	if s.peer, err = pki.PeerOf(cs); err != nil {
		return nil, err
	}
	s.holder, err = pki.HolderOf(cs)
	return s, err
}

func (s *session) Peer() id.Principal     { return s.peer }
func (s *session) Protocol() string       { return s.protocol }
func (s *session) Class() transport.Class { return s.class }
func (s *session) RemoteAddr() net.Addr   { return s.conn.RemoteAddr() }
func (s *session) Done() <-chan struct{}  { return s.conn.Context().Done() }

// Holder is read by transport.Holder.
func (s *session) Holder() id.Principal { return s.holder }

// Export is read by transport.Export. A session whose peer proved nothing has no keys to
// share with it.
func (s *session) Export(label string, context []byte, n int) ([]byte, error) {
	if s.peer == (id.Principal{}) {
		return nil, reason.New(reason.CertMissing, "the peer has no certificate, so no keys are derived from its session")
	}
	cs := s.conn.ConnectionState().TLS
	return cs.ExportKeyingMaterial(label, context, n)
}

func (s *session) Err() error {
	select {
	case <-s.Done():
		return sessionError(context.Cause(s.conn.Context()))
	default:
		return nil
	}
}

// RTT is the last heartbeat's where this side asks, else QUIC's own estimate.
func (s *session) RTT() time.Duration {
	if d := s.rtt.Load(); d > 0 {
		return time.Duration(d)
	}
	return s.conn.ConnectionStats().SmoothedRTT
}

func (s *session) Open(ctx context.Context) (transport.Stream, error) {
	st, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		if dead := s.Err(); dead != nil {
			return nil, dead
		}
		if ctx.Err() != nil {
			return nil, reason.New(reason.TooManyStreams, "the peer admits no more streams: %w", context.Cause(ctx))
		}
		return nil, sessionError(err)
	}
	return &stream{quic: st, session: s}, nil
}

func (s *session) Accept(ctx context.Context) (transport.Stream, error) {
	st, err := s.conn.AcceptStream(ctx)
	if err != nil {
		if dead := s.Err(); dead != nil {
			return nil, dead
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, sessionError(err)
	}
	return &stream{quic: st, session: s}, nil
}

func (s *session) Close(code reason.Code, why string) error {
	return s.conn.CloseWithError(quicgo.ApplicationErrorCode(code), why)
}
