package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Pair is a running proxy pair that leads to the target it was started for. When it
// also has a method PIDs() []int, those are the processes that carry it; a pair
// without lives in this process and its processor time is not told apart.
type Pair interface {
	Address() string
	Close() error
}

// Deps is what a bench needs of the house.
type Deps struct {
	// StartPair starts a proxy pair in front of target; not called when Config.Target is set.
	StartPair func(ctx context.Context, target string) (Pair, error)
	// EchoCommand starts this program as an echo server of its own (ServeChild with
	// Echo); empty: the echo server is a goroutine here, and the result says so.
	EchoCommand []string
	// Progress is told what is measured now; may be nil.
	Progress func(line string)
}

// Bench is one run, ready to start.
type Bench struct {
	cfg  Config
	deps Deps
}

// New checks cfg and starts nothing.
func New(cfg Config, deps Deps) (*Bench, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := supported(); err != nil {
		return nil, err
	}
	if cfg.Target.Address == "" && deps.StartPair == nil {
		return nil, errors.New("bench: neither a target nor a way to start a pair is given")
	}
	if deps.Progress == nil {
		deps.Progress = func(string) {}
	}
	return &Bench{cfg, deps}, nil
}

// Run measures and returns the result. Everything that it started has ended then.
func (b *Bench) Run(ctx context.Context) (res *Result, err error) {
	res = &Result{
		StartedAt: time.Now(), CPUs: runtime.NumCPU(), GoVersion: runtime.Version(),
		Rounds: b.cfg.Rounds, RoundNS: int64(b.cfg.RoundTime), WarmupNS: int64(b.cfg.Warmup),
		Connections: b.cfg.Connections, QuantileErrorRatio: 1.0 / 128,
	}
	ends := []int{0} // this process
	base := Path{Name: direct, Address: b.cfg.Baseline}
	res.Echo = "given"
	if base.Address == "" {
		echo, startErr := b.startEcho(ctx)
		if startErr != nil {
			return nil, fmt.Errorf("echo server: %w", startErr)
		}
		defer func() { err = errors.Join(err, echo.Close()) }()
		base.Address, res.Echo = echo.Address(), echo.kind
		ends = append(ends, echo.PIDs()...)
	}
	pair, inProcess, closePair, startErr := b.startPair(ctx, base.Address)
	if startErr != nil {
		return nil, fmt.Errorf("proxy pair: %w", startErr)
	}
	defer func() { err = errors.Join(err, closePair()) }()
	res.PairInBenchProcess = inProcess
	res.Paths = append([]Path{base, pair}, b.cfg.Rivals...)
	if b.cfg.HAProxy {
		rival, startErr := StartHAProxy(ctx, base.Address, "tcp")
		if startErr != nil {
			return nil, fmt.Errorf("rival: %w", startErr)
		}
		defer func() { err = errors.Join(err, rival.Close()) }()
		defer func() { err = errors.Join(err, rival.fault()) }() // before Close, which ends it
		res.Paths = append(res.Paths, Path{HAProxyName, rival.Address(), rival.PIDs()})
	}
	for _, p := range res.Paths {
		if err := reachable(ctx, p); err != nil {
			return nil, fmt.Errorf("path %s: %w", p.Name, err)
		}
	}
	if err := b.measure(ctx, res, ends); err != nil {
		return nil, err
	}
	addDifferences(res.Rows)
	return res, b.measureIdle(ctx, res)
}

func (b *Bench) startPair(ctx context.Context, target string) (Path, bool, func() error, error) {
	if t := b.cfg.Target; t.Address != "" {
		return Path{ours, t.Address, t.PIDs}, false, func() error { return nil }, nil
	}
	pair, err := b.deps.StartPair(ctx, target)
	if err != nil {
		return Path{}, false, nil, err
	}
	p := Path{Name: ours, Address: pair.Address()}
	owner, apart := pair.(interface{ PIDs() []int })
	if apart {
		p.PIDs = owner.PIDs()
	}
	return p, !apart, pair.Close, nil
}

// spec is one row to measure.
type spec struct {
	table string
	size  int
	path  Path
}

func (b *Bench) specs(paths []Path) []spec {
	var out []spec
	for _, table := range []string{PingPong, FixedRate} {
		if table == PingPong && !b.cfg.PingPong || table == FixedRate && b.cfg.RatePerSecond == 0 {
			continue
		}
		for _, size := range b.cfg.Sizes {
			for _, p := range paths {
				out = append(out, spec{table, size, p})
			}
		}
	}
	return out
}

// measure runs all rows round by round. Within a round the paths of one table and
// size follow each other directly, and each round starts with another of them.
func (b *Bench) measure(ctx context.Context, res *Result, ends []int) error {
	specs := b.specs(res.Paths)
	sums := make([]sum, len(specs))
	for i, s := range specs {
		sums[i].row = Row{Table: s.table, Path: s.path.Name, SizeBytes: s.size}
		if s.table == FixedRate {
			sums[i].row.RatePerSecond = b.cfg.RatePerSecond
		}
	}
	n := len(res.Paths)
	for round := range b.cfg.Rounds {
		for first := range slices.Chunk(indices(len(specs)), n) {
			for k := range n {
				i := first[(k+round)%n]
				s := specs[i]
				b.deps.Progress(fmt.Sprintf("round %d of %d: %s, %d bytes, %s", round+1, b.cfg.Rounds, s.table, s.size, s.path.Name))
				x, err := b.one(ctx, s, ends)
				if err != nil {
					return fmt.Errorf("path %s, %s, %d bytes: %w", s.path.Name, s.table, s.size, err)
				}
				sums[i].add(x)
			}
		}
	}
	for i := range sums {
		res.Rows = append(res.Rows, sums[i].finish())
	}
	return nil
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// one is a single measurement with the processor times around it.
func (b *Bench) one(ctx context.Context, s spec, ends []int) (sample, error) {
	path0, ends0 := cpuTime(s.path.PIDs), cpuTime(ends)
	var x sample
	var err error
	if s.table == PingPong {
		x, err = pingPong(ctx, s.path.Address, s.size, b.cfg.Warmup, b.cfg.RoundTime)
	} else {
		x, err = fixedRate(ctx, s.path.Address, s.size, b.cfg)
	}
	x.cpuPath, x.cpuEnds = spent(path0, cpuTime(s.path.PIDs)), spent(ends0, cpuTime(ends))
	return x, err
}

// ProcessorTime is the processor time that all of pids have used so far; false when
// one of them cannot be read. 0 stands for this process.
func ProcessorTime(pids []int) (time.Duration, bool) {
	d := cpuTime(pids)
	return d, d >= 0
}

// cpuTime is the processor time of all of pids, negative when one cannot be read or
// none is known.
func cpuTime(pids []int) time.Duration {
	if len(pids) == 0 {
		return -1
	}
	var total time.Duration
	for _, pid := range pids {
		d, err := processCPU(pid)
		if err != nil {
			return -1
		}
		total += d
	}
	return total
}

func spent(before, after time.Duration) time.Duration {
	if before < 0 || after < before {
		return -1
	}
	return after - before
}
