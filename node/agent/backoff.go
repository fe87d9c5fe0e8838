package agent

import (
	"math/rand/v2"
	"time"
)

// backoff is a doubling wait between min and max, spread so that a floor of hosts
// does not come back in step.
type backoff struct {
	min, max time.Duration
	step     time.Duration
}

// next is a wait between half of the step and the step.
func (b *backoff) next() time.Duration {
	b.step = min(max(2*b.step, b.min), b.max)
	return b.step/2 + rand.N(b.step/2+1)
}

// reset begins anew.
func (b *backoff) reset() { b.step = 0 }
