package bench

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
)

// Names of the rivals of the ring, which are their paths in the rows.
const (
	AeronName     = "aeron"
	DisruptorName = "go-disruptor"
)

// aeronSource is our harness around Aeron's public API. It is compiled for each run, with
// the jar that the user names: nothing of Aeron's is in this program.
//
//go:embed AeronRival.java
var aeronSource []byte

// RingRival says what has run beside the ring.
type RingRival struct {
	Name     string `json:"name"`
	Version  string `json:"version,omitempty"`
	Settings string `json:"settings,omitempty"`
	NotRun   string `json:"not_run,omitempty"` // why it has no figures, or no more of them
}

// RingRatio is fire's lane beside a rival in one table at one size: messages per second
// over messages per second, or p50 over p50. Each round gives one ratio, of two
// measurements that followed each other; the middle one is quoted.
type RingRatio struct {
	Table     string  `json:"table"`
	Rival     string  `json:"rival"`
	SizeBytes int     `json:"size_bytes"`
	Median    float64 `json:"fire_to_rival"`
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
	Rounds    int     `json:"rounds"`
}

// rivalHello is the first line of a rival: what it is, its measuring threads in the
// order of the two cores, and the rows that it can do ("throughput 64").
type rivalHello struct {
	Version  string   `json:"version"`
	Settings string   `json:"settings"`
	Threads  []int    `json:"threads"`
	Rows     []string `json:"rows"`
}

func (h *rivalHello) check() error {
	switch {
	case len(h.Threads) != 2:
		return fmt.Errorf("%d threads instead of two", len(h.Threads))
	case len(h.Rows) == 0 || len(h.Rows) > 64:
		return fmt.Errorf("%d rows", len(h.Rows))
	case len(h.Version) > 64 || len(h.Settings) > 256:
		return errors.New("a version or settings that are too long")
	}
	return nil
}

func (h *rivalHello) does(table string, size int) bool {
	return slices.Contains(h.Rows, fmt.Sprintf("%s %d", table, size))
}

// rivalAnswer is what a rival says after each row.
type rivalAnswer struct {
	Messages uint64            `json:"messages"`
	TookNS   int64             `json:"took_ns"`
	Latency  map[uint64]uint64 `json:"latency_ns"` // how often each was seen
}

// row checks an answer to a row that was to take ns and took most at most, and turns it
// into one of ours.
func (a *rivalAnswer) row(name, table string, size int, ns, most int64) (RingRow, error) {
	r := RingRow{Table: table, Path: name, SizeBytes: size, Messages: a.Messages}
	if a.Messages > 1<<40 {
		return r, fmt.Errorf("it says %d messages", a.Messages)
	}
	if table == RowThroughput {
		if a.Messages == 0 || a.TookNS < ns/2 || a.TookNS > most {
			return r, fmt.Errorf("it says %d messages in %d ns of %d", a.Messages, a.TookNS, ns)
		}
		r.PerSecond = float64(a.Messages) / float64(a.TookNS) * 1e9
		return r, nil
	}
	for v, n := range a.Latency {
		if n > a.Messages || r.latency.count+n > a.Messages || n >= 1<<31 || v > 1<<40 {
			return r, fmt.Errorf("it says %d latencies of %d ns among %d messages", n, v, a.Messages)
		}
		r.latency.add(v, n)
	}
	if r.latency.count == 0 && a.Messages > 2*bounceWarm { // fewer are those to warm up with
		return r, fmt.Errorf("it says no latency of %d messages", a.Messages)
	}
	r.Messages = r.latency.count
	return r, nil
}

// ratios pairs the rounds of fire's lane with those of a rival. A round in which the
// machine let one of them send nothing has no ratio.
func ratios(rows []RingRow, rival string) []RingRatio {
	var out []RingRatio
	for _, r := range rows {
		if r.Path != rival {
			continue
		}
		i := slices.IndexFunc(rows, func(f RingRow) bool {
			return f.Path == pathLane && f.Table == r.Table && f.SizeBytes == r.SizeBytes
		})
		if i < 0 {
			continue
		}
		var each []float64
		for round, own := range rows[i].rounds {
			if its := r.rounds[round]; own > 0 && its > 0 {
				each = append(each, own/its)
			}
		}
		if len(each) > 0 {
			out = append(out, RingRatio{Table: r.Table, Rival: rival, SizeBytes: r.SizeBytes,
				Median: median(each), Min: slices.Min(each), Max: slices.Max(each), Rounds: len(each)})
		}
	}
	return out
}
