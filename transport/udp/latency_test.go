package udp

import (
	"testing"
	"time"
)

func TestQuantileIsWithinAFactorOfTwo(t *testing.T) {
	var l Latency
	if l.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for k := range int64(1000) {
		l.record((k + 1) * 1000)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 1: time.Millisecond} {
		if got := l.Quantile(q); got < want || got > 2*want+time.Microsecond {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	l.record(-5) // clocks that differ
	if l[0] != 1 {
		t.Error(l)
	}
}
