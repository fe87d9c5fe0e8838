package spin

import (
	"context"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// Kind is what the last message was, as far as it tells when the next one comes.
type Kind uint32

const (
	Local Kind = iota // from an application of this host
	Mesh              // from another node
	kinds
)

// Spinner is one per process, at most. Its methods may be called from anywhere, also
// on nil.
type Spinner struct {
	most time.Duration
	set  set

	// Run's
	windows [kinds]window
	trials  [kinds]trial

	kind    atomic.Uint32
	moves   atomic.Uint64
	parked  atomic.Bool // Run waits for kick, or is about to
	kick    chan struct{}
	allowed atomic.Bool

	spent        atomic.Int64 // processor time, in nanoseconds
	hits, misses atomic.Uint64
}

// Stats are counts since New.
type Stats struct {
	Hits   uint64        // a message came within the window
	Misses uint64        // a window ended without one
	Spent  time.Duration // processor time of both
}

// New makes a Spinner that looks for at most that long; nil, which does nothing, for 0.
// It is not allowed to look until Allow says so.
func New(most time.Duration) (*Spinner, error) {
	if most <= 0 {
		return nil, nil
	}
	s := &Spinner{most: most, kick: make(chan struct{}, 1)}
	for k := range s.windows {
		s.windows[k].most = most
	}
	var err error
	s.set, err = newSet()
	return s, err
}

// Allow says whether the process may look: it is no use while it has several
// processors.
func (s *Spinner) Allow(yes bool) {
	if s != nil {
		s.allowed.Store(yes)
	}
}

// Watch makes a socket one that is looked at. One that cannot be watched is not
// looked at, and that is all.
func (s *Spinner) Watch(c syscall.RawConn) {
	if s != nil {
		_ = c.Control(s.set.add)
	}
}

// Moved says that something of that kind has just been read.
func (s *Spinner) Moved(k Kind) {
	if s == nil || !s.allowed.Load() {
		return
	}
	s.kind.Store(uint32(k))
	s.moves.Add(1)
	if s.parked.Load() && s.parked.CompareAndSwap(true, false) {
		s.kick <- struct{}{} // room for one, and one only takes parked back
	}
}

// Stats reads the counters.
func (s *Spinner) Stats() Stats {
	if s == nil {
		return Stats{}
	}
	return Stats{s.hits.Load(), s.misses.Load(), time.Duration(s.spent.Load())}
}

// Run looks until ctx ends, then gives the set back.
func (s *Spinner) Run(ctx context.Context) error {
	if s == nil {
		<-ctx.Done()
		return nil
	}
	defer s.set.close()
	born := time.Now()
	var last Kind
	var idle time.Duration // since when nothing was to be done
	var seen uint64        // moves
	var way choice
	for s.await(ctx, seen) {
		gap := time.Since(born) - idle
		s.windows[last].learn(gap)
		if way != noChoice {
			s.trials[last].learn(way == looked, gap, s.most)
		}
		seen, way = s.moves.Load(), noChoice
		runtime.Gosched() // what was read is still being forwarded by others that are ready
		last, idle = Kind(s.kind.Load()), time.Since(born)
		if moves := s.moves.Load(); moves != seen {
			seen = moves // busy: there is no sleep to keep from
			continue
		}
		if w := s.windows[last].now; w > 0 {
			if way = slept; s.trials[last].look() {
				way = looked
				s.look(w, seen)
			}
		}
	}
	return nil
}

// choice is how a gap was waited for, when there were two ways.
type choice int

const (
	noChoice choice = iota
	slept
	looked
)

// await returns when more than seen has moved; false when ctx has ended.
func (s *Spinner) await(ctx context.Context, seen uint64) bool {
	s.parked.Store(true)
	if s.moves.Load() != seen && s.parked.CompareAndSwap(true, false) {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.kick:
		return true
	}
}

// look returns when a socket has something, when somebody has moved something, or
// when the window is over.
func (s *Spinner) look(w time.Duration, seen uint64) {
	if s.set.look() {
		s.hits.Add(1)
		return
	}
	cpu := threadTime()
	defer func() { s.spent.Add(max(0, int64(threadTime()-cpu))) }()
	for start := time.Now(); time.Since(start) < w; {
		runtime.Gosched()
		if s.set.look() || s.moves.Load() != seen {
			s.hits.Add(1)
			return
		}
		yield()
	}
	s.misses.Add(1)
}
