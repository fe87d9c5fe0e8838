package cli

import (
	"strings"
	"testing"

	"fire/node/bench"
)

func TestRivalsOfTheRingArePrintedWithRatiosOrWhyNot(t *testing.T) {
	var out strings.Builder
	c := &call{out: &out}
	ratios := []bench.RingRatio{
		{Table: bench.RowPingPong, Rival: bench.AeronName, SizeBytes: 48, Median: 0.8, Min: 0.7, Max: 0.9, Rounds: 5},
		{Table: bench.RowThroughput, Rival: bench.AeronName, SizeBytes: 64, Median: 1.5, Min: 1.25, Max: 1.75, Rounds: 4},
	}
	c.printRingRival(bench.RingRival{Name: bench.AeronName, Version: "1.47.3", Settings: "two processes"}, 5, ratios)
	c.printRingRival(bench.RingRival{Name: bench.DisruptorName, NotRun: "--disruptor is not given"}, 5, ratios)
	want := `aeron 1.47.3 (two processes); fire's over its, the middle of the rounds, least and most:
  p50 of ping_pong at 48 B: 0.80 (0.70 to 0.90)
  messages/s at 64 B: 1.50 (1.25 to 1.75) in 4 of 5 rounds
go-disruptor: not run: --disruptor is not given
`
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

func TestCountsByMessageSayWhenNobodyCounted(t *testing.T) {
	x := func(f float64) *float64 { return &f }
	for _, v := range []struct {
		counted uint64
		share   *float64
		want    string
	}{{0, nil, ""}, {9, nil, "not counted"}, {9, x(0), "0"}, {9, x(0.00001), "<0.0001"}, {9, x(2.5), "2.5000"}} {
		if got := showShare(v.counted, v.share); got != v.want {
			t.Errorf("%d, %v: %q, want %q", v.counted, v.share, got, v.want)
		}
	}
}
