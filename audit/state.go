package audit

import (
	"sync/atomic"
	"time"
)

// State is what can be seen of a log from outside at any time, also while its disk hangs.
type State struct {
	Durable  atomic.Int64  // entries on the disk
	Groups   atomic.Uint64 // since the start
	Bytes    atomic.Uint64 // of them
	Failures atomic.Uint64 // of the disk

	entered atomic.Uint64 // records that are durable, since the start
	gaps    atomic.Uint64 // entries of kind Gap
	signed  atomic.Int64  // when the newest durable head was signed, nanoseconds since 1970
	busy    atomic.Int64  // since when the disk works, nanoseconds since 1970; 0: it does not
	stalled atomic.Int64  // since when it has failed
	trouble atomic.Pointer[string]
}

// Stalled is for how long the disk has taken nothing, at now: it fails, or does not answer.
func (s *State) Stalled(now time.Time) time.Duration {
	at := s.stalled.Load()
	if at == 0 {
		at = s.busy.Load()
	}
	if at == 0 {
		return 0
	}
	return max(0, now.Sub(time.Unix(0, at)))
}

// Trouble is the last failure of the disk since it last took something, "" for none.
func (s *State) Trouble() string {
	if t := s.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

func (s *State) failed(err error, now time.Time) {
	s.Failures.Add(1)
	text := err.Error()
	s.trouble.Store(&text)
	s.stalled.CompareAndSwap(0, now.UnixNano())
}
