package catalog

import (
	"reflect"

	"fire/policy"
	"fire/policy/id"
)

// PairsMax bounds the pairs that a Difference lists; it counts all of them.
const PairsMax = 1000

// pairServicesMax bounds the services whose pairs are compared: a million pairs
// take about half a second.
const pairServicesMax = 1000

// Difference is what a new floor would change: the answer of a dry run.
type Difference struct {
	Added   []string `json:"added"` // "service.orders", "policy.x", "channel.y", sorted
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`

	Allowed      []Pair `json:"allowed"` // newly allowed to connect
	Denied       []Pair `json:"denied"`  // newly denied
	AllowedTotal int    `json:"allowed_total"`
	DeniedTotal  int    `json:"denied_total"`
	Truncated    bool   `json:"truncated"` // more pairs than are listed, or too many services to compare

	Unplaced []string `json:"unplaced"` // endpoint keys that would be removed
	Unknown  []string `json:"unknown"`  // nodes named in a placement that have not joined
}

// Pair is a source and a destination service, with the rule that decides.
type Pair struct {
	From string `json:"from"`
	To   string `json:"to"`
	Rule string `json:"rule,omitempty"` // empty: denied by default
}

// Empty tells that nothing would change.
func (d Difference) Empty() bool {
	return len(d.Added)+len(d.Removed)+len(d.Changed) == 0
}

// DryRun tells what ApplyFloor would do, without doing it.
func (d *Directory) DryRun(f Floor) Difference {
	cur := d.Current().Floor
	out := Difference{Added: []string{}, Removed: []string{}, Changed: []string{}, Allowed: []Pair{}, Denied: []Pair{}, Unplaced: []string{}}
	compare(&out, "service.", cur.Services, f.Services)
	compare(&out, "policy.", cur.Policies, f.Policies)
	compare(&out, "channel.", cur.Channels, f.Channels)
	out.pairs(d.domain, cur, f)
	for _, key := range sortedKeys(d.leases) {
		if l := d.leases[key]; !f.placed(l.Service, l.Node) {
			out.Unplaced = append(out.Unplaced, key)
		}
	}
	unknown := map[string]bool{}
	for _, s := range f.Services {
		for _, n := range s.Nodes {
			if !d.Member(n) {
				unknown[n] = true
			}
		}
	}
	out.Unknown = sortedKeys(unknown)
	return out
}

func compare[V any](out *Difference, prefix string, a, b map[string]V) {
	for _, k := range sortedKeys(b) {
		if old, ok := a[k]; !ok {
			out.Added = append(out.Added, prefix+k)
		} else if !reflect.DeepEqual(old, b[k]) {
			out.Changed = append(out.Changed, prefix+k)
		}
	}
	for _, k := range sortedKeys(a) {
		if _, ok := b[k]; !ok {
			out.Removed = append(out.Removed, prefix+k)
		}
	}
}

// pairs compares the verdicts of both floors for every two services of either.
// A pair with a service that one floor lacks is denied there.
func (out *Difference) pairs(domain id.Domain, a, b Floor) {
	before, problems := policy.Compile(domain.Mesh, a.Policies)
	after, more := policy.Compile(domain.Mesh, b.Policies)
	if len(problems)+len(more) > 0 {
		return
	}
	all := map[string]bool{}
	for name := range a.Services {
		all[name] = true
	}
	for name := range b.Services {
		all[name] = true
	}
	names := sortedKeys(all)
	if len(names) > pairServicesMax {
		out.Truncated = true
		return
	}
	for _, from := range names {
		for _, to := range names {
			was, is := a.verdict(before, domain, from, to), b.verdict(after, domain, from, to)
			switch {
			case is.Allowed && !was.Allowed:
				out.AllowedTotal++
				out.list(&out.Allowed, Pair{from, to, is.Rule})
			case was.Allowed && !is.Allowed:
				out.DeniedTotal++
				out.list(&out.Denied, Pair{from, to, is.Rule})
			}
		}
	}
}

func (out *Difference) list(pairs *[]Pair, p Pair) {
	if len(*pairs) >= PairsMax {
		out.Truncated = true
		return
	}
	*pairs = append(*pairs, p)
}

func (f Floor) verdict(t *policy.Table, domain id.Domain, from, to string) policy.Verdict {
	_, haveFrom := f.Services[from]
	dst, haveTo := f.Services[to]
	if !haveFrom || !haveTo {
		return policy.Verdict{}
	}
	return t.Authorize(domain.Service(from), domain.Service(to), dst.Op())
}

// Op is a connection to the service, before any request: what both proxies ask
// the policy when a stream opens.
func (s Service) Op() policy.Op {
	return policy.Op{Port: s.Port, Opaque: s.Protocol != HTTP}
}
