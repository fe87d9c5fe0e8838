package twin

import (
	"sort"
	"time"
)

// compute is the edge's view at a moment, both sides merged.
func (e *edge) compute(red float64, silent map[string]bool, at time.Duration) EdgeView {
	now := secondOf(at)
	v := EdgeView{
		Src: e.key.src, Dst: e.key.dst, Protocol: e.protocol, Secured: e.secured,
		Client:  e.sides[client].view(e.born, at),
		Server:  e.sides[server].view(e.born, at),
		history: e.history[max(0, len(e.history)-historySeconds):len(e.history):len(e.history)],
	}
	side, shown := &e.sides[client], v.Client
	if e.truth(now) == &e.sides[server] || shown == nil {
		side, shown = &e.sides[server], v.Server
	}
	if shown != nil {
		v.RatePerSecond, v.ErrorsPerSecond = shown.RatePerSecond, shown.ErrorsPerSecond+shown.RefusedPerSecond
		v.P50, v.P99, v.P999 = shown.P50, shown.P99, shown.P999
		v.BytesPerSecond = shown.BytesOutPerSecond + shown.BytesInPerSecond
		v.Active = shown.Active
		v.ErrorRatio = side.tally.last(now, rateSeconds).ratio()
		if len(shown.Reasons) > 0 {
			v.TopReason = shown.Reasons[0].Reason
		}
	}
	ev := e.evidence(now, silent)
	if v.TopReason == "" {
		v.TopReason = ev.reason
	}
	v.Stale = e.stale(silent)
	v.State, v.Why = judge(ev, red)
	v.Paths = e.paths(now, span(at, e.born, rateSeconds), red)
	return v
}

// evidence takes the figures of the side that saw it worse: a refusal at the
// server's proxy may never reach the client as more than a broken connection.
func (e *edge) evidence(now second, silent map[string]bool) evidence {
	ev := evidence{wasRed: e.state == StateError, secured: e.secured, silent: e.silentNodes(silent)}
	worst := -1.0
	for i := range e.sides {
		s := &e.sides[i]
		burst, recent := s.tally.last(now, burstSeconds), s.tally.last(now, rateSeconds)
		long := s.tally.last(now, quantileSeconds)
		ev.busy = ev.busy || long.any()
		ev.carried = ev.carried || long.requests|long.bytesIn|long.bytesOut != 0
		if r := max(burst.ratio(), recent.ratio()); r > worst {
			worst, ev.burst, ev.recent = r, burst, recent
			if top := ranked(s.spread.reasonCounts(now)); len(top) > 0 && recent.bad() > 0 {
				ev.reason = top[0].Reason
			}
		}
	}
	return ev
}

// silentNodes lists the nodes whose silence makes the figures wrong: the clients,
// or whoever reports when there is no client. A silent server alone leaves the
// figures whole; its host shows that by itself.
func (e *edge) silentNodes(silent map[string]bool) []string {
	if len(silent) == 0 {
		return nil
	}
	which := client
	if len(e.sides[client].links) == 0 {
		which = server
	}
	found := map[string]bool{}
	for k := range e.sides[which].links {
		if silent[k.node] {
			found[k.node] = true
		}
	}
	return sortedKeys(found)
}

// stale: nobody who ever reported the edge still reports.
func (e *edge) stale(silent map[string]bool) bool {
	for i := range e.sides {
		for k := range e.sides[i].links {
			if !silent[k.node] {
				return false
			}
		}
	}
	return true
}

// view is the side's figures; nil when no node reports that side.
func (s *side) view(born, at time.Duration) *SideView {
	if len(s.links) == 0 {
		return nil
	}
	now, over := secondOf(at), span(at, born, rateSeconds)
	c := s.tally.last(now, rateSeconds)
	latency, connect := s.spread.distributions(now)
	v := &SideView{
		RatePerSecond:     perSecond(c.requests, over),
		ErrorsPerSecond:   perSecond(c.errors, over),
		RefusedPerSecond:  perSecond(c.refused, over),
		OpenedPerSecond:   perSecond(c.opened, over),
		BytesOutPerSecond: perSecond(c.bytesOut, over),
		BytesInPerSecond:  perSecond(c.bytesIn, over),
		P50:               latency.Quantile(0.5),
		P99:               latency.Quantile(0.99),
		P999:              latency.Quantile(0.999),
		ConnectP99:        connect.Quantile(0.99),
		Requests:          s.requests,
		Errors:            s.errors,
		Reasons:           ranked(s.spread.reasonCounts(now)),
	}
	nodes := map[string]bool{}
	for k, l := range s.links {
		nodes[k.node] = true
		v.Active += l.active
	}
	v.Nodes = sortedKeys(nodes)
	return v
}

// paths splits the edge by pair of nodes. A link that names its peer is taken at
// its word; the rest is spread over the nodes of the other side by their share.
func (e *edge) paths(now second, over time.Duration, red float64) []PathView {
	type pair struct{ from, to string }
	sums := map[pair]counts{}
	guessed := map[pair]bool{}
	for k, l := range e.sides[client].links {
		c := l.tally.last(now, rateSeconds)
		if k.peer != "" {
			p := pair{k.node, k.peer}
			s := sums[p]
			s.add(c)
			sums[p] = s
			continue
		}
		for to, share := range e.shares(server, now) {
			p := pair{k.node, to}
			s := sums[p]
			s.add(c.scaled(share))
			sums[p], guessed[p] = s, true
		}
	}
	if len(e.sides[client].links) == 0 {
		for k, l := range e.sides[server].links {
			p := pair{k.peer, k.node}
			s := sums[p]
			s.add(l.tally.last(now, rateSeconds))
			sums[p] = s
		}
	}
	out := make([]PathView, 0, len(sums))
	for p, c := range sums {
		v := PathView{From: p.from, To: p.to, RatePerSecond: perSecond(c.requests, over), State: StateIdle, Guessed: guessed[p]}
		switch {
		case c.bad() > 0 && c.ratio() >= red:
			v.State = StateError
		case c.bad() > 0:
			v.State = StateWarn
		case c.any():
			v.State = StateOK
		}
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].From != out[j].From {
			return out[i].From < out[j].From
		}
		return out[i].To < out[j].To
	})
	return out
}

// shares is each node's part of a side's traffic; equal parts when it is quiet.
// With no node on that side the one unnamed node gets all.
func (e *edge) shares(which int, now second) map[string]float64 {
	out := map[string]float64{}
	total := 0.0
	for k, l := range e.sides[which].links {
		c := l.tally.last(now, rateSeconds)
		w := float64(max(c.requests, c.opened)) + float64(l.active)
		out[k.node] += w
		total += w
	}
	if len(out) == 0 {
		return map[string]float64{"": 1}
	}
	for name := range out {
		if total == 0 {
			out[name] = 1 / float64(len(out))
		} else {
			out[name] /= total
		}
	}
	return out
}

func (c counts) scaled(by float64) counts {
	f := func(n uint64) uint64 {
		if n == 0 {
			return 0
		}
		return uint64(float64(n) * by)
	}
	return counts{f(c.requests), f(c.errors), f(c.refused), f(c.opened), f(c.bytesOut), f(c.bytesIn)}
}
