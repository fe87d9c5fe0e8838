package audit

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit/entry"
)

// Capture is where the data path leaves what the writer will hash: rings that are there from the
// start, and the sources that put into them.
type Capture struct {
	rings  []*ring
	stamps func() (int64, uint32, entry.Sync, entry.ClockSource)
	base   uint64 // of the sources' ids: random, so that those of two runs differ

	asleep atomic.Bool // the writer waits to be woken
	wake   func()

	full    atomic.Uint64 // messages that found no room
	dropped atomic.Uint64 // and went on without an entry
	refused atomic.Uint64 // and were refused

	mu      sync.Mutex
	sources []*Source // by slot; nil: free
	free    []uint32
	left    []*Source // closed while there was no room to say so
	next    uint64
}

// sourcesMax bounds the sources of a log.
const sourcesMax = 1 << 20

// ErrSources is of a log that has too many sources.
var ErrSources = errors.New("audit: too many connections are captured")

func newCapture(rings, bytes int, base uint64, stamp func() (int64, uint32, entry.Sync, entry.ClockSource), wake func()) *Capture {
	c := &Capture{stamps: stamp, base: base, wake: wake}
	for range rings {
		c.rings = append(c.rings, newRing(bytes))
	}
	return c
}

// Options of a source.
type Options struct {
	Form   Form
	Full   Full
	Budget time.Duration // of waiting, when FullClosed
	Fields []byte        // of each of its entries, as entry.Builder writes them; tags below entry.Digest
}

// Source begins one.
func (c *Capture) Source(o Options) (*Source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := uint32(len(c.sources))
	if n := len(c.free); n > 0 {
		slot, c.free = c.free[n-1], c.free[:n-1]
	} else if len(c.sources) == sourcesMax {
		return nil, ErrSources
	} else {
		c.sources = append(c.sources, nil)
	}
	c.next++
	s := &Source{capture: c, ring: c.rings[c.next%uint64(len(c.rings))], id: c.base + c.next, slot: slot, full: o.Full, budget: o.Budget, form: o.Form, fields: o.Fields}
	c.sources[slot] = s
	return s, nil
}

// leave ends a source behind everything that it has put.
func (c *Capture) leave(s *Source) {
	if s.final == nil && (!s.gapped.Load() || s.tellGap()) && s.ring.put(record{source: s.slot, kind: recordClose}, nil) {
		c.captured()
		return
	}
	s.end = s.ring.tail.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, s)
}

// forget frees a source's slot. The writer calls it when it has seen its end.
func (c *Capture) forget(s *Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources[s.slot] = nil
	c.free = append(c.free, s.slot)
}

func (c *Capture) stamp() (int64, uint32, entry.Sync, entry.ClockSource) { return c.stamps() }

// captured wakes the writer if it sleeps.
func (c *Capture) captured() {
	if c.asleep.Load() && c.asleep.CompareAndSwap(true, false) {
		c.wake()
	}
}

// await tries until budget is over. It looks often at first: the writer empties a ring in less
// than a millisecond, when the disk takes what it writes.
func (c *Capture) await(budget time.Duration, try func() bool) bool {
	start := time.Now()
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for i := 0; ; i++ {
		if try() {
			c.captured()
			return true
		}
		if time.Since(start) >= budget {
			return false
		}
		if i < 64 {
			runtime.Gosched()
			continue
		}
		pause.Reset(50 * time.Microsecond)
		<-pause.C
	}
}

// pending tells whether there is anything to take.
func (c *Capture) pending() bool {
	for _, r := range c.rings {
		if !r.empty() {
			return true
		}
	}
	return false
}

// source is who has a slot.
func (c *Capture) source(slot uint32) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sources[slot]
}

// gapped is every source with a gap that is in no entry, and those that have left without a
// word, which the caller now owns.
func (c *Capture) gapped() (open, left []*Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		if s != nil && s.gapped.Load() {
			open = append(open, s)
		}
	}
	left, c.left = c.left, nil
	return open, left
}

// again lets a source that has left be looked at once more.
func (c *Capture) again(s *Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, s)
}

// count is how many records were put, as the writer has counted them, and those on their way.
func (c *Capture) count() (n uint64) {
	for _, r := range c.rings {
		n += r.taken.Load()
		if !r.empty() {
			n += max(1, (r.tail.Load()-r.head.Load())/slotsOf(256)) // roughly: a count of its own would cost each message a write
		}
	}
	return n
}
