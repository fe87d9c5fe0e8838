package bench

import "math/bits"

// nanos is a histogram of nanoseconds: exact below 4,096, then 128 buckets for each
// doubling, which is within 0.8 %. Fixed memory; record allocates nothing.
type nanos struct {
	count, sum, max uint64
	bucket          [nanosExact + 128*(nanosTop-12)]uint64 // a loop that only looks at the clock fills 32 bits in minutes
}

const (
	nanosExact = 4096 // 1 << 12
	nanosTop   = 36   // above 2^36 ns, 68 s, all is one
)

func (h *nanos) record(ns int64) { h.add(uint64(max(ns, 0)), 1) }

// add records v n times.
func (h *nanos) add(v, n uint64) {
	h.count += n
	h.sum += v * n
	h.max = max(h.max, v)
	h.bucket[nanosIndex(v)] += n
}

func nanosIndex(v uint64) int {
	if v < nanosExact {
		return int(v)
	}
	top := bits.Len64(v) - 1 // at least 12
	if top >= nanosTop {
		return nanosExact + 128*(nanosTop-12) - 1
	}
	return nanosExact + 128*(top-12) + int(v>>(top-7)&127)
}

// nanosUpper is the largest value of a bucket.
func nanosUpper(i int) uint64 {
	if i < nanosExact {
		return uint64(i)
	}
	i -= nanosExact
	top := i/128 + 12
	return 1<<top + uint64(i%128+1)<<(top-7) - 1
}

func (h *nanos) merge(o *nanos) {
	h.count += o.count
	h.sum += o.sum
	h.max = max(h.max, o.max)
	for i, n := range o.bucket {
		h.bucket[i] += n
	}
}

// quantile is nearest rank, the upper end of its bucket.
func (h *nanos) quantile(q float64) int64 {
	if h.count == 0 {
		return 0
	}
	rank := uint64(q*float64(h.count-1)) + 1
	seen := uint64(0)
	for i, n := range h.bucket {
		if seen += n; seen >= rank {
			return int64(min(nanosUpper(i), h.max))
		}
	}
	return int64(h.max)
}
