package node

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"fire/transport/spin"

	"golang.org/x/sys/unix"
)

// Go wakes an idle processor for each goroutine that becomes ready while another
// runs. In a proxy every message is a chain of short steps in several goroutines, so
// on a quiet host each message pays for several wake-ups by futex: measured with two
// processors against one, 256 B ping-pong costs 35 to 45 % more processor time and a
// third more latency. So a process starts with few processors and takes more when it
// has work for them.
//
//	busy share of what it has:  > growAbove   one more, at once
//	of one fewer:               < shrinkBelow one fewer, after calmFor
const (
	busyEvery   = 100 * time.Millisecond
	growAbove   = 0.70
	shrinkBelow = 0.50
	calmFor     = 5 * time.Second
)

// processors decides how many of Go's processors a process uses. It is pure.
type processors struct {
	least, most int
	now         int
	calm        time.Duration
}

// next takes the share of one core that was used during the last stretch.
func (p *processors) next(cores float64, stretch time.Duration) int {
	switch {
	case cores > growAbove*float64(p.now) && p.now < p.most:
		// To what the load needs at once: a burst must not climb step by step.
		p.now = min(p.most, max(p.now+1, int(cores/growAbove)+1))
		p.calm = 0
	case p.now > p.least && cores < shrinkBelow*float64(p.now-1):
		if p.calm += stretch; p.calm >= calmFor {
			p.now--
			p.calm = 0
		}
	default:
		p.calm = 0
	}
	return p.now
}

// watchProcessors follows the process's own use of the processor until ctx ends, then
// gives back what it took away. least is 2 where blocking writes to disk are usual:
// with one, each would hold up the data path until the runtime's monitor notices.
// awake may look for messages only while there is one; what it spends is no load.
func watchProcessors(ctx context.Context, least int, awake *spin.Spinner, log *slog.Logger) error {
	most := runtime.GOMAXPROCS(0)
	p := processors{least: min(least, most), most: most, now: min(least, most)}
	runtime.GOMAXPROCS(p.now)
	awake.Allow(p.now == 1)
	defer awake.Allow(false)
	defer runtime.GOMAXPROCS(most)
	tick := time.NewTicker(busyEvery)
	defer tick.Stop()
	was, at := processTime()-awake.Stats().Spent, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		is, now := processTime()-awake.Stats().Spent, time.Now()
		before := p.now
		if n := p.next(float64(is-was)/float64(now.Sub(at)), now.Sub(at)); n != before {
			runtime.GOMAXPROCS(n)
			awake.Allow(n == 1)
			log.Debug("processors in use", "count", n, "before", before)
		}
		was, at = is, now
	}
}

// processTime is the processor time of the whole process.
func processTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
