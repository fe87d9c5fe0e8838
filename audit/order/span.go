package order

import (
	"math"
	"time"

	"fire/audit/entry"
)

// span is the time in which something happened, by a clock that may be off by its bound.
type span struct{ from, to int64 }

func spanOf(at int64, bound uint32) span {
	if bound == entry.BoundUnknown {
		return span{math.MinInt64, math.MaxInt64}
	}
	return span{at - int64(bound), at + int64(bound)}
}

// certainlyBefore says that no clock within its bound can turn the order round.
func (s span) certainlyBefore(o span) bool { return s.to < o.from }

// bound is a time's bound in JSON: null where nobody knows it.
func boundOf(b uint32) *int64 { return sumOfBounds(b, 0) }

func sumOfBounds(a, b uint32) *int64 {
	if a == entry.BoundUnknown || b == entry.BoundUnknown {
		return nil
	}
	n := int64(a) + int64(b)
	return &n
}

func timeText(nanos int64) string {
	return time.Unix(0, nanos).UTC().Format("2006-01-02T15:04:05.000000000Z")
}
