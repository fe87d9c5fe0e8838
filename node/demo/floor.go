package demo

import (
	_ "embed"
	"slices"
)

// Host is one of the three hosts that the floor is spread over.
type Host struct {
	Name    string // node name in the mesh
	Address string // loopback address that stands for it under `fire dev`
}

// Hosts are the floor's hosts.
func Hosts() []Host {
	return []Host{{"host-a", "127.0.0.2"}, {"host-b", "127.0.0.3"}, {"host-c", "127.0.0.4"}}
}

// Spec is one program of the floor: what it is, where it runs, whom it calls.
type Spec struct {
	Name      string     // of the instance, unique in the floor: "risk-c"
	Service   string     // its name and identity in the mesh
	Host      string     // one of Hosts
	Protocol  string     // of its own socket: fix, http, soupbin; "tcp" for one that only calls
	Listen    string     // its own socket, "" for one that only calls
	Health    string     // how to see that it lives: "tcp", "http" (GET HealthPath), "" for one that only calls
	Upstreams []Upstream // what it dials
	Channels  []Channel  // direct paths of its host that it attaches to
}

// Channel is a direct path and what it stands for.
type Channel struct {
	For  string // in Wiring.Dial: the service that is reached by it, or a name of the program's own
	Name string // of the channel in the floor file
}

// HealthPath answers 200 on every HTTP program of the floor.
const HealthPath = "/healthz"

// Upstream is a service that a program calls and the local address where it dials
// it. In a mesh the host's proxy listens there.
type Upstream struct {
	Service  string
	Protocol string
	Address  string
}

// Programs is the floor in the order in which it starts best: callees first.
// Programs dial with back-off, so any order works.
func Programs() []Spec {
	const a, b, c = "127.0.0.2", "127.0.0.3", "127.0.0.4"
	strategy := func(name, gateway, data string) Spec {
		return Spec{Name: name, Service: name, Host: "host-a", Protocol: "tcp", Upstreams: []Upstream{
			{"gateway", "fix", a + gateway}, {"market-data", "soupbin", a + data}}}
	}
	return []Spec{
		{Name: "engine", Service: "engine", Host: "host-c", Protocol: "fix", Listen: c + ":9003", Health: "tcp"},
		{Name: "market-data", Service: "market-data", Host: "host-c", Protocol: "soupbin", Listen: c + ":9004", Health: "tcp",
			Upstreams: []Upstream{{"engine", "fix", c + ":15041"}}},
		{Name: "blotter", Service: "blotter", Host: "host-c", Protocol: "http", Listen: c + ":9005", Health: "http"},
		{Name: "risk-b", Service: "risk", Host: "host-b", Protocol: "http", Listen: b + ":9002", Health: "http"},
		{Name: "risk-c", Service: "risk", Host: "host-c", Protocol: "http", Listen: c + ":9002", Health: "http"},
		{Name: "gateway", Service: "gateway", Host: "host-b", Protocol: "fix", Listen: b + ":9001", Health: "tcp", Upstreams: []Upstream{
			{"risk", "http", b + ":15021"}, {"engine", "fix", b + ":15022"}, {"blotter", "http", b + ":15023"}},
			Channels: []Channel{{"orders", "orders"}}},
		{Name: "feed", Service: "feed", Host: "host-b", Protocol: "tcp", Upstreams: []Upstream{{"market-data", "soupbin", b + ":15024"}},
			Channels: []Channel{{"ticks", "ticks"}}},
		strategy("strategy-a", ":15001", ":15002"),
		strategy("strategy-b", ":15003", ":15004"),
		{Name: "strategy-c", Service: "strategy-c", Host: "host-b", Protocol: "tcp", Channels: []Channel{{"gateway", "orders"}, {"market-data", "ticks"}}},
		{Name: "screen", Service: "screen", Host: "host-a", Protocol: "tcp", Channels: []Channel{{"ticks", "ticks"}}},
		{Name: "desk", Service: "desk", Host: "host-a", Protocol: "tcp", Upstreams: []Upstream{{"blotter", "http", a + ":15005"}}},
	}
}

//go:embed floor.toml
var floorFile string

// FloorFile is the floor definition, the text of a `fire apply -f` file: the
// services with their placement and the least that each may call.
func FloorFile() string { return floorFile }

// Direct returns the floor with every program dialling its callee's own socket:
// no mesh between them. Of several instances the caller's host is preferred.
func Direct(specs []Spec) []Spec {
	out := slices.Clone(specs)
	for i := range out {
		out[i].Upstreams = slices.Clone(out[i].Upstreams)
		for j := range out[i].Upstreams {
			u := &out[i].Upstreams[j]
			for _, callee := range specs {
				if callee.Service == u.Service {
					u.Address = callee.Listen
					if callee.Host == out[i].Host {
						break
					}
				}
			}
		}
	}
	return out
}
