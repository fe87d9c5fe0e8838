package balance

import "time"

// Ticket is one picked endpoint in use. Its owner tells the first outcome with
// Succeeded or Failed, at most once, and always calls Release at the end. It belongs
// to one goroutine at a time and must not be copied after its first use.
type Ticket struct {
	Index int  // of the candidate; -1: nothing was picked
	Probe bool // the one request that may bring an ejected endpoint back

	group    *Group
	endpoint *Endpoint
	choices  int    // admissible endpoints when it was picked
	out      uint64 // ejections ever, at the same time
	told     bool
}

func (g *Group) ticket(e *Endpoint, s standing, probe bool) Ticket {
	e.active.Add(1)
	return Ticket{Index: s.due, Probe: probe, group: g, endpoint: e, choices: s.choices, out: g.ejections.Load()}
}

// Succeeded tells that the endpoint answered after that latency.
func (t *Ticket) Succeeded(now, latency time.Duration) {
	e, g := t.endpoint, t.group
	if e == nil || t.told {
		return
	}
	t.told = true
	e.observe(now, latency, &g.cfg)
	if t.Probe {
		e.returned.Store(int64(now))
		e.failures.Store(0)
		e.outcomes.Store(0)
		e.gate.Store(0) // last: from here on it is picked again
		return
	}
	if e.gate.Load() != 0 {
		return
	}
	if e.failures.Load() != 0 {
		e.failures.Store(0)
	}
	e.count(now, g.cfg.Window, false)
}

// Failed tells that the endpoint could not be reached or failed the request. rnd is
// a fresh random number for the jitter. It reports whether the endpoint was ejected.
func (t *Ticket) Failed(now time.Duration, rnd uint64) (ejected bool) {
	e, g := t.endpoint, t.group
	if e == nil || t.told {
		return false
	}
	t.told = true
	e.observe(now, g.cfg.FailureLatency, &g.cfg)
	if t.Probe {
		return g.eject(t, now, rnd, false)
	}
	if e.gate.Load() != 0 {
		return false
	}
	row := e.failures.Add(1)
	ok, bad := e.count(now, g.cfg.Window, true)
	if g.cfg.ConsecutiveFailures > 0 && row >= int64(g.cfg.ConsecutiveFailures) {
		return g.eject(t, now, rnd, false)
	}
	if n := ok + bad; n >= uint64(g.cfg.MinRequests) && float64(ok) < g.cfg.SuccessRatio*float64(n) {
		return g.eject(t, now, rnd, true)
	}
	return false
}

// Release ends the use. A probe without an outcome becomes due again at once.
func (t *Ticket) Release(now time.Duration) {
	e := t.endpoint
	if e == nil {
		return
	}
	t.endpoint = nil
	e.active.Add(-1)
	if t.Probe && !t.told {
		e.gate.CompareAndSwap(gateProbing, max(int64(now), 1))
	}
}

// eject puts the ticket's endpoint out, once. Soft evidence does not put out the last
// admissible one: of those that were admissible when the ticket was picked, at least
// one other must not have been ejected since.
func (g *Group) eject(t *Ticket, now time.Duration, rnd uint64, soft bool) bool {
	e := t.endpoint
	g.mu.Lock()
	defer g.mu.Unlock()
	from := int64(0)
	if t.Probe {
		from = gateProbing
	}
	if e.gate.Load() != from || soft && t.choices-int(g.ejections.Load()-t.out) <= 1 {
		return false
	}
	if !t.Probe {
		g.ejections.Add(1)
		if int64(now)-e.returned.Load() >= int64(g.cfg.BackoffMax) {
			e.backoff.Store(0)
		}
	}
	n := e.backoff.Add(1) - 1
	e.ejected.Add(1)
	e.failures.Store(0)
	e.gate.Store(max(int64(now+g.cfg.timeOut(n, rnd)), 1))
	return true
}

// timeOut is the n-th time out: doubled n times, at most BackoffMax, the last Jitter
// share of it random.
func (c *Config) timeOut(n int64, rnd uint64) time.Duration {
	d := c.BackoffMax
	if n < 40 && c.BackoffMin <= c.BackoffMax>>uint(n) {
		d = c.BackoffMin << uint(n)
	}
	share := float64(rnd>>11) / (1 << 53)
	return d - time.Duration(c.Jitter*share*float64(d))
}
