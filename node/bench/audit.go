package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit"
	"fire/audit/entry"
	"fire/audit/tlog"
)

// AuditSchema names the JSON form of AuditResult.
const AuditSchema = "fire.bench.audit/v1"

// AuditConfig says what is measured of the audit log.
type AuditConfig struct {
	Dir     string        // where logs are made and removed: the disk that counts
	Time    time.Duration // of a row
	Workers []int         // goroutines that append and wait
	Bytes   int           // of an entry
	Rate    int           // entries per second while proofs are asked for
	Verify  []int         // sizes of logs that are read again
	Tessera string        // the rival's program; "": not run
}

// DefaultAudit is what `fire bench audit` does without flags.
func DefaultAudit() AuditConfig {
	return AuditConfig{Time: 5 * time.Second, Workers: []int{64, 256, 2000}, Bytes: 256, Rate: 100_000, Verify: []int{10_000, 100_000, 1_000_000}}
}

// Check returns every problem at once.
func (c *AuditConfig) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Time < 100*time.Millisecond || c.Time > 10*time.Minute {
		bad("time %v is not 100ms to 10m", c.Time)
	}
	for _, w := range c.Workers {
		if w < 1 || w > 100_000 {
			bad("%d workers are not 1 to 100000", w)
		}
	}
	if c.Bytes < 64 || c.Bytes > 60_000 {
		bad("entries of %d bytes are not 64 to 60000", c.Bytes)
	}
	if c.Rate < 100 || c.Rate > 2_000_000 {
		bad("rate %d is not 100 to 2000000 entries/s", c.Rate)
	}
	for _, n := range c.Verify {
		if n < 100 || n > 100_000_000 {
			bad("a log of %d entries is not 100 to 100000000", n)
		}
	}
	return errors.Join(errs...)
}

// AuditResult is one run.
type AuditResult struct {
	StartedAt time.Time      `json:"started_at"`
	CPUs      int            `json:"cpus"`
	GoVersion string         `json:"go_version"`
	Bytes     int            `json:"entry_bytes"`
	Durable   []AuditDurable `json:"durable"`
	Rival     string         `json:"rival_not_run,omitempty"` // why
	Capture   AuditCapture   `json:"capture"`
	Proof     AuditProof     `json:"proof"`
	Verify    []AuditVerify  `json:"verify"`
	DiskBytes float64        `json:"disk_bytes_per_entry"` // of the largest log that was read again
}

// AuditDurable is entries per second, each of which its goroutine has waited for until a signed
// head covered it.
type AuditDurable struct {
	Workers   int     `json:"workers"`
	PerSecond float64 `json:"entries_per_second"`
	P50NS     int64   `json:"p50_ns"`
	P99NS     int64   `json:"p99_ns"`
	PerGroup  float64 `json:"entries_per_group"`
	// of the rival, the same number of goroutines: until each had its index, and until a
	// published checkpoint covered all.
	RivalIndexed float64 `json:"tessera_indexed_per_second,omitempty"`
	RivalCovered float64 `json:"tessera_covered_per_second,omitempty"`
	Ratio        float64 `json:"fire_to_tessera,omitempty"`
}

// AuditCapture is what capturing one message costs its caller.
type AuditCapture struct {
	P50NS   float64 `json:"p50_ns"`
	P99NS   float64 `json:"p99_ns"`
	ClockNS float64 `json:"clock_ns"` // of it: one reading of the clock
	Mallocs float64 `json:"mallocs_per_message"`
	Dropped uint64  `json:"dropped"`
}

// AuditProof is how long after its capture the proof of an entry is in hand.
type AuditProof struct {
	PerSecond float64 `json:"entries_per_second"`
	Proofs    int     `json:"proofs"`
	P50NS     int64   `json:"p50_ns"`
	P99NS     int64   `json:"p99_ns"`
	MaxNS     int64   `json:"max_ns"`
}

// AuditVerify is a whole log read again by one goroutine.
type AuditVerify struct {
	Entries   int64   `json:"entries"`
	PerSecond float64 `json:"entries_per_second"`
}

// RunAudit measures. say is told of each row as it begins.
func RunAudit(ctx context.Context, c AuditConfig, say func(string)) (*AuditResult, error) {
	r := &AuditResult{StartedAt: time.Now().UTC(), CPUs: runtime.NumCPU(), GoVersion: runtime.Version(), Bytes: c.Bytes}
	dir, err := os.MkdirTemp(c.Dir, "fire-bench-audit-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &auditWorld{cfg: c, dir: dir}
	for _, n := range c.Workers {
		say(fmt.Sprintf("durable entries, %d goroutines", n))
		d, err := w.durable(ctx, n)
		if err != nil {
			return nil, err
		}
		if c.Tessera != "" && r.Rival == "" {
			say(fmt.Sprintf("tessera, %d goroutines", n))
			if err := w.rival(ctx, &d); err != nil {
				r.Rival = err.Error()
			}
		}
		r.Durable = append(r.Durable, d)
	}
	if c.Tessera == "" {
		r.Rival = "no program was named; see --tessera"
	}
	say("capture")
	if r.Capture, err = w.capture(ctx); err != nil {
		return nil, err
	}
	say(fmt.Sprintf("proofs at %d entries/s", c.Rate))
	if r.Proof, err = w.proofs(ctx); err != nil {
		return nil, err
	}
	for _, n := range c.Verify {
		say(fmt.Sprintf("verify %d entries", n))
		v, bytes, err := w.verify(ctx, n)
		if err != nil {
			return nil, err
		}
		r.Verify, r.DiskBytes = append(r.Verify, v), bytes
	}
	return r, nil
}

// auditWorld makes one log after another.
type auditWorld struct {
	cfg AuditConfig
	dir string
	n   int
}

const auditOrigin = "bench.floor/audit/bench"

// with runs f on a fresh log.
func (w *auditWorld) with(ctx context.Context, f func(l *audit.Log, known *tlog.Verifiers) error) error {
	w.n++
	dir := filepath.Join(w.dir, strconv.Itoa(w.n))
	defer os.RemoveAll(dir)
	disk, err := audit.OpenFolder(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	away, err := audit.OpenFolder(filepath.Join(dir, "head"))
	if err != nil {
		return err
	}
	key, err := tlog.NewKey(rand.Reader, auditOrigin)
	if err != nil {
		return err
	}
	known, err := tlog.NewVerifiers(key.Verifier())
	if err != nil {
		return err
	}
	settings := audit.DefaultSettings()
	l, _, err := audit.Open(settings.Config(auditOrigin), audit.Deps{Disk: disk, Away: away, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Keys: &audit.Keys{Signing: []*tlog.Key{key}, Known: []string{key.Verifier()}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	err = f(l, known)
	cancel()
	return errors.Join(err, <-done)
}

// fact is an entry of so many bytes.
func (w *auditWorld) fact(source uint64) []byte {
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Message, Time: time.Now().UnixNano(), Source: source, Seq: 1})
	b.Bytes(entry.Content, make([]byte, w.cfg.Bytes-32-3))
	return b.Raw()
}

func (w *auditWorld) durable(ctx context.Context, workers int) (d AuditDurable, err error) {
	d.Workers = workers
	err = w.with(ctx, func(l *audit.Log, _ *tlog.Verifiers) error {
		var total atomic.Int64
		var failed atomic.Pointer[error]
		took := make([][]int64, workers)
		var all sync.WaitGroup
		start := time.Now()
		for g := range workers {
			all.Go(func() {
				e := w.fact(uint64(g))
				for time.Since(start) < w.cfg.Time && ctx.Err() == nil {
					t := time.Now()
					if _, err := l.Append(ctx, e); err != nil {
						failed.Store(&err)
						return
					}
					took[g] = append(took[g], int64(time.Since(t)))
					total.Add(1)
				}
			})
		}
		all.Wait()
		elapsed := time.Since(start).Seconds()
		if e := failed.Load(); e != nil {
			return *e
		}
		q := slices.Concat(took...)
		slices.Sort(q)
		d.PerSecond = float64(total.Load()) / elapsed
		d.P50NS, d.P99NS = quantileOf(q, .5), quantileOf(q, .99)
		d.PerGroup = float64(total.Load()) / float64(max(1, l.Stat().Groups))
		return nil
	})
	return d, err
}

func quantileOf(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// rival lets Tessera append for as long, beside.
func (w *auditWorld) rival(ctx context.Context, d *AuditDurable) error {
	dir := filepath.Join(w.dir, "tessera")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Time+3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, w.cfg.Tessera, "--dir", dir, "--workers", strconv.Itoa(d.Workers), "--time", w.cfg.Time.String(),
		"--bytes", strconv.Itoa(w.cfg.Bytes)).Output()
	if err != nil {
		return fmt.Errorf("tessera: %w", err)
	}
	var n, indexed, covered float64
	if _, err := fmt.Sscan(strings.TrimSpace(string(out)), &n, &indexed, &covered); err != nil || n <= 0 || indexed <= 0 || covered <= 0 {
		return fmt.Errorf("tessera answers %q", out)
	}
	d.RivalIndexed, d.RivalCovered = n/indexed, n/covered
	d.Ratio = d.PerSecond / d.RivalCovered
	return nil
}

// capture times runs of messages, short enough that the rings never fill.
func (w *auditWorld) capture(ctx context.Context) (c AuditCapture, err error) {
	err = w.with(ctx, func(l *audit.Log, _ *tlog.Verifiers) error {
		s, err := l.Capture().Source(audit.Options{Form: audit.DigestOnly, Full: audit.FullOpen})
		if err != nil {
			return err
		}
		const run = 64
		m := make([]byte, w.cfg.Bytes)
		var took []int64
		var before, after runtime.MemStats
		pause := time.NewTicker(200 * time.Microsecond)
		defer pause.Stop()
		runtime.ReadMemStats(&before)
		for start := time.Now(); time.Since(start) < w.cfg.Time; {
			t := time.Now()
			for range run {
				_ = s.Message(m) // of an open source it is none
			}
			took = append(took, int64(time.Since(t)))
			select {
			case <-pause.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		runtime.ReadMemStats(&after)
		const clocks = 100_000
		t := time.Now()
		for range clocks {
			_ = time.Now()
		}
		c.ClockNS = float64(time.Since(t)) / clocks
		n := float64(len(took) * run)
		slices.Sort(took)
		c.P50NS, c.P99NS = float64(quantileOf(took, .5))/run, float64(quantileOf(took, .99))/run
		c.Mallocs = float64(after.Mallocs-before.Mallocs) / n
		c.Dropped = l.Stat().Unentered
		return nil
	})
	return c, err
}

// proofs asks for proofs of entries as soon as they are there, while the log takes Rate entries a
// second through its rings.
func (w *auditWorld) proofs(ctx context.Context) (p AuditProof, err error) {
	err = w.with(ctx, func(l *audit.Log, _ *tlog.Verifiers) error {
		s, err := l.Capture().Source(audit.Options{Form: audit.DigestOnly, Full: audit.FullOpen})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, w.cfg.Time)
		defer cancel()
		var load sync.WaitGroup
		load.Go(func() {
			m := make([]byte, w.cfg.Bytes)
			start, sent := time.Now(), 0
			pause := time.NewTicker(500 * time.Microsecond)
			defer pause.Stop()
			for {
				for due := int(time.Since(start).Seconds() * float64(w.cfg.Rate)); sent < due; sent++ {
					_ = s.Message(m) // of an open source it is none
				}
				select {
				case <-pause.C:
				case <-ctx.Done():
					return
				}
			}
		})
		var took []int64
		e := w.fact(9)
		pause := time.NewTicker(time.Millisecond)
		defer pause.Stop()
		start := time.Now()
		for ctx.Err() == nil {
			t := time.Now()
			at, err := l.Append(ctx, e)
			if ctx.Err() != nil {
				break
			}
			if err == nil {
				head, _ := l.Head()
				_, err = tlog.ProveEntry(l, head, at)
			}
			if err != nil {
				cancel()
				load.Wait()
				return err
			}
			took = append(took, int64(time.Since(t)))
			<-pause.C
		}
		load.Wait()
		slices.Sort(took)
		p = AuditProof{PerSecond: float64(l.Stat().Durable) / time.Since(start).Seconds(), Proofs: len(took), P50NS: quantileOf(took, .5), P99NS: quantileOf(took, .99), MaxNS: quantileOf(took, 1)}
		return nil
	})
	return p, err
}

// verify makes a log of n entries and reads it again.
func (w *auditWorld) verify(ctx context.Context, n int) (v AuditVerify, diskBytes float64, err error) {
	err = w.with(ctx, func(l *audit.Log, known *tlog.Verifiers) error {
		e := w.fact(1)
		for range n - 1 {
			if err := l.Add(ctx, e); err != nil {
				return err
			}
		}
		if _, err := l.Append(ctx, e); err != nil {
			return err
		}
		start := time.Now()
		r, err := l.Verify(ctx, audit.Verification{Known: known, Workers: 1})
		if err != nil {
			return err
		}
		if r.Verdict != audit.Good || r.Entries != int64(n) {
			return fmt.Errorf("a log of %d entries is %s with %d: %v", n, r.Verdict, r.Entries, r.Faults)
		}
		v = AuditVerify{r.Entries, float64(r.Entries) / time.Since(start).Seconds()}
		diskBytes = float64(l.Stat().DiskBytes) / float64(n)
		return nil
	})
	return v, diskBytes, err
}
