package proxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy/reason"
	"fire/transport/balance"
)

// routeTable turns the catalogue's endpoints into candidates, once per view and
// service.
type routeTable struct {
	proxy *Proxy

	mu       sync.Mutex
	services map[string]*route
}

// route is what this proxy remembers of one service across views.
type route struct {
	proxy   *Proxy
	service string
	current atomic.Pointer[candidates]

	mu    sync.Mutex // guards the making of current, and group
	group *balance.Group
	cfg   balance.Config
}

// candidates is one view's endpoints of a service; immutable.
type candidates struct {
	view     *catalog.View
	declared catalog.Service
	known    bool
	policy   balance.Policy
	group    *balance.Group
	refs     []catalog.EndpointRef
	list     []balance.Candidate
}

func (t *routeTable) init(p *Proxy) { t.proxy, t.services = p, map[string]*route{} }

// route is looked up once per upstream.
func (t *routeTable) route(service string) *route {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.services[service]
	if r == nil {
		r = &route{proxy: t.proxy, service: service}
		t.services[service] = r
	}
	return r
}

// retain forgets endpoints that are gone.
func (t *routeTable) retain(v *catalog.View) {
	if v == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.services {
		r.mu.Lock()
		if r.group != nil {
			r.group.Retain(func(key string) bool { _, ok := v.State.Endpoints[key]; return ok })
		}
		r.mu.Unlock()
	}
}

// at returns the candidates of v.
func (r *route) at(v *catalog.View) *candidates {
	if c := r.current.Load(); c != nil && c.view == v {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.current.Load()
	if before != nil && before.view == v {
		return before
	}
	c := &candidates{view: v}
	c.declared, c.known = v.Service(r.service)
	if policy, err := balance.ParsePolicy(string(c.declared.Balance)); err == nil {
		c.policy = policy
	}
	if cfg := ejection(c.declared); r.group == nil || cfg != r.cfg {
		r.group, r.cfg = balance.NewGroup(cfg, rand.Uint64()), cfg
	}
	c.group = r.group
	c.refs = v.ByService(r.service)
	ready := len(v.Routable(r.service))
	for i, ref := range c.refs {
		c.list = append(c.list, balance.Candidate{
			Endpoint: c.group.Endpoint(ref.Key), Distance: r.proxy.distance(ref), Ready: i < ready && ref.Addr != "",
			Weight: uint16(min(max(ref.Weight, 0), catalog.WeightMax)),
		})
	}
	if before != nil {
		c.recoveredSince(before, r.proxy.now())
	}
	r.current.Store(c)
	return c
}

// recoveredSince tells the balancer which endpoints the catalogue has found to work
// again: after an application's restart its ejection would last up to a minute.
func (c *candidates) recoveredSince(before *candidates, now time.Duration) {
	was := make(map[string]catalog.EndpointRef, len(before.refs))
	for _, ref := range before.refs {
		was[ref.Key] = ref
	}
	for i, ref := range c.refs {
		old, known := was[ref.Key]
		if known && ref.Healthy && ref.Linked && (!old.Healthy || !old.Linked || old.Epoch < ref.Epoch) {
			c.list[i].Endpoint.Recovered(now)
		}
	}
}

// ejection is the service's own rules of ejection, with balance's defaults for the rest.
func ejection(s catalog.Service) balance.Config {
	cfg := balance.Default()
	cfg.ConsecutiveFailures = s.EjectAfter
	if d := time.Duration(s.EjectFor); d > 0 {
		cfg.BackoffMin = d
	}
	cfg.BackoffMax = max(cfg.BackoffMin, time.Duration(s.EjectMax))
	return cfg
}

func (p *Proxy) distance(ref catalog.EndpointRef) balance.Distance {
	switch {
	case ref.Node == p.deps.Node:
		return balance.SameNode
	case ref.Zone != "" && ref.Zone == p.deps.Zone:
		return balance.SameZone
	}
	return balance.SameRegion // a view holds one region
}

// pick chooses an endpoint that is none of the tried ones. The ticket is the caller's
// to tell and to release.
func (c *candidates) pick(now time.Duration, tried []int) (balance.Ticket, catalog.EndpointRef, error) {
	list := c.list
	if len(tried) > 0 { // a second try: off the fast path
		list = append([]balance.Candidate(nil), list...)
		for _, i := range tried {
			list[i].Ready = false
		}
	}
	ticket, code := balance.Pick(c.policy, list, c.group, now, rand.Uint64())
	if code == reason.OK {
		return ticket, c.refs[ticket.Index], nil
	}
	for _, ref := range c.refs {
		if ref.Why != "" {
			return ticket, catalog.EndpointRef{}, reason.New(code, "%d endpoints, %s: %s", len(c.refs), ref.Node, ref.Why)
		}
	}
	return ticket, catalog.EndpointRef{}, reason.New(code, "%d endpoints", len(c.refs))
}
