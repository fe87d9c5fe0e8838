package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/frame"
)

// servedSessions are the sessions that other proxies opened to this node.
type servedSessions struct {
	mu    sync.Mutex
	proxy *Proxy // nil before Run and after closeAll
	live  map[transport.Session]struct{}
	count map[servedPeer]int // of live
}

// servedPeer is whom a session's certificate names, and who holds its key.
type servedPeer struct{ who, holder id.Principal }

// servedPerPeerMax bounds the sessions of one peer. A proxy opens one per class and
// source, and another when this host's address changes.
const servedPerPeerMax = 32

func (s *servedSessions) init() {
	s.live, s.count = map[transport.Session]struct{}{}, map[servedPeer]int{}
}

func (s *servedSessions) open(p *Proxy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxy = p
}

// ServeSession takes over a session of ALPN fire-mesh/1 that the node's listener has
// accepted. It does not block.
func (p *Proxy) ServeSession(s transport.Session) {
	t, peer := &p.served, servedPeer{s.Peer(), transport.Holder(s)}
	t.mu.Lock()
	ready := t.proxy != nil && !p.stopping.Load()
	room := t.count[peer] < servedPerPeerMax
	if ready && room {
		t.live[s] = struct{}{}
		t.count[peer]++
		p.work.Go(func() { p.serveSession(s); t.leave(s, peer) })
	}
	t.mu.Unlock()
	switch {
	case !ready:
		s.Close(reason.Draining, "the proxy does not take sessions now")
	case !room:
		why := reason.New(reason.TooManyConnections, "%s has %d sessions open here, the limit", peer.who.Short(), servedPerPeerMax)
		s.Close(why.Code, why.Detail)
		p.turnAway(sideIn, peer.who, id.Principal{}, why, "")
	}
}

func (s *servedSessions) leave(x transport.Session, peer servedPeer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, x)
	if s.count[peer]--; s.count[peer] == 0 {
		delete(s.count, peer)
	}
}

// serveSession takes the peer's streams until the session ends, and waits for them.
func (p *Proxy) serveSession(s transport.Session) {
	if why := p.judgePeer(s, p.view()); why != nil {
		s.Close(why.Code, why.Detail)
		p.turnAway(sideIn, s.Peer(), id.Principal{}, why, "")
		return
	}
	var streams sync.WaitGroup
	for {
		st, err := s.Accept(p.ctx)
		if err != nil {
			break
		}
		streams.Go(func() { p.serveStream(s, st) })
	}
	streams.Wait()
}

// judgePeer holds a session's peer against a view.
func (p *Proxy) judgePeer(s transport.Session, v *catalog.View) *reason.Error {
	who, holder := s.Peer(), transport.Holder(s)
	switch {
	case s.Protocol() != pki.ALPNMesh:
		return reason.New(reason.FrameVersion, "protocol %q where %s was due", s.Protocol(), pki.ALPNMesh)
	case who.Kind != id.KindService:
		return reason.New(reason.CertWrongKind, "%s opens a session, services do", who)
	case v == nil:
		return reason.New(reason.ControlUnreachable, "this node has no catalogue yet")
	case v.Revoked(who) || v.Revoked(holder):
		return reason.New(reason.IdentityRevoked, "%s on %s", who, holder.Short())
	case !v.Placed(who.Name, holder.Name):
		return reason.New(reason.NotPlaced, "%s is not placed on %s", who.Short(), holder.Name)
	}
	return nil
}

// enforce ends the sessions of peers that v does not accept.
func (t *servedSessions) enforce(v *catalog.View) {
	if v == nil {
		return
	}
	t.mu.Lock()
	p := t.proxy
	live := make([]transport.Session, 0, len(t.live))
	for s := range t.live {
		live = append(live, s)
	}
	t.mu.Unlock()
	for _, s := range live {
		if why := p.judgePeer(s, v); why != nil {
			p.deps.Log.Info("session cut", "reason", why.Code.String(), "peer", s.Peer().String(), "version", v.State.Version, "err", why.Detail)
			s.Close(why.Code, why.Detail)
		}
	}
}

func (t *servedSessions) closeAll(code reason.Code) {
	t.mu.Lock()
	t.proxy = nil
	live := make([]transport.Session, 0, len(t.live))
	for s := range t.live {
		live = append(live, s)
	}
	t.mu.Unlock()
	for _, s := range live {
		s.Close(code, "the proxy stops")
	}
}

// headerBufs lends the memory that a header is read into.
var headerBufs = sync.Pool{New: func() any { return new([frame.HeaderBytesMax]byte) }}

// serveStream carries one stream of another proxy to the local application.
func (p *Proxy) serveStream(s transport.Session, st transport.Stream) {
	began := time.Now()
	var o frame.Open
	buf := headerBufs.Get().(*[frame.HeaderBytesMax]byte)
	st.SetReadDeadline(began.Add(p.cfg.HeaderTimeout))
	err := frame.ReadOpen(st, buf[:], &o)
	headerBufs.Put(buf)
	src, dst := s.Peer(), p.deps.Domain.Service(o.Service)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = reason.New(reason.HeaderTimeout, "no header within %v", p.cfg.HeaderTimeout)
		} else if errors.Is(err, io.EOF) {
			err = reason.New(reason.FrameTruncated, "the stream ended before its header")
		}
		why := broken(err)
		p.turnAway(sideIn, src, id.Principal{}, why, "")
		p.answerNo(st, why)
		return
	}
	st.SetReadDeadline(time.Time{})
	v := p.view()
	svc, verdictOp, why, rule := p.admitStream(s, &o, v)
	if _, here := p.deps.Apps[dst.Name]; !here { // a name that the peer made up must not get an edge
		p.turnAway(sideIn, src, dst, why, rule)
		p.answerNo(st, why)
		return
	}
	e := p.edges.edge(src, dst, sideIn, string(svc.Protocol))
	if why == nil && !p.sources.take(src) {
		why = reason.New(reason.TooManyConnections, "%s has max_connections_per_source = %d open here", src.Short(), p.sources.max)
	}
	if why != nil {
		p.refuse(e, sideIn, src, dst, why, rule)
		p.answerNo(st, why)
		return
	}
	defer p.sources.give(src)
	f := &flow{id: o.ID, side: sideIn, src: src, dst: dst, holder: transport.Holder(s), node: transport.Holder(s).Name,
		host: p.deps.Node, protocol: string(svc.Protocol), op: verdictOp, edge: e}
	if svc.Protocol == catalog.HTTP {
		p.serveHTTPStream(p.ctx, f, v, st, &o)
		return
	}
	p.serveOpaque(f, v, st, began)
}

// serveOpaque dials the application, says yes and copies.
func (p *Proxy) serveOpaque(f *flow, v *catalog.View, st transport.Stream, began time.Time) {
	near, err := p.dialApp(p.ctx, f.dst.Name)
	if err != nil {
		why := broken(err)
		p.refuse(f.edge, sideIn, f.src, f.dst, why, "")
		p.answerNo(st, why)
		return
	}
	if err := answer(st, &frame.Reply{}); err != nil {
		near.Close()
		st.Cancel(reason.AppReset)
		return
	}
	f.edge.Connect.Record(time.Since(began))
	p.carry(f, v, near, st)
}

// answerNo refuses a stream. The reply is delivered before the reset may overtake it:
// the peer ends its half when it has read it.
func (p *Proxy) answerNo(st transport.Stream, why *reason.Error) {
	if answer(st, &frame.Reply{Code: why.Code, Detail: why.Detail}) == nil && st.CloseWrite() == nil {
		st.SetReadDeadline(time.Now().Add(time.Second))
		var rest [64]byte
		for range 16 {
			if _, err := st.Read(rest[:]); err == io.EOF {
				return // both halves are over, and a reset could still overtake the reply
			} else if err != nil {
				break
			}
		}
	}
	st.Cancel(why.Code)
}

func answer(st transport.Stream, r *frame.Reply) error {
	var buf [frame.HeaderBytesMax]byte
	b, err := frame.AppendReply(buf[:0], r)
	if err != nil {
		return err
	}
	_, err = st.Write(b)
	return err
}

// dialApp connects to the application of this host.
func (p *Proxy) dialApp(ctx context.Context, service string) (*nearConn, error) {
	app := p.deps.Apps[service]
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, app.Network, app.Address)
	if err != nil {
		if p.deps.AppFailed != nil {
			p.deps.AppFailed(service)
		}
		return nil, reason.New(reason.AppUnreachable, "%s at %s: %w", service, app.Address, err)
	}
	return p.newNear(c), nil
}
