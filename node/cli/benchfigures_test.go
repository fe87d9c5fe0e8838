package cli

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"fire/node/bench"
)

// figures wants the JSON of a bench on stdout to be plausible: figures ring|udp.
func figures(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: figures ring|udp")
	}
	var out struct{ Data json.RawMessage }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &out))
	var rows []bench.RingRow
	switch args[0] {
	case "ring":
		var r bench.RingResult
		ts.Check(json.Unmarshal(out.Data, &r))
		rows = r.Rows
		sameRatio(ts, r.RatioP50ToBounce, r.RingP50NS, r.BounceP50NS)
		perSecond(ts, &r)
	case "udp":
		var r bench.UDPResult
		ts.Check(json.Unmarshal(out.Data, &r))
		rows = r.Rows
		sameRatio(ts, r.RatioToGoUDP, r.FireP50NS, r.GoUDPP50NS)
		sameRatio(ts, r.RatioSpinToGoUDP, r.FireSpinP50NS, r.GoUDPP50NS)
		sameRatio(ts, r.RatioToQUIC, r.FireP50NS, r.QUICP50NS)
	default:
		ts.Fatalf("figures of what? %q", args[0])
	}
	timed := 0
	for i := range rows {
		if rows[i].NotRun == "" {
			timed += plausible(ts, &rows[i])
		}
	}
	if timed < 8 {
		ts.Fatalf("%d rows with latencies", timed)
	}
}

func sameRatio(ts *testscript.TestScript, ratio float64, a, b int64) {
	if a <= 0 || b <= 0 || math.Abs(ratio-float64(a)/float64(b)) > 1e-9 {
		ts.Fatalf("ratio %v of %d and %d", ratio, a, b)
	}
}

func perSecond(ts *testscript.TestScript, r *bench.RingResult) {
	sizes := map[int]bool{}
	for _, x := range r.Rows {
		if x.Table == bench.RowThroughput && x.Path == "fire lane" && x.PerSecond > 0 {
			sizes[x.SizeBytes] = x.RingBytes == r.BulkBytes
		}
	}
	if !sizes[64] || !sizes[1024] || r.MessagesPerSec64B <= 0 {
		ts.Fatalf("throughput of %v, %v at 64 B", sizes, r.MessagesPerSec64B)
	}
}

// plausible checks one row, and returns 1 if it has latencies.
func plausible(ts *testscript.TestScript, r *bench.RingRow) int {
	if r.Messages == 0 || r.Counted > 0 && (r.MallocsPerMessage == nil || *r.MallocsPerMessage < 0) {
		ts.Fatalf("%s %s %d: %d messages, mallocs %v", r.Table, r.Path, r.SizeBytes, r.Messages, r.MallocsPerMessage)
	}
	h := r.Histogram
	if h == nil {
		if r.PerSecond <= 0 {
			ts.Fatalf("%s %s %d has neither latencies nor a rate", r.Table, r.Path, r.SizeBytes)
		}
		return 0
	}
	var sum uint64
	last := int64(-1)
	for _, b := range h.Buckets {
		if sum += b.Count; b.ValueNS <= last || b.Count == 0 {
			ts.Fatalf("%s %s %d: bucket %+v after %d ns", r.Table, r.Path, r.SizeBytes, b, last)
		}
		last = b.ValueNS
	}
	if sum != h.Total || sum != r.Messages || r.P50NS > r.P99NS || r.P99NS > r.P999NS || r.P999NS > r.P9999 || r.P9999 > r.MaxNS || r.HDR == "" {
		ts.Fatalf("%s %s %d: %d in buckets, total %d, %d messages; p50 %d, most %d", r.Table, r.Path, r.SizeBytes, sum, h.Total, r.Messages, r.P50NS, r.MaxNS)
	}
	return 1
}

// oneline wants stderr to be one line that is not long.
func oneline(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	if n := len(text); neg || len(args) > 0 || n < 10 || n > 300 || strings.Index(text, "\n") != n-1 {
		ts.Fatalf("not one line: %q", text)
	}
}
