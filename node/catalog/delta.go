package catalog

import (
	"maps"
	"reflect"
	"slices"

	"fire/policy"
	"fire/policy/pki"
	"fire/policy/reason"
)

// Delta is the way from one State to another: what to set and what to delete.
type Delta struct {
	From      uint64                 `json:"from"`
	FromHash  Digest                 `json:"from_digest"`
	To        uint64                 `json:"to"`
	Floor     uint64                 `json:"floor"`
	Services  Change[Service]        `json:"services,omitzero"`
	Rules     Change[policy.Rule]    `json:"rules,omitzero"`
	Channels  Change[policy.Channel] `json:"channels,omitzero"`
	Nodes     Change[Node]           `json:"nodes,omitzero"`
	Endpoints Change[Endpoint]       `json:"endpoints,omitzero"`
	Revoked   Change[Revocation]     `json:"revoked,omitzero"`
	Bundle    *pki.Bundle            `json:"bundle,omitempty"`
}

// Change is what happened to one map.
type Change[V any] struct {
	Set    map[string]V `json:"set,omitempty"`
	Delete []string     `json:"delete,omitempty"` // sorted
}

// Empty tells that nothing happened.
func (c Change[V]) Empty() bool { return len(c.Set) == 0 && len(c.Delete) == 0 }

// Diff returns the delta that makes b of a. Both are of the same domain.
func Diff(a, b *State) Delta { return diff(a, b, a.Digest()) }

// diff is Diff with a's digest, which costs as much as the rest.
func diff(a, b *State, digest Digest) Delta {
	d := Delta{
		From: a.Version, FromHash: digest, To: b.Version, Floor: b.Floor,
		Services:  changeOf(a.Services, b.Services, deeply),
		Rules:     changeOf(a.Rules, b.Rules, deeply),
		Channels:  changeOf(a.Channels, b.Channels, deeply),
		Nodes:     changeOf(a.Nodes, b.Nodes, deeply),
		Endpoints: changeOf(a.Endpoints, b.Endpoints, func(e, f Endpoint) bool { return e == f }), // by far the most
		Revoked:   changeOf(a.Revoked, b.Revoked, deeply),
	}
	if !reflect.DeepEqual(a.Bundle, b.Bundle) {
		bundle := b.Bundle
		d.Bundle = &bundle
	}
	return d
}

// Apply returns the state after d; a stays as it is. The caller compares the
// result's Digest with the signed one and asks for a snapshot if they differ.
func (d Delta) Apply(a *State) (*State, error) {
	if a.Version != d.From {
		return nil, reason.New(reason.ConfigRejected, "delta starts from version %d, this is version %d", d.From, a.Version)
	}
	if a.Digest() != d.FromHash {
		return nil, reason.New(reason.ConfigRejected, "delta starts from another version %d than ours", d.From)
	}
	if d.To < d.From {
		return nil, reason.New(reason.ConfigRejected, "delta goes back from version %d to %d", d.From, d.To)
	}
	b := a.clone()
	b.Version, b.Floor = d.To, d.Floor
	d.Services.apply(b.Services)
	d.Rules.apply(b.Rules)
	d.Channels.apply(b.Channels)
	d.Nodes.apply(b.Nodes)
	d.Endpoints.apply(b.Endpoints)
	d.Revoked.apply(b.Revoked)
	if d.Bundle != nil {
		b.Bundle = *d.Bundle
	}
	return b, nil
}

func (c Change[V]) apply(m map[string]V) {
	for _, k := range c.Delete {
		delete(m, k)
	}
	maps.Copy(m, c.Set)
}

func deeply[V any](a, b V) bool { return reflect.DeepEqual(a, b) }

func changeOf[V any](a, b map[string]V, same func(V, V) bool) Change[V] {
	var c Change[V]
	for k, now := range b {
		if old, ok := a[k]; ok && same(old, now) {
			continue
		}
		if c.Set == nil {
			c.Set = map[string]V{}
		}
		c.Set[k] = now
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			c.Delete = append(c.Delete, k)
		}
	}
	slices.Sort(c.Delete)
	return c
}
