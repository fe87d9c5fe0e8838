package twin

import (
	"math"
	"strings"
	"testing"
	"time"
)

func near(a, b, part float64) bool { return math.Abs(a-b) <= part*math.Abs(b) }

func TestClientSideIsTheTruthAndTheServerStandsBesideIt(t *testing.T) {
	w := newWorld(t, Default())
	w.beats(48, func() {
		w.send("host-a", traffic("desk", "risk", SideOut, "host-b", 250, 0, 400*time.Microsecond))
		w.send("host-b", traffic("desk", "risk", SideIn, "host-a", 250, 0, 100*time.Microsecond))
	})
	e := w.edge("desk>risk")
	if !near(e.RatePerSecond, 1000, 0.035) {
		t.Errorf("rate %.1f, want 1000: both sides saw the same requests", e.RatePerSecond)
	}
	if !near(float64(e.P50), 400e3, 0.01) || !near(float64(e.Server.P50), 100e3, 0.01) {
		t.Errorf("p50 %v, server's %v", e.P50, e.Server.P50)
	}
	if e.State != StateOK || !e.Secured || e.Active != 1 {
		t.Errorf("state %s %q, secured %v, active %d", e.State, e.Why, e.Secured, e.Active)
	}
	if len(e.Paths) != 1 || e.Paths[0].From != "host-a" || e.Paths[0].To != "host-b" || e.Paths[0].Guessed {
		t.Errorf("paths %+v", e.Paths)
	}
	if n := len(e.History()); n < 10 || n > 13 || !near(e.History()[n-1].RatePerSecond, 1000, 0.01) {
		t.Errorf("history %v", e.History())
	}
}

func TestServerSideStandsInWhenNoClientReports(t *testing.T) {
	w := newWorld(t, Default())
	w.beats(24, func() { w.send("host-b", traffic("desk", "risk", SideIn, "", 100, 0, time.Millisecond)) })
	e := w.edge("desk>risk")
	if !near(e.RatePerSecond, 400, 0.035) || !near(float64(e.P99), 1e6, 0.01) || e.Client != nil {
		t.Errorf("rate %.1f, p99 %v, client %v", e.RatePerSecond, e.P99, e.Client)
	}
}

func TestErrorsTurnAnEdgeRedAtOnceAndItTurnsGreenAgain(t *testing.T) {
	for _, share := range []uint64{250, 25, 5} { // of 250: all, 10 %, 2 %
		w := newWorld(t, Default())
		sick := false
		beat := func() {
			d := traffic("gateway", "risk", SideOut, "host-b", 250, 0, time.Millisecond)
			if sick {
				d = traffic("gateway", "risk", SideOut, "host-b", 250, share, time.Millisecond)
			}
			w.send("host-a", d)
		}
		w.beats(40, beat)
		sick = true
		red := 0
		for red = 1; red <= 8 && w.beats(1, beat).Edges[0].State != StateError; red++ {
			continue
		}
		if red > 8 {
			t.Fatalf("%d of 250 failing: not red within 2 s", share)
		}
		e := w.edge("gateway>risk")
		if e.TopReason != "app_unreachable" || !strings.Contains(e.Why[0], "app_unreachable") {
			t.Errorf("why %q, top %q", e.Why, e.TopReason)
		}
		w.beats(12, beat)
		sick = false
		w.beats(28, beat)
		if e := w.edge("gateway>risk"); e.State != StateOK {
			t.Errorf("7 s after the last error it is %s: %q", e.State, e.Why)
		}
		if !w.has(EventEdgeRed, "edge gateway>risk") || !w.has(EventEdgeGreen, "edge gateway>risk") {
			t.Error("an event is missing")
		}
	}
}

func TestARareErrorIsYellowNotRed(t *testing.T) {
	w := newWorld(t, Default())
	w.beats(40, func() { w.send("h", traffic("a", "b", SideOut, "", 1000, 0, time.Millisecond)) })
	w.send("h", traffic("a", "b", SideOut, "", 1000, 1, time.Millisecond))
	if e := w.edge("a>b"); e.State != StateWarn {
		t.Errorf("one error in thousands is %s: %q", e.State, e.Why)
	}
}

func TestRefusalsAndConnectionErrorsCountWithoutRequests(t *testing.T) {
	w := newWorld(t, Default())
	w.send("h", EdgeDelta{Src: "a", Dst: "b", Side: SideOut, Refused: 1, Reasons: map[string]uint64{"denied_by_default": 1}})
	if e := w.edge("a>b"); e.State != StateError || e.TopReason != "denied_by_default" || e.ErrorRatio != 1 {
		t.Errorf("%s %q %v", e.State, e.TopReason, e.ErrorRatio)
	}
	w.send("h", EdgeDelta{Src: "c", Dst: "d", Side: SideOut, Secured: true, Opened: 10, Errors: 10})
	if e := w.edge("c>d"); e.State != StateError || !strings.Contains(e.Why[0], "connections") {
		t.Errorf("%s %q", e.State, e.Why)
	}
}

func TestTheWorseSideDecidesTheColour(t *testing.T) {
	w := newWorld(t, Default())
	w.beats(8, func() {
		w.send("host-a", traffic("a", "b", SideOut, "host-b", 100, 0, time.Millisecond))
		w.send("host-b", traffic("a", "b", SideIn, "host-a", 100, 30, time.Millisecond))
	})
	if e := w.edge("a>b"); e.State != StateError {
		t.Errorf("the server sees 30 %% fail, the edge is %s", e.State)
	}
}

func TestTrafficOutsideTLSIsYellow(t *testing.T) {
	w := newWorld(t, Default())
	d := traffic("a", "b", SideOut, "", 10, 0, time.Millisecond)
	d.Secured = false
	w.send("h", d)
	if e := w.edge("a>b"); e.State != StateWarn || e.Secured {
		t.Errorf("%s %v", e.State, e.Secured)
	}
}

func TestAQuietEdgeGoesIdleAndIsForgotten(t *testing.T) {
	cfg := Default()
	cfg.ForgetAfter = time.Minute
	w := newWorld(t, cfg)
	d := traffic("a", "b", SideOut, "host-b", 10, 0, time.Millisecond)
	d.Active = 0
	w.send("host-a", d)
	w.beats(60, func() { w.send("host-a") })
	if e := w.edge("a>b"); e.State != StateIdle || e.P99 != 0 || e.RatePerSecond != 0 {
		t.Errorf("after 15 s: %s, p99 %v, rate %v", e.State, e.P99, e.RatePerSecond)
	}
	w.beats(200, func() { w.send("host-a") })
	if s := w.snapshot(); len(s.Edges) != 0 || w.g.links != 0 || !w.has(EventEdgeGone, "edge a>b") {
		t.Errorf("after 65 s: %d edges, %d links", len(s.Edges), w.g.links)
	}
}

func TestAnOpenConnectionKeepsItsEdge(t *testing.T) {
	cfg := Default()
	cfg.ForgetAfter = time.Minute
	w := newWorld(t, cfg)
	open := EdgeDelta{Src: "a", Dst: "b", Side: SideOut, Secured: true, Active: 1}
	w.beats(400, func() { w.send("host-a", open) })
	if e := w.edge("a>b"); e.State != StateIdle || e.Active != 1 {
		t.Errorf("%s, active %d", e.State, e.Active)
	}
}

func TestASilentNodeIsToldAndItsEdgesAreMarked(t *testing.T) {
	w := newWorld(t, Default())
	w.g.setInventory(&Inventory{Nodes: []InventoryNode{{Name: "host-a", Linked: true}}}, w.now)
	w.beats(20, func() { w.send("host-a", traffic("a", "b", SideOut, "", 100, 0, time.Millisecond)) })
	s := w.beats(9, nil)
	if e := s.Edges[0]; e.State != StateWarn || !e.Stale || !strings.Contains(e.Why[0], "host-a") {
		t.Errorf("edge %s, stale %v, %q", e.State, e.Stale, e.Why)
	}
	if n := s.Nodes[0]; n.State != StateWarn || n.Reporting || !n.Linked {
		t.Errorf("node %+v", n)
	}
	if !w.has(EventNodeSilent, "node host-a") {
		t.Error("no event")
	}
	w.beats(4, func() { w.send("host-a", traffic("a", "b", SideOut, "", 100, 0, time.Millisecond)) })
	if e := w.edge("a>b"); e.State != StateOK || e.Stale {
		t.Errorf("back again: %s, stale %v", e.State, e.Stale)
	}
}

func TestASilentServerLeavesTheEdgesFigures(t *testing.T) {
	w := newWorld(t, Default())
	w.send("host-b", traffic("a", "b", SideIn, "host-a", 100, 0, time.Millisecond))
	w.beats(16, func() { w.send("host-a", traffic("a", "b", SideOut, "host-b", 100, 0, time.Millisecond)) })
	if e := w.edge("a>b"); e.State != StateOK || e.Stale || !w.has(EventNodeSilent, "node host-b") {
		t.Errorf("%s %q, stale %v", e.State, e.Why, e.Stale)
	}
}

func TestPathsWithoutPeersAreSharedOutByWhatServersSaw(t *testing.T) {
	w := newWorld(t, Default())
	w.beats(24, func() {
		w.send("host-a", traffic("gateway", "risk", SideOut, "", 400, 0, time.Millisecond))
		w.send("host-b", traffic("gateway", "risk", SideIn, "", 300, 0, time.Millisecond))
		w.send("host-c", traffic("gateway", "risk", SideIn, "", 100, 0, time.Millisecond))
	})
	e := w.edge("gateway>risk")
	if len(e.Paths) != 2 || !e.Paths[0].Guessed {
		t.Fatalf("paths %+v", e.Paths)
	}
	if !near(e.Paths[0].RatePerSecond, 1200, 0.08) || !near(e.Paths[1].RatePerSecond, 400, 0.08) {
		t.Errorf("paths %+v", e.Paths)
	}
}

func TestInventoryChangesBecomeEvents(t *testing.T) {
	w := newWorld(t, Default())
	inv := Inventory{Version: 1, Floor: 1,
		Nodes:     []InventoryNode{{Name: "host-b", Linked: true, CertNotAfter: w.now}},
		Services:  []InventoryService{{Name: "risk", Protocol: "http"}},
		Endpoints: []InventoryEndpoint{{Service: "risk", Node: "host-b", Linked: true, Healthy: true}}}
	set := func() { copied := inv; w.g.setInventory(&copied, w.now) }
	set()
	if s := w.snapshot(); s.Services[0].State != StateOK || s.Nodes[0].State != StateOK {
		t.Fatalf("%+v", s.Services)
	}
	inv.Endpoints = []InventoryEndpoint{{Service: "risk", Node: "host-b", Linked: true, Why: "connection refused"}}
	inv.Nodes = []InventoryNode{{Name: "host-b", CertNotAfter: w.now.Add(time.Hour)}}
	inv.Floor = 2
	set()
	s := w.snapshot()
	if v := s.Services[0]; v.State != StateError || !strings.Contains(v.Why, "connection refused") {
		t.Errorf("%+v", v)
	}
	if s.Nodes[0].State != StateError {
		t.Errorf("%+v", s.Nodes[0])
	}
	for kind, subject := range map[EventKind]string{EventEndpointUp: "endpoint risk@host-b", EventEndpointDown: "endpoint risk@host-b",
		EventNodeLost: "node host-b", EventCertRenewed: "node host-b", EventFloorApplied: "floor"} {
		if !w.has(kind, subject) {
			t.Errorf("no %s for %s", kind, subject)
		}
	}
	inv.Endpoints, inv.Nodes = nil, nil
	set()
	if s := w.snapshot(); len(s.Nodes) != 0 || s.Services[0].State != StateIdle {
		t.Errorf("%+v %+v", s.Nodes, s.Services)
	}
}

func TestCapsRefuseLoudlyAndKeepWhatIsThere(t *testing.T) {
	cfg := Default()
	cfg.EdgesMax, cfg.NodesMax = 3, 2
	w := newWorld(t, cfg)
	for _, dst := range []string{"b", "c", "d", "e", "f"} {
		w.send("host-a", traffic("a", dst, SideOut, "", 1, 0, time.Millisecond))
	}
	for _, node := range []string{"host-b", "host-c", "host-d"} {
		w.send(node)
	}
	s := w.snapshot()
	if len(s.Edges) != 3 || s.Intake.OverEdges != 2 || s.Intake.OverNodes != 2 || len(s.Nodes) != 2 {
		t.Errorf("%d edges, %d nodes, %+v", len(s.Edges), len(s.Nodes), s.Intake)
	}
	if !w.has(EventReportsRefused, "node host-a") || s.Intake.Latest == "" {
		t.Error("it was not said aloud")
	}
	w.send("host-a", traffic("a", "b", SideOut, "", 5, 0, time.Millisecond))
	if e := w.edge("a>b"); e.Client.Requests != 6 {
		t.Errorf("a known edge counts on: %d", e.Client.Requests)
	}
}
