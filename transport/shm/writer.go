package shm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// readersMax is how many readers one ring may have: the writer looks at each after
// each message.
const readersMax = 32

// sampleEvery is how many messages share one look at the clock at most. The message after
// one that had to wake a reader is sampled, too: there the clock costs little beside the
// call, and a lane with an order now and then has a latency to show.
const sampleEvery = 1024

// Writer is the one writing end of a ring. Offer, Claim, Commit and Abort belong to one
// goroutine; the rest may be called from any.
type Writer struct {
	ring *ring
	gate valve

	// constant, out of ring: one load less for each message
	lines     unsafe.Pointer
	mask      uint64
	key1      uint64
	counts    *[writerCounters]uint64
	lengthMax uint64

	// of the writing goroutine
	pos      uint64
	clear    uint64 // up to there nothing has to be looked at: neither limit, intent nor the memory's end
	limit    uint64 // up to there the readers of a lane let it write
	intent   uint64 // up to there it has said that it writes
	messages uint64
	bytes    uint64
	sampleAt uint64         // the number of the next sampled message
	claimed  unsafe.Pointer // nil: no claim
	claimLen uint64
	rings    byte // what doorbells are rung with
	left     told // the readers of the message before

	readers atomic.Pointer[[]*Peer]

	mu      sync.Mutex // of those that change readers; guards retired
	retired []retired
}

// retired is a cursor that no longer counts and that the writing goroutine may still be
// looking at: until it has published two more messages. A writer may write nothing for
// long, so the next reader's cursor takes its place in memory, and its button the number of
// the old one: what an old look finds there is a reader that counts, and nothing piles up.
type retired struct {
	cursor *Peer
	at     uint64 // messages
}

// Peer is a reader as the writer sees it.
type Peer struct {
	memory
	position *uint64
	asleep   *uint32
	button   int // of its doorbell, or noButton
}

// OpenWriter maps the ring for writing. data is not sealed yet; the broker seals it
// when it hears that this has succeeded.
func OpenWriter(data, gateFile *os.File) (*Writer, error) {
	w, err := MapWriter(data, gateFile)
	if err == nil {
		w.Populate()
	}
	return w, err
}

// Populate makes the pages of the ring present. It may be called while another goroutine
// writes.
func (w *Writer) Populate() { w.ring.populate() }

// MapWriter is OpenWriter without the wait for the ring's pages: until Populate has made them
// present each costs a fault, when it is first written.
func MapWriter(data, gateFile *os.File) (*Writer, error) {
	r, err := openRing(data, true)
	if err != nil {
		return nil, err
	}
	if r.load(offWritten+8*countMessages) != 0 || r.load(offIntent) != 0 {
		r.unmap()
		return nil, fmt.Errorf("%s has had a writer; a new one needs a new ring", data.Name())
	}
	w := &Writer{ring: r, lines: r.lines, mask: r.mask, key1: r.key1,
		counts: (*[writerCounters]uint64)(unsafe.Pointer(r.word(offWritten))), lengthMax: min(MessageMax, r.size/4*lineBytes-headerBytes)}
	w.readers.Store(new([]*Peer))
	if err := w.gate.open(gateFile, r.info.Epoch); err != nil {
		return nil, errors.Join(err, r.unmap())
	}
	expectFences()
	return w, nil
}

// Info is what the ring says of itself.
func (w *Writer) Info() Info { return w.ring.info }

// State is what the broker says of the channel, and its reason's number.
func (w *Writer) State() (State, uint32) { return w.gate.now() }

// ReplaceGate lets another gate of the same epoch count from now on.
func (w *Writer) ReplaceGate(f *os.File) error { return w.gate.replace(f) }

// Shut lets no more be written, for a reason of this side's own.
func (w *Writer) Shut(s State, reason uint32) { w.gate.shut(s, reason) }

// AddReader lets the writer respect and wake a reader. It returns what RemoveReader wants.
func (w *Writer) AddReader(cursor *os.File) (*Peer, error) { return w.addReader(cursor, noButton) }

// addReader owns the button once it succeeds.
func (w *Writer) addReader(cursor *os.File, button int) (*Peer, error) {
	if err := checkSealed(cursor); err != nil {
		return nil, err
	}
	m, err := openCursor(cursor, false, w.ring.info.Epoch)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reap()
	old := *w.readers.Load()
	if len(old) == readersMax {
		return nil, errors.Join(fmt.Errorf("ring %s has %d readers, which is the limit", w.ring.info.Name, len(old)), m.unmap())
	}
	if n := len(w.retired); n > 0 {
		left := w.retired[n-1].cursor
		if err := errors.Join(m.unmap(), left.replace(cursor)); err != nil {
			return nil, err
		}
		if button, err = left.replaceButton(button); err != nil {
			return nil, err
		}
		m, w.retired = left.memory, w.retired[:n-1]
	}
	c := &Peer{m, m.word(offPosition), m.half(offAsleep), button}
	now := append(slices.Clone(old), c)
	w.readers.Store(&now)
	return c, nil
}

// RemoveReader forgets a reader: the writer waits for it no longer.
func (w *Writer) RemoveReader(c *Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := *w.readers.Load()
	i := slices.Index(old, c)
	if i < 0 {
		return
	}
	now := slices.Delete(slices.Clone(old), i, i+1)
	w.readers.Store(&now)
	w.retired = append(w.retired, retired{c, w.ring.load(offWritten + 8*countMessages)})
	w.reap()
}

// reap unmaps the cursors that the writing goroutine has left behind: the count of messages is
// stored behind all that it has read for the message before.
func (w *Writer) reap() {
	messages := w.ring.load(offWritten + 8*countMessages)
	w.left.hear()
	w.retired = slices.DeleteFunc(w.retired, func(r retired) bool { return messages >= r.at+2 && r.cursor.close() == nil })
}

// Offer writes one message and publishes it. It never waits.
func (w *Writer) Offer(typ uint16, p []byte) Result {
	n := uint64(len(p))
	if w.pos+linesOf(n) > w.clear || !w.gate.isOpen() {
		if res := w.reserve(n); res != Sent {
			return res
		}
	}
	line := unsafe.Add(w.lines, (w.pos&w.mask)*lineBytes)
	copy(unsafe.Slice((*byte)(unsafe.Add(line, offPayload)), len(p)), p)
	w.publish(line, n, typ)
	return Sent
}

// Claim gives n bytes of the ring to be filled in place; Commit publishes them, Abort
// gives them back. Nothing is seen before Commit. A claim that was not ended is aborted
// by the next.
func (w *Writer) Claim(n int) ([]byte, Result) {
	if res := w.reserve(uint64(n)); res != Sent {
		return nil, res
	}
	w.claimed, w.claimLen = w.ring.line(w.pos), uint64(n)
	return unsafe.Slice((*byte)(unsafe.Add(w.claimed, offPayload)), n), Sent
}

// Commit publishes the first n bytes of the claim. It does nothing without one.
func (w *Writer) Commit(typ uint16, n int) {
	if w.claimed == nil || n < 0 || uint64(n) > w.claimLen {
		return
	}
	line := w.claimed
	w.claimed = nil
	w.publish(line, uint64(n), typ)
}

// Abort gives the claim back.
func (w *Writer) Abort() { w.claimed = nil }

// reserve makes contiguous room for n bytes at pos, padding up to the end of the memory
// where it must.
func (w *Writer) reserve(n uint64) Result {
	if !w.gate.isOpen() {
		return Shut
	}
	if n > w.lengthMax {
		return TooLong
	}
	r, need := w.ring, linesOf(n)
	left := r.size - w.pos&r.mask
	if left >= need {
		left = 0
	}
	if !w.may(left + need) {
		return Full
	}
	if w.pos+left+need > w.intent {
		w.mark(left + need)
	}
	if left > 0 {
		line := r.line(w.pos)
		*(*uint64)(unsafe.Add(line, offLength)) = left*lineBytes - headerBytes | flagPad<<48
		storeRelease((*uint64)(line), w.pos+r.key1)
		w.pos += left
		w.counts[countPadding] += left
	}
	w.clear = min(w.intent, w.pos|r.mask+1) // the end of this lap
	if r.info.Discipline == Lane {
		w.clear = min(w.clear, w.limit)
	}
	return Sent
}

// publish writes the head and lets the message be seen.
func (w *Writer) publish(line unsafe.Pointer, n uint64, typ uint16) {
	head := n | uint64(typ)<<32
	if w.messages >= w.sampleAt {
		w.sampleAt = w.messages + sampleEvery
		head |= flagSample << 48
		w.ring.store(offSampledAt, uint64(monotonic()))
		w.ring.store(offSampled, w.pos+1)
	}
	*(*uint64)(unsafe.Add(line, offLength)) = head
	storeRelease((*uint64)(line), w.pos+w.key1)
	w.pos += linesOf(n)
	w.messages++
	w.bytes += n
	// What follows is for those who look; only reap decides by it.
	w.counts[countBytes], w.counts[countPosition] = w.bytes, w.pos
	w.left.say()
	storeRelease(&w.counts[countMessages], w.messages) // behind the readers of the message before: see reap
	for _, c := range *w.readers.Load() {
		if atomic.LoadUint32(c.asleep) != 0 {
			w.sampleAt = w.messages
			w.wake()
			return
		}
	}
}

// may reports whether need more lines can be written, looking anew when it must.
func (w *Writer) may(need uint64) bool {
	r := w.ring
	if r.info.Discipline == Broadcast || w.pos+need <= w.limit {
		return true
	}
	readers := *w.readers.Load()
	limit := w.pos + r.size
	for _, c := range readers {
		if p := atomic.LoadUint64(c.position); p <= w.pos { // one that runs ahead lies, to its own harm
			limit = min(limit, p+r.size)
		}
	}
	if len(readers) == 0 {
		limit = r.size // nobody has read anything
	}
	w.limit = limit
	if w.pos+need > limit {
		w.counts[countFull]++
		return false
	}
	return true
}

// mark tells those whom the writer does not wait for how far it goes from here on, and
// where the next message begins.
func (w *Writer) mark(need uint64) {
	r := w.ring
	step := r.size / 8
	w.intent = w.pos + max(need, step)
	m := r.load(offMark) + 1
	r.store(offMarks+16*uintptr(m&1), w.pos)
	r.store(offMarks+16*uintptr(m&1)+8, w.messages)
	storeRelease(r.word(offMark), m)
	r.store(offIntent, w.intent)
	storeFence() // before any line that it covers
}

// wake wakes the readers that sleep.
func (w *Writer) wake() {
	r := w.ring
	w.counts[countBells]++
	atomic.AddUint32(r.half(offBell), 1)
	futexWake(r.half(offBell))
	for _, c := range *w.readers.Load() {
		if c.button != noButton && atomic.LoadUint32(c.asleep) != 0 {
			c.ring(&w.rings)
		}
	}
}

// Close unmaps everything. No other method may be called any more.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, c := range *w.readers.Load() {
		errs = append(errs, c.close())
	}
	for _, r := range w.retired {
		errs = append(errs, r.cursor.close())
	}
	w.readers.Store(new([]*Peer))
	return errors.Join(append(errs, w.gate.close(), w.ring.unmap())...)
}
