package clock

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit/entry"
)

// Deps are what a clock needs besides its configuration.
type Deps struct {
	// Append takes the journal's entries, one at a time, from Run's goroutine. The bytes are
	// valid during the call. While it blocks nobody watches the clock.
	Append func(e []byte)
	// Source is the journal's number in its log.
	Source uint64

	system system  // nil: the host
	askers []asker // nil: those of the configuration
}

// Clock stamps, and knows how far the stamps may be off.
type Clock struct {
	config Config
	system system
	askers []asker
	words  []atomic.Pointer[Word] // of each asker, its last
	newest atomic.Pointer[estimate]
	beyond atomic.Bool
	record journal
	past   past
}

// past is what the sampler knows of the sample before. It alone touches it.
type past struct {
	hands      Hands
	kernel     Kernel
	there      bool
	shaken     int64 // by how much the clock was set since shakenAt-1, in sum
	shakenAt   int64 // mono
	kernelKnew bool  // a daemon has told the kernel a new error since the clock was set
}

// New makes a clock that watches nothing until Run.
func New(c Config, d Deps) (*Clock, error) {
	var problems []error
	c.Check(func(key, problem string) { problems = append(problems, errors.New("audit.clock: "+key+" "+problem)) })
	if d.Append == nil {
		problems = append(problems, errors.New("audit.clock: nobody takes the journal"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	k := &Clock{config: c, system: d.system, askers: d.askers, record: newJournal(c, d)}
	if k.system == nil {
		k.system = host{time.Now()}
	}
	if k.askers == nil {
		k.askers = []asker{
			&ptp{ways: c.PTP, domain: uint8(c.PTPDomain), device: c.PTPDevice, wander: c.Wander, now: k.system.Now},
			&chrony{ways: c.Chrony, wander: c.Wander, now: k.system.Now},
		}
	}
	k.words = make([]atomic.Pointer[Word], len(k.askers))
	k.newest.Store(&estimate{Word: Word{BoundNanos: unknownNanos}})
	return k, nil
}

// Stamp is the time, nanoseconds since 1970 UTC, and what is known of it: one reading of the
// clock and one of the newest sample, no lock, no allocation.
func (k *Clock) Stamp() (timeNanos int64, boundNanos uint32, sync entry.Sync, source entry.ClockSource) {
	wall, mono := k.system.Now()
	e := k.newest.Load()
	if e.BoundNanos < 0 {
		return wall, entry.BoundUnknown, e.Sync, e.Source
	}
	if e.wasSet(wall, mono) {
		return k.stampAgain()
	}
	bound := e.grown(mono - e.Mono)
	if bound == entry.BoundUnknown {
		return wall, bound, entry.SyncUnknown, e.Source // nobody watches any more
	}
	return wall, bound, e.Sync, e.Source
}

// stampAgain tells a clock that was set since the sample from a goroutine that lost its
// processor between the two readings.
func (k *Clock) stampAgain() (int64, uint32, entry.Sync, entry.ClockSource) {
	var wall, mono int64
	e := k.newest.Load()
	for range readingsMax {
		wall, mono = k.system.Now()
		if e = k.newest.Load(); !e.wasSet(wall, mono) {
			bound, sync := e.known(wall)
			return wall, bound, sync, e.Source
		}
	}
	return wall, entry.BoundUnknown, entry.SyncUnknown, e.Source
}

// Bound is what is known of a time that the caller has read itself, not long ago. A step that
// no sample has seen yet is not in it.
func (k *Clock) Bound(at int64) (boundNanos uint32, sync entry.Sync, source entry.ClockSource) {
	e := k.newest.Load()
	boundNanos, sync = e.known(at)
	return boundNanos, sync, e.Source
}

// State is what the newest sample says, for whoever shows it.
func (k *Clock) State() (w Word, beyondClass bool) { return k.newest.Load().Word, k.beyond.Load() }

// Run watches the clock until ctx ends. It returns when all that it started has ended.
func (k *Clock) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first, all sync.WaitGroup
	for i := range k.askers {
		first.Add(1)
		all.Go(func() {
			k.ask(ctx, i)
			first.Done()
			every(ctx, k.config.Ask, func() { k.ask(ctx, i) })
		})
	}
	first.Wait() // a clock whose daemon answers does not begin with a breach
	if ctx.Err() == nil {
		k.look()
	}
	every(ctx, k.config.Sample, k.look)
	all.Wait()
	k.record.end(k.system.Now())
	return nil
}

func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}

// ask keeps the last word of one daemon; one that gives none, or an error, says nothing, and
// its last word grows too old.
func (k *Clock) ask(ctx context.Context, i int) {
	if w, err := k.askers[i].Ask(ctx); err == nil {
		k.words[i].Store(&w)
	}
}

// look takes one sample.
func (k *Clock) look() {
	now, err := k.system.Hands()
	if err != nil {
		now.Wall, now.Mono = k.system.Now()
	}
	kernel, kernelErr := k.system.Kernel()
	if kernelErr != nil {
		kernel = Kernel{TAI: k.past.kernel.TAI}
	}
	found := k.compare(now, kernel, err == nil)
	e := &estimate{Word: k.judge(kernel, now), wall: now.Wall}
	before := k.newest.Swap(e)
	k.record.steps(now, e, found, k.past.kernel.TAI, kernel.TAI)
	k.past.kernel = kernel
	worst := e.BoundNanos
	if k.record.began && worst >= 0 && before.BoundNanos >= 0 {
		worst = max(worst, before.BoundNanos+(max(0, now.Mono-before.Mono)*before.RatePPB+ppb-1)/ppb) // what the last stamp said
	}
	k.record.sample(now, e, worst, kernel)
	k.beyond.Store(k.record.breach.open)
}

// compare finds what was done to the clock since the sample before. A reading that took too
// long compares with nothing: the next one will, with the sample before it.
func (k *Clock) compare(now Hands, kernel Kernel, readable bool) []change {
	step := int64(k.config.Step)
	if !readable || k.past.there && now.Within > step {
		return nil
	}
	var found []change
	if k.past.there {
		taiBefore := k.past.kernel.TAI
		if !k.past.kernel.Known {
			taiBefore = kernel.TAI
		}
		found = changes(k.past.hands, now, taiBefore, kernel.TAI, step, k.config.Drift)
	}
	set := false
	for _, c := range found {
		if c.moves() {
			set = true
			k.past.shaken = max(-farthest, min(farthest, k.past.shaken)) + max(-farthest, min(farthest, c.nanos))
			k.past.shakenAt, k.past.kernelKnew = now.Mono, false
		}
	}
	if !set && k.past.shaken != 0 && kernel.MaxErrorNanos < k.past.kernel.MaxErrorNanos {
		k.past.kernelKnew = true
	}
	k.past.hands, k.past.there = now, true
	return found
}

// judge combines what all say at this moment. A word whose newest measurement was made before
// the clock was set knows nothing of that.
func (k *Clock) judge(kernel Kernel, now Hands) Word {
	own := kernelWord(kernel, k.config.Drift, now.Mono)
	shaken := k.past.shaken
	if shaken != 0 && !k.past.kernelKnew {
		own = own.shaken(shaken)
	}
	daemons, old := make([]Word, 0, 4), shaken != 0 && !k.past.kernelKnew
	for i := range k.words {
		w := k.words[i].Load()
		if w == nil {
			continue
		}
		word := *w
		if shaken != 0 && word.Measured <= k.past.shakenAt {
			word, old = word.shaken(shaken), true
		}
		daemons = append(daemons, word)
	}
	if !old {
		k.past.shaken = 0
	}
	return pick(own, daemons, now.Mono).at(now.Mono)
}
