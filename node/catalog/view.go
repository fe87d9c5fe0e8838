package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"fire/policy"
	"fire/policy/id"
)

// View is a State made ready for the data path: rules compiled, endpoints
// indexed. It is immutable and published behind an atomic pointer.
type View struct {
	State    *State
	Table    *policy.Table
	SignedAt time.Time // of the Signed it came from; zero if unsigned

	byService map[string]listing
	revoked   map[id.Principal]bool
	placed    map[placement]bool
}

type placement struct{ service, node string }

type listing struct {
	all  []EndpointRef // best tier first
	best int           // all[:best] are routable now
}

// Tier orders endpoints for routing; lower is better.
type Tier uint8

const (
	TierReady  Tier = 0 // linked, healthy, not draining
	TierUnsure Tier = 1 // its node lost control, the lease is still valid: only when nothing better
	TierOut    Tier = 2 // unhealthy, draining or revoked: never
)

// EndpointRef is an endpoint with its node's address.
type EndpointRef struct {
	Endpoint
	Key    string
	Addr   string // of the node's QUIC socket
	Region string
	Tier   Tier
}

// Compile checks and indexes s, which must not change afterwards. SignedAt is
// the caller's to set before publishing.
func Compile(s *State) (*View, error) {
	table, problems := policy.Compile(s.Domain.Mesh, s.Rules)
	if len(problems) > 0 {
		p := problems[0]
		return nil, fmt.Errorf("version %d: rule %q: %s: %s (%d problems)", s.Version, p.Rule, p.Field, p.Text, len(problems))
	}
	v := &View{State: s, Table: table, byService: map[string]listing{},
		revoked: map[id.Principal]bool{}, placed: map[placement]bool{}}
	for uri := range s.Revoked {
		p, err := id.ParsePrincipal(uri)
		if err != nil {
			return nil, fmt.Errorf("version %d: revoked: %w", s.Version, err)
		}
		v.revoked[p] = true
	}
	for name, sv := range s.Services {
		for _, node := range sv.Nodes {
			v.placed[placement{name, node}] = true
		}
	}
	v.index()
	return v, nil
}

func (v *View) index() {
	for key, e := range v.State.Endpoints {
		n := v.State.Nodes[e.Node]
		l := v.byService[e.Service]
		l.all = append(l.all, EndpointRef{Endpoint: e, Key: key, Addr: n.Addr, Region: n.Region, Tier: v.tier(e, n)})
		v.byService[e.Service] = l
	}
	for name, l := range v.byService {
		slices.SortFunc(l.all, func(a, b EndpointRef) int {
			return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Node, b.Node))
		})
		for l.best < len(l.all) && l.all[l.best].Tier == l.all[0].Tier && l.all[0].Tier != TierOut {
			l.best++
		}
		v.byService[name] = l
	}
}

func (v *View) tier(e Endpoint, n Node) Tier {
	d := v.State.Domain
	switch {
	case !e.Healthy, e.Draining, n.Draining, !v.placed[placement{e.Service, e.Node}],
		v.revoked[d.Node(e.Node)], v.revoked[d.Service(e.Service)]:
		return TierOut
	case e.Linked && n.Linked:
		return TierReady
	}
	return TierUnsure
}

// ByService returns every endpoint of the service, best first. The slice is
// shared: do not write to it.
func (v *View) ByService(name string) []EndpointRef { return v.byService[name].all }

// Routable returns the endpoints that may get a new flow now: the ready ones, or
// the unsure ones when there is no ready one. Shared; no allocation.
func (v *View) Routable(name string) []EndpointRef {
	l := v.byService[name]
	return l.all[:l.best]
}

// Service returns the declaration of a service.
func (v *View) Service(name string) (Service, bool) {
	s, ok := v.State.Services[name]
	return s, ok
}

// Placed tells whether the floor places the service on the node: the check of
// the server's side on the node leaf that a client sees, and of Issue.
func (v *View) Placed(service, node string) bool { return v.placed[placement{service, node}] }

// Revoked tells whether the identity is revoked.
func (v *View) Revoked(p id.Principal) bool { return v.revoked[p] }

// RevokedSet is the whole set, for pki.Verifier. Do not write to it.
func (v *View) RevokedSet() map[id.Principal]bool { return v.revoked }

// ChannelsBetween names the channels that carry messages from src to dst, sorted: not those
// between which a deny rule stands.
func (v *View) ChannelsBetween(src, dst string) (names []string) {
	d := v.State.Domain
	for _, name := range sortedKeys(v.State.Channels) {
		c := v.State.Channels[name]
		there := slices.Contains(c.Publishers, src) && slices.Contains(c.Subscribers, dst) &&
			v.Table.Pair(name, d.Service(src), d.Service(dst)).Allowed
		back := c.Kind == policy.RPC && slices.Contains(c.Publishers, dst) && slices.Contains(c.Subscribers, src) &&
			v.Table.Pair(name, d.Service(dst), d.Service(src)).Allowed
		if there || back {
			names = append(names, name)
		}
	}
	return names
}
