package proxy

import (
	"context"
	"time"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/balance"
	"fire/transport/frame"
)

// serveClient carries one connection of a local application.
func (p *Proxy) serveClient(ctx context.Context, u *upstream, near *nearConn) {
	began := time.Now()
	v := p.view()
	svc, why, rule := p.admitClient(u, v)
	e := p.edges.edge(u.src, u.dst, sideOut, string(svc.Protocol))
	if why != nil {
		p.refuse(e, sideOut, u.src, u.dst, why, rule)
		near.Cancel(why.Code)
		return
	}
	if svc.Protocol == catalog.HTTP {
		p.serveHTTPClient(ctx, u, near, v, e)
		return
	}
	op := policy.Op{Port: svc.Port, Opaque: true}
	r, err := p.reach(ctx, u, v, wish{op: op, began: began})
	if err != nil {
		why := broken(err)
		p.refuse(e, sideOut, u.src, u.dst, why, "")
		near.Cancel(why.Code)
		return
	}
	e.Connect.Record(time.Since(began))
	f := &flow{id: r.id, side: sideOut, src: u.src, dst: u.dst, holder: p.self, node: r.ref.Node, host: r.ref.Node,
		protocol: string(svc.Protocol), op: op, edge: e}
	p.carry(f, v, near, r.stream)
	r.release(p)
}

// admitClient decides whether the upstream may be used now.
func (p *Proxy) admitClient(u *upstream, v *catalog.View) (catalog.Service, *reason.Error, string) {
	if v == nil {
		return catalog.Service{}, reason.New(reason.ControlUnreachable, "this node has no catalogue yet"), ""
	}
	svc, ok := v.Service(u.dst.Name)
	if !ok {
		return svc, reason.New(reason.NoSuchService, "upstream.%s leads to %q", u.name, u.dst.Name), ""
	}
	if !v.Placed(u.src.Name, p.deps.Node) {
		return svc, reason.New(reason.NotPlaced, "upstream.%s is as %q, which is not placed on %s", u.name, u.src.Name, p.deps.Node), ""
	}
	for _, who := range []id.Principal{u.src, u.dst, p.self} { // the other side would refuse too, later and more vaguely
		if v.Revoked(who) {
			return svc, reason.New(reason.IdentityRevoked, "%s", who), ""
		}
	}
	if p.stopping.Load() {
		return svc, reason.New(reason.Shutdown, "the proxy stops"), ""
	}
	verdict := v.Table.Authorize(u.src, u.dst, policy.Op{Port: svc.Port, Opaque: svc.Protocol != catalog.HTTP})
	if !verdict.Allowed {
		return svc, reason.New(verdict.Code, "%s to %s: %s", u.src.Short(), u.dst.Short(), said(verdict)), verdict.Rule
	}
	return svc, nil, ""
}

// carry registers the flow, relays, and leaves both ends closed.
func (p *Proxy) carry(f *flow, v *catalog.View, near *nearConn, far transport.Stream) {
	f.end = func(why *reason.Error) {
		f.doom(why)
		code := f.fate.Load().Code
		far.Cancel(code)
		near.Cancel(code)
	}
	p.add(f, v)
	p.relay(f, near, far)
	near.Close()
	p.remove(f)
}

// wish is what a connection asks of reach.
type wish struct {
	op          policy.Op
	began       time.Time
	traceparent string
	tried       []int // candidates that are out of the question
}

// reached is an open stream that the remote application has accepted.
type reached struct {
	stream transport.Stream
	ref    catalog.EndpointRef
	id     [16]byte
	link   *link
	ticket balance.Ticket
}

// release gives back what reach took. The stream is the caller's to end before.
func (r *reached) release(p *Proxy) {
	r.ticket.Release(p.now())
	p.pool.done(r.link)
}

// reach opens a stream to an endpoint of u's service. It goes on to the next endpoint
// while it is certain that no byte of the client has left, which holds until an
// endpoint has accepted: nothing is read from the client before.
func (p *Proxy) reach(ctx context.Context, u *upstream, v *catalog.View, w wish) (*reached, error) {
	c := u.route.at(v)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	tried := w.tried
	var first error
	for left := p.cfg.ConnectTries; left > 0 && ctx.Err() == nil; left-- {
		ticket, ref, err := c.pick(p.now(), tried)
		if err != nil {
			if first == nil {
				first = err
			}
			break
		}
		tried = append(tried, ticket.Index)
		r := &reached{ref: ref, ticket: ticket, id: newID()}
		began := p.now()
		if err = p.open(ctx, u, c, w, r, left); err == nil {
			now := p.now()
			r.ticket.Succeeded(now, now-began)
			return r, nil
		}
		p.tell(&r.ticket, err, ref)
		r.ticket.Release(p.now())
		if first == nil || reason.Of(first, 0) == reason.PeerUnreachable {
			first = err
		}
		if !elsewhere(reason.Of(err, reason.PeerLost)) {
			break
		}
	}
	if first == nil {
		first = reason.New(reason.ConnectTimeout, "no endpoint of %s within %v", u.dst.Name, p.cfg.ConnectTimeout)
	}
	return nil, first
}

// tell lets the balancer know of a failure that is the endpoint's own.
func (p *Proxy) tell(t *balance.Ticket, err error, ref catalog.EndpointRef) {
	switch reason.Of(err, reason.PeerLost) {
	case reason.DeniedByDefault, reason.DeniedByRule, reason.IdentityRevoked, reason.CertMissing, reason.Shutdown:
		return // nothing is wrong with the endpoint
	}
	if t.Failed(p.now(), uint64(p.now())*0x9E3779B97F4A7C15) {
		p.deps.Log.Warn("endpoint ejected", "svc", ref.Service, "node", ref.Node, "err", err)
	}
}

// elsewhere tells whether another endpoint may do better. A refusal by policy is the
// same everywhere; a peer that speaks another version is told to the operator.
func elsewhere(code reason.Code) bool {
	switch code {
	case reason.DeniedByDefault, reason.DeniedByRule, reason.IdentityRevoked, reason.PolicyChanged, reason.CertMissing,
		reason.NoSuchService, reason.FrameVersion, reason.FrameMalformed, reason.FrameOversized:
		return false
	}
	return true
}

// open makes one attempt at one endpoint and fills r. With more tries to come it does
// not use up all of the time that is left.
func (p *Proxy) open(ctx context.Context, u *upstream, c *candidates, w wish, r *reached, triesLeft int) error {
	if end, ok := ctx.Deadline(); ok && triesLeft > 1 && len(c.refs) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	class, http := laneOf(c.declared)
	k, err := p.pool.session(ctx, lane{u.src, r.ref.Node, class, http}, r.ref.Addr)
	if err != nil {
		return err
	}
	st, err := k.session.Open(ctx)
	if err != nil {
		p.pool.done(k)
		return err
	}
	o := frame.Open{Service: u.dst.Name, Instance: r.ref.Key, Protocol: protocolByte(c.declared.Protocol), Class: uint8(class),
		ID: r.id, StartUnixNanos: w.began.UnixNano(), TraceParent: w.traceparent}
	if err := ask(ctx, st, &o); err != nil {
		st.Cancel(reason.Of(err, reason.ConnectTimeout))
		p.pool.done(k)
		if e := broken(err); e.Detail != "" {
			return &reason.Error{Code: e.Code, Detail: "node " + r.ref.Node + ": " + e.Detail, Cause: err}
		}
		return err
	}
	r.link, r.stream = k, st
	return nil
}

// ask sends the header and waits for the reply.
func ask(ctx context.Context, st transport.Stream, o *frame.Open) error {
	var buf [frame.HeaderBytesMax]byte
	msg, err := frame.AppendOpen(buf[:0], o)
	if err != nil {
		return err
	}
	end, _ := ctx.Deadline()
	st.SetWriteDeadline(end)
	st.SetReadDeadline(end)
	if _, err := st.Write(msg); err != nil {
		return lateness(err, "the header was not taken")
	}
	var reply frame.Reply
	if err := frame.ReadReply(st, buf[:], &reply); err != nil {
		return lateness(err, "no reply")
	}
	if reply.Code != reason.OK {
		return &reason.Error{Code: reply.Code, Detail: reply.Detail}
	}
	st.SetWriteDeadline(time.Time{})
	st.SetReadDeadline(time.Time{})
	return nil
}
