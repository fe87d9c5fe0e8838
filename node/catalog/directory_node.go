package catalog

import (
	"slices"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// Join makes a node a member. A name that exists is refused unless again is set,
// which only a token that names the node may do. Durable.
func (d *Directory) Join(node, addr string, again bool, now time.Time) ([]Event, error) {
	if _, err := id.ParseName(node); err != nil {
		return nil, reason.New(reason.NotPermitted, "join: node %w", err)
	}
	if _, ok := d.revoked[d.domain.Node(node).String()]; ok {
		return nil, reason.New(reason.IdentityRevoked, "node %q is revoked", node)
	}
	old, exists := d.nodes[node]
	if exists && !again {
		return nil, reason.New(reason.NotPermitted, "node %q exists already; only a token made for it may replace it", node)
	}
	if !exists && len(d.nodes) >= d.limits.Nodes {
		return nil, reason.New(reason.NotPermitted, "the mesh has %d nodes, its limit", len(d.nodes))
	}
	if addr == "" {
		addr = old.Addr
	}
	d.nodes[node] = member{Addr: addr, Region: old.Region, Zone: old.Zone, Release: old.Release, Roles: old.Roles, Joined: stamp(now)}
	d.changed = true
	return []Event{{Kind: NodeJoined, At: now, Node: node, Detail: addr}}, nil
}

// Forget removes a node, its leases and its drains. Durable.
func (d *Directory) Forget(node string, now time.Time) ([]Event, error) {
	if _, ok := d.nodes[node]; !ok {
		return nil, reason.New(reason.NotPermitted, "node %q is not a member", node)
	}
	var events []Event
	for _, key := range sortedKeys(d.leases) {
		if l := d.leases[key]; l.Node == node {
			events = append(events, d.drop(key, l, reason.OK, "the node was removed", now))
		}
	}
	for key := range d.drains {
		if _, n := splitKey(key); n == node {
			delete(d.drains, key)
		}
	}
	delete(d.nodes, node)
	delete(d.links, node)
	d.changed = true
	return append(events, Event{Kind: NodeForgotten, At: now, Node: node}), nil
}

// Member tells whether the node has joined.
func (d *Directory) Member(node string) bool { _, ok := d.nodes[node]; return ok }

// Link records a node's new session and returns its number. The node's earlier
// session, if any, counts no more: whatever it still says is refused as stale.
func (d *Directory) Link(node string, h *Hello, now time.Time) (uint64, []Event, error) {
	m, ok := d.nodes[node]
	if !ok {
		return 0, nil, reason.New(reason.NotPermitted, "node %q is not a member; join it with a token", node)
	}
	if _, ok := d.revoked[d.domain.Node(node).String()]; ok {
		return 0, nil, reason.New(reason.IdentityRevoked, "node %q is revoked", node)
	}
	d.Observe(h.Have.Version)
	number, err := d.next()
	if err != nil {
		return 0, nil, err
	}
	m.Addr, m.Region, m.Zone, m.Release, m.Roles = h.Addr, h.Region, h.Zone, h.Release, slices.Clone(h.Roles)
	d.nodes[node] = m
	d.links[node] = link{number: number}
	for key, l := range d.leases {
		if l.Node == node && l.draining {
			l.draining = false
			d.leases[key] = l
		}
	}
	d.changed = true
	return number, []Event{{Kind: NodeLinked, At: now, Node: node, Detail: h.Addr}}, nil
}

// Unlink ends a session. A number that is not the node's current one is an older
// session's end and changes nothing. Leases stay until they run out.
func (d *Directory) Unlink(node string, number uint64, code reason.Code, now time.Time) []Event {
	if d.links[node].number != number || number == 0 {
		return nil
	}
	delete(d.links, node)
	d.changed = true
	return []Event{{Kind: NodeUnlinked, At: now, Node: node, Code: code}}
}

// Linked returns the number of the node's current session, 0 for none.
func (d *Directory) Linked(node string) uint64 { return d.links[node].number }

func (d *Directory) current(node string, number uint64) error {
	if number == 0 || d.links[node].number != number {
		return reason.New(reason.EpochStale, "node %q has a newer session", node)
	}
	return nil
}

// Drain starts or ends an operator's planned drain of a node (service "") or of
// one endpoint. It outlives restarts of everything. Durable.
func (d *Directory) Drain(service, node string, on bool, now time.Time) ([]Event, error) {
	if _, ok := d.nodes[node]; !ok {
		return nil, reason.New(reason.NoSuchNode, "node %q is not a member of the mesh", node)
	}
	if f := d.Current(); service != "" {
		if _, ok := f.Floor.Services[service]; !ok {
			return nil, reason.New(reason.NoSuchService, "service %q", service)
		}
	}
	key := EndpointKey(service, node)
	if d.drains[key] == on {
		return nil, nil
	}
	if on {
		d.drains[key] = true
	} else {
		delete(d.drains, key)
	}
	d.changed = true
	return []Event{drainEvent(service, node, on, "by the operator", now)}, nil
}

// DrainSelf is a node's own drain, before it stops; it ends with its session.
func (d *Directory) DrainSelf(node string, number uint64, drain Drain, now time.Time) ([]Event, error) {
	if err := d.current(node, number); err != nil {
		return nil, err
	}
	if drain.Service == "" {
		l := d.links[node]
		if l.draining == drain.On {
			return nil, nil
		}
		l.draining = drain.On
		d.links[node] = l
	} else {
		key := EndpointKey(drain.Service, node)
		l, ok := d.leases[key]
		if !ok {
			return nil, reason.New(reason.LeaseExpired, "%s", key)
		}
		if l.draining == drain.On {
			return nil, nil
		}
		l.draining = drain.On
		d.leases[key] = l
	}
	d.changed = true
	return []Event{drainEvent(drain.Service, node, drain.On, "by the node", now)}, nil
}

func drainEvent(service, node string, on bool, who string, now time.Time) Event {
	e := Event{Kind: DrainOff, At: now, Node: node, Service: service, Detail: who}
	if on {
		e.Kind, e.Code = DrainOn, reason.Draining
	}
	return e
}

// Revoke stops accepting an identity of this domain. Durable.
func (d *Directory) Revoke(p id.Principal, by, why string, now time.Time) ([]Event, error) {
	if p.Domain != d.domain {
		return nil, reason.New(reason.CertWrongDomain, "%s is not of %s", p, d.domain)
	}
	if p.Kind == id.KindControl {
		return nil, reason.New(reason.NotPermitted, "%s is a control identity; retire its root instead: `fire ca rotate`", p)
	}
	key := p.String()
	if _, ok := d.revoked[key]; ok {
		return nil, nil
	}
	if len(d.revoked) >= d.limits.Revoked {
		return nil, reason.New(reason.NotPermitted, "%d identities are revoked, the limit", len(d.revoked))
	}
	d.revoked[key] = Revocation{At: stamp(now), By: clip(by), Why: clip(why)}
	d.changed = true
	return []Event{identityEvent(IdentityRevoked, p, why, now)}, nil
}

// Unrevoke lifts a revocation. Durable.
func (d *Directory) Unrevoke(p id.Principal, now time.Time) ([]Event, error) {
	key := p.String()
	if _, ok := d.revoked[key]; !ok {
		return nil, reason.New(reason.NotPermitted, "%s is not revoked", p)
	}
	delete(d.revoked, key)
	d.changed = true
	return []Event{identityEvent(IdentityCleared, p, "", now)}, nil
}

func identityEvent(kind EventKind, p id.Principal, why string, now time.Time) Event {
	e := Event{Kind: kind, At: now, Detail: why}
	if kind == IdentityRevoked {
		e.Code = reason.IdentityRevoked
	}
	if p.Kind == id.KindNode {
		e.Node = p.Name
	} else {
		e.Service = p.Name
	}
	return e
}

// stamp drops what JSON does not carry, so that a decoded Directory equals ours.
func stamp(t time.Time) time.Time { return t.UTC().Round(0) }
