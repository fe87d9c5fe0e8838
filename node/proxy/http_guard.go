package proxy

import (
	"context"
	"sync"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/reason"
	"fire/transport/http1"
)

// httpGuard is what both ends' gates have in common.
type httpGuard struct {
	proxy *Proxy
	flow  *flow
	view  *catalog.View // the last one that was looked at
	port  uint16        // of the destination, in view
	rule  string        // of the last refusal

	// the request under way, for the audit log; also one that was refused
	method, path []byte
	verdict      policy.Verdict
}

// carryHTTP registers the flow and serves it.
func (p *Proxy) carryHTTP(ctx context.Context, g *httpGuard, v *catalog.View, c *httpNear) {
	f := g.flow
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.end = func(why *reason.Error) {
		f.doom(why)
		cancel(f.fate.Load())
	}
	f.leave, f.request = c.leave, new(httpAsked)
	svc, _ := v.Service(f.dst.Name)
	f.op = policy.Op{Port: svc.Port}
	p.add(f, v)
	c.serve(ctx)
	p.remove(f)
}

// admit decides one request by the view that is in force. The request is put where a
// new view finds it only when it is allowed: one that is refused gets an answer, not a
// cut. A view that came in between is looked at again.
func (g *httpGuard) admit(r *http1.Request) error {
	f := g.flow
	g.method, g.path = append(g.method[:0], r.Method...), append(g.path[:0], r.Path...)
	for {
		v := g.proxy.view()
		if err := g.adopt(v); err != nil {
			return err
		}
		op := policy.Op{Port: g.port, Method: string(r.Method), Path: string(r.Path)}
		verdict := v.Table.Authorize(f.src, f.dst, op)
		g.verdict = verdict
		if !verdict.Allowed {
			f.request.clear()
			g.rule = verdict.Rule
			return reason.New(verdict.Code, "%s to %s: %s", f.src.Short(), f.dst.Short(), said(verdict))
		}
		f.request.set(r.Method, r.Path)
		if g.proxy.view() == v {
			return nil
		}
	}
}

// adopt holds the connection against a view that it has not seen. What the rules say
// is left to the request.
func (g *httpGuard) adopt(v *catalog.View) error {
	g.rule = ""
	if v == g.view {
		return nil
	}
	svc, ok := v.Service(g.flow.dst.Name)
	if !ok || svc.Protocol != catalog.HTTP {
		return reason.New(reason.NoSuchService, "%s is no HTTP service any more", g.flow.dst.Short())
	}
	if why, rule := g.flow.judge(v); why != nil && why.Code != reason.PolicyChanged {
		g.rule = rule
		return why
	}
	g.view, g.port = v, svc.Port
	return nil
}

func (g *httpGuard) draining() bool { return g.proxy.stopping.Load() }

func (g *httpGuard) moved(up, down int) {
	f, now := g.flow, g.proxy.tick.Load()
	if up > 0 {
		f.up.bytes.Add(uint64(up))
		f.up.moved.Store(now)
	}
	if down > 0 {
		f.down.bytes.Add(uint64(down))
		f.down.moved.Store(now)
	}
}

// giving tells that a write in the direction begins, or has ended. Time-outs of HTTP are
// deadlines of its own; the sweep wants to know how long the local application takes.
func (g *httpGuard) giving(up, begins bool) {
	w := &g.flow.down
	if up {
		w = &g.flow.up
	}
	at := int64(0)
	if begins {
		at = g.proxy.tick.Load()
	}
	w.busy.Store(at)
}

func (g *httpGuard) account(o *httpOutcome) {
	f := g.flow
	f.recordRequest(o, g.method, g.path, g.verdict)
	g.method, g.path, g.verdict = g.method[:0], g.path[:0], policy.Verdict{}
	f.request.clear()
	f.up.moved.Store(g.proxy.tick.Load())
	cut := f.fate.Load() != nil // counted where the flow ends
	o.count(f.edge.Edge, cut)
	if o.why != nil && !cut {
		g.proxy.record(f.side, f.src, f.dst, o.why, g.rule)
	}
}

// httpAsked is the request under way, so that a new policy can be held against it.
type httpAsked struct {
	mu           sync.Mutex
	method, path []byte // copies: the request's own bytes move
}

func (a *httpAsked) set(method, path []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.method, a.path = append(a.method[:0], method...), append(a.path[:0], path...)
}

func (a *httpAsked) clear() { a.set(nil, nil) }

// op is the request as an operation, if there is one. A nil httpAsked has none.
func (a *httpAsked) op(port uint16) (policy.Op, bool) {
	if a == nil {
		return policy.Op{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return policy.Op{Port: port, Method: string(a.method), Path: string(a.path)}, len(a.method) > 0
}
