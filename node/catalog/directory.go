package catalog

import (
	"maps"
	"math"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
)

// Limits bound a Directory. They are stated here, in one place, and refused above.
// Endpoints are bounded by the floor: there is none that it does not place.
type Limits struct {
	Lease      time.Duration // how long an endpoint lives without a renewal
	History    int           // floor versions kept for rollback
	Nodes      int           // joined nodes
	Revoked    int           // revocations
	SeqReserve uint64        // numbers reserved by one durable write
}

// DefaultLimits are the limits of a mesh of 4,096 nodes.
func DefaultLimits() Limits {
	return Limits{Lease: 3 * time.Second, History: 32, Nodes: 4096, Revoked: 100_000, SeqReserve: 10_000}
}

// historyItems bounds the services and rules of all kept floor versions together,
// so that one durable write stays small even when each floor is large.
const historyItems = 60_000

// seqMax keeps numbers exact in every JSON reader (2^53), with room to go on
// after a faulty peer named the largest number it could.
const seqMax = 1 << 52

// Directory is the state machine of control: nodes, leases, floors, revocations.
// It is not safe for concurrent use: one event loop owns it. It reads no clock
// and does no I/O, so two directories fed the same calls are equal.
//
// Epochs, link numbers and state versions come from one sequence, which grows
// strictly for the life of the mesh: Reserve raises a durable mark, and a decoded
// Directory goes on above it.
type Directory struct {
	limits Limits

	// durable: what Encode writes
	domain   id.Domain
	reserved uint64 // numbers up to and including this one may be used
	floors   []Edition
	nodes    map[string]member
	drains   map[string]bool // by EndpointKey; service "" is the whole node
	revoked  map[string]Revocation

	// volatile: leases live in memory only; Encode keeps them as a hint
	seq    uint64
	links  map[string]link
	leases map[string]lease
	bundle pki.Bundle

	// derived
	state   *State
	changed bool
}

type member struct {
	Addr    string    `json:"addr,omitempty"`
	Region  string    `json:"region,omitempty"`
	Zone    string    `json:"zone,omitempty"`
	Release string    `json:"release,omitempty"`
	Roles   []string  `json:"roles,omitempty"`
	Joined  time.Time `json:"joined"`
}

// link is a node's live session with control.
type link struct {
	number   uint64
	draining bool // asked by the node itself; ends with the link
}

type lease struct {
	Endpoint
	until    time.Time
	draining bool // asked by the node itself
}

// NewDirectory is the directory of an empty mesh.
func NewDirectory(domain id.Domain, limits Limits) *Directory {
	return &Directory{
		limits: limits, domain: domain,
		nodes: map[string]member{}, drains: map[string]bool{}, revoked: map[string]Revocation{},
		links: map[string]link{}, leases: map[string]lease{}, changed: true,
	}
}

// Domain is the trust domain that it is of.
func (d *Directory) Domain() id.Domain { return d.domain }

// SetBundle publishes the trust bundle as a part of the state.
func (d *Directory) SetBundle(b pki.Bundle) { d.bundle, d.changed = b, true }

// Changed tells whether State would make a new version.
func (d *Directory) Changed() bool { return d.changed }

// State is the current value, with a new version if anything changed since the
// last call. It is immutable. Without a reserved number left it stays the old one.
func (d *Directory) State() *State {
	if d.state != nil && !d.changed {
		return d.state
	}
	version, err := d.next()
	if err != nil {
		return d.state
	}
	f := d.Current()
	s := &State{
		Domain: d.domain, Version: version, Floor: f.Version, Services: f.Floor.Services, Rules: f.Floor.Policies, Channels: f.Floor.Channels,
		Nodes: make(map[string]Node, len(d.nodes)), Endpoints: make(map[string]Endpoint, len(d.leases)),
		Revoked: maps.Clone(d.revoked), Bundle: d.bundle,
	}
	for name, m := range d.nodes {
		l, linked := d.links[name]
		s.Nodes[name] = Node{Addr: m.Addr, Region: m.Region, Zone: m.Zone, Release: m.Release, Roles: m.Roles,
			Linked: linked, Draining: l.draining || d.drains[EndpointKey("", name)]}
	}
	for key, l := range d.leases {
		e := l.Endpoint
		_, e.Linked = d.links[e.Node]
		e.Draining = l.draining || d.drains[key]
		s.Endpoints[key] = e
	}
	s.whole()
	d.state, d.changed = s, false
	return s
}

// Low tells that the reserved numbers run out: time for a durable Reserve.
func (d *Directory) Low() bool { return d.reserved < d.seq+d.limits.SeqReserve/2 }

// Reserve raises the mark by one block and returns it. It counts only once the
// Encode after it is durable.
func (d *Directory) Reserve() uint64 {
	d.reserved = max(d.reserved, d.seq) + d.limits.SeqReserve
	return d.reserved
}

// Raise lifts the mark to one that a Clone reserved and that is durable now.
func (d *Directory) Raise(mark uint64) { d.reserved = max(d.reserved, mark) }

// Observe learns of a version that a node holds from this mesh. After a restore
// from an old backup it keeps new versions above every one that is out there.
func (d *Directory) Observe(version uint64) {
	if version > d.seq && version < seqMax {
		d.seq, d.changed = version, true
	}
}

func (d *Directory) next() (uint64, error) {
	if d.seq >= d.reserved || d.seq == math.MaxUint64 {
		return 0, reason.New(reason.DiskFull, "no sequence number is reserved; the state file cannot be written")
	}
	d.seq++
	return d.seq, nil
}

// EventKind says what happened.
type EventKind string

const (
	NodeJoined      EventKind = "node_joined"
	NodeForgotten   EventKind = "node_forgotten"
	NodeLinked      EventKind = "node_linked"
	NodeUnlinked    EventKind = "node_unlinked"
	EndpointUp      EventKind = "endpoint_up"
	EndpointDown    EventKind = "endpoint_down"
	EndpointRemoved EventKind = "endpoint_removed"
	DrainOn         EventKind = "drain_on"
	DrainOff        EventKind = "drain_off"
	IdentityRevoked EventKind = "identity_revoked"
	IdentityCleared EventKind = "identity_cleared"
	FloorApplied    EventKind = "floor_applied"
)

// Urgent tells that nodes must hear of it at once, past any debounce: somebody
// would otherwise send traffic to where it fails, or accept who is revoked.
func (k EventKind) Urgent() bool {
	switch k {
	case NodeUnlinked, EndpointDown, EndpointRemoved, DrainOn, IdentityRevoked, FloorApplied:
		return true
	}
	return false
}

// Event is one thing that happened, for logs, the twin and the push.
type Event struct {
	Kind    EventKind   `json:"kind"`
	At      time.Time   `json:"at"`
	Node    string      `json:"node,omitempty"`
	Service string      `json:"svc,omitempty"`
	Code    reason.Code `json:"code,omitempty"`
	Detail  string      `json:"detail,omitempty"`
}
