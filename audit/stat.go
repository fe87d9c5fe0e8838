package audit

import "time"

// Stat is a log in figures. It is read without waiting for anything.
type Stat struct {
	Captured  uint64 // since the start, with what was appended
	Durable   uint64
	NoRoom    uint64 // times that a ring was full
	Unentered uint64 // messages that went on without an entry
	Refused   uint64
	Gaps      uint64 // entries that say so
	Groups    uint64
	Bytes     uint64
	Failures  uint64
	Stalled   time.Duration
	Trouble   string
	HeadAt    time.Time
	Segments  int
	DiskBytes int64
}

// Stat reads the figures.
func (l *Log) Stat() Stat {
	s := Stat{
		NoRoom: l.capture.full.Load(), Unentered: l.capture.dropped.Load(), Refused: l.capture.refused.Load(), Gaps: l.State.gaps.Load(),
		Captured: l.capture.count() + l.inbox.count.Load(), Durable: l.State.entered.Load(),
		Groups: l.State.Groups.Load(), Bytes: l.State.Bytes.Load(), Failures: l.State.Failures.Load(),
		Stalled: l.State.Stalled(l.deps.Now()), Trouble: l.State.Trouble(),
	}
	if at := l.State.signed.Load(); at != 0 {
		s.HeadAt = timeOf(at)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s.Segments = len(l.parts)
	for _, p := range l.parts {
		s.DiskBytes += p.end + p.count*(32+4)
	}
	return s
}
