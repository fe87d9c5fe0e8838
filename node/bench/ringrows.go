package bench

import "slices"

// ringRows collects rows of the same table, path and size over the rounds.
type ringRows struct {
	rows  []*RingRow
	round int // that is being measured
	gc    *GCEffect
}

func newRingRows() *ringRows { return &ringRows{} }

func (rs *ringRows) add(x RingRow) {
	x.round = rs.round
	for _, r := range rs.rows {
		if r.Table == x.Table && r.Path == x.Path && r.SizeBytes == x.SizeBytes {
			r.join(&x)
			return
		}
	}
	first := RingRow{Table: x.Table, Path: x.Path, SizeBytes: x.SizeBytes, RingBytes: x.RingBytes}
	first.join(&x)
	rs.rows = append(rs.rows, &first)
}

func (r *RingRow) join(x *RingRow) {
	r.Messages += x.Messages
	r.latency.merge(&x.latency)
	r.NotRun = x.NotRun
	if r.rounds == nil {
		r.rounds = map[int]float64{}
	}
	if x.latency.count > 0 {
		r.rounds[x.round] = float64(x.latency.quantile(0.5))
		r.RoundP50NS = append(r.RoundP50NS, x.latency.quantile(0.5))
	}
	if x.PerSecond > 0 {
		r.rounds[x.round] = x.PerSecond
		r.RoundPerSecond = append(r.RoundPerSecond, x.PerSecond)
	}
	r.Counted += x.Counted
	r.Mallocs, r.Switches, r.Calls, r.Collections = addCounts(r.Mallocs, x.Mallocs), addCounts(r.Switches, x.Switches), addCounts(r.Calls, x.Calls), addCounts(r.Collections, x.Collections)
	r.own = addCounts(r.own, x.own)
	r.peerMallocs, r.peerCalls = addCounts(r.peerMallocs, x.peerMallocs), addCounts(r.peerCalls, x.peerCalls)
}

// counts takes what both sides have counted during messages.
func (r *RingRow) counts(messages uint64, own, peer threadCounts) {
	both := own.plus(peer)
	r.Counted, r.Mallocs, r.Switches, r.Calls, r.Collections = messages, &both.Mallocs, &both.Switches, both.Calls, &both.Collections
	r.peerMallocs, r.own = &peer.Mallocs, both.Own
	if both.Calls != nil {
		r.peerCalls = peer.Calls
	}
}

func addCounts(a, b *uint64) *uint64 {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	sum := *a + *b
	return &sum
}

// finish computes what is shown. A throughput is the median round's: one stall of the
// machine in a round says nothing of the path.
func (rs *ringRows) finish() []RingRow {
	out := make([]RingRow, 0, len(rs.rows))
	for _, r := range rs.rows {
		if h := &r.latency; h.count > 0 {
			r.MeanNS = float64(h.sum) / float64(h.count)
			r.HDR, r.Histogram = h.encoded(), h.told()
			r.P50NS, r.P99NS, r.P999NS, r.P9999, r.MaxNS = h.quantile(0.5), h.quantile(0.99), h.quantile(0.999), h.quantile(0.9999), int64(h.max)
		}
		r.PerSecond = median(r.RoundPerSecond)
		r.MallocsPerMessage, r.CallsPerMessage = share(r.Mallocs, r.Counted), share(r.Calls, r.Counted)
		r.PeerMallocsPerMessage, r.PeerCallsPerMessage = share(r.peerMallocs, r.Counted), share(r.peerCalls, r.Counted)
		out = append(out, *r)
	}
	return out
}

func share(n *uint64, messages uint64) *float64 {
	if n == nil || messages == 0 {
		return nil
	}
	x := float64(*n) / float64(messages)
	return &x
}

// median of what is there; 0 of nothing.
func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}
