package shm

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"time"
	"unsafe"
)

// Gap is what a broadcast's reader has lost: messages First to Last, counted from 0.
type Gap struct{ First, Last uint64 }

// ErrCorrupt is what a reader says when its ring holds what no writer of this layout
// writes. The reader reads no further.
var ErrCorrupt = errors.New("the ring is corrupt")

// Reader is one reading end of a ring. It belongs to one goroutine.
type Reader struct {
	ring *ring
	gate valve
	own  memory // the cursor

	pos      uint64
	messages uint64 // received and lost: the number of the next
	bytes    uint64
	err      error
	copied   *[MessageMax]byte // broadcast: the message that is being read

	waiter Waiter
	self   [1]*Reader // what waiter waits for
}

// OpenReader maps a sealed ring for reading. cursor is not sealed yet; the broker
// seals it when it hears that this has succeeded, and then lets the writer map it.
func OpenReader(data, cursor, gateFile *os.File) (*Reader, error) {
	if err := checkSealed(data); err != nil {
		return nil, err
	}
	r, err := openRing(data, false)
	if err != nil {
		return nil, err
	}
	x := &Reader{ring: r, waiter: Waiter{words: make([]futexWord, 3)}}
	x.self[0] = x
	if err = x.gate.open(gateFile, r.info.Epoch); err == nil {
		x.own, err = openCursor(cursor, true, r.info.Epoch)
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	if r.info.Discipline == Broadcast {
		x.copied = new([MessageMax]byte)
		if x.pos, x.messages, err = r.readMark(); err != nil {
			return nil, errors.Join(err, x.Close())
		}
	} else {
		x.pos = x.own.load(offPosition)
	}
	storeRelease(x.own.word(offPosition), x.pos)
	expectFences()
	return x, nil
}

// Info is what the ring says of itself.
func (r *Reader) Info() Info { return r.ring.info }

// State is what the broker says of the channel, and its reason's number.
func (r *Reader) State() (State, uint32) { return r.gate.now() }

// ReplaceGate lets another gate of the same epoch count from now on. Any goroutine may
// call it.
func (r *Reader) ReplaceGate(f *os.File) error {
	defer r.Nudge() // it may be shut already
	return r.gate.replace(f)
}

// Shut ends the reading, for a reason of this side's own. Any goroutine may call it.
func (r *Reader) Shut(s State, reason uint32) {
	r.gate.shut(s, reason)
	r.Nudge()
}

// Next is the number of the next message, counted from 0. A lane's reader counts from
// where it began.
func (r *Reader) Next() uint64 { return r.messages }

// Poll hands over what is there, most messages at most, and returns their number. p is
// valid during the call only. A lane's p is the ring's own memory: a hostile writer may
// change it meanwhile, so what must be checked and then used is copied first. After a
// Gap of a broadcast Poll goes on at the next message that is whole.
//
// The error stays: ErrCorrupt; that the channel is revoked; or that it is closed, or its
// writer dead, and all is read.
func (r *Reader) Poll(most int, each func(typ uint16, p []byte)) (n int, gap Gap, err error) {
	if r.err != nil {
		return 0, Gap{}, r.err
	}
	if s, why := r.gate.now(); s == Revoked { // also when the writer goes on regardless
		r.err = &ShutError{s, why}
		return 0, Gap{}, r.err
	}
	if r.ring.info.Discipline == Broadcast {
		n, gap, err = r.pollBroadcast(most, each)
	} else {
		n, err = r.pollLane(most, each)
	}
	if n > 0 {
		storeRelease(r.own.word(offPosition), r.pos)
		*r.own.word(offRead) = r.messages
		*r.own.word(offRead + 8*countReadBytes) = r.bytes
	} else if err == nil && gap == (Gap{}) && !r.gate.isOpen() {
		err = r.shut()
	}
	if err != nil {
		r.err = err
	}
	return n, gap, err
}

// shut is called when nothing was there after the gate was seen shut, and looks once
// more: what the writer published before is not lost.
func (r *Reader) shut() error {
	s, why := r.gate.now()
	if s == Orphaned || s == Closed {
		if r.ready() {
			return nil
		}
	}
	return &ShutError{s, why}
}

// ShutError says that the broker has shut the channel.
type ShutError struct {
	State  State
	Reason uint32 // a number of policy/reason
}

func (e *ShutError) Error() string {
	switch e.State {
	case Revoked:
		return "the channel is revoked"
	case Closed:
		return "the channel is closed"
	case Orphaned:
		return "the channel's writer has died"
	}
	return fmt.Sprintf("the channel is shut (state %d)", e.State)
}

// header reads the message at pos: once, and checked against the ring.
func (r *Reader) header(line unsafe.Pointer, pos uint64) (length, lines uint64, typ uint16, flags uint64, ok bool) {
	h := atomic.LoadUint64((*uint64)(unsafe.Add(line, offLength)))
	length, typ, flags = h&0xffffffff, uint16(h>>32), h>>48
	lines = linesOf(length)
	left := r.ring.size - pos&r.ring.mask
	ok = lines <= left && (length <= MessageMax || flags&flagPad != 0)
	return
}

func (r *Reader) pollLane(most int, each func(uint16, []byte)) (n int, err error) {
	ring, pos := r.ring, r.pos
	for n < most {
		line := ring.line(pos)
		if atomic.LoadUint64((*uint64)(line)) != pos+ring.key1 {
			break
		}
		length, lines, typ, flags, ok := r.header(line, pos)
		if !ok {
			err = r.corrupt(pos, length)
			break
		}
		pos += lines
		if flags&flagPad != 0 {
			continue
		}
		if flags&flagSample != 0 {
			r.sample(pos - lines)
		}
		each(typ, unsafe.Slice((*byte)(unsafe.Add(line, offPayload)), length))
		r.bytes += length
		n++
	}
	r.pos = pos
	r.messages += uint64(n)
	return n, err
}

func (r *Reader) pollBroadcast(most int, each func(uint16, []byte)) (n int, gap Gap, err error) {
	ring := r.ring
	for n < most {
		line := ring.line(r.pos)
		if atomic.LoadUint64((*uint64)(line)) != r.pos+ring.key1 {
			if ring.load(offIntent) > r.pos+ring.size {
				gap, err = r.lapped(n)
			}
			return n, gap, err
		}
		length, lines, typ, flags, ok := r.header(line, r.pos)
		var p []byte
		if ok && flags&flagPad == 0 && length <= MessageMax { // ok says the last, and the compiler does not know
			p = r.copied[:length]
			copy(p, unsafe.Slice((*byte)(unsafe.Add(line, offPayload)), length))
		}
		loadFence()
		if ring.load(offIntent) > r.pos+ring.size { // it was being written over meanwhile
			gap, err = r.lapped(n)
			return n, gap, err
		}
		if !ok {
			return n, gap, r.corrupt(r.pos, length)
		}
		if flags&flagSample != 0 {
			r.sample(r.pos)
		}
		r.pos += lines
		if flags&flagPad != 0 {
			continue
		}
		r.messages++
		r.bytes += length
		n++
		each(typ, p)
	}
	return n, gap, nil
}

// lapped goes on at the mark. A gap is reported when what was read before it has been.
func (r *Reader) lapped(n int) (Gap, error) {
	if n > 0 {
		return Gap{}, nil // the next Poll finds the same
	}
	at, count, err := r.ring.readMark()
	if err != nil {
		return Gap{}, err
	}
	if at <= r.pos || count <= r.messages {
		return Gap{}, r.corrupt(r.pos, 0)
	}
	g := Gap{r.messages, count - 1}
	r.pos, r.messages = at, count
	*r.own.word(offRead + 8*countLaps) += 1
	*r.own.word(offRead + 8*countLost) += g.Last - g.First + 1
	storeRelease(r.own.word(offPosition), r.pos)
	return g, nil
}

func (r *Reader) corrupt(pos, length uint64) error {
	return fmt.Errorf("%w: ring %s, line %d: length %d", ErrCorrupt, r.ring.info.Name, pos, length)
}

// readMark reads the newest mark: a position and the number of the message there. A
// writer that dies leaves the last whole one.
func (r *ring) readMark() (at, count uint64, err error) {
	for range 1 << 20 {
		m := r.load(offMark)
		at, count = r.load(offMarks+16*uintptr(m&1)), r.load(offMarks+16*uintptr(m&1)+8)
		loadFence()
		if r.load(offMark) == m {
			return at, count, nil
		}
	}
	return 0, 0, fmt.Errorf("%w: ring %s: its mark never rests", ErrCorrupt, r.info.Name)
}

// sample enters the age of a message whose time of publication is known.
func (r *Reader) sample(pos uint64) {
	at := r.ring.load(offSampledAt)
	if r.ring.load(offSampled) != pos+1 {
		return // the writer has sampled another since
	}
	age := uint64(max(monotonic()-time.Duration(at), 1))
	*r.own.word(offLatency + 8*uintptr(bits.Len64(age)-1)) += 1
}

// Ready reports whether Poll has something to say.
func (r *Reader) Ready() bool { return r.err != nil || r.ready() || !r.gate.isOpen() }

func (r *Reader) ready() bool {
	return atomic.LoadUint64((*uint64)(r.ring.line(r.pos))) == r.pos+r.ring.key1 ||
		r.ring.info.Discipline == Broadcast && r.ring.load(offIntent) > r.pos+r.ring.size
}

// Close unmaps everything. No other method may be called any more.
func (r *Reader) Close() error {
	return errors.Join(r.own.unmap(), r.gate.close(), r.ring.unmap())
}
