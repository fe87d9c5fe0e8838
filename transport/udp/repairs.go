package udp

// repairs remembers which packets were sent again of late, so that one that is asked for
// again and again leaves once in a while: in the time of one turn or two. Each peer of its
// own has its own, since what was sent to another has not reached it.
type repairs struct {
	now, before []uint64 // bits by slot
	since       int64
	looks       int // that are left for one NAK
}

func newRepairs(window int) repairs {
	n := (window + 63) / 64
	return repairs{now: make([]uint64, n), before: make([]uint64, n)}
}

// turn begins a new one when the last has lasted a pause.
func (r *repairs) turn(now, pause int64) {
	passed := now - r.since
	if passed < pause && passed >= 0 {
		return
	}
	r.now, r.before = r.before, r.now
	clear(r.now)
	if passed >= 2*pause || passed < 0 {
		clear(r.before)
	}
	r.since = now
}

// take is false for a packet that was sent again of late.
func (r *repairs) take(slot uint64) bool {
	r.looks--
	at, bit := slot/64, uint64(1)<<(slot%64)
	if (r.now[at]|r.before[at])&bit != 0 {
		return false
	}
	r.now[at] |= bit
	return true
}
