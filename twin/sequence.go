package twin

import "time"

// admission is what a report's sequence number says about it.
type admission int

const (
	admitNewest    admission = iota // ahead of all: deltas and gauges count
	admitLate                       // out of order, not seen yet: deltas count, gauges do not
	admitRestart                    // the node's process started anew
	refuseRepeated                  // seen before, or too old to tell
)

// sequence is a replay window over one node's reports, as in RFC 4303 section
// 3.4.3, that also recognises a restarted node.
type sequence struct {
	boot     uint64
	last     uint64    // highest Seq seen; 0: none
	seen     uint64    // bit i: last-i was seen
	at       time.Time // the node's clock at last
	refusals int       // in a row
	old      [4]uint64 // boots before this one, so that their late reports are not a restart
}

// refusalsMax refused reports in a row are taken for a restart whose clock also
// went back; without it such a node would stay refused for ever.
const refusalsMax = 8

func (s *sequence) admit(boot, seq uint64, at time.Time) admission {
	if seq == 0 { // not numbered: its link delivers in order and once
		return admitNewest
	}
	if s.last == 0 {
		s.start(boot, seq, at)
		return admitNewest
	}
	if boot != s.boot {
		if s.wasBefore(boot) {
			return refuseRepeated
		}
		s.start(boot, seq, at)
		return admitRestart
	}
	switch {
	case seq > s.last:
		s.shift(seq - s.last)
		s.last, s.at, s.refusals = seq, at, 0
		return admitNewest
	case s.last-seq < 64 && s.seen&(1<<(s.last-seq)) == 0:
		s.seen |= 1 << (s.last - seq)
		return admitLate
	}
	return s.repeated(boot, seq, at)
}

// repeated decides about a Seq that is behind. Without a boot number a restart
// shows as a Seq behind with a clock ahead.
func (s *sequence) repeated(boot, seq uint64, at time.Time) admission {
	s.refusals++
	if boot == 0 && at.After(s.at) || s.refusals >= refusalsMax {
		s.start(boot, seq, at)
		return admitRestart
	}
	return refuseRepeated
}

func (s *sequence) start(boot, seq uint64, at time.Time) {
	if s.last != 0 && boot != s.boot {
		copy(s.old[1:], s.old[:])
		s.old[0] = s.boot
	}
	s.boot, s.last, s.seen, s.at, s.refusals = boot, seq, 1, at, 0
}

func (s *sequence) shift(by uint64) {
	if by >= 64 {
		s.seen = 1
		return
	}
	s.seen = s.seen<<by | 1
}

func (s *sequence) wasBefore(boot uint64) bool {
	if boot == 0 {
		return false
	}
	for _, b := range s.old {
		if b == boot {
			return true
		}
	}
	return false
}
