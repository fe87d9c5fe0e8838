package twin

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"fire/transport/meter"
)

func TestAReportCountsOnceInAnyOrder(t *testing.T) {
	w := newWorld(t, Default())
	report := func(seq uint64) Report {
		return Report{Node: "h", Boot: 9, Seq: seq, At: w.now.Add(time.Duration(seq) * time.Millisecond),
			Edges: []EdgeDelta{{Src: "a", Dst: "b", Side: SideOut, Secured: true, Requests: 1, Active: int64(seq)}}}
	}
	for _, seq := range []uint64{1, 3, 2, 2, 3, 1, 5, 4, 5, 70, 69, 7, 6} { // 7 is inside the window of 70, 6 is not
		w.raw(report(seq))
	}
	e := w.edge("a>b")
	if e.Client.Requests != 8 || e.Active != 70 {
		t.Errorf("%d requests, want 8; active %d, want the newest report's 70", e.Client.Requests, e.Active)
	}
	if got := w.snapshot().Intake; got.Duplicates != 5 || got.Restarts != 0 {
		t.Errorf("%+v", got)
	}
}

func TestReportsWithoutNumbersCountAsTheyCome(t *testing.T) {
	w := newWorld(t, Default())
	for range 3 {
		w.raw(Report{Node: "h", Edges: []EdgeDelta{{Src: "a", Dst: "b", Side: SideOut, Secured: true, Requests: 1, Active: 2}}})
	}
	if e := w.edge("a>b"); e.Client.Requests != 3 || e.Active != 2 {
		t.Errorf("%+v", e.Client)
	}
}

func TestARestartedNodeBeginsAnew(t *testing.T) {
	for name, boots := range map[string][2]uint64{"with boot numbers": {7, 8}, "without": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Default())
			send := func(boot, seq uint64, ahead time.Duration, active int64) {
				w.raw(Report{Node: "h", Boot: boot, Seq: seq, At: w.now.Add(ahead),
					Edges: []EdgeDelta{{Src: "a", Dst: "b", Side: SideOut, Secured: true, Requests: 1, Active: active}}})
			}
			for seq := uint64(1); seq <= 100; seq++ {
				send(boots[0], seq, time.Duration(seq)*time.Millisecond, 5)
			}
			send(boots[1], 1, time.Second, 2)
			send(boots[1], 2, time.Second+1, 3)
			e := w.edge("a>b")
			if e.Client.Requests != 102 || e.Active != 3 || !w.has(EventNodeRestarted, "node h") {
				t.Errorf("%d requests, active %d", e.Client.Requests, e.Active)
			}
			if boots[0] != 0 {
				send(boots[0], 101, 2*time.Second, 5) // a late one of the dead process
				if got := w.snapshot().Intake; got.Restarts != 1 || got.Duplicates != 1 {
					t.Errorf("a late report of the old process: %+v", got)
				}
			}
		})
	}
}

func TestARestartWithItsClockBehindIsFoundInTheEnd(t *testing.T) {
	w := newWorld(t, Default())
	for seq := uint64(1000); seq <= 1100; seq++ {
		w.raw(Report{Node: "h", Seq: seq, At: w.now})
	}
	for seq := uint64(1); seq <= 20; seq++ {
		w.raw(Report{Node: "h", Seq: seq, At: w.now.Add(-time.Hour + time.Duration(seq)*time.Second)})
	}
	if got := w.snapshot().Intake; got.Restarts != 1 || got.Duplicates != refusalsMax-1 {
		t.Errorf("%+v", got)
	}
}

func TestLiesAreRefusedAndTheRestOfTheReportCounts(t *testing.T) {
	good := EdgeDelta{Src: "a", Dst: "b", Side: SideOut, Secured: true, Requests: 1}
	bad := map[string]func(d *EdgeDelta){
		"upper case":        func(d *EdgeDelta) { d.Src = "A" },
		"markup":            func(d *EdgeDelta) { d.Dst = "<script>" },
		"no destination":    func(d *EdgeDelta) { d.Dst = "" },
		"side":              func(d *EdgeDelta) { d.Side = "left" },
		"overflow cell":     func(d *EdgeDelta) { d.Side = meter.OverflowKey.Side },
		"peer":              func(d *EdgeDelta) { d.Peer = "../x" },
		"protocol":          func(d *EdgeDelta) { d.Protocol = "a b" },
		"huge requests":     func(d *EdgeDelta) { d.Requests = math.MaxUint64 },
		"huge bytes":        func(d *EdgeDelta) { d.BytesIn = countMax + 1 },
		"negative active":   func(d *EdgeDelta) { d.Active = -1 },
		"huge active":       func(d *EdgeDelta) { d.Active = math.MaxInt64 },
		"reason of spaces":  func(d *EdgeDelta) { d.Reasons = map[string]uint64{"a b": 1} },
		"huge reason count": func(d *EdgeDelta) { d.Reasons = map[string]uint64{"peer_lost": math.MaxUint64} },
		"histogram": func(d *EdgeDelta) {
			if err := json.Unmarshal([]byte(`{"gaps":[5],"n":[18446744073709551615]}`), &d.Latency); err != nil {
				panic(err)
			}
		},
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Default())
			lie := good
			spoil(&lie)
			w.send("h", lie, good)
			e := w.edge("a>b")
			s := w.snapshot()
			if len(s.Edges) != 1 || e.Client.Requests != 1 || s.Intake.Refused != 1 || !w.has(EventReportsRefused, "node h") {
				t.Errorf("%d edges, %+v, %+v", len(s.Edges), e.Client, s.Intake)
			}
		})
	}
}

func TestRepeatedBigCountsSaturateInsteadOfWrapping(t *testing.T) {
	w := newWorld(t, Default())
	d := EdgeDelta{Src: "a", Dst: "b", Side: SideOut, Secured: true, Requests: countMax, Errors: countMax, Refused: countMax, Opened: countMax, BytesIn: countMax, BytesOut: countMax, Active: activeMax}
	for range 2000 {
		w.send("h", d)
	}
	w.snapshot() // mustHold looks at the figures
	var sum counts
	for range 3 {
		sum.add(counts{requests: math.MaxUint64 / 2, errors: math.MaxUint64 / 2})
	}
	if sum.requests != math.MaxUint64 || sum.errors != math.MaxUint64 {
		t.Errorf("%+v", sum)
	}
	if c := (counts{requests: math.MaxUint64, errors: math.MaxUint64, refused: math.MaxUint64}); c.ratio() != 1 {
		t.Errorf("ratio %v", c.ratio())
	}
}

func TestClockStepsNeitherFreezeNorReopenBuckets(t *testing.T) {
	for name, step := range map[string]time.Duration{"an hour back": -time.Hour, "an hour ahead": time.Hour, "a hair back": -time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Default())
			beat := func() { w.send("h", traffic("a", "b", SideOut, "", 100, 0, time.Millisecond)) }
			w.beats(40, beat)
			w.now = w.now.Add(step)
			w.snapshot()
			w.beats(40, beat)
			if e := w.edge("a>b"); !near(e.RatePerSecond, 400, 0.035) || e.State != StateOK {
				t.Errorf("rate %.1f, %s %q", e.RatePerSecond, e.State, e.Why)
			}
			if n := w.snapshot().Nodes[0]; !n.Reporting {
				t.Error("the node is called silent")
			}
		})
	}
}

func TestANodesWrongClockIsOnlyShown(t *testing.T) {
	w := newWorld(t, Default())
	w.raw(Report{Node: "h", Boot: 1, Seq: 1, At: w.now.Add(-90 * time.Second), Edges: []EdgeDelta{traffic("a", "b", SideOut, "", 10, 0, time.Millisecond)}})
	s := w.snapshot()
	if n := s.Nodes[0]; n.State != StateWarn || !strings.Contains(n.Why, "1m30s behind") {
		t.Errorf("%s %q", n.State, n.Why)
	}
	if s.Edges[0].RatePerSecond == 0 {
		t.Error("its traffic is not counted")
	}
	w.raw(Report{Node: "g", Boot: 1, Seq: 1}) // no time at all
	if n := w.snapshot().Nodes[0]; n.ClockOffset != 0 || n.State != StateOK {
		t.Errorf("offset %v, %s %q", n.ClockOffset, n.State, n.Why)
	}
}

func TestBadSessionsAreDropped(t *testing.T) {
	w := newWorld(t, Default())
	w.raw(Report{Node: "h", Boot: 1, Seq: 1, At: w.now, Sessions: []SessionFact{
		{Peer: "host-b", Class: "order", RTT: time.Millisecond}, {Peer: "HOST"}, {Peer: "b", RTT: -1}, {Peer: "b", Streams: -1}, {Peer: "b", Class: "a\nb"}}})
	s := w.snapshot()
	if len(s.Nodes[0].Sessions) != 1 || s.Intake.Refused != 4 {
		t.Errorf("%+v %+v", s.Nodes[0].Sessions, s.Intake)
	}
}

// FuzzReport feeds two reports of arbitrary JSON and looks at every figure.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"node":"h","seq":1,"edges":[{"src":"a","dst":"b","side":"out","requests":5,"errors":9,"latency":{"gaps":[700],"n":[5]}}]}`),
		[]byte(`{"node":"h","seq":2,"at":"2030-01-01T00:00:00Z","edges":[{"src":"a","dst":"b","side":"in","peer":"g","active":-1}]}`), int64(250))
	f.Add([]byte(`{"node":"h","boot":1,"seq":18446744073709551615,"sessions":[{"peer":"g","rtt_ns":-5}]}`),
		[]byte(`{"node":"h","boot":2,"seq":1,"edges":[{"src":"a","dst":"a","side":"out","refused":1099511627776,"reasons":{"x":1}}]}`), int64(-3600000))
	f.Fuzz(func(t *testing.T, first, second []byte, millis int64) {
		cfg := Default()
		cfg.EdgesMax, cfg.NodesMax = 4, 2
		w := newWorld(t, cfg)
		for _, b := range [][]byte{first, second, first} {
			var r Report
			if json.Unmarshal(b, &r) == nil {
				w.raw(r)
			}
			w.now = w.now.Add(time.Duration(millis%(48*3600*1000)) * time.Millisecond)
			s := w.snapshot()
			if len(s.Edges) > cfg.EdgesMax || len(w.g.nodes) > cfg.NodesMax {
				t.Fatalf("%d edges, %d nodes", len(s.Edges), len(w.g.nodes))
			}
			if _, err := json.Marshal(s); err != nil {
				t.Fatalf("snapshot: %v", err)
			}
		}
	})
}
