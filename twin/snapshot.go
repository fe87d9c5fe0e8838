package twin

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// snapshot brings the model to now and copies it out.
func (g *graph) snapshot(now time.Time, dropped uint64) *Snapshot {
	at := g.clock.advance(now)
	rolled := secondOf(at) != g.rolledAt
	if rolled {
		g.roll(at)
	}
	s := &Snapshot{
		At:      now.Round(0),
		Started: g.clock.wall(0),
		Edges:   make([]EdgeView, 0, len(g.sorted)),
	}
	silent := g.silent(at)
	for _, e := range g.sorted {
		if !e.settled || rolled {
			g.refresh(e, silent, at)
		}
		s.Edges = append(s.Edges, e.view)
	}
	if g.inventory != nil {
		s.InventoryVersion, s.FloorVersion = g.inventory.Version, g.inventory.Floor
	}
	s.Nodes = g.nodeViews(at)
	s.Services = g.serviceViews()
	s.Events = g.events.newest()
	s.Intake = g.intake
	s.Intake.Dropped = dropped
	g.version++
	s.Version = g.version
	return s
}

// roll is done once a second: history points, and what is old enough is forgotten.
func (g *graph) roll(at time.Duration) {
	now := secondOf(at)
	for s := max(g.rolledAt, now-historySeconds); s < now; s++ {
		for _, e := range g.sorted {
			e.remember(s)
		}
	}
	g.rolledAt = now
	g.sorted = slices.DeleteFunc(g.sorted, func(e *edge) bool { return g.forget(e, at) })
	for name, n := range g.nodes {
		if !g.members[name] && at-n.lastReport > g.cfg.ForgetAfter {
			delete(g.nodes, name)
			delete(g.told, name)
		}
	}
}

// remember appends the point of the second that has ended. A report that comes
// later than that is in the rates, but not in the history.
func (e *edge) remember(s second) {
	if s < secondOf(e.born) {
		return
	}
	side := e.truth(s)
	c := side.tally.last(s, 1)
	if len(e.history) == cap(e.history) {
		fresh := make([]Point, 0, 2*historySeconds)
		e.history = append(fresh, e.history[max(0, len(e.history)-historySeconds):]...)
	}
	e.history = append(e.history, Point{
		RatePerSecond:   float64(c.requests),
		ErrorsPerSecond: float64(c.bad()),
		P99:             side.spread.second(s).Quantile(0.99),
	})
}

// truth is the side whose figures stand for the edge: the client's when it has
// seen anything lately.
func (e *edge) truth(s second) *side {
	if e.sides[client].tally.last(s, quantileSeconds).any() || !e.sides[server].tally.last(s, quantileSeconds).any() {
		return &e.sides[client]
	}
	return &e.sides[server]
}

// forget drops links and edges that are idle for too long. An edge with open
// connections stays.
func (g *graph) forget(e *edge, at time.Duration) bool {
	if at-e.touched > g.cfg.ForgetAfter {
		for i := range e.sides {
			g.links -= len(e.sides[i].links)
		}
		delete(g.edges, e.key)
		g.tell(at, EventEdgeGone, StateOK, "edge "+e.key.String(),
			"no traffic from "+e.key.src+" to "+e.key.dst+" for "+g.cfg.ForgetAfter.String())
		return true
	}
	for i := range e.sides {
		for k, l := range e.sides[i].links {
			if at-l.lastSeen > g.cfg.ForgetAfter {
				delete(e.sides[i].links, k)
				g.links--
			}
		}
	}
	return false
}

// silent is the set of nodes that reported once and stopped; each is told once.
func (g *graph) silent(at time.Duration) map[string]bool {
	var out map[string]bool
	for _, name := range sortedKeys(g.nodes) {
		n := g.nodes[name]
		if !n.reported || at-n.lastReport <= g.cfg.StaleAfter {
			continue
		}
		if out == nil {
			out = map[string]bool{}
		}
		out[name] = true
		if !n.wasSilent {
			n.wasSilent = true
			g.tell(at, EventNodeSilent, StateWarn, "node "+name, name+" has stopped reporting")
		}
	}
	return out
}

// refresh recomputes an edge's view and tells when it turns red or green.
func (g *graph) refresh(e *edge, silent map[string]bool, at time.Duration) {
	v := e.compute(g.cfg.ErrorRatioRed, silent, at)
	if v.State != e.state {
		subject, name := "edge "+e.key.String(), e.key.src+" → "+e.key.dst
		switch {
		case v.State == StateError:
			g.tell(at, EventEdgeRed, StateError, subject, name+" is red: "+strings.Join(v.Why, "; "))
		case e.state == StateError:
			g.tell(at, EventEdgeGreen, StateOK, subject, name+" is no longer red")
		}
		e.state, e.since = v.State, at
	}
	v.Since = g.clock.wall(e.since)
	v.LastSeen = g.clock.wall(e.touched)
	e.view = v
	e.settled = v.State == StateIdle && at-e.touched > bucketsKept*time.Second
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
