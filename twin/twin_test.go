package twin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunPublishesVersionedSnapshotsAndWakesSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tw := New(Default(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tw.Run(ctx) }()
		changed, stop := tw.Subscribe()
		tw.SetInventory(Inventory{Version: 4, Nodes: []InventoryNode{{Name: "host-a", Linked: true}}})
		tw.Report(Report{Node: "host-a", Boot: 1, Seq: 1, At: time.Now(), Edges: []EdgeDelta{traffic("a", "b", SideOut, "", 10, 10, time.Millisecond)}})
		tw.Note(Event{Kind: EventPolicyApplied, Text: "policy 7\napplied"})
		<-changed
		first := tw.Snapshot()
		if len(first.Edges) != 1 || first.Edges[0].State != StateError || first.InventoryVersion != 4 {
			t.Errorf("%+v", first)
		}
		if e := first.Events[len(first.Events)-1]; e.Kind != EventEdgeRed && e.Text != "policy 7 applied" {
			t.Errorf("%+v", first.Events)
		}
		<-changed
		if second := tw.Snapshot(); second.Version <= first.Version || second == first {
			t.Errorf("version %d after %d", second.Version, first.Version)
		}
		stop()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAFullQueueDropsReportsAndCountsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.QueueReports = 16
		tw := New(cfg, nil)
		for seq := range uint64(20) { // nobody reads yet
			tw.Report(Report{Node: "host-a", Boot: 1, Seq: seq + 1, At: time.Now()})
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tw.Run(ctx) }()
		time.Sleep(cfg.PublishEvery)
		synctest.Wait()
		if got := tw.Snapshot().Intake; got.Dropped != 4 || got.Reports != 16 {
			t.Errorf("%+v", got)
		}
		cancel()
		<-done
	})
}

func TestSnapshotsDoNotChangeBehindTheirReaders(t *testing.T) {
	w := newWorld(t, Default())
	beat := func() { w.send("h", traffic("a", "b", SideOut, "", 100, 1, time.Millisecond)) }
	w.beats(400, beat) // past the first reallocation of history and events
	old := w.snapshot()
	points := append([]Point(nil), old.Edges[0].History()...)
	events := append([]Event(nil), old.Events...)
	for range 300 {
		w.g.note(Event{Kind: EventPolicyApplied, Text: "x"}, 0)
	}
	w.beats(600, beat)
	for i, p := range old.Edges[0].History() {
		if p != points[i] {
			t.Fatalf("point %d changed", i)
		}
	}
	for i, e := range old.Events {
		if e != events[i] {
			t.Fatalf("event %d changed", i)
		}
	}
}

func TestConfigNamesEveryBadField(t *testing.T) {
	bad := map[string]bool{}
	(&Config{}).Check(func(key, _ string) { bad[key] = true })
	if len(bad) != 7 {
		t.Errorf("%v", bad)
	}
	cfg := Default()
	cfg.Check(func(key, problem string) { t.Errorf("the default is refused: %s: %s", key, problem) })
}

// BenchmarkSnapshot keeps the writer's cost in sight: 1,000 busy edges.
func BenchmarkSnapshot(b *testing.B) {
	start := time.Now()
	g := newGraph(Default(), start)
	now := start
	for i := range 1000 {
		d := traffic("a", "s"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), SideOut, "", 50, 0, time.Millisecond)
		for s := range 10 {
			g.report(&Report{Node: "h", Boot: 1, Seq: uint64(i*10 + s + 1), At: now, Edges: []EdgeDelta{d}}, now, time.Duration(s)*time.Second)
		}
	}
	now = now.Add(9 * time.Second)
	for b.Loop() {
		now = now.Add(time.Millisecond)
		g.snapshot(now, 0)
	}
}
