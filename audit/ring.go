package audit

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// ring carries what the data path captures to the writer. Many put, one takes. It is cut into
// slots of a cache line; a record takes as many as it needs, side by side, and is there when its
// first slot's mark says so. Marks lie apart from the slots, since a record's bytes are somebody
// else's and could look like one.
//
// A position counts slots since the ring was made, and never comes again: the mark of a slot is
// the position of the record that begins there, plus one, so what an earlier lap left there is
// never taken for a new record, and nothing has to be wiped.
type ring struct {
	tail atomic.Uint64 // next position to be claimed
	_    [120]byte
	head atomic.Uint64 // everything before it was taken
	_    [120]byte

	taken atomic.Uint64 // records, the writer's count

	marks []atomic.Uint64
	slots []slot
	mask  uint64
}

const slotBytes = 64

type slot [slotBytes / 8]uint64

// record is the start of a record, in its first slot.
type record struct {
	time   int64
	seq    uint64
	source uint32
	bound  uint32
	bytes  uint32 // of the payload behind it
	kind   recordKind
	sync   uint8
	clock  uint8
	event  uint8 // its entry.Kind
	_      uint64
}

const recordBytes = int(unsafe.Sizeof(record{}))

type recordKind uint8

const (
	recordPad      recordKind = iota + 1 // to the end of the ring
	recordMessage                        // payload: the message
	recordEvent                          // payload: the fields of an entry
	recordTemplate                       // payload: the source's fields from here on
	recordGap                            // payload: gapBytes
	recordClose                          // the source has ended
)

// newRing makes one of at least bytes.
func newRing(bytes int) *ring {
	n := 1 << bits.Len(uint(max(bytes, 16*slotBytes)/slotBytes-1))
	return &ring{marks: make([]atomic.Uint64, n), slots: make([]slot, n), mask: uint64(n - 1)}
}

// payloadMax is the longest payload that is ever put: a quarter of the ring, so that one record
// does not starve the others.
func (r *ring) payloadMax() int { return len(r.slots)*slotBytes/4 - recordBytes }

func slotsOf(payload int) uint64 { return uint64(recordBytes+payload+slotBytes-1) / slotBytes }

// put copies a record into the ring, or tells that it is full.
func (r *ring) put(rec record, payload []byte) bool {
	need := slotsOf(len(payload))
	for {
		t := r.tail.Load()
		at, pad := t&r.mask, uint64(0)
		if left := uint64(len(r.slots)) - at; left < need {
			pad = left
		}
		if t+pad+need-r.head.Load() > uint64(len(r.slots)) {
			return false
		}
		if !r.tail.CompareAndSwap(t, t+pad+need) {
			continue
		}
		if pad > 0 {
			*r.record(t) = record{kind: recordPad}
			r.marks[at].Store(t + 1)
			t += pad
			at = 0
		}
		rec.bytes = uint32(len(payload))
		*r.record(t) = rec
		copy(r.payload(t, len(payload)), payload)
		r.marks[at].Store(t + 1)
		return true
	}
}

// take calls f with each record that is there, up to most bytes of payload, and frees them
// together. payload is valid during f. The writer alone calls it.
func (r *ring) take(most int, f func(rec *record, payload []byte)) (n int) {
	h := r.head.Load()
	for most > 0 && r.marks[h&r.mask].Load() == h+1 {
		rec := r.record(h)
		if rec.kind == recordPad {
			h += uint64(len(r.slots)) - h&r.mask
			continue
		}
		size := int(rec.bytes)
		f(rec, r.payload(h, size))
		n++
		most -= size + recordBytes
		h += slotsOf(size)
	}
	r.taken.Add(uint64(n))
	r.head.Store(h)
	return n
}

// empty tells whether nothing lies in it, finished or not.
func (r *ring) empty() bool { return r.head.Load() == r.tail.Load() }

func (r *ring) record(pos uint64) *record {
	return (*record)(unsafe.Pointer(&r.slots[pos&r.mask]))
}

func (r *ring) payload(pos uint64, n int) []byte {
	first := &r.slots[pos&r.mask]
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(first), recordBytes)), n) // it does not pass the ring's end: put pads
}
