package proxy

import (
	"sync"
	"time"

	"fire/node/admin"
	"fire/policy/id"
	"fire/policy/reason"
)

const refusalsKept = 256

// refusalRing remembers the last refused or broken flows for `fire why`.
type refusalRing struct {
	mu   sync.Mutex
	ring [refusalsKept]admin.Refusal
	next uint64
}

func (r *refusalRing) add(e admin.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next%refusalsKept] = e
	r.next++
}

// Refusals returns the last refused or broken flows, newest first.
func (p *Proxy) Refusals() []admin.Refusal {
	r := &p.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(r.next, refusalsKept)
	out := make([]admin.Refusal, 0, n)
	for i := range n {
		out = append(out, r.ring[(r.next-1-i)%refusalsKept])
	}
	return out
}

// refuse counts, remembers and logs a flow that was not admitted.
func (p *Proxy) refuse(e *edge, side string, src, dst id.Principal, why *reason.Error, rule string) {
	e.refuse(why.Code)
	p.turnAway(side, src, dst, why, rule)
}

// turnAway records what was not admitted, for the audit too; the counters are the caller's.
func (p *Proxy) turnAway(side string, src, dst id.Principal, why *reason.Error, rule string) {
	p.events.refused(side, src, dst, why, rule)
	p.record(side, src, dst, why, rule)
}

// record remembers and logs; the counters are the caller's.
func (p *Proxy) record(side string, src, dst id.Principal, why *reason.Error, rule string) {
	p.refusals.add(admin.Refusal{At: time.Now(), Node: p.deps.Node, Side: side, Src: src.Name, Dst: dst.Name,
		Reason: why.Code.String(), Rule: rule, Detail: why.Detail})
	if p.talk.Allow() {
		p.deps.Log.Info("flow refused or broken", "svc", dst.Name, "peer", src.String(), "side", side,
			"reason", why.Code.String(), "rule", rule, "err", why.Detail)
	}
}
