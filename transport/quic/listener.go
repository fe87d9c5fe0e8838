package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"fire/policy/reason"
	"fire/transport"

	quicgo "github.com/quic-go/quic-go"
)

// acceptQueue is how many sessions may wait for Accept; the next peers are told
// TooManyConnections.
const acceptQueue = 256

// Listener hands out the sessions that peers opened.
type Listener struct {
	endpoint *Endpoint
	quic     *quicgo.Listener
	ready    chan *session
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// Listen starts to accept. pick chooses the TLS configuration by the protocols the
// peer offers; nil refuses the peer. One listener per endpoint.
func (e *Endpoint) Listen(pick func(alpn []string) *tls.Config) (*Listener, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errClosed()
	}
	if e.listener != nil {
		return nil, errors.New("quic: the endpoint listens already")
	}
	conf := e.quicConfig(nil)
	conf.GetConfigForClient = func(info *quicgo.ClientInfo) (*quicgo.Config, error) { return e.quicConfig(info.RemoteAddr), nil }
	ql, err := e.transport.Listen(&tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return pickConfig(pick, hello.SupportedProtos)
		},
	}, conf)
	if err != nil {
		return nil, err
	}
	l := &Listener{endpoint: e, quic: ql, ready: make(chan *session, acceptQueue)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	e.listener = l
	l.work.Go(l.run)
	return l, nil
}

// pickConfig makes sure that no configuration brings tickets in: a resumed session
// would skip the full handshake.
func pickConfig(pick func([]string) *tls.Config, offered []string) (*tls.Config, error) {
	tc := pick(offered)
	if tc == nil {
		return nil, reason.New(reason.FrameVersion, "none of the protocols %q is spoken here", offered)
	}
	if tc.SessionTicketsDisabled {
		return tc, nil
	}
	tc = tc.Clone()
	tc.SessionTicketsDisabled = true
	return tc, nil
}

// run takes connections whose handshake is complete.
func (l *Listener) run() {
	for {
		conn, err := l.quic.Accept(l.ctx)
		if err != nil {
			return
		}
		l.work.Go(func() { l.welcome(conn) }) // bounded: each still holds its half-open slot
	}
}

// welcome reads the hello and queues the session.
func (l *Listener) welcome(conn *quicgo.Conn) {
	place, _ := conn.Context().Value(slotKey{}).(*slot)
	s, err := l.receive(conn)
	if err != nil {
		place.end(err)
		conn.CloseWithError(quicgo.ApplicationErrorCode(reason.Of(err, reason.HeaderTimeout)), "no hello")
		return
	}
	place.free()
	l.endpoint.count.accepted.Add(1)
	select {
	case l.ready <- s:
	default:
		s.Close(reason.TooManyConnections, "sessions wait and nobody accepts them")
	}
}

func (l *Listener) receive(conn *quicgo.Conn) (*session, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.endpoint.cfg.HandshakeTimeout)
	defer cancel()
	st, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { st.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	hello, err := readBeat(st)
	if err != nil {
		return nil, err
	}
	if hello.kind != beatHello || !hello.class.Valid() {
		return nil, reason.New(reason.FrameMalformed, "heartbeat kind %d of %s where a hello was due", hello.kind, hello.class)
	}
	if err := st.TryWriteAll(appendBeat(nil, beat{kind: beatWelcome, class: hello.class})); err != nil {
		return nil, err
	}
	// The dialler beats at its own pace, so that is the pace to listen for.
	interval := min(max(time.Duration(hello.value), l.endpoint.cfg.HeartbeatInterval), heartbeatMax)
	release(st)
	return l.endpoint.admit(conn, hello.class, interval, false)
}

// Accept waits for the next session.
func (l *Listener) Accept(ctx context.Context) (transport.Session, error) {
	select {
	case s := <-l.ready:
		return s, nil
	case <-l.ctx.Done():
		return nil, errClosed()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Addr is where the socket is bound.
func (l *Listener) Addr() net.Addr { return l.quic.Addr() }

// Close stops to accept and ends the sessions that nobody has accepted yet. The
// accepted ones live on.
func (l *Listener) Close() error {
	l.cancel()
	err := l.quic.Close()
	l.work.Wait()
	for {
		select {
		case s := <-l.ready:
			s.Close(reason.Shutdown, "the listener closes")
		default:
			return err
		}
	}
}
