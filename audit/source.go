package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit/entry"
	"fire/policy/reason"
)

// Source is one thing whose messages are captured: one direction of a connection, one lane of a
// direct path. Its own goroutine calls it; what it captures keeps its order, and is counted, so
// that what is missing can be proved to be.
type Source struct {
	capture *Capture
	ring    *ring
	id      uint64
	slot    uint32 // in the capture's table
	full    Full
	budget  time.Duration
	seq     uint64
	end     uint64 // position behind its last record, once it has left without a word

	final *final // the last event, while there is no room for it; set before the source leaves

	gapped atomic.Bool // there is a gap that is in no entry yet
	mu     sync.Mutex  // guards gap; nobody takes it while the ring has room
	gap    gap

	// the writer's own
	fields  []byte // of each of its entries
	form    Form
	lastSeq uint64
}

// Full says what becomes of a message for which the ring has no room: the disk is too slow, or
// hangs.
type Full uint8

const (
	// FullOpen lets it go on without an entry. How many have is in the log, exactly.
	FullOpen Full = iota
	// FullClosed waits for room, and then refuses it.
	FullClosed
)

// Form is what a source's messages are.
type Form uint8

const (
	Opaque Form = iota // their bytes
	FIX
	DigestOnly // their bytes are not kept
	FIXDigest
)

// gap is a run of messages without an entry.
type gap struct {
	first, last uint64 // by the source's count
	since, till int64
	chain       [sha256.Size]byte // SHA-256 over the chain before and the SHA-256 of each message
}

const gapBytes = 8*4 + sha256.Size

// ErrStalled is why a message of a closed source is refused.
var ErrStalled = reason.New(reason.AuditStalled, "the audit log takes nothing")

// Message captures one message that is about to go on. An error means that it must not. It costs
// one copy and one reading of the clock, and allocates nothing.
func (s *Source) Message(b []byte) error {
	rec := s.next(recordMessage)
	if (!s.gapped.Load() || s.tellGap()) && len(b) <= s.ring.payloadMax() && s.ring.put(rec, b) {
		s.seq++
		s.capture.captured()
		return nil
	}
	return s.overflow(rec, b)
}

// next is the source's next record, as of now.
func (s *Source) next(kind recordKind) record {
	at, bound, sync, clock := s.capture.stamp()
	return record{time: at, bound: bound, sync: uint8(sync), clock: uint8(clock), source: s.slot, seq: s.seq + 1, kind: kind}
}

// Event captures a fact that is no message, between the messages before and after it: a kind and
// its fields, as entry.Builder writes them. It waits for room as long as the budget lasts; then it
// is in the gap, or an error.
func (s *Source) Event(k entry.Kind, fields []byte) error {
	rec := s.event(k)
	switch {
	case s.within(rec, fields):
		s.seq++
		return nil
	case s.full == FullClosed:
		return ErrStalled
	}
	s.skip(fields, rec.time)
	return nil
}

func (s *Source) event(k entry.Kind) record {
	rec := s.next(recordEvent)
	rec.event = uint8(k)
	return rec
}

// within puts a record behind the gap before it, within the budget.
func (s *Source) within(rec record, payload []byte) bool {
	put := func() bool { return (!s.gapped.Load() || s.tellGap()) && s.ring.put(rec, payload) }
	if put() {
		s.capture.captured()
		return true
	}
	return s.capture.await(s.budget, put)
}

// overflow is what happens to a message for which there is no room.
func (s *Source) overflow(rec record, b []byte) error {
	s.capture.full.Add(1)
	if s.full == FullOpen {
		s.skip(b, rec.time)
		return nil
	}
	if len(b) <= s.ring.payloadMax() && s.within(rec, b) {
		s.seq++
		return nil
	}
	s.capture.refused.Add(1)
	return ErrStalled
}

// skip counts what goes on without an entry.
func (s *Source) skip(b []byte, at int64) {
	s.seq++
	s.capture.dropped.Add(1)
	sum := sha256.Sum256(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gap.last == 0 {
		s.gap = gap{first: s.seq, since: at}
	}
	s.gap.last, s.gap.till = s.seq, at
	s.gap.chain = sha256.Sum256(append(s.gap.chain[:], sum[:]...))
	s.gapped.Store(true)
}

// tellGap puts the gap before what follows it.
func (s *Source) tellGap() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gap.last == 0 {
		return true // the writer has taken it
	}
	rec := record{time: s.gap.till, bound: entry.BoundUnknown, source: s.slot, seq: s.gap.last, kind: recordGap}
	var b [gapBytes]byte
	s.gap.put(b[:])
	if !s.ring.put(rec, b[:]) {
		return false
	}
	s.gap = gap{}
	s.gapped.Store(false)
	return true
}

// takeGap gives the writer a gap that its source has not told of, since nothing followed it. The
// writer has emptied the ring before.
func (s *Source) takeGap() (gap, bool) {
	if !s.gapped.Load() {
		return gap{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gap
	s.gap = gap{}
	s.gapped.Store(false)
	return g, g.last != 0
}

// Change lets the entries from here on have other fields: the rule that allows a connection has
// changed. It waits for room, since what follows would else say what is not so.
func (s *Source) Change(fields []byte) error {
	if s.within(record{source: s.slot, kind: recordTemplate}, fields) {
		return nil
	}
	return ErrStalled
}

// Close ends the source. What it has captured, and its gap, are still written.
func (s *Source) Close() { s.capture.leave(s) }

// End is Close with a last event, which nobody can be refused for any more: it waits for room as
// long as the budget lasts, and is kept for the writer otherwise.
func (s *Source) End(k entry.Kind, fields []byte) {
	rec := s.event(k)
	s.seq++
	if !s.within(rec, fields) {
		s.final = &final{rec, fields}
	}
	s.capture.leave(s)
}

// final is an event for which there was no room.
type final struct {
	rec    record
	fields []byte
}

// Seq is how many messages the source has counted.
func (s *Source) Seq() uint64 { return s.seq }

// ID is the source in entries.
func (s *Source) ID() uint64 { return s.id }

func (g *gap) put(b []byte) {
	binary.LittleEndian.PutUint64(b, g.first)
	binary.LittleEndian.PutUint64(b[8:], g.last)
	binary.LittleEndian.PutUint64(b[16:], uint64(g.since))
	binary.LittleEndian.PutUint64(b[24:], uint64(g.till))
	copy(b[32:], g.chain[:])
}

func gapOf(b []byte) (g gap) {
	g.first, g.last = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	g.since, g.till = int64(binary.LittleEndian.Uint64(b[16:])), int64(binary.LittleEndian.Uint64(b[24:]))
	copy(g.chain[:], b[32:])
	return g
}

// firstOfGap is where the gap begins that is in no entry yet, 0 for none.
func (s *Source) firstOfGap() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap.first
}
