package web

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// demoTopology is the demonstration floor.
func demoTopology() topology {
	at := func(s, h string) place { return place{s, h} }
	one := func(key string, paths ...topoPath) topoEdge { return topoEdge{key, paths} }
	return topology{
		Hosts: []topoHost{{"control-1", nil}, {"host-a", []string{"desk", "strategy-a", "strategy-b"}}, {"host-b", []string{"gateway", "risk"}},
			{"host-c", []string{"blotter", "engine", "market-data", "risk"}}},
		Edges: []topoEdge{
			one("desk>blotter", topoPath{at("desk", "host-a"), at("blotter", "host-c")}),
			one("engine>blotter", topoPath{at("engine", "host-c"), at("blotter", "host-c")}),
			one("gateway>engine", topoPath{at("gateway", "host-b"), at("engine", "host-c")}),
			one("gateway>risk", topoPath{at("gateway", "host-b"), at("risk", "host-b")}, topoPath{at("gateway", "host-b"), at("risk", "host-c")}),
			one("strategy-a>gateway", topoPath{at("strategy-a", "host-a"), at("gateway", "host-b")}),
		},
	}
}

// randomTopology has cycles, loops, several homes and names of all lengths.
func randomTopology(rnd *rand.Rand) topology {
	var t topology
	var places []place
	name := func(prefix string, i int) string {
		return prefix + strconv.Itoa(i) + strings.Repeat("x", rnd.IntN(4)*rnd.IntN(15))
	}
	for h := range 1 + rnd.IntN(9) {
		host := topoHost{Name: name("host-", h)}
		for s := range rnd.IntN(18) {
			svc := name("service-", s)
			host.Services = append(host.Services, svc)
			places = append(places, place{svc, host.Name})
		}
		t.Hosts = append(t.Hosts, host)
	}
	for i := range rnd.IntN(60) {
		if len(places) == 0 {
			break
		}
		e := topoEdge{Key: fmt.Sprintf("edge-%d>x", i)}
		for range 1 + rnd.IntN(3) {
			e.Paths = append(e.Paths, topoPath{places[rnd.IntN(len(places))], places[rnd.IntN(len(places))]})
		}
		t.Edges = append(t.Edges, e)
	}
	return t
}

func TestLayoutNeverOverlapsAndEverythingIsOnTheMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	floors := []topology{{}, demoTopology()}
	for range 120 {
		floors = append(floors, randomTopology(rnd))
	}
	for i, floor := range floors {
		l := layOut(floor)
		noOverlap(t, i, l)
		boxes := 0
		for _, h := range floor.Hosts {
			boxes += len(h.Services)
		}
		if len(l.Hosts) != len(floor.Hosts) || len(l.Boxes) != boxes || len(l.Edges) != len(floor.Edges) {
			t.Fatalf("floor %d: %d hosts, %d boxes, %d edges", i, len(l.Hosts), len(l.Boxes), len(l.Edges))
		}
		for j, e := range l.Edges {
			if len(e.Paths) != len(floor.Edges[j].Paths) || e.Label == nil {
				t.Fatalf("floor %d: edge %s has %d paths, label %v", i, e.Key, len(e.Paths), e.Label)
			}
		}
	}
}

func noOverlap(t *testing.T, floor int, l Layout) {
	t.Helper()
	var hosts, boxes, labels []rect
	for _, h := range l.Hosts {
		hosts = append(hosts, h.rect)
	}
	for _, b := range l.Boxes {
		boxes = append(boxes, b.rect)
	}
	for _, e := range l.Edges {
		if e.Label != nil {
			labels = append(labels, *e.Label)
		}
	}
	all := append(append(slices.Clone(hosts), labels...), boxes...)
	for _, r := range all {
		if r.X < 0 || r.Y < 0 || r.X+r.W > l.Width || r.Y+r.H > l.Height {
			t.Fatalf("floor %d: %+v is off the map of %v x %v", floor, r, l.Width, l.Height)
		}
	}
	apart := func(name string, list []rect) {
		for i, a := range list {
			for _, b := range list[i+1:] {
				if a.overlaps(b) {
					t.Fatalf("floor %d: %s overlap: %+v %+v", floor, name, a, b)
				}
			}
		}
	}
	apart("hosts and labels", append(slices.Clone(hosts), labels...))
	apart("services", boxes)
	home := map[string]rect{}
	for _, h := range l.Hosts {
		home[h.Name] = h.rect
	}
	for _, b := range l.Boxes {
		h := home[b.Node]
		if b.X < h.X || b.Y < h.Y || b.X+b.W > h.X+h.W || b.Y+b.H > h.Y+h.H {
			t.Fatalf("floor %d: %s lies outside its host", floor, b.ID)
		}
		if float64(len([]rune(b.Text)))*charWidth > b.W {
			t.Fatalf("floor %d: %q does not fit", floor, b.Text)
		}
	}
}

// The stretches of a wire between bends are level and must not cross a host that
// the wire does not belong to.
func TestLayoutLeadsWiresAroundHosts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	numbers := regexp.MustCompile(`-?[0-9.]+`)
	for i := range 80 {
		floor := randomTopology(rnd)
		l := layOut(floor)
		for _, e := range l.Edges {
			for _, p := range e.Paths {
				from, to := p.From[strings.LastIndex(p.From, "@")+1:], p.To[strings.LastIndex(p.To, "@")+1:]
				var at [2]float64
				for _, step := range strings.FieldsFunc(p.D, func(r rune) bool { return r == 'M' || r == 'C' || r == 'L' }) {
					n := numbers.FindAllString(step, -1)
					if len(n) < 2 {
						continue
					}
					x, _ := strconv.ParseFloat(n[len(n)-2], 64)
					y, _ := strconv.ParseFloat(n[len(n)-1], 64)
					for _, h := range l.Hosts {
						if h.Name != from && h.Name != to && len(n) == 2 && y > h.Y && y < h.Y+h.H && max(at[0], x) > h.X+1 && min(at[0], x) < h.X+h.W-1 && at[1] == y {
							t.Fatalf("floor %d: %s runs through %s: %s", i, e.Key, h.Name, p.D)
						}
					}
					at = [2]float64{x, y}
				}
			}
		}
	}
}

func TestLayoutIsAFunctionOfTheTopologyAlone(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		floor := randomTopology(rnd)
		first := layOut(floor)
		for range 2 {
			if again := layOut(floor); !reflect.DeepEqual(first, again) {
				t.Fatal("two layouts of one floor differ")
			}
		}
	}
}

func TestLayoutPutsCallersLeftOfWhatTheyCall(t *testing.T) {
	x := map[string]float64{}
	for _, h := range layOut(demoTopology()).Hosts {
		x[h.Name] = h.X
	}
	if !(x["host-a"] < x["host-b"] && x["host-b"] < x["host-c"]) {
		t.Errorf("%v", x)
	}
}

func TestLayoutOfACrowdedFloorDropsLabels(t *testing.T) {
	var floor topology
	for h := range 200 {
		host := topoHost{Name: fmt.Sprintf("host-%03d", h)}
		for s := range 5 {
			host.Services = append(host.Services, fmt.Sprintf("svc-%d", h*5+s))
		}
		floor.Hosts = append(floor.Hosts, host)
	}
	rnd := rand.New(rand.NewPCG(8, 8))
	for i := range 3000 {
		a, b := rnd.IntN(1000), rnd.IntN(1000)
		floor.Edges = append(floor.Edges, topoEdge{fmt.Sprintf("%d", i), []topoPath{{
			place{fmt.Sprintf("svc-%d", a), fmt.Sprintf("host-%03d", a/5)}, place{fmt.Sprintf("svc-%d", b), fmt.Sprintf("host-%03d", b/5)}}}})
	}
	l := layOut(floor) // 60 ms on the 2-core machine
	if len(l.Edges) != 3000 || l.Edges[0].Label != nil {
		t.Errorf("%d edges", len(l.Edges))
	}
}

func TestFitKeepsBothEnds(t *testing.T) {
	if got := fit("market-data-consolidated-eu-primary", 20*charWidth); len([]rune(got)) != 20 || !strings.HasPrefix(got, "market-da") || !strings.HasSuffix(got, "eu-primary"[len("eu-primary")-8:]) {
		t.Errorf("%q", got)
	}
	if got := fit("risk", 200); got != "risk" {
		t.Errorf("%q", got)
	}
}
