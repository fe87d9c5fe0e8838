package spin

import (
	"testing"
	"time"
)

const most = 200 * time.Microsecond

func after(gaps ...time.Duration) time.Duration {
	w := window{most: most}
	for _, g := range gaps {
		w.learn(g)
	}
	return w.now
}

func TestWindowFollowsTheGaps(t *testing.T) {
	const us = time.Microsecond
	for _, c := range []struct {
		name string
		gaps []time.Duration
		want time.Duration
	}{
		{"nothing is known", nil, 0},
		{"a short gap opens it to twice the gap", []time.Duration{40 * us}, 80 * us},
		{"a gap within it leaves it", []time.Duration{40 * us, 10 * us, 80 * us}, 80 * us},
		{"it does not pass the limit", []time.Duration{150 * us}, most},
		{"even a gap of nothing opens it enough to be worth it", []time.Duration{1}, windowFirst},
		{"a long gap halves it", []time.Duration{40 * us, time.Second}, 40 * us},
		{"long gaps close it", []time.Duration{most, time.Second, time.Second, time.Second, time.Second, time.Second}, 0},
		{"long gaps alone never open it", []time.Duration{time.Second, time.Second}, 0},
	} {
		if got := after(c.gaps...); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestTimeLostIsBoundedByShortGaps holds the promise of the package's doc against
// random gaps: what misses cost is at most twice the limit for each gap that opened
// the window.
func TestTimeLostIsBoundedByShortGaps(t *testing.T) {
	for seed := range uint64(200) {
		w, x := window{most: most}, seed*2654435761+1
		var lost time.Duration
		opened := 0
		for range 5000 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			gap := time.Duration(x % uint64(4*most))
			before := w.now
			if gap > before {
				lost += before
			}
			if w.learn(gap); w.now > before {
				opened++
			}
			if w.now < 0 || w.now > most {
				t.Fatalf("seed %d: window %v", seed, w.now)
			}
		}
		if lost > time.Duration(opened)*2*most {
			t.Fatalf("seed %d: %v lost for %d openings", seed, lost, opened)
		}
	}
}
