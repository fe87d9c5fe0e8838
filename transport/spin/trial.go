package spin

import "time"

// Whether looking makes messages come sooner depends on the host: with idle cores it
// spares them the waking; where cores are scarce it takes from the applications what
// it saves here, and their messages come later instead. Measured, 256 B ping-pong,
// p50 without and with looks: two cores 230 and 120 us; one of them held by another
// program 65 and 145 us; all on one core 73 and 161 us. So it is tried out.
const (
	trySleepEvery = 128 // while looking is better, one wait of that many
	tryLookEvery  = 16  // while it is not: trying that makes nobody wait for a waking
	trialWeight   = 16  // samples that a mean remembers
)

// trial compares two ways to wait for the next message of a kind: asleep, or looking.
// It is pure.
type trial struct {
	mean   [2]float64 // nanoseconds; by looked
	known  [2]int     // samples, up to trialWeight
	chosen uint
}

// look decides for the next wait.
func (t *trial) look() bool {
	t.chosen++
	if t.known[0] < trialWeight || t.known[1] < trialWeight {
		return t.chosen%2 == 0
	}
	if t.mean[1] < t.mean[0] {
		return t.chosen%trySleepEvery != 0
	}
	return t.chosen%tryLookEvery == 0
}

// learn takes a gap that followed a decision; most is the limit of a window. One far
// above it counts as twice the limit, so that no single pause decides.
func (t *trial) learn(looked bool, gap, most time.Duration) {
	i := 0
	if looked {
		i = 1
	}
	g := float64(min(gap, 2*most))
	if t.known[i] < trialWeight {
		t.known[i]++
	}
	t.mean[i] += (g - t.mean[i]) / float64(t.known[i])
}
