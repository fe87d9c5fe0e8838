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
