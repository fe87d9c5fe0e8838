package bench

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// spreadRow is a row of 100,000 latencies from 50 ns to seconds.
func spreadRow(t *testing.T) []RingRow {
	t.Helper()
	var h nanos
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		h.record(50 + int64(math.Exp(rng.Float64()*22)))
	}
	rows := newRingRows()
	rows.add(RingRow{Table: RowPingPong, Path: "fire, spins", SizeBytes: 64, Messages: h.count, latency: h})
	rows.add(RingRow{Table: RowThroughput, Path: "fire lane", PerSecond: 5})
	return rows.finish()
}

func near(got, want int64) bool { return math.Abs(float64(got-want)) <= float64(want)/100+1 }

func TestEncodedHistogramReadsBackWithTheSameFigures(t *testing.T) {
	all := spreadRow(t)
	back, err := hdrhistogram.Decode([]byte(all[0].HDR))
	if err != nil {
		t.Fatal(err)
	}
	if back.TotalCount() != 100_000 || all[1].HDR != "" || all[1].Histogram != nil {
		t.Error(back.TotalCount(), all[1].HDR, all[1].Histogram)
	}
	for q, want := range map[float64]int64{50: all[0].P50NS, 99: all[0].P99NS, 99.99: all[0].P9999} {
		if got := back.ValueAtQuantile(q); !near(got, want) {
			t.Errorf("%v: %d, the row says %d", q, got, want)
		}
	}
}

func TestHistogramsBucketsAddUpToTheRow(t *testing.T) {
	r := spreadRow(t)[0]
	h := r.Histogram
	var sum uint64
	quantile := func(q float64) int64 {
		rank, seen := uint64(q*float64(h.Total-1))+1, uint64(0)
		for _, b := range h.Buckets {
			if seen += b.Count; seen >= rank {
				return b.ValueNS
			}
		}
		return -1
	}
	for i, b := range h.Buckets {
		sum += b.Count
		if b.Count == 0 || i > 0 && b.ValueNS <= h.Buckets[i-1].ValueNS {
			t.Fatalf("bucket %d: %+v", i, b)
		}
	}
	if sum != h.Total || h.Total != r.Messages || h.Buckets[len(h.Buckets)-1].ValueNS != r.MaxNS {
		t.Errorf("%d in buckets, total %d, %d messages, ends with %+v, most %d", sum, h.Total, r.Messages, h.Buckets[len(h.Buckets)-1], r.MaxNS)
	}
	for q, want := range map[float64]int64{0.5: r.P50NS, 0.99: r.P99NS, 0.999: r.P999NS, 0.9999: r.P9999} {
		if got := quantile(q); !near(got, want) {
			t.Errorf("%v: %d, the row says %d", q, got, want)
		}
	}
}

// TestHistogramsCountBeyond32Bits is the hiccup row of some rounds of a minute.
func TestHistogramsCountBeyond32Bits(t *testing.T) {
	var all, round nanos
	round.add(9, 3_000_000_000)
	round.add(100, 10)
	all.merge(&round)
	all.merge(&round)
	all = histogram(all.sent())
	if h := all.told(); h.Total != 6_000_000_020 || h.Buckets[0] != (HistogramBucket{9, 6_000_000_000}) || all.quantile(0.5) != 9 {
		t.Errorf("%+v, p50 %d", h, all.quantile(0.5))
	}
}

// percentiles is a .hgrm file, read as HdrHistogram's plotter does.
type percentiles struct {
	value, percentile []float64
	count             []int64
	max, mean         float64
	total             int64
}

func readPercentiles(t *testing.T, name string) (p percentiles) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	if !lines.Scan() || strings.Join(strings.Fields(lines.Text()), " ") != "Value Percentile TotalCount 1/(1-Percentile)" {
		t.Fatalf("first line %q", lines.Text())
	}
	var dev float64
	var buckets, sub int
	footer := 0
	for lines.Scan() {
		line := lines.Text()
		var v, q, inverse float64
		var n int64
		var err error
		switch {
		case line == "":
		case strings.HasPrefix(line, "#[Mean"):
			_, err = fmt.Sscanf(strings.ReplaceAll(line, " ", ""), "#[Mean=%f,StdDeviation=%f]", &p.mean, &dev)
			footer++
		case strings.HasPrefix(line, "#[Max"):
			_, err = fmt.Sscanf(strings.ReplaceAll(line, " ", ""), "#[Max=%f,Totalcount=%d]", &p.max, &p.total)
			footer++
		case strings.HasPrefix(line, "#[Buckets"):
			_, err = fmt.Sscanf(strings.ReplaceAll(line, " ", ""), "#[Buckets=%d,SubBuckets=%d]", &buckets, &sub)
			footer++
		default:
			_, err = fmt.Sscan(line, &v, &q, &n, &inverse)
			p.value, p.percentile, p.count = append(p.value, v), append(p.percentile, q), append(p.count, n)
		}
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	if footer != 3 || len(p.value) < 20 {
		t.Fatalf("%d lines of footer, %d of figures", footer, len(p.value))
	}
	return p
}

func TestPercentileFilesReadBackWithTheSameFigures(t *testing.T) {
	all := spreadRow(t)
	r := all[0]
	dir := filepath.Join(t.TempDir(), "new", "dir")
	if n, err := WritePercentiles(dir, all); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	name := filepath.Join(dir, "ping_pong-fire-spins-64B.hgrm")
	p := readPercentiles(t, name)
	last := len(p.count) - 1
	if p.total != int64(r.Messages) || p.count[last] != p.total || p.percentile[last] != 1 || !near(int64(p.max), r.MaxNS) || !near(int64(p.mean), int64(r.MeanNS)) {
		t.Errorf("total %d, last count %d, most %v, mean %v; the row has %d, %d, %v", p.total, p.count[last], p.max, p.mean, r.Messages, r.MaxNS, r.MeanNS)
	}
	for q, want := range map[float64]int64{0.5: r.P50NS, 0.99: r.P99NS, 0.999: r.P999NS} {
		below, above := int64(0), int64(0) // the lines around the quantile
		for i := range p.value {
			if p.percentile[i] <= q {
				below = int64(p.value[i])
			} else {
				above = int64(p.value[i])
				break
			}
		}
		if want < below-below/100-1 || want > above+above/100+1 {
			t.Errorf("%v: from %d to %d, the row says %d", q, below, above, want)
		}
	}
	if _, err := WritePercentiles(name, all); err == nil {
		t.Error("a file is taken for a directory")
	}
}

func TestHistogramOfNothingIsLeftOut(t *testing.T) {
	rows := newRingRows()
	rows.add(RingRow{Table: RowThroughput, Path: pathLane, PerSecond: 1, Messages: uint64(time.Second)})
	if r := rows.finish()[0]; r.Histogram != nil || r.HDR != "" {
		t.Errorf("%+v", r)
	}
}
