//go:build amd64 || arm64

package bench

import "time"

// ticks is the processor's time stamp counter, which all cores of a host share (Linux
// would not use it as a clock otherwise). It costs a third of a look at the clock, and
// two processes can compare theirs.
func ticks() uint64

// tickRate measures how many nanoseconds a tick is.
func tickRate() float64 {
	t0, c0 := time.Now(), ticks()
	for time.Since(t0) < 20*time.Millisecond {
	}
	d, c1 := time.Since(t0), ticks()
	return float64(d) / float64(c1-c0)
}

// clockCost is what one look costs, in nanoseconds.
func clockCost() float64 {
	const looks = 10_000
	t0 := time.Now()
	for range looks {
		_ = ticks()
	}
	return float64(time.Since(t0)) / looks
}
