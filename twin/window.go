package twin

import (
	"math"
	"time"

	"fire/transport/meter"
)

// Windows, in seconds. Rates want to be quick, quantiles want samples.
const (
	rateSeconds     = 5
	quantileSeconds = 10
	burstSeconds    = 2 // this second and the one before
	bucketsKept     = quantileSeconds + 2
	historySeconds  = 60
)

// counts is what one bucket adds up. Sums saturate: a liar can pin a figure at its
// end but cannot wrap it round to a small one.
type counts struct {
	requests, errors, refused, opened, bytesOut, bytesIn uint64
}

func (c *counts) add(o counts) {
	c.requests = addSaturating(c.requests, o.requests)
	c.errors = addSaturating(c.errors, o.errors)
	c.refused = addSaturating(c.refused, o.refused)
	c.opened = addSaturating(c.opened, o.opened)
	c.bytesOut = addSaturating(c.bytesOut, o.bytesOut)
	c.bytesIn = addSaturating(c.bytesIn, o.bytesIn)
}

func (c counts) any() bool { return c != (counts{}) }

// attempts and bad are what an error ratio is made of. A connection protocol has
// no requests, so its openings count; what was refused never became a request.
func (c counts) attempts() uint64 {
	n := c.requests
	if n == 0 {
		n = c.opened
	}
	return max(addSaturating(n, c.refused), c.bad())
}

func (c counts) bad() uint64 { return addSaturating(c.errors, c.refused) }

// ratio is bad/attempts, 0 when nothing was tried.
func (c counts) ratio() float64 {
	if c.attempts() == 0 {
		return 0
	}
	return float64(c.bad()) / float64(c.attempts())
}

func addSaturating(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// tally is a ring of one-second counts.
type tally struct {
	at     [bucketsKept]second
	counts [bucketsKept]counts
}

func (t *tally) add(s second, c counts) {
	i := s % bucketsKept
	if t.at[i] != s {
		t.at[i], t.counts[i] = s, counts{}
	}
	t.counts[i].add(c)
}

// last sums the newest n buckets up to and including s.
func (t *tally) last(s, n second) (sum counts) {
	for i := range t.at {
		if t.at[i] <= s && t.at[i] > s-n {
			sum.add(t.counts[i])
		}
	}
	return sum
}

// spread is a ring of one-second latency distributions and reasons. Closed seconds
// are merged once, when a second ends; only the open one is merged per snapshot.
type spread struct {
	at      [bucketsKept]second
	latency [bucketsKept]meter.HistSnapshot
	connect [bucketsKept]meter.HistSnapshot
	reasons [bucketsKept]map[string]uint64

	closedAt      second // closed* hold the seconds before it
	closedLatency meter.HistSnapshot
	closedConnect meter.HistSnapshot
}

func (w *spread) add(s second, d *EdgeDelta) {
	i := s % bucketsKept
	if w.at[i] != s {
		w.at[i] = s
		w.latency[i], w.connect[i], w.reasons[i] = meter.HistSnapshot{}, meter.HistSnapshot{}, nil
	}
	w.latency[i].Merge(d.Latency)
	w.connect[i].Merge(d.Connect)
	for name, n := range d.Reasons {
		if w.reasons[i] == nil {
			w.reasons[i] = map[string]uint64{}
		}
		if _, known := w.reasons[i][name]; known || len(w.reasons[i]) < reasonsMax {
			w.reasons[i][name] = addSaturating(w.reasons[i][name], n)
		}
	}
}

// distributions merges the last quantileSeconds up to and including s.
func (w *spread) distributions(s second) (latency, connect meter.HistSnapshot) {
	if w.closedAt != s {
		w.closedAt = s
		w.closedLatency, w.closedConnect = meter.HistSnapshot{}, meter.HistSnapshot{}
		for i := range w.at {
			if w.at[i] < s && w.at[i] > s-quantileSeconds {
				w.closedLatency.Merge(w.latency[i])
				w.closedConnect.Merge(w.connect[i])
			}
		}
	}
	latency, connect = w.closedLatency, w.closedConnect // Merge leaves these as they are
	if i := s % bucketsKept; w.at[i] == s {
		latency.Merge(w.latency[i])
		connect.Merge(w.connect[i])
	}
	return latency, connect
}

// second returns the distribution of one second.
func (w *spread) second(s second) meter.HistSnapshot {
	if i := s % bucketsKept; w.at[i] == s {
		return w.latency[i]
	}
	return meter.HistSnapshot{}
}

// reasonCounts merges the reasons of the last quantileSeconds.
func (w *spread) reasonCounts(s second) map[string]uint64 {
	var sum map[string]uint64
	for i := range w.at {
		if w.at[i] > s || w.at[i] <= s-quantileSeconds {
			continue
		}
		for name, n := range w.reasons[i] {
			if sum == nil {
				sum = map[string]uint64{}
			}
			sum[name] = addSaturating(sum[name], n)
		}
	}
	return sum
}

// reportEvery is the nodes' pause between two reports.
const reportEvery = 250 * time.Millisecond

// span is how long the last n buckets have been filling: n-1 whole seconds and the
// open one, but no longer than the series has existed. At least a second, so that
// one early request is not shown as four a second.
//
// A report covers the pause before it came, of which up to all may lie before the
// window: half a pause more keeps the error within 3 % either way.
func span(at, born time.Duration, n second) time.Duration {
	full := time.Duration(n-1)*time.Second + at%time.Second + reportEvery/2
	return max(min(full, at-born+reportEvery), time.Second)
}

func perSecond(n uint64, over time.Duration) float64 { return float64(n) / over.Seconds() }
