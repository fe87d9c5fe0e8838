package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// clockOffsetWarn is where a node's clock is called wrong. A report is up to a
// network round trip old, so less than this says nothing.
const clockOffsetWarn = 2 * time.Second

// nodeViews joins the inventory with what reports.
func (g *graph) nodeViews(at time.Duration) []NodeView {
	views := map[string]*NodeView{}
	if g.inventory != nil {
		for _, n := range g.inventory.Nodes {
			views[n.Name] = &NodeView{
				Name: n.Name, Region: n.Region, Zone: n.Zone, Addr: n.Addr, Release: n.Release, Roles: slices.Clone(n.Roles),
				Known: true, Linked: n.Linked, Draining: n.Draining, CertNotAfter: n.CertNotAfter,
			}
		}
	}
	for name, n := range g.nodes {
		v := views[name]
		if v == nil {
			v = &NodeView{Name: name, Linked: true}
			views[name] = v
		}
		if n.reported {
			v.LastReport = g.clock.wall(n.lastReport)
			v.Reporting = at-n.lastReport <= g.cfg.StaleAfter
			v.ClockOffset = n.offset
			v.Sessions = n.sessions
		}
	}
	out := make([]NodeView, 0, len(views))
	for _, name := range sortedKeys(views) {
		v := views[name]
		v.State, v.Why = judgeNode(v, g.inventory != nil)
		out = append(out, *v)
	}
	return out
}

// judgeNode is the whole rule for a node's colour.
func judgeNode(v *NodeView, inventory bool) (State, string) {
	switch {
	case v.Known && !v.Linked:
		return StateError, "lost: control holds no session with it"
	case !v.LastReport.IsZero() && !v.Reporting:
		return StateWarn, "linked, but it has stopped reporting"
	case inventory && !v.Known:
		return StateWarn, "reports, but is not in the catalogue"
	case v.Draining:
		return StateWarn, "draining"
	case v.ClockOffset.Abs() > clockOffsetWarn:
		return StateWarn, fmt.Sprintf("its clock is %s %s", v.ClockOffset.Abs().Round(time.Millisecond), aheadBehind(v.ClockOffset))
	}
	return StateOK, ""
}

func aheadBehind(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead"
}

// serviceViews joins declared services and their endpoints with the nodes where
// traffic of a service was seen.
func (g *graph) serviceViews() []ServiceView {
	views := map[string]*ServiceView{}
	at := func(name string) *ServiceView {
		if views[name] == nil {
			views[name] = &ServiceView{Name: name}
		}
		return views[name]
	}
	if g.inventory != nil {
		for _, s := range g.inventory.Services {
			v := at(s.Name)
			v.Declared, v.Protocol, v.Class, v.Port, v.Description = true, s.Protocol, s.Class, s.Port, s.Description
		}
		for _, p := range g.inventory.Endpoints {
			v := at(p.Service)
			e := EndpointView{Node: p.Node, Epoch: p.Epoch, Linked: p.Linked, Healthy: p.Healthy, Draining: p.Draining, Why: p.Why}
			e.State = judgeEndpoint(&e)
			v.Endpoints = append(v.Endpoints, e)
		}
	}
	for _, e := range g.sorted {
		g.observe(at(e.key.src), &e.sides[client], false)
		g.observe(at(e.key.dst), &e.sides[server], false)
		g.observe(at(e.key.src), &e.sides[server], true)
		g.observe(at(e.key.dst), &e.sides[client], true)
	}
	out := make([]ServiceView, 0, len(views))
	for _, name := range sortedKeys(views) {
		v := views[name]
		if v.Endpoints == nil {
			v.Endpoints = []EndpointView{}
		}
		slices.SortFunc(v.Endpoints, func(a, b EndpointView) int { return strings.Compare(a.Node, b.Node) })
		v.State, v.Why = judgeService(v)
		out = append(out, *v)
	}
	return out
}

// observe adds the places where traffic of a service was seen and nothing is
// registered: pure clients have no endpoint. peers: look at the far ends.
func (g *graph) observe(v *ServiceView, s *side, peers bool) {
	for k := range s.links {
		place := k.node
		if peers {
			place = k.peer
		}
		if place == "" || slices.ContainsFunc(v.Endpoints, func(e EndpointView) bool { return e.Node == place }) {
			continue
		}
		v.Endpoints = append(v.Endpoints, EndpointView{Node: place, Linked: true, Observed: true, State: StateOK})
	}
}

func judgeEndpoint(e *EndpointView) State {
	switch {
	case !e.Linked, !e.Healthy:
		return StateError
	case e.Draining:
		return StateWarn
	}
	return StateOK
}

// judgeService: red when nobody can serve, yellow when somebody cannot.
func judgeService(v *ServiceView) (State, string) {
	bad, registered := 0, 0
	worst := StateOK
	why := ""
	for i := range v.Endpoints {
		e := &v.Endpoints[i]
		if e.Observed {
			continue
		}
		registered++
		if e.State == StateError {
			bad++
			if why == "" {
				why = e.Node + ": " + endpointWhy(InventoryEndpoint{Why: e.Why, Linked: e.Linked, Healthy: e.Healthy})
			}
		}
		if e.State != StateOK {
			worst = StateWarn
		}
	}
	switch {
	case registered > 0 && bad == registered:
		return StateError, "no endpoint can serve; " + why
	case bad > 0:
		return StateWarn, fmt.Sprintf("%d of %d endpoints cannot serve; %s", bad, registered, why)
	case worst == StateWarn:
		return StateWarn, "an endpoint drains"
	case len(v.Endpoints) == 0:
		return StateIdle, "declared, but nothing runs"
	}
	return StateOK, ""
}
