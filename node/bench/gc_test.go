package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMessagesAllocateNothingHoweverLong publishes without a pause to a subscriber in another
// process for FIRE_GC_MINUTES minutes, or for a second (give go test a longer -timeout). Both
// have the garbage collector on, as a program has it that says nothing: what allocates nothing
// never makes it run, and only the runtime's own clock does, every two minutes. Then the
// runtime makes a few objects for its own goroutines, which are told apart by who made them.
func TestMessagesAllocateNothingHoweverLong(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	cfg := quickRing()
	cfg.RoundTime, cfg.collectorOn, cfg.own = time.Second, true, ownMallocs
	cfg.only = func(table string, size int) bool { return table == RowThroughput && size == 64 }
	if m := os.Getenv("FIRE_GC_MINUTES"); m != "" {
		n, err := strconv.Atoi(m)
		if err != nil || n < 1 {
			t.Fatalf("FIRE_GC_MINUTES %q is no number of minutes", m)
		}
		cfg.RoundTime = time.Duration(n) * time.Minute
	}
	rows := newRingRows()
	if err := measureRing(t.Context(), cfg, self("ring-profiled"), rows, turn{}); err != nil { // RunRing's limit is a minute
		t.Fatal(err)
	}
	r := rows.finish()[0]
	t.Logf("%d messages of 64 B in %v: %d mallocs of the loops and what they call, %d of the runtime, %d collections; both processes",
		r.Messages, cfg.RoundTime, *r.own, *r.Mallocs-*r.own, *r.Collections)
	if *r.own != 0 || r.Messages < 10_000 {
		t.Errorf("%d mallocs for %d messages", *r.own, r.Messages)
	}
	if most := 32 * (1 + *r.Collections); *r.Mallocs > most {
		t.Errorf("%d mallocs of the runtime with %d collections", *r.Mallocs, *r.Collections)
	}
	if cfg.RoundTime >= 3*time.Minute && *r.Collections == 0 {
		t.Error("the runtime's own collection of every two minutes was not: the collector is off")
	}
}

// ownMallocs are those so far with a function of this program on their stack, but for the
// counting itself. It needs MemProfileRate 1; a malloc is in the profile two collections later.
func ownMallocs() (n uint64) {
	for range 3 {
		runtime.GC()
	}
	records := make([]runtime.MemProfileRecord, 1<<15)
	got, ok := runtime.MemProfile(records, true)
	if !ok {
		panic("more places that allocate than there is room for")
	}
	for i := range records[:got] {
		if r := &records[i]; ownStack(r.Stack()) {
			n += uint64(r.AllocObjects)
		}
	}
	return n
}

func ownStack(stack []uintptr) (own bool) {
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "(*callCounter).") {
			return false
		}
		own = own || strings.HasPrefix(f.Function, "fire/")
		if !more {
			return own
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
