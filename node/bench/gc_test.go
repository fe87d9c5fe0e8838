package bench

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestMessagesAllocateNothingHoweverLong sends to and fro for FIRE_GC_MINUTES minutes, or for a
// moment. What the runtime itself makes (a thread, now and then) does not grow with messages.
func TestMessagesAllocateNothingHoweverLong(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg := quickRing()
	cfg.RoundTime = 500 * time.Millisecond
	if m := os.Getenv("FIRE_GC_MINUTES"); m != "" {
		n, err := strconv.Atoi(m)
		if err != nil || n < 1 {
			t.Fatalf("FIRE_GC_MINUTES %q is no number of minutes", m)
		}
		cfg.Rounds, cfg.RoundTime = n, time.Minute
	}
	cfg.only = func(table string, size int) bool { return table == RowPingPong && size == 48 }
	res, err := RunRing(t.Context(), cfg, self("ring"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := res.Rows[0]
	t.Logf("%d mallocs for %d messages to and fro in %v", *r.Mallocs, r.Messages, time.Duration(cfg.Rounds)*cfg.RoundTime)
	if most := uint64(8 * cfg.Rounds); *r.Mallocs > most || r.Messages < 1000*most {
		t.Errorf("%d mallocs for %d messages", *r.Mallocs, r.Messages)
	}
}

func TestForcedCollectionsHaveRowsOfTheirOwn(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg := quickRing()
	cfg.RoundTime, cfg.GCEvery = 300*time.Millisecond, 10*time.Millisecond
	cfg.only = func(table string, size int) bool { return table == "" && size == 48 }
	res, err := RunRing(t.Context(), cfg, self("ring"), nil)
	if err != nil {
		t.Fatal(err)
	}
	all, during, g := res.Rows[0], res.Rows[1], res.GC
	if all.Table != RowGC || during.Path != pathCollecting || during.Messages == 0 || during.Messages >= all.Messages {
		t.Errorf("%+v\n%+v", all.Table, during.Path)
	}
	if g == nil || g.Collections < 4 || g.TookP50NS <= 0 || g.TookMaxNS < g.TookP50NS || g.WorstMaxNS < g.WorstP50NS || g.WorstMaxNS > all.MaxNS+int64(time.Second) {
		t.Errorf("%+v", g)
	}
}

func TestCollectorTellsWhichMessagesItOverlaps(t *testing.T) {
	c := &collector{}
	step := func(n uint64, ns int64, want bool) {
		t.Helper()
		c.n.Store(n)
		if c.overlaps(ns) != want {
			t.Errorf("collection count %d: not %v", n, want)
		}
	}
	step(0, 5, false)
	step(1, 10, true) // it runs
	step(1, 30, true)
	step(2, 20, true) // it has run since the last message
	step(2, 90, false)
	step(4, 40, true) // a whole one between two messages
	if c.worst[0] != 30 || c.worst[1] != 40 || c.worst[2] != 0 {
		t.Error(c.worst[:3])
	}
}
