package shm

import (
	"errors"
	"os"
	"unsafe"
)

// Tail follows a ring without being one of its readers: nobody waits for it, and it
// writes nothing that others see. It belongs to one goroutine.
type Tail struct {
	reader Reader
	own    []uint64 // where a reader has its cursor
	told   func(number uint64, typ uint16, p []byte)
	each   func(typ uint16, p []byte)
}

// OpenTail maps a sealed ring and begins at its newest mark, at most lines/8 before the
// end.
func OpenTail(data *os.File) (*Tail, error) {
	if err := checkSealed(data); err != nil {
		return nil, err
	}
	r, err := openRing(data, false)
	if err != nil {
		return nil, err
	}
	t := &Tail{own: make([]uint64, cursorBytes/8)}
	t.reader.ring, t.reader.copied = r, new([MessageMax]byte)
	t.reader.own = memory{base: unsafe.Pointer(unsafe.SliceData(t.own))}
	if t.reader.pos, t.reader.messages, err = r.readMark(); err != nil {
		return nil, errors.Join(err, r.unmap())
	}
	t.each = func(typ uint16, p []byte) { t.told(t.reader.messages-1, typ, p) }
	return t, nil
}

// FromStart makes the tail begin at the ring's first message: what was written over since
// then is its first Gap.
func (t *Tail) FromStart() { t.reader.pos, t.reader.messages = 0, 0 }

// Poll hands over what is there, most messages at most, with their numbers counted from
// 0. p is a copy, valid during the call. A Gap says what was written over before it was
// read; Poll goes on behind it. The error stays.
func (t *Tail) Poll(most int, each func(number uint64, typ uint16, p []byte)) (int, Gap, error) {
	r := &t.reader
	if r.err != nil {
		return 0, Gap{}, r.err
	}
	t.told = each
	n, gap, err := r.pollBroadcast(most, t.each)
	r.err = err
	return n, gap, err
}

// Next is the number of the next message.
func (t *Tail) Next() uint64 { return t.reader.messages }

// LagLines is how far the tail is behind the writer.
func (t *Tail) LagLines() uint64 {
	at := t.reader.ring.load(offWritten + 8*countPosition)
	return at - min(at, t.reader.pos)
}

// Close unmaps. No other method may be called any more.
func (t *Tail) Close() error { return t.reader.ring.unmap() }
