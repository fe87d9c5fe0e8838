package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func quickRing() RingConfig {
	c := DefaultRing()
	c.Rounds, c.RoundTime, c.Rate = 1, 20*time.Millisecond, 10_000
	return c
}

func TestRingBenchMeasuresEveryRowBetweenTwoProcesses(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg := quickRing()
	cfg.BulkLines = 8192
	res, err := RunRing(t.Context(), cfg, self("ring"), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, r := range res.Rows {
		seen[r.Table]++
		if r.Path == AeronName || r.Path == DisruptorName {
			if r.NotRun == "" || r.Messages != 0 {
				t.Errorf("%s: not run: %q, %d messages", r.Path, r.NotRun, r.Messages)
			}
			continue
		}
		if r.Messages == 0 || r.NotRun != "" {
			t.Errorf("%s %s %d: %+v", r.Table, r.Path, r.SizeBytes, r.Messages)
		}
		if r.Table == RowThroughput {
			if r.PerSecond <= 0 {
				t.Errorf("%s %d: %v per second", r.Path, r.SizeBytes, r.PerSecond)
			}
		} else if q := []int64{1, r.P50NS, r.P99NS, r.P999NS, r.P9999, r.MaxNS}; !slices.IsSorted(q) {
			t.Errorf("%s %s %d: quantiles %v", r.Table, r.Path, r.SizeBytes, q)
		}
		if r.Counted < r.Messages && r.Table != RowHiccup && r.Table != RowBounce {
			t.Errorf("%s %s %d: counts are of %d messages, latencies of %d", r.Table, r.Path, r.SizeBytes, r.Counted, r.Messages)
		}
		if r.Collections != nil && *r.Collections != 0 {
			t.Errorf("%s %s %d: %d collections", r.Table, r.Path, r.SizeBytes, *r.Collections)
		}
		// The measurement itself allocates a little around its loop, never per message.
		if r.Mallocs != nil && (*r.Mallocs > 100 || r.Messages > 1000 && *r.Mallocs*10 > r.Messages) {
			t.Errorf("%s %s %d: %d mallocs for %d messages", r.Table, r.Path, r.SizeBytes, *r.Mallocs, r.Messages)
		}
	}
	for _, r := range res.Rows {
		want := map[string]uint64{RowPingPong: 256 << 10, RowFixedRate: 256 << 10, RowThroughput: res.BulkBytes}[r.Table]
		if r.NotRun == "" && r.RingBytes != want {
			t.Errorf("%s %s %d: ring of %d bytes, want %d", r.Table, r.Path, r.SizeBytes, r.RingBytes, want)
		}
	}
	if res.Bytes != 256<<10 || res.BulkBytes != 512<<10 {
		t.Errorf("rings of %d and %d bytes", res.Bytes, res.BulkBytes)
	}
	for table, want := range map[string]int{RowHiccup: 1, RowBounce: 1, RowPingPong: 3, RowFixedRate: 3, RowThroughput: 4 + 2} {
		if seen[table] != want {
			t.Errorf("%d rows of %s, want %d", seen[table], table, want)
		}
	}
	if res.BounceP50NS <= 0 || res.RingP50NS <= 0 || res.RatioP50ToBounce <= 0 || res.MessagesPerSec64B <= 0 || res.Topology == "" {
		t.Errorf("%+v", res)
	}
}

func TestCancelEndsARingBenchAtOnce(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg := quickRing()
	cfg.RoundTime = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	t0 := time.Now()
	_, err := RunRing(ctx, cfg, self("ring"), nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(t0) > 20*time.Second {
		t.Fatalf("%v after %v", err, time.Since(t0))
	}
}

func TestRingPeerThatSaysNothingIsAnError(t *testing.T) {
	_, err := RunRing(t.Context(), quickRing(), self("silent"), nil)
	if err == nil || !strings.Contains(err.Error(), "no address today") {
		t.Fatal(err)
	}
}

func TestRingConfigNamesEveryProblem(t *testing.T) {
	c := RingConfig{Rounds: 0, RoundTime: time.Nanosecond, Rate: 1, Lines: 300, Cores: [2]int{1, 1}}
	err := c.Check()
	for _, want := range []string{"rounds 0", "round time 1ns", "rate 1", "300 lines", "cores 1 and 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestNanosQuantilesAreWithinAPercent(t *testing.T) {
	var h nanos
	var all []int64
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		v := int64(rng.ExpFloat64() * 5000)
		all = append(all, v)
		h.record(v)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)-1))]
		if got := h.quantile(q); got < want || float64(got) > float64(want)*1.008+1 {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
	var whole nanos
	for _, v := range []uint64{0, 1, 4095, 4096, 4097, 1 << 20, 1<<36 - 1, 1 << 36, 1 << 63} {
		i := nanosIndex(v)
		if i < 0 || i >= len(whole.bucket) || v < 1<<36 && (nanosUpper(i) < v || i > 0 && nanosUpper(i-1) >= v) {
			t.Errorf("%d lies in bucket %d, up to %d", v, i, nanosUpper(i))
		}
	}
}

func TestTopologyReadsLists(t *testing.T) {
	for list, want := range map[string]bool{"0": false, "0,3": true, "0-3": true, "4-8,1": false, "": false, "2-x": false} {
		if listed(list, 3) != want {
			t.Errorf("3 in %q is %v", list, !want)
		}
	}
}

func TestTopologyNamesSMTSiblings(t *testing.T) {
	for want, cpus := range map[string][2][2]string{ // siblings and socket of cores 0 and 1
		"unknown": {},
		"SMT siblings of one core (0-1): latencies are those of one core's cache, not of two cores":   {{"0-1", "0"}, {"0-1", "0"}},
		"two cores of one socket, without SMT siblings":                                               {{"0", "0"}, {"1", "0"}},
		"two cores of one socket, 0 is one of the SMT siblings 0,4, 1 is one of the SMT siblings 1,5": {{"0,4", "0"}, {"1,5", "0"}},
		"two sockets, without SMT siblings":                                                           {{"0", "0"}, {"1", "1"}},
	} {
		sys := t.TempDir()
		for core, x := range cpus {
			dir := filepath.Join(sys, "cpu"+strconv.Itoa(core), "topology")
			if x[0] == "" {
				continue
			}
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "thread_siblings_list"), []byte(x[0]+"\n"), 0o644),
				os.WriteFile(filepath.Join(dir, "physical_package_id"), []byte(x[1]+"\n"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if got := topology(sys, [2]int{0, 1}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
