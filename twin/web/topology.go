package web

import (
	"encoding/json"
	"sort"

	"fire/twin"
)

// topology is all that the layout depends on: which services run where and which
// of them talk. Figures and states are not in it, so nothing moves when they change.
type topology struct {
	Hosts []topoHost
	Edges []topoEdge
}

type topoHost struct {
	Name     string // "" holds services that run nowhere
	Services []string
}

type topoEdge struct {
	Key   string
	Paths []topoPath
}

// topoPath joins two boxes.
type topoPath struct{ From, To place }

// place is one instance: a service on a host.
type place struct{ Service, Host string }

func (p place) id() string { return p.Service + "@" + p.Host }

// pathsDrawnMax bounds the curves of one edge; the rest of a wide fan says nothing
// more to the eye and is in the table.
const pathsDrawnMax = 12

// topologyOf reads the topology from a snapshot, whose lists are sorted.
func topologyOf(s *twin.Snapshot) topology {
	services := map[string][]string{} // by host
	homes := map[string][]string{}    // hosts by service
	hosts := map[string]bool{}
	for _, n := range s.Nodes {
		hosts[n.Name] = true
	}
	for _, v := range s.Services {
		for _, e := range v.Endpoints {
			hosts[e.Node] = true
			services[e.Node] = append(services[e.Node], v.Name)
			homes[v.Name] = append(homes[v.Name], e.Node)
		}
		if len(v.Endpoints) == 0 {
			hosts[""] = true
			services[""] = append(services[""], v.Name)
			homes[v.Name] = []string{""}
		}
	}
	var t topology
	for name := range hosts {
		t.Hosts = append(t.Hosts, topoHost{name, services[name]})
	}
	sort.Slice(t.Hosts, func(i, j int) bool { return t.Hosts[i].Name < t.Hosts[j].Name })
	for i := range s.Edges {
		t.Edges = append(t.Edges, edgeTopology(&s.Edges[i], homes))
	}
	return t
}

func edgeTopology(e *twin.EdgeView, homes map[string][]string) topoEdge {
	out := topoEdge{Key: e.Key()}
	seen := map[topoPath]bool{}
	add := func(from, to string) {
		p := topoPath{place{e.Src, home(homes[e.Src], from)}, place{e.Dst, home(homes[e.Dst], to)}}
		if !seen[p] && len(out.Paths) < pathsDrawnMax {
			seen[p] = true
			out.Paths = append(out.Paths, p)
		}
	}
	for _, p := range e.Paths {
		add(p.From, p.To)
	}
	if len(out.Paths) == 0 {
		add("", "")
	}
	return out
}

// home is want when the service lives there, else its first home.
func home(homes []string, want string) string {
	for _, h := range homes {
		if h == want {
			return h
		}
	}
	if len(homes) > 0 {
		return homes[0]
	}
	return ""
}

// signature is equal for equal topologies.
func (t topology) signature() string {
	b, err := json.Marshal(t)
	if err != nil { // strings and slices always encode
		return err.Error()
	}
	return string(b)
}
