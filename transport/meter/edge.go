package meter

import (
	"sync/atomic"
	"time"
)

// EdgeKey names one edge as one proxy sees it. Side is "out" at the client's
// proxy and "in" at the server's.
type EdgeKey struct {
	Src  string `json:"src"`
	Dst  string `json:"dst"`
	Side string `json:"side"`
}

// OverflowKey is the key of the cell that takes the edges a full page has no room for.
var OverflowKey = EdgeKey{Src: "overflow", Dst: "overflow", Side: "overflow"}

// ReasonOther is the code under which a snapshot shows reasons that found no slot.
const ReasonOther = 0xFFFF

// Edge is one cell of the page, in place: its fields are the mapped words. All
// methods and fields may be used by many goroutines at once. An Edge is never
// copied and never made but by Page.Edge.
type Edge struct {
	_ [cellOpened]byte // the key; written once by Page.Edge

	Opened  atomic.Uint64 // connections (tcp) or streams accepted for this edge
	Closed  atomic.Uint64
	Refused atomic.Uint64
	Active  atomic.Int64 // open now
	_       [cellRequests - cellActive - 8]byte

	Requests      atomic.Uint64
	Errors        atomic.Uint64
	BytesOut      atomic.Uint64 // source to destination
	BytesIn       atomic.Uint64 // destination to source
	LastUnixNanos atomic.Int64
	_             [cellReasons - cellLast - 8]byte

	reasons [reasonSlots]reasonSlot
	_       [cellLatency - cellReasons - reasonSlots*16]byte

	Latency Histogram
	_       [cellConnect - cellLatency - histBuckets - 8*bucketCount]byte
	Connect Histogram
	_       [cellBytes - cellConnect - histBuckets - 8*bucketCount]byte
}

type reasonSlot struct {
	codePlusOne atomic.Uint64 // 0: free
	count       atomic.Uint64
}

// AddReason counts one reason code. The last slot is kept for ReasonOther.
func (e *Edge) AddReason(code uint16) {
	want := uint64(code) + 1
	for i := range reasonSlots - 1 {
		s := &e.reasons[i]
		have := s.codePlusOne.Load()
		if have == 0 && s.codePlusOne.CompareAndSwap(0, want) {
			have = want
		} else if have == 0 {
			have = s.codePlusOne.Load()
		}
		if have == want {
			s.count.Add(1)
			return
		}
	}
	other := &e.reasons[reasonSlots-1]
	other.codePlusOne.Store(ReasonOther + 1)
	other.count.Add(1)
}

// Histogram counts durations in log-linear buckets; see the package comment for
// its error. It lives in the page, but its zero value works anywhere.
type Histogram struct {
	under   atomic.Uint64
	over    atomic.Uint64
	overSum atomic.Uint64 // nanoseconds; exact, since these are rare
	_       uint64
	buckets [bucketCount]atomic.Uint64
}

// Record counts one duration: one atomic add, no allocation. A negative duration
// (a clock that stepped) counts as below the range.
func (h *Histogram) Record(d time.Duration) {
	if uint64(d)-rangeMin > rangeMax-rangeMin { // one comparison for both ends
		h.recordOutside(d)
		return
	}
	h.buckets[bucketOf(uint64(d))].Add(1)
}

func (h *Histogram) recordOutside(d time.Duration) {
	if d < rangeMin {
		h.under.Add(1)
		return
	}
	h.over.Add(1)
	h.overSum.Add(uint64(d))
}

// Snapshot copies what has been recorded.
func (h *Histogram) Snapshot() HistSnapshot {
	s := HistSnapshot{under: h.under.Load(), over: h.over.Load(), overSum: h.overSum.Load()}
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n != 0 {
			s.cells = append(s.cells, bucketN{uint16(i), n})
		}
	}
	return s
}
