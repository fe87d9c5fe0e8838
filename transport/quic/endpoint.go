package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/spin"

	quicgo "github.com/quic-go/quic-go"
)

// Endpoint is one UDP socket that listens and dials.
type Endpoint struct {
	cfg       Config
	log       *slog.Logger
	conn      net.PacketConn
	transport *quicgo.Transport
	gate      *gate
	count     counters
	work      sync.WaitGroup // heartbeats, and what a listener runs

	mu       sync.Mutex // guards the rest; not held across I/O
	closed   bool
	listener *Listener
	sessions map[*session]struct{}
}

type counters struct {
	dialled, dialFailed, accepted, refused, failed, retried, lost atomic.Uint64
}

// Stats are counts since New, but for the two gauges.
type Stats struct {
	Sessions   int64  `json:"sessions"`          // open now
	HalfOpen   int64  `json:"half_open"`         // handshakes under way now
	Dialled    uint64 `json:"dialled_total"`     // sessions that this side opened
	DialFailed uint64 `json:"dial_failed_total"` // attempts of this side that came to nothing
	Accepted   uint64 `json:"accepted_total"`    // sessions that peers opened
	Retried    uint64 `json:"retried_total"`     // handshakes that had to prove their address first
	Refused    uint64 `json:"refused_total"`     // handshakes above half_open_max
	Failed     uint64 `json:"failed_total"`      // handshakes that were started here and came to nothing
	Lost       uint64 `json:"lost_total"`        // sessions that ended as peer_lost
}

// New takes pc over and closes it in Close. Nothing is read before Listen or Dial.
// awake is told of what is read; nil is nobody.
func New(pc net.PacketConn, cfg Config, awake *spin.Spinner, log *slog.Logger) (*Endpoint, error) {
	var err error
	cfg.Check(func(key, problem string) { err = errors.Join(err, fmt.Errorf("quic.%s: %s", key, problem)) })
	if err != nil {
		return nil, err
	}
	e := &Endpoint{cfg: cfg, log: log, conn: pc, sessions: map[*session]struct{}{}}
	e.gate = newGate(cfg, log, &e.count)
	e.transport = &quicgo.Transport{
		Conn:                             fast(pc, awake),
		ConnectionIDLength:               8,
		DisableVersionNegotiationPackets: true, // both ends are fire; a stranger gets no answer
		VerifySourceAddress:              e.gate.mustProveAddress,
		ConnContext:                      e.gate.admit,
	}
	return e, nil
}

// Dial opens a session to addr ("host:port"). It returns when the peer has accepted
// this side's certificate and class. Refusals are *reason.Error.
func (e *Endpoint) Dial(ctx context.Context, addr string, tc *tls.Config, class transport.Class) (transport.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.HandshakeTimeout)
	defer cancel()
	s, err := e.dial(ctx, addr, tc, class)
	if err != nil {
		e.count.dialFailed.Add(1)
		return nil, dialError(ctx, addr, err)
	}
	e.count.dialled.Add(1)
	return s, nil
}

func (e *Endpoint) dial(ctx context.Context, addr string, tc *tls.Config, class transport.Class) (*session, error) {
	if !class.Valid() {
		return nil, reason.New(reason.FrameMalformed, "%s", class)
	}
	to, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	tc = tc.Clone()
	tc.SessionTicketsDisabled, tc.ClientSessionCache = true, nil
	conn, err := e.transport.Dial(ctx, to, tc, e.quicConfig(to))
	if err != nil {
		return nil, err
	}
	s, err := e.greet(ctx, conn, class)
	if err != nil {
		conn.CloseWithError(quicgo.ApplicationErrorCode(reason.Of(err, reason.PeerUnreachable)), "no welcome")
		return nil, err
	}
	return s, nil
}

// greet says the class on the first stream and waits for the welcome, which is also
// the proof that the peer's check of our certificate has passed.
func (e *Endpoint) greet(ctx context.Context, conn *quicgo.Conn, class transport.Class) (*session, error) {
	st, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if err := st.TryWriteAll(appendBeat(nil, beat{kind: beatHello, class: class, value: uint64(e.cfg.HeartbeatInterval)})); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { st.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	welcome, err := readBeat(st)
	if err != nil {
		return nil, err
	}
	if welcome.kind != beatWelcome {
		return nil, reason.New(reason.FrameMalformed, "heartbeat kind %d where a welcome was due", welcome.kind)
	}
	release(st)
	return e.admit(conn, class, e.cfg.HeartbeatInterval, true)
}

// release ends the stream of hello and welcome, which has done its work.
func release(st *quicgo.Stream) {
	_ = st.Close()
	st.CancelRead(0)
}

// admit makes the session and starts its heart.
func (e *Endpoint) admit(conn *quicgo.Conn, class transport.Class, interval time.Duration, dialled bool) (*session, error) {
	s, err := newSession(conn, class)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errClosed()
	}
	e.sessions[s] = struct{}{}
	h := &heart{session: s, interval: interval, missesMax: e.cfg.HeartbeatMisses, asks: dialled}
	e.work.Go(func() {
		h.run()
		<-s.Done()
		e.forget(s)
	})
	return s, nil
}

func (e *Endpoint) forget(s *session) {
	if reason.Of(s.Err(), reason.OK) == reason.PeerLost {
		e.count.lost.Add(1)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
}

// quicConfig bounds one connection. On loopback the packet size needs no search.
func (e *Endpoint) quicConfig(peer net.Addr) *quicgo.Config {
	c := &quicgo.Config{
		Versions:                       []quicgo.Version{quicgo.Version1},
		HandshakeIdleTimeout:           e.cfg.HandshakeTimeout,
		MaxIdleTimeout:                 idleTimeout,
		InitialStreamReceiveWindow:     uint64(e.cfg.StreamWindowBytes),
		MaxStreamReceiveWindow:         uint64(e.cfg.StreamWindowMaxBytes),
		InitialConnectionReceiveWindow: uint64(e.cfg.SessionWindowMaxBytes), // few slow readers would fill one that has yet to grow
		MaxConnectionReceiveWindow:     uint64(e.cfg.SessionWindowMaxBytes),
		EnableDatagrams:                true,                        // of the heart alone
		MaxIncomingStreams:             int64(e.cfg.StreamsMax) + 1, // and the first
		MaxIncomingUniStreams:          -1,
		InitialPacketSize:              uint16(e.cfg.PacketBytes),
	}
	if u, ok := peer.(*net.UDPAddr); ok && u.IP.IsLoopback() {
		c.InitialPacketSize, c.DisablePathMTUDiscovery = loopbackPacketBytes, true
	}
	return c
}

const (
	// idleTimeout is QUIC's own last resort; heartbeats end a session long before
	// (quic-go lifts anything below 5 s to 5 s, so it cannot be the detector).
	idleTimeout         = 30 * time.Second
	loopbackPacketBytes = 1452 // the most that quic-go's buffers hold
)

// Stats reads the counters.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	open := len(e.sessions)
	e.mu.Unlock()
	c := &e.count
	return Stats{
		Sessions: int64(open), HalfOpen: e.gate.halfOpen.Load(),
		Dialled: c.dialled.Load(), DialFailed: c.dialFailed.Load(), Accepted: c.accepted.Load(),
		Retried: c.retried.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(), Lost: c.lost.Load(),
	}
}

// Addr is where the socket is bound.
func (e *Endpoint) Addr() net.Addr { return e.conn.LocalAddr() }

// Close tells every peer, ends everything and waits for it.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	already := e.closed
	e.closed = true
	open := make([]*session, 0, len(e.sessions))
	for s := range e.sessions {
		open = append(open, s)
	}
	l := e.listener
	e.mu.Unlock()
	if already {
		return nil
	}
	var peers sync.WaitGroup
	for _, s := range open {
		peers.Go(func() { s.Close(reason.Shutdown, "the endpoint closes") })
	}
	peers.Wait()
	if l != nil {
		l.Close()
	}
	err := e.transport.Close()
	e.work.Wait()
	return errors.Join(err, e.conn.Close())
}

func resolve(ctx context.Context, addr string) (*net.UDPAddr, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip != nil {
		return &net.UDPAddr{IP: ip, Port: n}, nil
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	return &net.UDPAddr{IP: ips[0].IP, Port: n, Zone: ips[0].Zone}, nil
}
