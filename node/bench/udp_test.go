package bench

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestUDPBenchMeasuresEveryPathBetweenTwoProcesses(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg := DefaultUDP()
	cfg.Rounds, cfg.RoundTime, cfg.Sizes = 1, 150*time.Millisecond, []int{8, 1200}
	res, err := RunUDP(t.Context(), cfg, self("udp"), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, r := range res.Rows {
		seen[r.Table+" "+r.Path]++
		if r.Messages == 0 {
			t.Errorf("%s %s %d: nothing was measured", r.Table, r.Path, r.SizeBytes)
		}
		if q := []int64{1, r.P50NS, r.P99NS, r.P999NS, r.P9999, r.MaxNS}; r.Table == RowRoundTrip && !slices.IsSorted(q) {
			t.Errorf("%s %d: quantiles %v", r.Path, r.SizeBytes, q)
		}
		// The first round trips and the keys cost some; a message must not.
		if r.Path == PathFire && r.Messages > 2000 && *r.Mallocs > r.Messages/4 {
			t.Errorf("%s %d: %d allocations for %d messages", r.Table, r.SizeBytes, *r.Mallocs, r.Messages)
		}
	}
	for _, path := range []string{PathGoUDP, PathRawSpin, PathFire, PathFireSpin, PathQUIC} {
		if seen[RowFixedRate+" "+path] != 1 {
			t.Errorf("%s has no row at a fixed rate", path)
		}
		if seen[RowRoundTrip+" "+path] != 2 {
			t.Errorf("%s has %d rows of round trips", path, seen[RowRoundTrip+" "+path])
		}
	}
	if res.RatioToGoUDP <= 0 || res.RatioToQUIC <= 0 || seen[RowOneWay+" "+PathFire] != 1 {
		t.Errorf("ratios %v and %v", res.RatioToGoUDP, res.RatioToQUIC)
	}
}

// stalled is an end whose answers come at once, but for one that takes as long as it takes.
type stalled struct {
	udpEnd
	n, nth int
	takes  time.Duration
}

func (e *stalled) send([]byte) bool { e.n++; return true }
func (e *stalled) flush()           {}
func (e *stalled) turn(each func([]byte)) error {
	if e.n == e.nth {
		time.Sleep(e.takes)
	}
	each(nil)
	return nil
}

// TestMessagesDueInAStallAreTimedWhenItOutlastsTheRound: none of them is left out.
func TestMessagesDueInAStallAreTimedWhenItOutlastsTheRound(t *testing.T) {
	const rate = 1000
	round := 200 * time.Millisecond
	for _, x := range []struct {
		takes time.Duration
		sent  func(n int) bool
	}{
		{220 * time.Millisecond, func(n int) bool { return n > 150 }}, // they are sent after it
		{time.Second, func(n int) bool { return n == 100 }},           // there is no time for them
	} {
		e, row := &stalled{nth: 100, takes: x.takes}, RingRow{}
		if err := atRate(e, 64, rate, tickRate(), time.Now().Add(round), &row); err != nil {
			t.Fatal(err)
		}
		if !x.sent(e.n) || int(row.Counted) != e.n {
			t.Errorf("a stall of %v: %d were sent, %d counted", x.takes, e.n, row.Counted)
		}
		// From 50 ms, when the warm-up is over, one each millisecond; half of them were due in the stall.
		if row.Messages < 120 || row.latency.count != row.Messages || row.latency.quantile(0.5) < int64(x.takes)/4 || row.latency.max < uint64(x.takes)*9/10 {
			t.Errorf("a stall of %v: %d messages, p50 %v, most %v", x.takes, row.Messages, time.Duration(row.latency.quantile(0.5)), time.Duration(row.latency.max))
		}
	}
}

func TestUDPBenchRefusesNonsense(t *testing.T) {
	for _, edit := range []func(*UDPConfig){func(c *UDPConfig) { c.Rounds = 0 }, func(c *UDPConfig) { c.Sizes = []int{7} }, func(c *UDPConfig) { c.Sizes = nil },
		func(c *UDPConfig) { c.Cores = [2]int{1, 1} }, func(c *UDPConfig) { c.Datagram = 100 }, func(c *UDPConfig) { c.RoundTime = time.Hour }} {
		c := DefaultUDP()
		edit(&c)
		if c.Check() == nil {
			t.Errorf("%+v is let through", c)
		}
	}
}
