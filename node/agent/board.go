package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"fire/node/catalog"
	"fire/policy/reason"
)

// board holds, for each service of this host, what its check says and what control
// has granted. Checkers write one side, the link the other; due is what remains to
// be told.
type board struct {
	changed chan struct{} // of one: something may be due

	mu   sync.Mutex
	rows map[string]*row
}

type row struct {
	service string
	weight  int
	calls   bool // runs nothing, so nothing is registered

	healthy bool
	why     string
	protest string // set while the floor and this host disagree about the service

	epoch   uint64 // 0: none was ever granted, or the last one is lost
	granted bool   // on this link
	asked   time.Time
	refusal *reason.Error
	told    condition // what control knows
}

// condition is what others see of an endpoint's health.
type condition struct {
	healthy bool
	why     string
}

const (
	notChecked = "not checked yet"
	askAgain   = 5 * time.Second // a Register without an answer is repeated
	askPause   = time.Second     // between two Registers of one service
)

func newBoard(services map[string]Service) *board {
	b := &board{changed: make(chan struct{}, 1), rows: map[string]*row{}}
	for name, s := range services {
		b.rows[name] = &row{service: name, weight: s.Weight, calls: s.Address == "", why: notChecked}
	}
	return b
}

func (r *row) condition() condition {
	if r.protest != "" {
		return condition{false, r.protest}
	}
	return condition{r.healthy, r.why}
}

func (r *row) claim() catalog.Claim {
	c := r.condition()
	return catalog.Claim{Service: r.service, Epoch: r.epoch, Healthy: c.healthy, Why: c.why, Weight: r.weight}
}

// setHealth records a verdict of a checker.
func (b *board) setHealth(service string, healthy bool, why string) {
	b.mu.Lock()
	r := b.rows[service]
	r.healthy, r.why = healthy, why
	b.mu.Unlock()
	poke(b.changed)
}

// hello starts a link: every service is claimed anew, with the epoch it still holds.
func (b *board) hello(now time.Time) []catalog.Claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	var claims []catalog.Claim
	for _, r := range b.ordered() {
		r.granted, r.asked, r.refusal, r.told = false, now.Add(askAgain), nil, r.condition()
		claims = append(claims, r.claim())
	}
	return claims
}

// due returns what must be told now, and when to look again at the latest.
func (b *board) due(now time.Time) (messages []catalog.NodeMessage, again time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	again = now.Add(askAgain)
	for _, r := range b.ordered() {
		switch {
		case r.granted && r.told != r.condition():
			r.told = r.condition()
			messages = append(messages, catalog.NodeMessage{Health: &catalog.Health{
				Lease: catalog.Lease{Service: r.service, Epoch: r.epoch}, Healthy: r.told.healthy, Why: r.told.why}})
		case !r.granted && r.refusal == nil:
			if now.Before(r.asked) {
				again = earliest(again, r.asked)
				continue
			}
			r.asked, r.told = now.Add(askAgain), r.condition()
			c := r.claim()
			messages = append(messages, catalog.NodeMessage{Register: &c})
		}
	}
	return messages, again
}

// grant notes the epoch that control gave.
func (b *board) grant(g catalog.Grant) {
	b.mu.Lock()
	if r := b.rows[g.Service]; r != nil && !r.calls {
		r.epoch, r.granted, r.refusal = g.Epoch, true, nil
	}
	b.mu.Unlock()
	poke(b.changed) // the health may have changed since it was claimed
}

// refuse notes that control did not take a claim or that a lease is lost. A lost
// lease is claimed again after a pause; a claim that the floor forbids waits for
// another floor.
func (b *board) refuse(f *catalog.Refuse, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[f.Service]
	if r == nil || r.calls || r.granted && f.Epoch != 0 && f.Epoch != r.epoch {
		return // an answer about an epoch that is history
	}
	r.granted = false
	switch f.Code {
	case reason.LeaseExpired, reason.EpochStale:
		r.epoch, r.asked = 0, now.Add(askPause)
	case reason.NotPlaced, reason.NoSuchService:
		r.epoch, r.refusal = 0, &reason.Error{Code: f.Code, Detail: f.Detail}
	default:
		r.refusal, r.asked = nil, now.Add(askAgain)
	}
	poke(b.changed)
}

// again claims everything anew, on control's wish.
func (b *board) again(now time.Time) {
	b.mu.Lock()
	for _, r := range b.rows {
		r.granted, r.asked, r.refusal = false, now, nil
	}
	b.mu.Unlock()
	poke(b.changed)
}

// floor looks at the services as another catalogue places and describes them.
func (b *board) floor(v *catalog.View, node string, spoken func(service string) string) {
	b.mu.Lock()
	for _, r := range b.rows {
		s, declared := v.Service(r.service)
		if r.refusal != nil && v.Placed(r.service, node) {
			r.refusal, r.asked = nil, time.Time{}
		}
		if r.granted && !v.Placed(r.service, node) {
			r.granted, r.epoch = false, 0
			r.refusal = reason.New(reason.NotPlaced, "service %s on node %s; add the node to its nodes in the floor file: fire apply", r.service, node)
		}
		r.protest = ""
		if own := spoken(r.service); declared && own != "" && own != string(s.Protocol) {
			r.protest = "this host says protocol " + own + ", the floor says " + string(s.Protocol)
		}
	}
	b.mu.Unlock()
	poke(b.changed)
}

// leases are the endpoints to renew.
func (b *board) leases() []catalog.Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []catalog.Lease
	for _, r := range b.ordered() {
		if r.granted {
			out = append(out, catalog.Lease{Service: r.service, Epoch: r.epoch})
		}
	}
	return out
}

// ordered are the rows that may be registered, by name. The caller holds mu.
func (b *board) ordered() []*row {
	var out []*row
	for _, name := range slices.Sorted(maps.Keys(b.rows)) {
		if r := b.rows[name]; !r.calls {
			out = append(out, r)
		}
	}
	return out
}

// ServiceStatus is one service of this host as `fire status` shows it.
type ServiceStatus struct {
	Service    string      `json:"service"`
	Epoch      uint64      `json:"epoch"`
	Registered bool        `json:"registered"` // control granted the lease on the present link
	Healthy    bool        `json:"healthy"`
	Why        string      `json:"why,omitempty"`
	Reason     reason.Code `json:"reason,omitempty"` // of not being registered
	Detail     string      `json:"detail,omitempty"`
}

func (b *board) status(linked bool) []ServiceStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []ServiceStatus
	for _, r := range b.ordered() {
		c := r.condition()
		s := ServiceStatus{Service: r.service, Epoch: r.epoch, Registered: linked && r.granted, Healthy: c.healthy, Why: c.why}
		if r.refusal != nil {
			s.Reason, s.Detail = r.refusal.Code, r.refusal.Detail
		}
		out = append(out, s)
	}
	return out
}

func errUnlinked() error {
	return reason.New(reason.ControlUnreachable, "there is no link to control now")
}
