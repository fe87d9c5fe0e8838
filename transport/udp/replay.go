package udp

// ReplayWindow is how many counters behind the newest one are still told from repeats.
const ReplayWindow = (replayBlocks - 1) * 64

const replayBlocks = 128

// replay remembers which counters were seen, as RFC 6479 does: blocks of bits in a ring,
// of which whole ones are cleared as the newest counter moves on, and nothing is shifted.
type replay struct {
	newest uint64
	seen   [replayBlocks]uint64
}

// fresh notes a counter and reports whether it came for the first time. It is asked after
// the datagram was opened: whoever cannot seal cannot move the window.
func (w *replay) fresh(c uint64) bool {
	block := c / 64
	if c > w.newest {
		last := w.newest / 64
		for i := range min(block-last, replayBlocks) {
			w.seen[(last+1+i)%replayBlocks] = 0
		}
		w.newest = c
	} else if w.newest-c >= ReplayWindow {
		return false // too old to be told
	}
	at, bit := &w.seen[block%replayBlocks], uint64(1)<<(c%64)
	if *at&bit != 0 {
		return false
	}
	*at |= bit
	return true
}
