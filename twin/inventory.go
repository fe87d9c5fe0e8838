package twin

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// setInventory takes the newest inventory and turns what changed into events.
func (g *graph) setInventory(inv *Inventory, now time.Time) {
	at := g.clock.advance(now)
	inv = cleanInventory(inv)
	before := g.inventory
	g.inventory, g.members = inv, map[string]bool{}
	for _, n := range inv.Nodes {
		g.members[n.Name] = true
	}
	if before == nil {
		before = &Inventory{}
	}
	g.tellNodes(before, inv, at)
	g.tellEndpoints(before, inv, at)
	if inv.Floor != before.Floor && before.Floor != 0 {
		g.tell(at, EventFloorApplied, StateOK, "floor", "floor version "+strconv.FormatUint(inv.Floor, 10)+" applied")
	}
	for _, e := range g.sorted {
		e.settled = false
	}
}

func (g *graph) tellNodes(before, after *Inventory, at time.Duration) {
	old := map[string]InventoryNode{}
	for _, n := range before.Nodes {
		old[n.Name] = n
	}
	for _, n := range after.Nodes {
		was, known := old[n.Name]
		delete(old, n.Name)
		switch {
		case n.Linked && !was.Linked:
			g.tell(at, EventNodeLinked, StateOK, "node "+n.Name, n.Name+" is linked")
		case !n.Linked && was.Linked:
			g.tell(at, EventNodeLost, StateError, "node "+n.Name, n.Name+" is lost: control holds no session with it")
		}
		if known && n.CertNotAfter.After(was.CertNotAfter) && !was.CertNotAfter.IsZero() {
			g.tell(at, EventCertRenewed, StateOK, "node "+n.Name,
				n.Name+" has a new certificate, valid until "+n.CertNotAfter.UTC().Format("2006-01-02 15:04 UTC"))
		}
	}
	for _, n := range sortedNodes(old) {
		g.tell(at, EventNodeLost, StateWarn, "node "+n, n+" left the mesh")
	}
}

func (g *graph) tellEndpoints(before, after *Inventory, at time.Duration) {
	type key struct{ service, node string }
	old := map[key]InventoryEndpoint{}
	for _, p := range before.Endpoints {
		old[key{p.Service, p.Node}] = p
	}
	for _, p := range after.Endpoints {
		k := key{p.Service, p.Node}
		was := old[k]
		delete(old, k)
		subject := "endpoint " + p.Service + "@" + p.Node
		up, wasUp := p.Linked && p.Healthy, was.Linked && was.Healthy
		switch {
		case up && !wasUp:
			g.tell(at, EventEndpointUp, StateOK, subject, p.Service+" is up on "+p.Node)
		case !up && wasUp:
			g.tell(at, EventEndpointDown, StateError, subject, fmt.Sprintf("%s is down on %s: %s", p.Service, p.Node, endpointWhy(p)))
		case p.Draining && !was.Draining:
			g.tell(at, EventEndpointDrain, StateWarn, subject, p.Service+" drains on "+p.Node)
		}
	}
	gone := make([]key, 0, len(old))
	for k := range old {
		gone = append(gone, k)
	}
	sort.Slice(gone, func(i, j int) bool {
		return gone[i].service+"@"+gone[i].node < gone[j].service+"@"+gone[j].node
	})
	for _, k := range gone {
		if was := old[k]; was.Linked {
			g.tell(at, EventEndpointDown, StateWarn, "endpoint "+k.service+"@"+k.node, k.service+" is no longer registered on "+k.node)
		}
	}
}

func endpointWhy(p InventoryEndpoint) string {
	switch {
	case p.Why != "":
		return p.Why
	case !p.Linked:
		return "its lease ran out"
	case !p.Healthy:
		return "its health check fails"
	}
	return "unknown"
}

// cleanInventory copies what has legal names and bounds the texts; control made
// it, but what control holds came from files and nodes.
func cleanInventory(in *Inventory) *Inventory {
	out := &Inventory{Version: in.Version, Floor: in.Floor}
	for _, n := range in.Nodes {
		if legalName(n.Name) {
			n.Region, n.Zone, n.Addr, n.Release = bounded(n.Region, 64), bounded(n.Zone, 64), bounded(n.Addr, 128), bounded(n.Release, 64)
			out.Nodes = append(out.Nodes, n)
		}
	}
	for _, s := range in.Services {
		if legalName(s.Name) {
			s.Protocol, s.Class, s.Description = bounded(s.Protocol, 32), bounded(s.Class, 32), bounded(s.Description, 200)
			out.Services = append(out.Services, s)
		}
	}
	for _, p := range in.Endpoints {
		if legalName(p.Service) && legalName(p.Node) {
			p.Why = bounded(p.Why, 200)
			out.Endpoints = append(out.Endpoints, p)
		}
	}
	// Control's lists come from maps; the order of events should not.
	slices.SortFunc(out.Nodes, func(a, b InventoryNode) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Endpoints, func(a, b InventoryEndpoint) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Node, b.Node))
	})
	return out
}

func sortedNodes(m map[string]InventoryNode) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
