package proxy

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"encoding/binary"

	"fire/node/catalog"
	"fire/policy/reason"
	"fire/transport/http1"
)

// httpParts are what the HTTP relay keeps between connections.
type httpParts struct {
	proxy *Proxy

	mu      sync.Mutex
	streams map[*upstream]*httpPool // idle mesh streams, by endpoint
	apps    map[string]*httpApp     // by service
}

func (h *httpParts) init(p *Proxy) {
	h.proxy, h.streams, h.apps = p, map[*upstream]*httpPool{}, map[string]*httpApp{}
}

// pool is looked up once per client connection.
func (h *httpParts) pool(u *upstream) *httpPool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.streams[u]
	if p == nil {
		p = newHTTPPool(h.proxy.cfg.HTTP.StreamIdleTimeout, h.proxy.cfg.HTTP.StreamsIdleMax)
		h.streams[u] = p
	}
	return p
}

// app is looked up once per mesh stream.
func (h *httpParts) app(service string) *httpApp {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.apps[service]
	if a == nil {
		a = newHTTPApp(h.proxy.deps.Apps[service], h.proxy.cfg.ConnectTimeout, h.proxy.deps.Awake, h.proxy.cfg.HTTP)
		h.apps[service] = a
	}
	return a
}

// settle gives the resets of idle streams the time to arrive before their sessions
// end: they swear that no request was lost, a session's end does not.
func (h *httpParts) settle() {
	h.mu.Lock()
	serving := len(h.apps) > 0
	h.mu.Unlock()
	if serving {
		pause(h.proxy.ctx, httpSettle)
	}
}

func (h *httpParts) close() {
	h.mu.Lock()
	streams, apps := h.streams, h.apps
	h.streams, h.apps = map[*upstream]*httpPool{}, map[string]*httpApp{}
	h.mu.Unlock()
	for _, p := range streams {
		p.close()
	}
	for _, a := range apps {
		a.close()
	}
}

// serveHTTPClient carries the requests of one client connection: each is authorised,
// balanced and counted alone.
func (p *Proxy) serveHTTPClient(ctx context.Context, u *upstream, near *nearConn, v *catalog.View, e *edge) {
	f := &flow{id: newID(), side: sideOut, src: u.src, dst: u.dst, holder: p.self, protocol: string(catalog.HTTP), edge: e}
	g := &httpOut{httpGuard: httpGuard{proxy: p, flow: f}, upstream: u, kept: p.http.pool(u)}
	conn := &connStream{Conn: near.conn, raw: near.raw}
	p.carryHTTP(ctx, &g.httpGuard, v, (&httpSide{cfg: p.cfg.HTTP, gate: g, own: true}).near(conn))
	conn.Cancel(reason.OK)
}

// httpOut is the gate of a client connection: it leads to the endpoints of the mesh.
type httpOut struct {
	httpGuard
	upstream *upstream
	kept     *httpPool
	among    *candidates // what tried counts in
	tried    []int       // endpoints that this request has been to
	reused   bool        // its first try went over a kept stream
	trace    [http1.TraceParentBytes]byte
}

// added gives a request without a trace the beginning of one.
func (g *httpOut) added(r *http1.Request) http1.Added {
	if len(r.TraceParent) > 0 {
		return http1.Added{}
	}
	var random [24]byte
	for i := 0; i < len(random); i += 8 {
		binary.LittleEndian.PutUint64(random[i:], rand.Uint64())
	}
	return http1.Added{TraceParent: http1.AppendTraceParent(g.trace[:0], random)}
}

// connect picks an endpoint for one request and finds a stream to it: a kept one, or
// after a failure a new one. It goes on to the next endpoint while nothing was sent.
func (g *httpOut) connect(ctx context.Context, try int) (*httpFar, error) {
	p, c := g.proxy, g.upstream.route.at(g.proxy.view())
	if try == 0 || c != g.among {
		g.among, g.tried = c, g.tried[:0]
	}
	var firstErr error
	var until context.Context
	for left := p.cfg.ConnectTries; left > 0; left-- {
		ticket, ref, err := c.pick(p.now(), g.tried)
		if err != nil && firstErr == nil && g.reused && try == 1 { // the kept stream may have been stale where a new one works
			ticket, ref, err = c.pick(p.now(), nil)
		}
		if err != nil {
			return nil, orElse(firstErr, err)
		}
		began := p.now()
		g.tried = append(g.tried, ticket.Index)
		if try == 0 {
			f := g.kept.get(ref.Key)
			if g.reused = f != nil; g.reused {
				f.reached.ticket, f.began = ticket, began
				return f, nil
			}
		}
		if until == nil {
			var cancel context.CancelFunc
			until, cancel = context.WithTimeout(ctx, p.cfg.ConnectTimeout)
			defer cancel()
		}
		r := &reached{ref: ref, ticket: ticket, id: newID()}
		if err = p.open(until, g.upstream, c, wish{began: time.Now()}, r, left); err == nil {
			g.flow.edge.Connect.Record(p.now() - began)
			return &httpFar{Stream: r.stream, gone: reason.PeerClosed, slow: reason.IdleTimeout, owner: g.owner(),
				key: ref.Key, reached: r, began: began}, nil
		}
		p.tell(&r.ticket, err, ref)
		r.ticket.Release(p.now())
		firstErr = orElse(firstErr, err)
		if !elsewhere(reason.Of(err, reason.PeerLost)) || until.Err() != nil {
			break
		}
	}
	return nil, firstErr
}

func orElse(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// httpStreams owns the streams of one upstream.
type httpStreams struct {
	proxy *Proxy
	kept  *httpPool
}

func (g *httpOut) owner() httpOwner { return httpStreams{g.proxy, g.kept} }

func (s httpStreams) finished(f *httpFar, end httpEnd) {
	p, r := s.proxy, f.reached
	switch {
	case end.blame != nil:
		p.tell(&r.ticket, end.blame, r.ref)
	case end.answered:
		now := p.now()
		r.ticket.Succeeded(now, now-f.began)
	}
	r.ticket.Release(p.now())
	if end.reusable {
		s.kept.put(f)
		return
	}
	f.Cancel(reason.Of(end.blame, reason.AppReset))
	p.pool.done(r.link)
}

func (s httpStreams) dropped(f *httpFar) { s.proxy.pool.done(f.reached.link) }
