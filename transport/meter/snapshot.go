package meter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"time"
)

// EdgeSnapshot is what one cell held. Reasons are keyed by the reason's number.
type EdgeSnapshot struct {
	EdgeKey
	Opened        uint64            `json:"opened_total"`
	Closed        uint64            `json:"closed_total"`
	Refused       uint64            `json:"refused_total"`
	Active        int64             `json:"active"`
	Requests      uint64            `json:"requests_total"`
	Errors        uint64            `json:"errors_total"`
	BytesOut      uint64            `json:"out_bytes_total"`
	BytesIn       uint64            `json:"in_bytes_total"`
	LastUnixNanos int64             `json:"last_unix_ns"`
	Reasons       map[uint16]uint64 `json:"reasons,omitempty"`
	Latency       HistSnapshot      `json:"latency"`
	Connect       HistSnapshot      `json:"connect"`
}

// HistSnapshot is an immutable sparse histogram. The zero value is empty. Copies
// share memory, which is safe because nothing writes to it.
type HistSnapshot struct {
	under   uint64
	over    uint64
	overSum uint64
	cells   []bucketN // ascending, no zero counts
}

type bucketN struct {
	bucket uint16
	n      uint64
}

// Count is the number of samples, those outside the range included.
func (h HistSnapshot) Count() uint64 {
	n := addSat(h.under, h.over)
	for _, c := range h.cells {
		n = addSat(n, c.n)
	}
	return n
}

// Under and Over are the samples below 100 ns and above 10 s.
func (h HistSnapshot) Under() uint64 { return h.under }
func (h HistSnapshot) Over() uint64  { return h.over }

// Sum is the total of all samples, each bucket at its middle; it stops at the
// longest Duration.
func (h HistSnapshot) Sum() time.Duration {
	total := addSat(mulSat(h.under, rangeMin/2), h.overSum)
	for _, c := range h.cells {
		total = addSat(total, mulSat(c.n, bucketMiddle(int(c.bucket))))
	}
	return time.Duration(min(total, math.MaxInt64))
}

// Mean is Sum over Count, 0 when empty.
func (h HistSnapshot) Mean() time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(uint64(h.Sum()) / n)
}

// Quantile returns the nearest-rank quantile for q in [0, 1], 0 when empty. Below
// the range it answers 50 ns; above it the mean of the samples there.
func (h HistSnapshot) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 || math.IsNaN(q) {
		return 0
	}
	rank := n
	if r := math.Ceil(q * float64(n)); r < float64(n) {
		rank = uint64(max(r, 1))
	}
	if rank <= h.under {
		return rangeMin / 2
	}
	seen := h.under
	for _, c := range h.cells {
		if seen = addSat(seen, c.n); rank <= seen {
			return time.Duration(bucketMiddle(int(c.bucket)))
		}
	}
	if h.over == 0 {
		return 0
	}
	return time.Duration(min(h.overSum/h.over, math.MaxInt64))
}

// Merge adds o to h. It builds new memory: copies of h keep what they had.
func (h *HistSnapshot) Merge(o HistSnapshot) {
	h.under, h.over = addSat(h.under, o.under), addSat(h.over, o.over)
	h.overSum = addSat(h.overSum, o.overSum)
	if len(o.cells) == 0 {
		return
	}
	if len(h.cells) == 0 {
		h.cells = o.cells
		return
	}
	a, b := h.cells, o.cells
	out := make([]bucketN, 0, max(len(a), len(b))+8)
	for len(a) > 0 && len(b) > 0 {
		switch d := cmp.Compare(a[0].bucket, b[0].bucket); {
		case d < 0:
			out, a = append(out, a[0]), a[1:]
		case d > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, bucketN{a[0].bucket, addSat(a[0].n, b[0].n)})
			a, b = a[1:], b[1:]
		}
	}
	h.cells = append(append(out, a...), b...)
}

// Sub returns what was recorded after prev: h minus prev. Where prev holds more (the
// process restarted in between), the answer is h's own count.
func (h HistSnapshot) Sub(prev HistSnapshot) HistSnapshot {
	d := HistSnapshot{under: since(h.under, prev.under), over: since(h.over, prev.over),
		overSum: since(h.overSum, prev.overSum)}
	old := prev.cells
	for _, c := range h.cells {
		for len(old) > 0 && old[0].bucket < c.bucket {
			old = old[1:]
		}
		if len(old) > 0 && old[0].bucket == c.bucket {
			c.n = since(c.n, old[0].n)
		}
		if c.n != 0 {
			d.cells = append(d.cells, c)
		}
	}
	return d
}

// Equal tells whether both hold the same counts.
func (h HistSnapshot) Equal(o HistSnapshot) bool {
	return h.under == o.under && h.over == o.over && h.overSum == o.overSum && slices.Equal(h.cells, o.cells)
}

// Bucket is one non-empty bucket: samples in [Low, High).
type Bucket struct{ Low, High time.Duration }

// Middle is the value that stands for the bucket.
func (b Bucket) Middle() time.Duration { return b.Low + (b.High-1-b.Low)/2 }

// Buckets yields the non-empty buckets in range, ascending, with their counts.
func (h HistSnapshot) Buckets() iter.Seq2[Bucket, uint64] {
	return func(yield func(Bucket, uint64) bool) {
		for _, c := range h.cells {
			lo, hi := bucketBounds(int(c.bucket))
			if !yield(Bucket{time.Duration(lo), time.Duration(hi)}, c.n) {
				return
			}
		}
	}
}

// histJSON is the compact form: Gaps holds the first bucket's number, then the
// distance from each bucket to the next; N the counts beside it.
type histJSON struct {
	Under   uint64   `json:"under,omitempty"`
	Over    uint64   `json:"over,omitempty"`
	OverSum uint64   `json:"over_sum_ns,omitempty"`
	Gaps    []uint16 `json:"gaps,omitempty"`
	N       []uint64 `json:"n,omitempty"`
}

// MarshalJSON writes the sparse form: {"under":1,"gaps":[700,1],"n":[5,6]}.
func (h HistSnapshot) MarshalJSON() ([]byte, error) {
	j := histJSON{Under: h.under, Over: h.over, OverSum: h.overSum}
	last := uint16(0)
	for _, c := range h.cells {
		j.Gaps, j.N = append(j.Gaps, c.bucket-last), append(j.N, c.n)
		last = c.bucket
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the sparse form and refuses what no histogram can hold.
func (h *HistSnapshot) UnmarshalJSON(b []byte) error {
	var j histJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	if len(j.Gaps) != len(j.N) || len(j.Gaps) > bucketCount {
		return fmt.Errorf("histogram: %d gaps for %d counts", len(j.Gaps), len(j.N))
	}
	s := HistSnapshot{under: j.Under, over: j.Over, overSum: j.OverSum}
	at := 0
	for i, gap := range j.Gaps {
		at += int(gap)
		if at >= bucketCount || i > 0 && gap == 0 || j.N[i] == 0 {
			return fmt.Errorf("histogram: entry %d (bucket %d, count %d) is out of order or range", i, at, j.N[i])
		}
		s.cells = append(s.cells, bucketN{uint16(at), j.N[i]})
	}
	*h = s
	return nil
}

func since(now, before uint64) uint64 {
	if before > now {
		return now
	}
	return now - before
}

func addSat(a, b uint64) uint64 {
	if s, carry := bits.Add64(a, b, 0); carry == 0 {
		return s
	}
	return math.MaxUint64
}

func mulSat(a, b uint64) uint64 {
	if hi, lo := bits.Mul64(a, b); hi == 0 {
		return lo
	}
	return math.MaxUint64
}
