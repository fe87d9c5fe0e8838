package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// UDPSchema names the JSON form of UDPResult.
const UDPSchema = "fire.bench.udp/v1"

// UDPConfig says what is measured of the encrypted datagrams.
type UDPConfig struct {
	Rounds    int           // default 5
	RoundTime time.Duration // of one row in a round; default 300 ms
	Sizes     []int         // of messages in bytes; default 64, 256, 1024
	Cores     [2]int        // where the two processes run; default 0 and 1
	Datagram  int           // bytes of a datagram; default 1408
	Rate      int           // messages per second of the fixed_rate rows; default 5,000
}

// DefaultUDP is what `fire bench udp` does without flags.
func DefaultUDP() UDPConfig {
	return UDPConfig{Rounds: 5, RoundTime: 300 * time.Millisecond, Sizes: []int{64, 256, 1024}, Cores: [2]int{0, 1}, Datagram: 1408, Rate: 5000}
}

// Check returns every problem at once.
func (c *UDPConfig) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Rounds < 1 || c.Rounds > 1000 {
		bad("rounds %d is not 1 to 1000", c.Rounds)
	}
	if c.RoundTime < 10*time.Millisecond || c.RoundTime > time.Minute {
		bad("round time %v is not 10ms to 1m", c.RoundTime)
	}
	if len(c.Sizes) == 0 || len(c.Sizes) > 16 {
		bad("%d sizes, 1 to 16 are legal", len(c.Sizes))
	}
	for _, n := range c.Sizes {
		if n < 8 || n > udpSizeMax {
			bad("size %d is not 8 to %d bytes", n, udpSizeMax)
		}
	}
	if c.Cores[0] < 0 || c.Cores[1] < 0 || c.Cores[0] >= 1024 || c.Cores[1] >= 1024 || c.Cores[0] == c.Cores[1] {
		bad("cores %d and %d are not two cores", c.Cores[0], c.Cores[1])
	}
	if c.Rate < 100 || c.Rate > 200_000 {
		bad("rate %d is not 100 to 200000 messages/s", c.Rate)
	}
	if c.Datagram < 512 || c.Datagram > 9000 {
		bad("datagrams of %d bytes are not 512 to 9000", c.Datagram)
	}
	return errors.Join(errs...)
}

const udpSizeMax = 1200 // so that a message is one datagram on every path

// The paths of a UDPResult. Those that spin look for the next datagram all the time, the
// others sleep until it comes.
const (
	PathGoUDP    = "go udp"       // net.UDPConn, in the clear: the floor of a Go program
	PathRawSpin  = "raw, spins"   // the same sockets as fire's, in the clear
	PathFire     = "fire"         // encrypted, ordered, repaired; sleeps after 20 us
	PathFireSpin = "fire, spins"  // the same, never sleeps
	PathQUIC     = "quic stream"  // quic-go
	RowRoundTrip = "round_trip"   // one message there and back; RowFixedRate: there and back, from when it was due
	RowOneWay    = "one_way_rate" // as many messages as come through, repaired and in order
)

// UDPResult is one run.
type UDPResult struct {
	StartedAt time.Time `json:"started_at"`
	CPUs      int       `json:"cpus"`
	GoVersion string    `json:"go_version"`
	Cores     [2]int    `json:"cores"`
	Topology  string    `json:"topology"`
	Rounds    int       `json:"rounds"`
	RoundNS   int64     `json:"round_ns"`
	Datagram  int       `json:"datagram_bytes"`
	Rate      int       `json:"rate_per_second"`
	GSO       bool      `json:"gso"`
	NoGSO     string    `json:"no_gso,omitempty"`

	NotCounted string `json:"syscalls_not_counted,omitempty"` // why no row has system calls

	// At the smallest size, p50 of round trips.
	GoUDPP50NS       int64   `json:"go_udp_p50_ns"`
	FireP50NS        int64   `json:"fire_p50_ns"`
	FireSpinP50NS    int64   `json:"fire_spin_p50_ns"`
	QUICP50NS        int64   `json:"quic_p50_ns"`
	RatioToGoUDP     float64 `json:"ratio_p50_to_go_udp"`
	RatioSpinToGoUDP float64 `json:"ratio_spin_p50_to_go_udp"`
	RatioToQUIC      float64 `json:"ratio_p50_to_quic"`

	Rows []RingRow `json:"rows"`
}

// RunUDP measures the encrypted path between two processes over loopback, beside a plain
// UDP echo and a QUIC stream. peer is the command that starts this program as the other
// process (UDPPeer).
func RunUDP(ctx context.Context, cfg UDPConfig, peer []string, progress func(string)) (*UDPResult, error) {
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
	res := &UDPResult{StartedAt: time.Now(), CPUs: runtime.NumCPU(), GoVersion: runtime.Version(), Cores: cfg.Cores, Topology: topology(sysCPU, cfg.Cores),
		Rounds: cfg.Rounds, RoundNS: int64(cfg.RoundTime), Datagram: cfg.Datagram, Rate: cfg.Rate}
	rows := newRingRows()
	paths := []string{PathGoUDP, PathRawSpin, PathFire, PathFireSpin, PathQUIC}
	for round := range cfg.Rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, cfg.Rounds))
		for i := range paths { // what disturbs the machine disturbs all alike
			path := paths[(i+round)%len(paths)]
			got, err := measureUDP(ctx, cfg, peer, path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			for _, r := range got.rows {
				rows.add(r)
			}
			if got.fire {
				res.GSO, res.NoGSO = got.gso, got.noGSO
			}
		}
	}
	res.Rows, res.NotCounted = rows.finish(), whyNotCounted()
	res.sort()
	res.summarize(cfg.Sizes[0])
	return res, ctx.Err()
}

// sort puts rows of one table and size together.
func (r *UDPResult) sort() {
	order := map[string]int{PathGoUDP: 0, PathRawSpin: 1, PathFire: 2, PathFireSpin: 3, PathQUIC: 4}
	for i := range r.Rows {
		for j := i; j > 0 && udpRowBefore(&r.Rows[j], &r.Rows[j-1], order); j-- {
			r.Rows[j], r.Rows[j-1] = r.Rows[j-1], r.Rows[j]
		}
	}
}

func udpRowBefore(a, b *RingRow, order map[string]int) bool {
	if a.Table != b.Table {
		tables := map[string]int{RowRoundTrip: 0, RowFixedRate: 1, RowOneWay: 2}
		return tables[a.Table] < tables[b.Table]
	}
	if a.SizeBytes != b.SizeBytes {
		return a.SizeBytes < b.SizeBytes
	}
	return order[a.Path] < order[b.Path]
}

// summarize fills the figures that people quote.
func (r *UDPResult) summarize(size int) {
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Table != RowRoundTrip || row.SizeBytes != size {
			continue
		}
		switch row.Path {
		case PathGoUDP:
			r.GoUDPP50NS = row.P50NS
		case PathFire:
			r.FireP50NS = row.P50NS
		case PathFireSpin:
			r.FireSpinP50NS = row.P50NS
		case PathQUIC:
			r.QUICP50NS = row.P50NS
		}
	}
	ratio := func(a, b int64) float64 {
		if b == 0 {
			return 0
		}
		return float64(a) / float64(b)
	}
	r.RatioToGoUDP, r.RatioSpinToGoUDP = ratio(r.FireP50NS, r.GoUDPP50NS), ratio(r.FireSpinP50NS, r.GoUDPP50NS)
	r.RatioToQUIC = ratio(r.FireP50NS, r.QUICP50NS)
}
