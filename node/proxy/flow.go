package proxy

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport/meter"
)

// flow is one live connection, as long as it is open. At each end of the mesh there
// is one, with its own side.
type flow struct {
	// constant
	id       [16]byte
	side     string // meter's "out" or "in"
	src, dst id.Principal
	holder   id.Principal // the node that holds the source's key
	node     string       // the other proxy
	host     string       // the node that runs the destination
	protocol string
	op       policy.Op // at connection level
	since    time.Time
	edge     *edge
	end      func(*reason.Error) // from outside: breaks both sides; idempotent
	leave    func()              // from outside: ends the flow as soon as it is idle; nil for opaque ones
	request  *httpAsked          // the request under way; nil for opaque flows
	taps     taps                // what the audit log is told

	// written by the copy loops, read by the sweep
	up, down way
	asked    atomic.Int64  // when the current turn began, nanoseconds since the proxy's birth; 0 = none
	turns    atomic.Uint64 // answered

	fate atomic.Pointer[reason.Error] // why it was broken; the first one stays
	left atomic.Bool                  // fate is that the client went away

	folded struct{ up, down, turns uint64 } // guarded by flowTable.mu
}

// way is one direction of a flow. Each has its own cache line: two goroutines write.
type way struct {
	bytes    atomic.Uint64
	messages atomic.Uint64 // of a protocol that has them
	moved    atomic.Int64  // tick of the last byte
	busy     atomic.Int64  // tick at which the current write began; 0 = none
	_        [32]byte
}

// doom notes the first reason and reports whether it is this one.
func (f *flow) doom(why *reason.Error) bool { return f.fate.CompareAndSwap(nil, why) }

// judge holds the flow against a view: nil, or why it has to end.
func (f *flow) judge(v *catalog.View) (*reason.Error, string) {
	d := f.dst.Domain
	for _, who := range []id.Principal{f.src, f.dst, f.holder, d.Node(f.host)} {
		if v.Revoked(who) {
			return &reason.Error{Code: reason.IdentityRevoked, Detail: who.String()}, ""
		}
	}
	if !v.Placed(f.src.Name, f.holder.Name) {
		return reason.New(reason.NotPlaced, "%s is no longer placed on %s", f.src.Short(), f.holder.Name), ""
	}
	if f.host != "" && !v.Placed(f.dst.Name, f.host) { // an HTTP client's flow has a new host with each request
		return reason.New(reason.NotPlaced, "%s is no longer placed on %s", f.dst.Short(), f.host), ""
	}
	verdict := v.Table.Authorize(f.src, f.dst, f.op)
	if op, ok := f.request.op(f.op.Port); ok && verdict.Allowed {
		verdict = v.Table.Authorize(f.src, f.dst, op)
	}
	if !verdict.Allowed {
		return reason.New(reason.PolicyChanged, "%s", said(verdict)), verdict.Rule
	}
	return nil, ""
}

// said is a verdict in words.
func said(v policy.Verdict) string {
	if v.Rule == "" {
		return "no rule allows it (bundle " + v.Bundle.Short() + ")"
	}
	return "rule " + v.Rule + " (bundle " + v.Bundle.Short() + ")"
}

// flowTable holds every live flow of the proxy.
type flowTable struct {
	mu    sync.Mutex
	flows map[*flow]struct{}
	idle  chan struct{} // closed while empty is waited for and true
}

func (t *flowTable) init() { t.flows = map[*flow]struct{}{} }

// add registers f, which was authorised under v, and judges it again when the view
// has changed since: enforce may have passed in between.
func (p *Proxy) add(f *flow, v *catalog.View) {
	f.since = time.Now()
	tick := p.tick.Load()
	f.up.moved.Store(tick)
	f.down.moved.Store(tick)
	unrecorded := p.audit(f, v) // before others see the flow
	t := &p.flows
	t.mu.Lock()
	t.flows[f] = struct{}{}
	t.mu.Unlock()
	f.edge.Opened.Add(1)
	f.edge.Active.Add(1)
	if unrecorded != nil {
		f.end(broken(unrecorded))
	}
	if now := p.view(); now != v {
		p.cutIfForbidden(f, now)
	}
}

// remove takes f out and writes its end to the edge.
func (p *Proxy) remove(f *flow) {
	f.endTaps()
	t := &p.flows
	t.mu.Lock()
	delete(t.flows, f)
	f.fold()
	if len(t.flows) == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	t.mu.Unlock()
	f.edge.Active.Add(-1)
	f.edge.Closed.Add(1)
	f.edge.LastUnixNanos.Store(time.Now().UnixNano())
	if why := f.fate.Load(); why != nil {
		f.edge.AddReason(uint16(why.Code))
		if f.left.Load() {
			return
		}
		f.edge.Errors.Add(1)
		p.record(f.side, f.src, f.dst, why, "")
	}
}

// fold moves what the copy loops counted into the edge. The edge's requests are the
// messages of both directions where the protocol has them, else the turns.
func (f *flow) fold() {
	up, down := f.up.bytes.Load(), f.down.bytes.Load()
	turns := max(f.turns.Load(), f.up.messages.Load()+f.down.messages.Load())
	if up == f.folded.up && down == f.folded.down && turns == f.folded.turns {
		return
	}
	f.edge.BytesOut.Add(up - f.folded.up)
	f.edge.BytesIn.Add(down - f.folded.down)
	f.edge.Requests.Add(turns - f.folded.turns)
	f.folded.up, f.folded.down, f.folded.turns = up, down, turns
}

// sweep folds counters and finds the flows whose time is over. They are ended outside
// of the lock.
func (t *flowTable) sweep(now, idleTicks, writeTicks int64, slowMax int) {
	var idle, slow []*flow
	stuck := map[string][]*flow{} // by the other proxy
	t.mu.Lock()
	at := time.Now().UnixNano()
	for f := range t.flows {
		before := f.folded
		f.fold()
		if before != f.folded {
			f.edge.LastUnixNanos.Store(at)
		}
		switch {
		case f.request == nil && (f.up.stuck(now, writeTicks) || f.down.stuck(now, writeTicks)): // HTTP has deadlines
			slow = append(slow, f)
		case idleTicks > 0 && now-max(f.up.moved.Load(), f.down.moved.Load()) > idleTicks:
			idle = append(idle, f)
		case f.toApp().stuck(now, pressTicks):
			stuck[f.node] = append(stuck[f.node], f)
		}
	}
	t.mu.Unlock()
	for _, fs := range stuck {
		press(fs, slowMax)
	}
	for _, f := range slow {
		f.end(&reason.Error{Code: reason.SlowReader, Detail: "the receiver took no byte within write_timeout"})
	}
	for _, f := range idle {
		f.end(&reason.Error{Code: reason.IdleTimeout, Detail: "no byte either way within idle_timeout"})
	}
}

// pressTicks is how long a receiver has taken nothing before it counts as slow.
const pressTicks = int64(time.Second/2) / int64(tickEvery)

// press ends the receivers that wait longest until most are left. What they do not take
// lies in the window of a session that others use.
func press(slow []*flow, most int) {
	if len(slow) <= most {
		return
	}
	since := func(f *flow) int64 { return f.toApp().busy.Load() }
	slices.SortFunc(slow, func(a, b *flow) int { return cmp.Compare(since(a), since(b)) })
	for _, f := range slow[:len(slow)-most] {
		f.end(&reason.Error{Code: reason.SlowReader, Detail: fmt.Sprintf("the receiver took no byte, as %d others of this host (slow_readers_max is %d)", len(slow)-1, most)})
	}
}

// toApp is the direction whose receiver is an application of this host.
func (f *flow) toApp() *way {
	if f.side == sideIn {
		return &f.up
	}
	return &f.down
}

func (w *way) stuck(now, ticks int64) bool {
	since := w.busy.Load()
	return since != 0 && now-since > ticks
}

// enforce ends the flows that v forbids.
func (t *flowTable) enforce(p *Proxy, v *catalog.View) {
	if v == nil {
		return
	}
	for _, f := range t.all() {
		p.cutIfForbidden(f, v)
	}
}

func (p *Proxy) cutIfForbidden(f *flow, v *catalog.View) {
	why, rule := f.judge(v)
	if why == nil {
		f.rejudge(v)
		return
	}
	p.deps.Log.Info("connection cut", "reason", why.Code.String(), "rule", rule, "svc", f.dst.Name, "peer", f.src.String(),
		"node", f.node, "version", v.State.Version, "err", why.Detail)
	f.end(why)
}

func (t *flowTable) cutAll(why *reason.Error) {
	for _, f := range t.all() {
		f.end(why)
	}
}

// leaveAll asks the flows that can to end when they are idle.
func (t *flowTable) leaveAll() {
	for _, f := range t.all() {
		if f.leave != nil {
			f.leave()
		}
	}
}

func (t *flowTable) all() []*flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*flow, 0, len(t.flows))
	for f := range t.flows {
		all = append(all, f)
	}
	return all
}

func (t *flowTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.flows)
}

// empty is closed when no flow is left. One caller at a time.
func (t *flowTable) empty() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := make(chan struct{})
	if len(t.flows) == 0 {
		close(c)
		return c
	}
	t.idle = c
	return c
}

// The sides of an edge.
const (
	sideOut = "out"
	sideIn  = "in"
)

// edge is one cell of the meter page with what telemetry says beside it.
type edge struct {
	*meter.Edge
	key      meter.EdgeKey
	protocol string
}
