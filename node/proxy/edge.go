package proxy

import (
	"sync"

	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport/meter"
	"fire/twin"
)

// edgeTable knows the edges of this proxy in the meter page, which other parts of the
// process may share.
type edgeTable struct {
	page *meter.Page

	mu    sync.Mutex
	edges map[meter.EdgeKey]*edge
	told  map[meter.EdgeKey]meter.EdgeSnapshot // what Deltas said last
}

func (t *edgeTable) init(page *meter.Page) {
	t.page, t.edges, t.told = page, map[meter.EdgeKey]*edge{}, map[meter.EdgeKey]meter.EdgeSnapshot{}
}

// edge is looked up once per connection.
func (t *edgeTable) edge(src, dst id.Principal, side, protocol string) *edge {
	k := meter.EdgeKey{Src: src.Name, Dst: dst.Name, Side: side}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.edges[k]
	if e == nil {
		e = &edge{Edge: t.page.Edge(k), key: k}
		t.edges[k] = e
	}
	if protocol != "" && e.protocol != protocol {
		e = &edge{Edge: e.Edge, key: k, protocol: protocol} // flows read theirs without the lock
		t.edges[k] = e
	}
	return e
}

// refuse counts a connection that was not admitted.
func (e *edge) refuse(code reason.Code) {
	e.Refused.Add(1)
	e.AddReason(uint16(code))
}

// Deltas is what happened since the last call. One caller at a time.
func (p *Proxy) Deltas() []twin.EdgeDelta {
	t := &p.edges
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []twin.EdgeDelta
	for _, s := range t.page.Snapshot() {
		e := t.edges[s.EdgeKey]
		if e == nil {
			continue
		}
		was := t.told[s.EdgeKey]
		t.told[s.EdgeKey] = s
		d := twin.EdgeDelta{
			Src: s.Src, Dst: s.Dst, Side: s.Side, Protocol: e.protocol, Secured: true,
			Requests: s.Requests - was.Requests, Errors: s.Errors - was.Errors,
			BytesOut: s.BytesOut - was.BytesOut, BytesIn: s.BytesIn - was.BytesIn,
			Opened: s.Opened - was.Opened, Closed: s.Closed - was.Closed, Refused: s.Refused - was.Refused,
			Active: s.Active, Reasons: reasonsSince(s.Reasons, was.Reasons),
			Latency: s.Latency.Sub(was.Latency), Connect: s.Connect.Sub(was.Connect),
		}
		if s.Active != 0 || s.LastUnixNanos != was.LastUnixNanos || s.Refused != was.Refused || s.Requests != was.Requests ||
			s.Opened != was.Opened || s.Errors != was.Errors || s.Closed != was.Closed {
			out = append(out, d)
		}
	}
	return out
}

func reasonsSince(now, was map[uint16]uint64) map[string]uint64 {
	var out map[string]uint64
	for code, n := range now {
		if n -= was[code]; n > 0 {
			if out == nil {
				out = map[string]uint64{}
			}
			out[reason.Code(code).String()] += n
		}
	}
	return out
}
