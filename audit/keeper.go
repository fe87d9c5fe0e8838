package audit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// Retention says how long a log keeps what, and what it does meanwhile.
type Retention struct {
	Years         map[entry.Kind]int // how long entries of a kind are kept; of one that is not named, YearsElse
	YearsElse     int
	Bytes         int64         // beyond which the oldest segments go, whatever their age; 0: none do
	CompressAfter time.Duration // of no entry; 0: never
	ScrubEvery    time.Duration // the whole log is read again; 0: never
	LookEvery     time.Duration
}

// Keeper prunes, compresses and reads a log again.
type Keeper struct {
	log    *Log
	how    Retention
	known  atomic.Pointer[tlog.Verifiers]
	scrubs Scrubs
}

// Scrubs is what reading the log again has found.
type Scrubs struct {
	Good   atomic.Int64 // when it was last found good, nanoseconds since 1970
	Bad    atomic.Uint64
	Fault  atomic.Pointer[Fault] // the first of the last one
	Pruned atomic.Int64          // entries
}

// NewKeeper makes one. It starts nothing.
func NewKeeper(l *Log, how Retention, known *tlog.Verifiers) *Keeper {
	k := &Keeper{log: l, how: how}
	k.known.Store(known)
	return k
}

// Scrubs is what has been found so far.
func (k *Keeper) Scrubs() *Scrubs { return &k.scrubs }

// SetKnown lets it verify under other keys.
func (k *Keeper) SetKnown(known *tlog.Verifiers) { k.known.Store(known) }

// Run keeps the log until ctx ends. What fails is told by the process's own log and tried again.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(k.how.LookEvery)
	defer tick.Stop()
	scrubbed := k.log.deps.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := k.prune(ctx); err != nil && ctx.Err() == nil {
			k.log.deps.Log.Error("the audit log could not be pruned", "origin", k.log.origin, "err", err)
		}
		if err := k.compress(ctx); err != nil && ctx.Err() == nil {
			k.log.deps.Log.Error("the audit log could not be compressed", "origin", k.log.origin, "err", err)
		}
		if now := k.log.deps.Now(); k.how.ScrubEvery > 0 && now.Sub(scrubbed) >= k.how.ScrubEvery {
			scrubbed = now
			if _, err := k.Scrub(ctx, k.how.ScrubEvery/2); err != nil && ctx.Err() == nil {
				k.log.deps.Log.Error("the audit log could not be read again", "origin", k.log.origin, "err", err)
			}
		}
	}
}

// prune removes what is older than its classes demand, and is under no hold. A hold that cannot be
// read holds everything.
func (k *Keeper) prune(ctx context.Context) error {
	holds, err := k.log.Holds()
	if err != nil {
		return err
	}
	now, total := k.log.deps.Now(), int64(0)
	for _, s := range k.log.Segments() {
		total += s.Bytes
	}
	before := k.log.Minimum()
	least, err := k.log.Prune(ctx, func(s Held) bool {
		for _, h := range holds {
			if h.covers(s) {
				return false
			}
		}
		large := k.how.Bytes > 0 && total > k.how.Bytes
		total -= s.Bytes
		return large || k.over(s, now)
	})
	k.scrubs.Pruned.Add(least - before)
	return err
}

// over tells whether the time of every entry of a segment is over.
func (k *Keeper) over(s Held, now time.Time) bool {
	years := 0
	for kind := range entry.Kind(64) {
		if !s.Has(kind) {
			continue
		}
		n, named := k.how.Years[kind]
		if !named {
			n = k.how.YearsElse
		}
		years = max(years, n)
	}
	return s.To.AddDate(years, 0, 0).Before(now)
}

func (k *Keeper) compress(ctx context.Context) error {
	if k.how.CompressAfter <= 0 {
		return nil
	}
	old := k.log.deps.Now().Add(-k.how.CompressAfter)
	_, err := k.log.Squeeze(func(s Held) bool { return s.To.Before(old) }, func() bool { return ctx.Err() != nil })
	return err
}

// scrubBytesMin is the least that a scrub reads in a second: a small log is read at once.
const scrubBytesMin = 8 << 20

// Scrub reads the whole log again, spread over some time, and puts what it has found into the log.
func (k *Keeper) Scrub(ctx context.Context, over time.Duration) (*Report, error) {
	perSecond := max(scrubBytesMin, float64(k.log.Stat().DiskBytes)/max(1, over.Seconds()))
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	r, err := k.log.Verify(ctx, Verification{Known: k.known.Load(), Away: k.log.deps.Away, Workers: 1, Pace: func(n int64) {
		pause.Reset(time.Duration(float64(n) / perSecond * float64(time.Second)))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}})
	if err != nil {
		return nil, err
	}
	detail := ""
	if len(r.Faults) > 0 {
		detail = r.Faults[0].Error()
		k.scrubs.Bad.Add(1)
		k.scrubs.Fault.Store(r.Faults[0])
		k.log.deps.Log.Error("the audit log was read again and is not what it has signed", "origin", k.log.origin, "verdict", r.Verdict, "err", detail)
	} else {
		k.scrubs.Good.Store(k.log.deps.Now().UnixNano())
		k.scrubs.Fault.Store(nil)
	}
	var b entry.Builder
	b.Begin(nil, k.log.Now(entry.Scrubbed))
	b.Uint(entry.First, uint64(r.Minimum))
	b.Uint(entry.Last, uint64(max(0, r.Size-1)))
	b.Uint(entry.Count, uint64(r.Entries))
	b.Uint(entry.Elapsed, uint64(r.Elapsed*1e9))
	b.Str(entry.After, r.Root)
	b.Str(entry.Result, string(r.Verdict))
	b.Str(entry.Detail, detail)
	if _, err := k.log.Append(ctx, b.Raw()); err != nil {
		return r, fmt.Errorf("audit: what reading again has found is in no entry: %w", err)
	}
	return r, nil
}
