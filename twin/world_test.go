package twin

import (
	"math"
	"slices"
	"sort"
	"testing"
	"time"

	"fire/transport/meter"
)

// world drives a graph by hand in its own time and checks every snapshot's
// invariants.
type world struct {
	t   *testing.T
	g   *graph
	now time.Time
	seq map[string]uint64
}

func newWorld(t *testing.T, cfg Config) *world {
	start := time.Date(2030, 3, 4, 9, 0, 0, 0, time.UTC)
	return &world{t: t, g: newGraph(cfg, start), now: start, seq: map[string]uint64{}}
}

// send reports deltas as the next report of a node.
func (w *world) send(node string, deltas ...EdgeDelta) {
	w.seq[node]++
	w.raw(Report{Node: node, Boot: 1, Seq: w.seq[node], At: w.now, Edges: deltas})
}

func (w *world) raw(r Report) { w.g.take(input{report: &r}, w.now) }

func (w *world) snapshot() *Snapshot {
	s := w.g.snapshot(w.now, 0)
	mustHold(w.t, s)
	return s
}

// beats lets n quarters of a second pass, with the same deltas in each.
func (w *world) beats(n int, each func()) *Snapshot {
	var s *Snapshot
	for range n {
		w.now = w.now.Add(250 * time.Millisecond)
		if each != nil {
			each()
		}
		s = w.snapshot()
	}
	return s
}

func (w *world) edge(key string) *EdgeView {
	w.t.Helper()
	s := w.snapshot()
	for i := range s.Edges {
		if s.Edges[i].Key() == key {
			return &s.Edges[i]
		}
	}
	w.t.Fatalf("no edge %s", key)
	return nil
}

func (w *world) has(kind EventKind, subject string) bool {
	return slices.ContainsFunc(w.snapshot().Events, func(e Event) bool { return e.Kind == kind && e.Subject == subject })
}

// traffic is a quarter of a second of one side of an edge.
func traffic(src, dst, side, peer string, requests, errors uint64, each time.Duration) EdgeDelta {
	var h meter.Histogram
	for range requests {
		h.Record(each)
	}
	d := EdgeDelta{Src: src, Dst: dst, Side: side, Peer: peer, Secured: true, Requests: requests, Errors: errors, Active: 1, Latency: h.Snapshot()}
	if errors > 0 {
		d.Reasons = map[string]uint64{"app_unreachable": errors}
	}
	return d
}

// mustHold is what is true of every snapshot, whatever was reported.
func mustHold(t *testing.T, s *Snapshot) {
	t.Helper()
	if !sort.SliceIsSorted(s.Edges, func(i, j int) bool { return s.Edges[i].Key() < s.Edges[j].Key() }) ||
		!sort.SliceIsSorted(s.Nodes, func(i, j int) bool { return s.Nodes[i].Name < s.Nodes[j].Name }) ||
		!sort.SliceIsSorted(s.Services, func(i, j int) bool { return s.Services[i].Name < s.Services[j].Name }) {
		t.Fatal("a list is not sorted")
	}
	if len(s.Events) > EventsMax {
		t.Fatalf("%d events", len(s.Events))
	}
	for i := range s.Events[:max(0, len(s.Events)-1)] {
		if s.Events[i+1].ID != s.Events[i].ID+1 {
			t.Fatalf("event ids %d, %d", s.Events[i].ID, s.Events[i+1].ID)
		}
	}
	for i := range s.Edges {
		e := &s.Edges[i]
		for _, v := range []float64{e.RatePerSecond, e.ErrorsPerSecond, e.ErrorRatio, e.BytesPerSecond} {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				t.Fatalf("%s: figure %v", e.Key(), v)
			}
		}
		if e.ErrorRatio > 1 || e.Active < 0 || e.P50 > e.P99 || e.P99 > e.P999 || e.P50 < 0 {
			t.Fatalf("%s: ratio %v, active %d, %v %v %v", e.Key(), e.ErrorRatio, e.Active, e.P50, e.P99, e.P999)
		}
		if !slices.Contains([]State{StateOK, StateWarn, StateError, StateIdle}, e.State) {
			t.Fatalf("%s: state %q", e.Key(), e.State)
		}
		if (e.State == StateError || e.State == StateWarn) != (len(e.Why) > 0) {
			t.Fatalf("%s: state %s without a reason, or the reverse: %q", e.Key(), e.State, e.Why)
		}
		if len(e.History()) > historySeconds {
			t.Fatalf("%s: %d points", e.Key(), len(e.History()))
		}
	}
}
