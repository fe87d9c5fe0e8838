package bench

import (
	"time"

	"fire/transport/meter"
)

// Schema names the JSON form of Result.
const Schema = "fire.bench.mesh/v1"

// The names of the two paths that every run has.
const (
	direct = "direct"
	ours   = "fire"
)

// Tables of a Result's rows.
const (
	PingPong  = "ping_pong"
	FixedRate = "fixed_rate"
)

// Result is one run.
type Result struct {
	StartedAt          time.Time `json:"started_at"`
	CPUs               int       `json:"cpus"`
	GoVersion          string    `json:"go_version"`
	Rounds             int       `json:"rounds"`
	RoundNS            int64     `json:"round_ns"`
	WarmupNS           int64     `json:"warmup_ns"`
	Connections        int       `json:"connections"`
	QuantileErrorRatio float64   `json:"quantile_error_ratio"`
	Echo               string    `json:"echo"` // "process", "goroutine" (shares the generator's processor time) or "given"
	Paths              []Path    `json:"paths"`
	PairInBenchProcess bool      `json:"pair_in_bench_process"` // then its processor time cannot be told apart
	Rows               []Row     `json:"rows"`
	Idle               []IdleRow `json:"idle,omitempty"`
}

// Row is one path at one size in one table, all rounds together. Added figures are
// over the direct path's row of the same table and size.
type Row struct {
	Table             string  `json:"table"`
	Path              string  `json:"path"`
	SizeBytes         int     `json:"size_bytes"`
	RatePerSecond     int     `json:"rate_per_second,omitempty"` // intended; fixed_rate only
	AchievedPerSecond float64 `json:"achieved_per_second"`
	Messages          uint64  `json:"messages_total"`
	Unanswered        uint64  `json:"unanswered_total"`

	P50NS  int64 `json:"p50_ns"`
	P99NS  int64 `json:"p99_ns"`
	P999NS int64 `json:"p999_ns"`
	P9999  int64 `json:"p9999_ns"`
	MaxNS  int64 `json:"max_ns"`
	MeanNS int64 `json:"mean_ns"`

	AddedP50NS *int64 `json:"added_p50_ns,omitempty"`
	AddedP99NS *int64 `json:"added_p99_ns,omitempty"`

	SendLateP50NS int64 `json:"send_late_p50_ns,omitempty"`
	SendLateP99NS int64 `json:"send_late_p99_ns,omitempty"`

	CPUPathNSPerMessage *int64 `json:"cpu_path_ns_per_message,omitempty"` // nil: the path's processes are not known
	CPUEndsNSPerMessage *int64 `json:"cpu_ends_ns_per_message,omitempty"` // generator and echo server

	RoundP50NS []int64            `json:"round_p50_ns"`
	RoundP99NS []int64            `json:"round_p99_ns"`
	Latency    meter.HistSnapshot `json:"latency"`
}

// IdleRow is the memory of idle connections through one path.
type IdleRow struct {
	Path            string `json:"path"`
	Connections     int    `json:"connections"`
	RSSBeforeBytes  int64  `json:"rss_before_bytes"`
	RSSAfterBytes   int64  `json:"rss_after_bytes"`
	RSSPer1000Bytes int64  `json:"rss_per_1000_connections_bytes"`
}

// sample is what one measurement gave.
type sample struct {
	latency    meter.HistSnapshot
	late       meter.HistSnapshot
	max        time.Duration
	counted    uint64 // messages after the warm-up
	all        uint64
	unanswered uint64
	elapsed    time.Duration // of the counted part
	cpuPath    time.Duration // negative: unknown
	cpuEnds    time.Duration // negative: unknown
}

// sum collects the samples of a row over its rounds.
type sum struct {
	row     Row
	late    meter.HistSnapshot
	all     uint64
	elapsed time.Duration
	cpuPath time.Duration
	cpuEnds time.Duration
}

func (s *sum) add(x sample) {
	s.row.Latency.Merge(x.latency)
	s.late.Merge(x.late)
	s.row.MaxNS = max(s.row.MaxNS, int64(x.max))
	s.row.Messages += x.counted
	s.row.Unanswered += x.unanswered
	s.row.RoundP50NS = append(s.row.RoundP50NS, int64(x.latency.Quantile(0.50)))
	s.row.RoundP99NS = append(s.row.RoundP99NS, int64(x.latency.Quantile(0.99)))
	s.all += x.all
	s.elapsed += x.elapsed
	s.cpuPath = addKnown(s.cpuPath, x.cpuPath)
	s.cpuEnds = addKnown(s.cpuEnds, x.cpuEnds)
}

// addKnown keeps an unknown (negative) part visible.
func addKnown(a, b time.Duration) time.Duration {
	if a < 0 || b < 0 {
		return -1
	}
	return a + b
}

func (s *sum) finish() Row {
	r := s.row
	// A bucket's middle may lie above the exact greatest sample.
	at := func(q float64) int64 { return min(int64(r.Latency.Quantile(q)), r.MaxNS) }
	r.P50NS, r.P99NS, r.P999NS, r.P9999 = at(0.50), at(0.99), at(0.999), at(0.9999)
	r.MeanNS = int64(r.Latency.Mean())
	r.SendLateP50NS, r.SendLateP99NS = int64(s.late.Quantile(0.50)), int64(s.late.Quantile(0.99))
	if s.elapsed > 0 {
		r.AchievedPerSecond = float64(r.Messages-r.Unanswered) / s.elapsed.Seconds()
	}
	r.CPUPathNSPerMessage = perMessage(s.cpuPath, s.all)
	r.CPUEndsNSPerMessage = perMessage(s.cpuEnds, s.all)
	return r
}

func perMessage(cpu time.Duration, n uint64) *int64 {
	if cpu < 0 || n == 0 {
		return nil
	}
	v := int64(cpu) / int64(n)
	return &v
}

// addDifferences fills the Added fields of every row but the direct ones.
func addDifferences(rows []Row) {
	type key struct {
		table string
		size  int
	}
	base := map[key]*Row{}
	for i := range rows {
		if rows[i].Path == direct {
			base[key{rows[i].Table, rows[i].SizeBytes}] = &rows[i]
		}
	}
	for i := range rows {
		r := &rows[i]
		b := base[key{r.Table, r.SizeBytes}]
		if b == nil || b == r {
			continue
		}
		p50, p99 := r.P50NS-b.P50NS, r.P99NS-b.P99NS
		r.AddedP50NS, r.AddedP99NS = &p50, &p99
	}
}
