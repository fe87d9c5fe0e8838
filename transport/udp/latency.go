package udp

import "time"

// Quantile is the upper end of the bucket that holds the q-th part of all, 0 of none.
func (l *Latency) Quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range l {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank, seen := max(1, uint64(q*float64(total)+0.5)), uint64(0)
	for i, n := range l {
		if seen += n; seen >= rank {
			return time.Duration(1) << (i + 1)
		}
	}
	return time.Duration(1) << len(l)
}
