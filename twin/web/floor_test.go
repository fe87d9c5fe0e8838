package web

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"fire/transport/meter"
	"fire/twin"
)

// floor is a synthetic trading floor of the demonstration's shape: it reports to a
// twin as three hosts would.
type floor struct {
	twin  *twin.Twin
	edges []flow
	hosts []string
	seq   uint64
	rnd   *rand.Rand

	mu     sync.Mutex
	faults map[string]float64 // share of failures by edge key
	lost   map[string]bool    // hosts that do not report
}

// flow is one edge between two hosts.
type flow struct {
	src, dst, from, to, protocol string
	perSecond                    float64
	median                       time.Duration
}

func newFloor(t *twin.Twin) *floor {
	f := &floor{twin: t, hosts: []string{"host-a", "host-b", "host-c"}, rnd: rand.New(rand.NewPCG(7, 7)),
		faults: map[string]float64{}, lost: map[string]bool{}}
	f.edges = []flow{
		{"strategy-a", "gateway", "host-a", "host-b", "fix", 1100, 190 * time.Microsecond},
		{"strategy-b", "gateway", "host-a", "host-b", "fix", 900, 210 * time.Microsecond},
		{"strategy-a", "market-data", "host-a", "host-c", "soupbin", 5200, 85 * time.Microsecond},
		{"strategy-b", "market-data", "host-a", "host-c", "soupbin", 5200, 88 * time.Microsecond},
		{"desk", "blotter", "host-a", "host-c", "http", 12, 1900 * time.Microsecond},
		{"gateway", "risk", "host-b", "host-b", "http", 1300, 240 * time.Microsecond},
		{"gateway", "risk", "host-b", "host-c", "http", 700, 330 * time.Microsecond},
		{"gateway", "engine", "host-b", "host-c", "fix", 1950, 260 * time.Microsecond},
		{"engine", "market-data", "host-c", "host-c", "tcp", 2600, 60 * time.Microsecond},
		{"engine", "blotter", "host-c", "host-c", "http", 480, 700 * time.Microsecond},
	}
	return f
}

// crowd replaces the floor by a wide one, to look at.
func (f *floor) crowd(hosts, edges int) {
	f.hosts, f.edges = nil, nil
	for h := range hosts {
		f.hosts = append(f.hosts, fmt.Sprintf("host-%02d", h))
	}
	for range edges {
		from := f.rnd.IntN(hosts)
		to := min(hosts-1, from+f.rnd.IntN(1+hosts/2))
		f.edges = append(f.edges, flow{
			fmt.Sprintf("svc-%02d-%d", from, f.rnd.IntN(3)), fmt.Sprintf("svc-%02d-%d", to, 3+f.rnd.IntN(2)), f.hosts[from], f.hosts[to],
			"http", math.Exp(f.rnd.Float64() * 8), time.Duration(50+f.rnd.IntN(2000)) * time.Microsecond})
	}
}

func (f *floor) inventory() twin.Inventory {
	inv := twin.Inventory{Version: 3, Floor: 2, Nodes: []twin.InventoryNode{
		{Name: "control-1", Region: "eu", Roles: []string{"control"}, Addr: "127.0.0.1:7443", Linked: true},
	}}
	for i, h := range f.hosts {
		inv.Nodes = append(inv.Nodes, twin.InventoryNode{Name: h, Region: "eu", Zone: "rack-" + string(rune('1'+i)), Release: "0.1.0",
			Addr: fmt.Sprintf("127.0.0.%d:7443", i+2), Roles: []string{"proxy"}, Linked: true, CertNotAfter: time.Unix(2e9, 0)})
	}
	for _, s := range []struct {
		name, protocol string
		hosts          []string
	}{
		{"gateway", "fix", []string{"host-b"}}, {"risk", "http", []string{"host-b", "host-c"}}, {"engine", "fix", []string{"host-c"}},
		{"market-data", "soupbin", []string{"host-c"}}, {"blotter", "http", []string{"host-c"}},
		{"strategy-a", "fix", nil}, {"strategy-b", "fix", nil}, {"desk", "http", nil},
	} {
		inv.Services = append(inv.Services, twin.InventoryService{Name: s.name, Protocol: s.protocol, Port: 9000, Nodes: s.hosts})
		for _, h := range s.hosts {
			inv.Endpoints = append(inv.Endpoints, twin.InventoryEndpoint{Service: s.name, Node: h, Epoch: 1, Linked: true, Healthy: true})
		}
	}
	return inv
}

// run reports four times a second until ctx ends.
func (f *floor) run(ctx context.Context) {
	f.twin.SetInventory(f.inventory())
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		f.report()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *floor) report() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	reports := map[string]*twin.Report{}
	for _, h := range f.hosts {
		reports[h] = &twin.Report{Node: h, Boot: 1, Seq: f.seq, At: time.Now(), Sessions: f.sessions(h)}
	}
	for _, e := range f.edges {
		client, server := f.deltas(e)
		reports[e.from].Edges = append(reports[e.from].Edges, client)
		reports[e.to].Edges = append(reports[e.to].Edges, server)
	}
	for _, h := range f.hosts {
		if !f.lost[h] {
			f.twin.Report(*reports[h])
		}
	}
}

func (f *floor) deltas(e flow) (client, server twin.EdgeDelta) {
	n := uint64(e.perSecond / 4 * (0.9 + 0.2*f.rnd.Float64()))
	if e.perSecond < 40 && e.perSecond > 4 {
		n = uint64(f.rnd.IntN(int(e.perSecond/2) + 1))
	}
	bad := uint64(math.Round(float64(n) * f.faults[e.src+">"+e.dst]))
	if f.faults[e.src+">"+e.dst] > 0 {
		bad = max(bad, 1)
	}
	var outer, inner meter.Histogram
	for range min(n, 200) {
		d := time.Duration(float64(e.median) * math.Exp(f.rnd.NormFloat64()*0.35))
		outer.Record(d)
		inner.Record(d * 6 / 10)
	}
	client = twin.EdgeDelta{Src: e.src, Dst: e.dst, Side: twin.SideOut, Protocol: e.protocol, Peer: e.to, Secured: true,
		Requests: max(n, bad), Errors: bad, BytesOut: n * 180, BytesIn: n * 240, Active: 2, Latency: outer.Snapshot()}
	if bad > 0 {
		client.Reasons = map[string]uint64{"app_unreachable": bad}
	}
	server = client
	server.Side, server.Peer, server.Latency = twin.SideIn, e.from, inner.Snapshot()
	return client, server
}

func (f *floor) sessions(h string) []twin.SessionFact {
	var out []twin.SessionFact
	for _, peer := range f.hosts {
		if peer != h {
			out = append(out, twin.SessionFact{Peer: peer, Class: "order", RTT: 70 * time.Microsecond, Streams: 4, Since: time.Unix(1.7e9, 0)})
		}
	}
	return out
}

func (f *floor) fault(edge string, share float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[edge] = share
}

// lose stops the reports of a host; "" changes nothing.
func (f *floor) lose(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if host != "" {
		f.lost[host] = true
	}
}
