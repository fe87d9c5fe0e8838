package twin

import "time"

// second is a one-second slot of the model's own time, which starts at 0 with the
// process and never goes back.
type second int64

// clock turns the wall clock into the model's time. Buckets are laid by it, so a
// wall clock that is stepped back can neither reopen old buckets nor freeze the
// newest one.
type clock struct {
	start   time.Time
	elapsed time.Duration
}

// advance takes the wall clock's reading and returns the model's time.
func (c *clock) advance(now time.Time) time.Duration {
	d := now.Sub(c.start)
	if d < c.elapsed {
		c.start = now.Add(-c.elapsed)
		return c.elapsed
	}
	c.elapsed = d
	return d
}

// wall is the wall time of a moment of the model, as the clock stands now.
func (c *clock) wall(at time.Duration) time.Time { return c.start.Add(at).Round(0) }

func secondOf(at time.Duration) second { return second(at / time.Second) }
