package shm

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A call and its answer travel on the two lanes of a pair: u64 id, then the body. The id is
// the client's affair, the server returns it as it came.
const (
	callIDBytes = 8
	callSlots   = 16 // bits of an id that number its slot; the rest counts the calls
)

// CallBytesMax is the longest body of a call or an answer.
const CallBytesMax = MessageMax - callIDBytes

// dueMax bounds the time of a call, so that no sum of times overflows.
const dueMax = time.Duration(1 << 61)

// CallsMax bounds the calls in flight of one client.
const CallsMax = 1 << callSlots

// Calls is the client of a pair of lanes: many calls in flight, each with its deadline. It
// belongs to one goroutine and allocates nothing after NewCalls.
//
// A call is written once. What becomes of one whose deadline passes, or whose pair ends, is
// not known: it may have been served, so nothing here sends it again.
type Calls struct {
	out *Writer
	in  *Reader

	slots    []call
	free     []uint16
	made     uint64
	earliest time.Duration // no call in flight is due before
	late     uint64
	err      error

	each func(Outcome)
	take func(typ uint16, p []byte)
}

// call is one in flight; id 0 is none.
type call struct {
	id, tag uint64
	due     time.Duration // of the monotonic clock
}

// Outcome is what became of a call.
type Outcome struct {
	Tag  uint64 // that the call was made with
	Kind OutcomeKind
	Type uint16
	Body []byte // the ring's own memory, valid during the function; of Answered alone
}

// OutcomeKind tells an answer from none.
type OutcomeKind int

const (
	Answered OutcomeKind = iota
	Expired              // no answer by its deadline; it may have been served
	Severed              // the pair is over; it may have been served
)

// NewCalls makes the client over a lane that it writes and one that it reads, for at most
// so many calls in flight, 1 to CallsMax.
func NewCalls(out *Writer, in *Reader, most int) (*Calls, error) {
	if most < 1 || most > CallsMax {
		return nil, fmt.Errorf("%d calls in flight; 1 to %d are allowed", most, CallsMax)
	}
	if out.ring.info.Discipline != Lane || in.ring.info.Discipline != Lane {
		return nil, fmt.Errorf("calls want two lanes: a broadcast loses some")
	}
	c := &Calls{out: out, in: in, slots: make([]call, most), free: make([]uint16, most)}
	for i := range c.free {
		c.free[i] = uint16(most - 1 - i)
	}
	c.take = c.answer
	return c, nil
}

// Call writes one, due within so long. tag comes back with its outcome. Busy says that as
// many as allowed are in flight, Full that the server is that far behind: nothing was
// written then, and it may be tried again.
func (c *Calls) Call(typ uint16, body []byte, within time.Duration, tag uint64) Result {
	if c.err != nil {
		return Shut
	}
	if len(c.free) == 0 {
		return Busy
	}
	if len(body) > CallBytesMax {
		return TooLong
	}
	b, res := c.out.Claim(callIDBytes + len(body))
	if res != Sent {
		return res
	}
	slot := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.made++
	id, due := c.made<<callSlots|uint64(slot), monotonic()+min(max(within, 0), dueMax)
	if len(c.free) == len(c.slots)-1 || due < c.earliest {
		c.earliest = due
	}
	c.slots[slot] = call{id, tag, due}
	binary.LittleEndian.PutUint64(b, id)
	copy(b[callIDBytes:], body)
	c.out.Commit(typ, len(b))
	return Sent
}

// Poll hands over the outcomes that are there, and returns their number: most answers at
// most, and every call whose deadline has passed. each may make new calls. The error stays;
// with it the calls in flight are handed over as severed.
func (c *Calls) Poll(most int, each func(Outcome)) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	before := c.InFlight()
	c.each = each
	made := c.made
	_, _, err = c.in.Poll(most, c.take)
	if err != nil {
		c.err = err
		c.end(Severed, func(call) bool { return true })
	} else if c.InFlight() > 0 {
		if now := monotonic(); now >= c.earliest {
			c.end(Expired, func(x call) bool { return x.due <= now })
		}
	}
	return before + int(c.made-made) - c.InFlight(), err
}

// answer is one message of the server. An answer to a call that is over, or that was never
// made, is dropped and counted.
func (c *Calls) answer(typ uint16, p []byte) {
	if len(p) < callIDBytes {
		c.late++
		return
	}
	id := binary.LittleEndian.Uint64(p)
	slot := id & (CallsMax - 1)
	if slot >= uint64(len(c.slots)) || c.slots[slot].id != id || id == 0 {
		c.late++
		return
	}
	tag := c.release(uint16(slot))
	c.each(Outcome{Tag: tag, Kind: Answered, Type: typ, Body: p[callIDBytes:]})
}

func (c *Calls) release(slot uint16) (tag uint64) {
	tag = c.slots[slot].tag
	c.slots[slot].id = 0
	c.free = append(c.free, slot)
	return tag
}

// end hands over the calls that are over without an answer, and finds the earliest of the
// others. Calls that each makes meanwhile are not among them.
func (c *Calls) end(kind OutcomeKind, over func(call) bool) {
	made := c.made
	for i, x := range c.slots {
		if x = c.slots[i]; x.id != 0 && x.id>>callSlots <= made && over(x) {
			c.each(Outcome{Tag: c.release(uint16(i)), Kind: kind})
		}
	}
	c.earliest = 1<<63 - 1
	for _, x := range c.slots {
		if x.id != 0 {
			c.earliest = min(c.earliest, x.due)
		}
	}
}

// Wait is Reader.Wait, and ends by the next deadline, too.
func (c *Calls) Wait(s Strategy) bool {
	if c.err != nil {
		return true
	}
	if c.InFlight() > 0 {
		left := c.earliest - monotonic()
		if left <= 0 {
			return true
		}
		s.Sleep = min(s.Sleep, left)
	}
	return c.in.Wait(s) || c.InFlight() > 0 && monotonic() >= c.earliest
}

// InFlight is how many calls have no outcome yet.
func (c *Calls) InFlight() int { return len(c.slots) - len(c.free) }

// Late is how many answers were dropped: to calls that were over, or that nobody made.
func (c *Calls) Late() uint64 { return c.late }

// Served is the server of a pair of lanes. It belongs to one goroutine and allocates
// nothing after NewServed.
type Served struct {
	in   *Reader
	out  *Writer
	bad  uint64
	got  int
	each func(id uint64, typ uint16, body []byte)
	take func(typ uint16, p []byte)
}

// NewServed makes the server over the lane that brings calls and the one for answers.
func NewServed(in *Reader, out *Writer) (*Served, error) {
	if out.ring.info.Discipline != Lane || in.ring.info.Discipline != Lane {
		return nil, fmt.Errorf("calls want two lanes: a broadcast loses some")
	}
	s := &Served{in: in, out: out}
	s.take = s.call
	return s, nil
}

// Poll hands over the calls that are there, most messages at most, and returns their
// number. body is the ring's own memory, valid during the function: what is checked and
// then used is copied first. The answer may come later, and calls be answered in any order.
func (s *Served) Poll(most int, each func(id uint64, typ uint16, body []byte)) (int, error) {
	s.each, s.got = each, 0
	_, _, err := s.in.Poll(most, s.take)
	return s.got, err
}

func (s *Served) call(typ uint16, p []byte) {
	if len(p) < callIDBytes {
		s.bad++
		return
	}
	s.got++
	s.each(binary.LittleEndian.Uint64(p), typ, p[callIDBytes:])
}

// Answer writes the answer to a call. Full says that the client is that far behind: nothing
// was written, and it may be tried again.
func (s *Served) Answer(id uint64, typ uint16, body []byte) Result {
	if len(body) > CallBytesMax {
		return TooLong
	}
	b, res := s.out.Claim(callIDBytes + len(body))
	if res != Sent {
		return res
	}
	binary.LittleEndian.PutUint64(b, id)
	copy(b[callIDBytes:], body)
	s.out.Commit(typ, len(b))
	return Sent
}

// Wait is Reader.Wait.
func (s *Served) Wait(how Strategy) bool { return s.in.Wait(how) }

// Malformed is how many messages were dropped that were no calls.
func (s *Served) Malformed() uint64 { return s.bad }
