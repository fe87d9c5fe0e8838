package catalog

import (
	"slices"
	"strings"
	"time"

	"fire/policy/reason"
)

// Register gives a service on a node its endpoint and the lease with its epoch.
// A claim that names the epoch of the endpoint as it stands keeps it: that is the
// same holder, back after a reconnect or a restart of control. Any other claim
// gets a higher epoch, and the older holder's words count no more.
func (d *Directory) Register(node string, number uint64, c Claim, now time.Time) (Grant, []Event, error) {
	if err := d.current(node, number); err != nil {
		return Grant{}, nil, err
	}
	f := d.Current().Floor
	if _, ok := f.Services[c.Service]; !ok {
		return Grant{}, nil, reason.New(reason.NoSuchService, "service %q", c.Service)
	}
	if !f.placed(c.Service, node) {
		return Grant{}, nil, reason.New(reason.NotPlaced, "service %q is not placed on node %q", c.Service, node)
	}
	key := EndpointKey(c.Service, node)
	old, exists := d.leases[key]
	epoch := old.Epoch
	if !exists || c.Epoch != old.Epoch {
		var err error
		if epoch, err = d.next(); err != nil {
			return Grant{}, nil, err
		}
	}
	l := lease{until: now.Add(d.limits.Lease), Endpoint: Endpoint{Service: c.Service, Node: node, Epoch: epoch,
		Healthy: c.Healthy, Why: clip(c.Why), Zone: d.nodes[node].Zone, Weight: max(c.Weight, 1)}}
	d.leases[key], d.changed = l, true
	return Grant{Lease: Lease{Service: c.Service, Epoch: epoch}, Until: l.until}, healthEvents(exists, old.Endpoint, l.Endpoint, now), nil
}

// Renew extends the named leases. It returns the stale ones: expired, or held by
// a newer epoch. It makes no new version.
func (d *Directory) Renew(node string, number uint64, leases []Lease, now time.Time) ([]Refuse, error) {
	if err := d.current(node, number); err != nil {
		return nil, err
	}
	var stale []Refuse
	for _, want := range leases {
		key := EndpointKey(want.Service, node)
		l, err := d.lease(key, want.Epoch)
		if err != nil {
			stale = append(stale, Refuse{Service: want.Service, Epoch: want.Epoch, Code: reason.Of(err, reason.LeaseExpired), Detail: err.Error()})
			continue
		}
		l.until = later(l.until, now.Add(d.limits.Lease))
		d.leases[key] = l
	}
	return stale, nil
}

// Health records the result of an endpoint's check.
func (d *Directory) Health(node string, number uint64, h Health, now time.Time) ([]Event, error) {
	if err := d.current(node, number); err != nil {
		return nil, err
	}
	key := EndpointKey(h.Service, node)
	l, err := d.lease(key, h.Epoch)
	if err != nil {
		return nil, err
	}
	old := l.Endpoint
	l.Healthy, l.Why = h.Healthy, clip(h.Why)
	if old == l.Endpoint {
		return nil, nil
	}
	d.leases[key], d.changed = l, true
	return healthEvents(true, old, l.Endpoint, now), nil
}

// Withdraw removes an endpoint on its holder's word.
func (d *Directory) Withdraw(node string, number uint64, want Lease, now time.Time) ([]Event, error) {
	if err := d.current(node, number); err != nil {
		return nil, err
	}
	key := EndpointKey(want.Service, node)
	l, err := d.lease(key, want.Epoch)
	if err != nil {
		return nil, err
	}
	return []Event{d.drop(key, l, reason.OK, "withdrawn by its node", now)}, nil
}

// Expire removes every endpoint whose lease has run out.
func (d *Directory) Expire(now time.Time) []Event {
	var events []Event
	for _, key := range sortedKeys(d.leases) {
		if l := d.leases[key]; !l.until.After(now) {
			events = append(events, d.drop(key, l, reason.LeaseExpired, "", now))
		}
	}
	return events
}

// NextExpiry is when Expire has something to do next; false: never.
func (d *Directory) NextExpiry() (time.Time, bool) {
	var next time.Time
	for _, l := range d.leases {
		if next.IsZero() || l.until.Before(next) {
			next = l.until
		}
	}
	return next, !next.IsZero()
}

func (d *Directory) lease(key string, epoch uint64) (lease, error) {
	l, ok := d.leases[key]
	switch {
	case !ok:
		return lease{}, reason.New(reason.LeaseExpired, "%s", key)
	case l.Epoch != epoch:
		return lease{}, reason.New(reason.EpochStale, "%s has epoch %d, not %d", key, l.Epoch, epoch)
	}
	return l, nil
}

func (d *Directory) drop(key string, l lease, code reason.Code, detail string, now time.Time) Event {
	delete(d.leases, key)
	d.changed = true
	return Event{Kind: EndpointRemoved, At: now, Node: l.Node, Service: l.Service, Code: code, Detail: detail}
}

func healthEvents(existed bool, old, e Endpoint, now time.Time) []Event {
	event := Event{At: now, Node: e.Node, Service: e.Service, Detail: e.Why}
	switch {
	case e.Healthy && (!existed || !old.Healthy):
		event.Kind = EndpointUp
	case !e.Healthy && existed && old.Healthy:
		event.Kind, event.Code = EndpointDown, reason.NoHealthyEndpoint
	default:
		return nil
	}
	return []Event{event}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func splitKey(key string) (service, node string) {
	service, node, _ = strings.Cut(key, "@")
	return service, node
}

// Placed tells whether the floor in force places the service on the node.
func (d *Directory) Placed(service, node string) bool { return d.Current().Floor.placed(service, node) }

func (f Floor) placed(service, node string) bool {
	return slices.Contains(f.Services[service].Nodes, node)
}
