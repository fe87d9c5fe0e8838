package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
)

// lane names one session: whose identity it shows, to which node, for which traffic.
// HTTP has its own: its many short streams must not share a window with anything.
type lane struct {
	src   id.Principal
	node  string
	class transport.Class
	http  bool
}

// pool keeps at most one live session per lane.
type pool struct {
	proxy *Proxy

	mu     sync.Mutex
	closed bool
	links  map[lane]*link
	old    map[*link]struct{} // replaced, still carrying streams
}

// link is one session, or the attempt to make it.
type link struct {
	lane    lane
	addr    string
	since   time.Time
	ready   chan struct{} // closed when session or err is set
	session transport.Session
	err     error

	streams atomic.Int64
	used    atomic.Int64 // tick of the last use
}

func (o *pool) init(p *Proxy) {
	o.proxy, o.links, o.old = p, map[lane]*link{}, map[*link]struct{}{}
}

// session returns the lane's link with one stream counted on it, dialling when there
// is none. Many callers share one attempt, which does not depend on any of them.
func (o *pool) session(ctx context.Context, l lane, addr string) (*link, error) {
	k, err := o.find(l, addr)
	if err != nil {
		return nil, err
	}
	select {
	case <-k.ready:
	case <-ctx.Done():
		o.done(k)
		return nil, reason.New(reason.PeerUnreachable, "dial %s: no answer in time: %w", addr, context.Cause(ctx))
	}
	if k.err != nil {
		o.done(k)
		return nil, k.err
	}
	return k, nil
}

// find returns the lane's link, started if need be.
func (o *pool) find(l lane, addr string) (*link, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.links[l]
	if k != nil && (k.over() || k.addr != addr) {
		delete(o.links, l)
		if !k.over() {
			o.old[k] = struct{}{}
		}
		k = nil
	}
	if k == nil {
		if o.closed {
			return nil, &reason.Error{Code: reason.Shutdown, Detail: "the proxy stops"}
		}
		if len(o.links)+len(o.old) >= o.proxy.cfg.SessionsMax {
			return nil, reason.New(reason.TooManyConnections, "sessions_max = %d sessions are open", o.proxy.cfg.SessionsMax)
		}
		k = &link{lane: l, addr: addr, since: time.Now(), ready: make(chan struct{})}
		o.links[l] = k
		o.proxy.work.Go(func() { o.dial(k) })
	}
	k.streams.Add(1)
	k.used.Store(o.proxy.tick.Load())
	return k, nil
}

// over tells whether the attempt failed or the session has ended.
func (k *link) over() bool {
	select {
	case <-k.ready:
		return k.err != nil || k.session.Err() != nil
	default:
		return false
	}
}

// done gives the stream of session back.
func (o *pool) done(k *link) {
	k.used.Store(o.proxy.tick.Load())
	k.streams.Add(-1)
}

func (o *pool) dial(k *link) {
	p := o.proxy
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.ConnectTimeout)
	defer cancel()
	want := pki.Want{Exactly: p.deps.Domain.Node(k.lane.node)}
	if i := p.deps.Identities.Identity(k.lane.src); i == nil || i.Certificate() == nil {
		k.err = reason.New(reason.CertMissing, "this node holds no certificate of %s", k.lane.src)
	} else {
		tc := pki.ClientConfig(p.certificate(k.lane.src), p.deps.Verifier, want, pki.ALPNMesh)
		k.session, k.err = p.deps.Dialer.Dial(ctx, k.addr, tc, k.lane.class)
	}
	o.mu.Lock()
	closed := o.closed
	close(k.ready)
	o.mu.Unlock()
	if k.err != nil {
		p.deps.Log.Warn("no session to another proxy", "node", k.lane.node, "svc", k.lane.src.Name,
			"reason", reason.Of(k.err, reason.PeerUnreachable).String(), "err", k.err)
		return
	}
	if closed {
		k.session.Close(reason.Shutdown, "the proxy stops")
		return
	}
	p.deps.Log.Info("session open", "node", k.lane.node, "svc", k.lane.src.Name, "class", k.lane.class.String())
	p.work.Go(func() { o.await(k) })
}

// await says why a session ended.
func (o *pool) await(k *link) {
	<-k.session.Done()
	err := k.session.Err()
	o.proxy.deps.Log.Info("session ended", "node", k.lane.node, "svc", k.lane.src.Name,
		"reason", reason.Of(err, reason.PeerClosed).String(), "err", err)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.old, k)
	if o.links[k.lane] == k {
		delete(o.links, k.lane)
	}
}

// sweep closes what carried nothing for a while, and forgets failed attempts.
func (o *pool) sweep(now, idleTicks int64) {
	for _, k := range o.all() {
		if k.streams.Load() == 0 && now-k.used.Load() > idleTicks {
			o.retire(k)
		}
	}
}

// retire closes k unless a stream came in between.
func (o *pool) retire(k *link) {
	o.mu.Lock()
	free := k.streams.Load() == 0
	if free {
		delete(o.old, k)
		if o.links[k.lane] == k {
			delete(o.links, k.lane)
		}
	}
	o.mu.Unlock()
	if free {
		k.close(reason.OK, "idle")
	}
}

// enforce ends the sessions of identities that v does not accept.
func (o *pool) enforce(v *catalog.View) {
	if v == nil {
		return
	}
	p := o.proxy
	for _, k := range o.all() {
		for _, who := range []id.Principal{k.lane.src, p.self, p.deps.Domain.Node(k.lane.node)} {
			if v.Revoked(who) {
				k.close(reason.IdentityRevoked, who.String())
			}
		}
	}
}

func (o *pool) closeAll(code reason.Code) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	for _, k := range o.all() {
		k.close(code, "the proxy stops")
	}
}

// close ends a session that stands; an attempt under way sees closed by itself.
func (k *link) close(code reason.Code, why string) {
	select {
	case <-k.ready:
		if k.err == nil {
			k.session.Close(code, why)
		}
	default:
	}
}

func (o *pool) all() []*link {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*link, 0, len(o.links)+len(o.old))
	for _, k := range o.links {
		all = append(all, k)
	}
	for k := range o.old {
		all = append(all, k)
	}
	return all
}

// Sessions lists the sessions that this proxy opened.
func (p *Proxy) Sessions() []twin.SessionFact {
	var out []twin.SessionFact
	for _, k := range p.pool.all() {
		select {
		case <-k.ready:
		default:
			continue
		}
		if k.err == nil && k.session.Err() == nil {
			out = append(out, twin.SessionFact{Peer: k.lane.node, Class: k.lane.class.String(), RTT: k.session.RTT(),
				Streams: k.streams.Load(), Since: k.since})
		}
	}
	return out
}
