package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// RingSchema names the JSON form of RingResult.
const RingSchema = "fire.bench.ring/v1"

// RingConfig says what is measured of the shared-memory ring.
type RingConfig struct {
	Rounds    int           // default 5
	RoundTime time.Duration // of one row in a round; default 300 ms
	Rate      int           // messages per second of the fixed_rate rows; default 100,000
	Lines     uint64        // capacity of the rings of latency rows; default 4096 lines, 256 KiB
	BulkLines uint64        // of the rings of throughput rows; default 4096 lines, 256 KiB
	Cores     [2]int        // where the two processes run; default 0 and 1
	GCEvery   time.Duration // a collection is forced so often in both processes, in rows of their own; default 0: no such rows

	// Rivals, measured beside in the same rounds. Without these they are shown as not run.
	AeronJar  string // io.aeron:aeron-all; needs a JDK
	Disruptor string // the program that node/bench/testdata/disruptor builds

	rivalGrace  time.Duration                     // 0: rivalGrace
	own         func() uint64                     // of a test: see callCounter
	collectorOn bool                              // of a test: both processes keep the garbage collector on
	only        func(table string, size int) bool // of a test: the rows that are measured; nil: all
}

// DefaultRing is what `fire bench ring` does without flags.
func DefaultRing() RingConfig {
	return RingConfig{Rounds: 5, RoundTime: 300 * time.Millisecond, Rate: 100_000, Lines: 4096, BulkLines: 4096, Cores: [2]int{0, 1}}
}

// Check returns every problem at once.
func (c *RingConfig) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Rounds < 1 || c.Rounds > 1000 {
		bad("rounds %d is not 1 to 1000", c.Rounds)
	}
	if c.RoundTime < 10*time.Millisecond || c.RoundTime > time.Minute {
		bad("round time %v is not 10ms to 1m", c.RoundTime)
	}
	if c.Rate < 1000 || c.Rate > 2_000_000 {
		bad("rate %d is not 1000 to 2000000 messages/s", c.Rate)
	}
	for _, lines := range []uint64{c.Lines, c.BulkLines} {
		if lines < 256 || lines > 1<<20 || lines&(lines-1) != 0 {
			bad("%d lines is no power of two from 256 to 1048576", lines)
		}
	}
	if c.GCEvery != 0 && (c.GCEvery < time.Millisecond || c.GCEvery > time.Minute) {
		bad("a collection every %v is not 1ms to 1m", c.GCEvery)
	}
	if c.Cores[0] == c.Cores[1] {
		bad("cores %d and %d are one: two processes that spin need two", c.Cores[0], c.Cores[1])
	}
	for _, core := range c.Cores {
		if core < 0 || core >= 1024 {
			bad("core %d is not 0 to 1023", core)
		}
	}
	return errors.Join(errs...)
}

// The rows of a RingResult.
const (
	RowBounce     = "bounce"     // one word that two processes hand to and fro; half a round trip
	RowPingPong   = "ping_pong"  // one message on its way; half a round trip
	RowFixedRate  = "fixed_rate" // one way, from the moment when the message was due
	RowThroughput = "throughput" // as many as go through
	RowHiccup     = "hiccup"     // gaps of a loop that only looks at the clock
	RowGC         = "gc"         // as fixed_rate, while collections are forced in both processes
)

// RingRow is one figure with its distribution, all rounds together. Latencies are one
// way, in nanoseconds.
type RingRow struct {
	Table     string  `json:"table"`
	Path      string  `json:"path"` // "raw", "fire lane", "fire broadcast" or a rival's
	SizeBytes int     `json:"size_bytes,omitempty"`
	RingBytes uint64  `json:"ring_bytes,omitempty"` // of fire's ring in this row
	Messages  uint64  `json:"messages_total"`
	PerSecond float64 `json:"messages_per_second,omitempty"`

	MeanNS float64 `json:"mean_ns,omitempty"`
	P50NS  int64   `json:"p50_ns,omitempty"`
	P99NS  int64   `json:"p99_ns,omitempty"`
	P999NS int64   `json:"p999_ns,omitempty"`
	P9999  int64   `json:"p9999_ns,omitempty"`
	MaxNS  int64   `json:"max_ns,omitempty"`

	RoundP50NS     []int64   `json:"round_p50_ns,omitempty"`
	RoundPerSecond []float64 `json:"round_messages_per_second,omitempty"`

	// HDR is the latencies' HdrHistogram: V2, compressed, in base 64.
	HDR string `json:"hdr_histogram,omitempty"`
	// Histogram is the same, to be read without a library.
	Histogram *Histogram `json:"histogram,omitempty"`

	// Counted is the messages that the counts below are of: a row's warm-up is in no latency
	// but in these.
	Counted     uint64  `json:"counted_messages_total,omitempty"`
	Mallocs     *uint64 `json:"mallocs_total,omitempty"`     // of both processes while measuring
	Switches    *uint64 `json:"switches_total,omitempty"`    // context switches of both measuring threads
	Calls       *uint64 `json:"syscalls_total,omitempty"`    // system calls of both; nil: this user cannot count them
	Collections *uint64 `json:"collections_total,omitempty"` // of the garbage collectors of both; 0 except in the gc row
	NotRun      string  `json:"not_run,omitempty"`           // why a rival has no figures, or not of all rounds

	MallocsPerMessage *float64 `json:"mallocs_per_message,omitempty"`
	CallsPerMessage   *float64 `json:"syscalls_per_message,omitempty"`

	// Of the process that answers or reads; the rest is the writer's.
	PeerMallocsPerMessage  *float64 `json:"peer_mallocs_per_message,omitempty"`
	PeerCallsPerMessage    *float64 `json:"peer_syscalls_per_message,omitempty"`
	peerMallocs, peerCalls *uint64
	own                    *uint64 // of Mallocs, where a test asks

	latency nanos
	round   int             // of this figure
	rounds  map[int]float64 // the figure of each round: p50, or messages per second
}

// RingResult is one run.
type RingResult struct {
	StartedAt time.Time `json:"started_at"`
	CPUs      int       `json:"cpus"`
	GoVersion string    `json:"go_version"`
	Cores     [2]int    `json:"cores"`
	Topology  string    `json:"topology"`
	Rounds    int       `json:"rounds"`
	RoundNS   int64     `json:"round_ns"`
	Lines     uint64    `json:"lines"`
	Bytes     uint64    `json:"ring_bytes"` // of each ring of the latency rows, lines of 64
	BulkBytes uint64    `json:"throughput_ring_bytes"`
	Rate      int       `json:"rate_per_second"`
	ClockNS   float64   `json:"clock_ns"` // one look at the clock, which is in every latency once

	BounceP50NS       int64   `json:"bounce_p50_ns"`
	RingP50NS         int64   `json:"ring_p50_ns"` // ping_pong at 48 bytes
	RatioP50ToBounce  float64 `json:"ratio_p50_to_bounce"`
	MessagesPerSec64B float64 `json:"messages_per_second_64b"` // throughput of the lane

	// Absent when the rival was not run. The ratios are Ratios' at 64 B, fire over rival.
	AeronPerSec64B     float64 `json:"aeron_messages_per_second_64b,omitempty"`
	RatioToAeron64B    float64 `json:"ratio_to_aeron_64b,omitempty"`
	DisruptorPerSec64B float64 `json:"disruptor_messages_per_second_64b,omitempty"`
	RatioToDisruptor   float64 `json:"ratio_to_disruptor_64b,omitempty"`

	GC         *GCEffect `json:"gc,omitempty"`                   // of the gc rows
	NotCounted string    `json:"syscalls_not_counted,omitempty"` // why no row has system calls

	Rivals []RingRival `json:"rivals"`
	Ratios []RingRatio `json:"ratios,omitempty"`
	Rows   []RingRow   `json:"rows"`
}

// RunRing measures the ring between two processes. peer is the command that starts this
// program as the other one (RingPeer).
func RunRing(ctx context.Context, cfg RingConfig, peer []string, progress func(string)) (*RingResult, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := supported(); err != nil {
		return nil, err
	}
	if err := pinnable(cfg.Cores); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(string) {}
	}
	res := &RingResult{StartedAt: time.Now(), CPUs: runtime.NumCPU(), GoVersion: runtime.Version(), Cores: cfg.Cores,
		Topology: topology(sysCPU, cfg.Cores), Rounds: cfg.Rounds, RoundNS: int64(cfg.RoundTime), Lines: cfg.Lines, Bytes: cfg.Lines * 64, BulkBytes: cfg.BulkLines * 64, Rate: cfg.Rate, ClockNS: clockCost(), NotCounted: whyNotCounted()}
	rows := newRingRows()
	rivals := startRivals(ctx, cfg, progress)
	defer func() {
		for _, r := range rivals {
			r.close()
		}
	}()
	for round := range cfg.Rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, cfg.Rounds))
		rows.round = round
		if err := measureRing(ctx, cfg, peer, rows, turn{round, rivals, progress}); err != nil {
			return nil, err
		}
	}
	for _, r := range rivals {
		if res.Rivals = append(res.Rivals, r.told); r.told.NotRun != "" {
			rows.add(RingRow{Table: RowThroughput, Path: r.told.Name, SizeBytes: 64, NotRun: r.told.NotRun})
		}
	}
	res.Rows, res.GC = rows.finish(), rows.gc
	res.summarize()
	return res, ctx.Err()
}

// summarize fills the figures that people quote.
func (r *RingResult) summarize() {
	for i := range r.Rows {
		switch row := &r.Rows[i]; {
		case row.NotRun != "":
		case row.Table == RowBounce:
			r.BounceP50NS = row.P50NS
		case row.Table == RowPingPong && row.Path == pathLane && row.SizeBytes == 48:
			r.RingP50NS = row.P50NS
		case row.Table == RowThroughput && row.Path == pathLane && row.SizeBytes == 64:
			r.MessagesPerSec64B = row.PerSecond
		case row.Table == RowThroughput && row.Path == AeronName && row.SizeBytes == 64:
			r.AeronPerSec64B = row.PerSecond
		case row.Table == RowThroughput && row.Path == DisruptorName && row.SizeBytes == 64:
			r.DisruptorPerSec64B = row.PerSecond
		}
	}
	if r.BounceP50NS > 0 {
		r.RatioP50ToBounce = float64(r.RingP50NS) / float64(r.BounceP50NS)
	}
	for _, rival := range r.Rivals {
		if rival.NotRun == "" {
			r.Ratios = append(r.Ratios, ratios(r.Rows, rival.Name)...)
		}
	}
	for _, x := range r.Ratios {
		switch {
		case x.Table != RowThroughput || x.SizeBytes != 64:
		case x.Rival == AeronName:
			r.RatioToAeron64B = x.Median
		case x.Rival == DisruptorName:
			r.RatioToDisruptor = x.Median
		}
	}
}
