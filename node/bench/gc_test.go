package bench

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestMessagesAllocateNothingHoweverLong publishes without a pause to a subscriber in another
// process for FIRE_GC_MINUTES minutes, or for a second (give go test a longer -timeout). Both
// have the garbage collector on, as a program has it that says nothing: what allocates nothing
// never makes it run, and only the runtime's own clock does, every two minutes.
func TestMessagesAllocateNothingHoweverLong(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg, tries := quickRing(), 3
	cfg.RoundTime, cfg.collectorOn = time.Second, true
	cfg.only = func(table string, size int) bool { return table == RowThroughput && size == 64 }
	if m := os.Getenv("FIRE_GC_MINUTES"); m != "" {
		n, err := strconv.Atoi(m)
		if err != nil || n < 1 {
			t.Fatalf("FIRE_GC_MINUTES %q is no number of minutes", m)
		}
		cfg.RoundTime, tries = time.Duration(n)*time.Minute, 1
	}
	// The runtime may begin a thread, which it counts as its own few mallocs: not in each of
	// three seconds. A message that allocates does so in each.
	for try := 1; ; try++ {
		rows := newRingRows()
		if err := measureRing(t.Context(), cfg, self("ring"), rows, turn{}); err != nil { // RunRing's limit is a minute
			t.Fatal(err)
		}
		r := rows.finish()[0]
		t.Logf("%d mallocs for %d messages of 64 B in %v, %d collections in the two processes", *r.Mallocs, r.Messages, cfg.RoundTime, *r.Collections)
		if r.Messages < 10_000 {
			t.Fatal("hardly a message was sent")
		}
		if cfg.RoundTime >= 3*time.Minute && *r.Collections == 0 {
			t.Fatal("the runtime's own collection of every two minutes was not: the collector is off")
		}
		if *r.Mallocs == 0 {
			return
		}
		if try == tries {
			t.Fatalf("%d mallocs for %d messages", *r.Mallocs, r.Messages)
		}
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
	// Those at the ends of the measurement are forced and not counted.
	if all.Collections == nil || *all.Collections < g.Collections/2 || *all.Mallocs != g.Mallocs || *all.Mallocs*100 > all.Messages {
		t.Errorf("%d collections counted, %d forced; %d mallocs, %d with collections, for %d messages", *all.Collections, g.Collections, *all.Mallocs, g.Mallocs, all.Messages)
	}
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
