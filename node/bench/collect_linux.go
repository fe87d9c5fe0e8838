//go:build amd64 || arm64

package bench

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// collector forces collections while the measuring thread goes on, to show what each does to
// the messages meanwhile. One goroutine; the measuring thread looks at n.
type collector struct {
	n    atomic.Uint64 // odd while one runs
	took []int64       // of the goroutine until done
	stop chan struct{}
	done chan struct{}

	seen  uint64                // n at the last message; of the measuring thread
	worst [collectionsMax]int64 // by collection; of the measuring thread
}

const (
	collectionsMax   = 1 << 14
	collectorPercent = 100 // as a program has it that says nothing
)

// startCollector switches the collector on as a program has it, and forces one every so often.
func startCollector(every time.Duration) *collector {
	c := &collector{stop: make(chan struct{}), done: make(chan struct{}), took: make([]int64, 0, collectionsMax)}
	debug.SetGCPercent(collectorPercent)
	go c.run(time.NewTicker(every)) // made here: before anything is counted
	return c
}

func (c *collector) run(t *time.Ticker) {
	defer close(c.done)
	defer t.Stop()
	for len(c.took) < collectionsMax {
		select {
		case <-t.C:
		case <-c.stop:
			return
		}
		c.n.Add(1)
		began := ticks()
		runtime.GC()
		took := ticks() - began
		c.n.Add(1)
		c.took = append(c.took, int64(took))
	}
}

// overlaps tells whether a collection has run since the last message, and notes the message's
// latency as an effect of it.
func (c *collector) overlaps(ns int64) bool {
	n := c.n.Load()
	if n == c.seen && n&1 == 0 {
		return false
	}
	c.seen = n
	if i := (n - 1) / 2; n > 0 && i < collectionsMax { // the one that runs, or the last
		c.worst[i] = max(c.worst[i], ns)
	}
	return true
}

// end returns how long collections took and the worst message of each.
func (c *collector) end(tickNS float64) (took, worst []int64) {
	close(c.stop)
	<-c.done
	debug.SetGCPercent(-1)
	for i, t := range c.took {
		took = append(took, int64(float64(t)*tickNS))
		worst = append(worst, c.worst[i])
	}
	return took, worst
}
