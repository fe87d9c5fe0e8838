package demo

// replayMax is how many sent messages a session can send again, replayBytesMax how
// long one may be. Older and longer ones are gap filled.
const (
	replayMax      = 8192
	replayBytesMax = 8 << 10
)

// replay is a session's memory: the two sequence numbers and the newest messages
// it has sent. It outlives connections; the zero value is not ready, see newReplay.
type replay struct {
	nextIn, nextOut uint64
	slots           []slot // ring by sequence number
	journal         *journal
}

type slot struct {
	seq uint64
	raw []byte // reused
}

func newReplay(j *journal) (*replay, error) {
	r := &replay{nextIn: 1, nextOut: 1, slots: make([]slot, replayMax), journal: j}
	if j == nil {
		return r, nil
	}
	if err := j.load(r); err != nil {
		return nil, err
	}
	return r, nil
}

// put keeps an application message that is being sent under seq.
func (r *replay) put(seq uint64, raw []byte) {
	if len(raw) > replayBytesMax {
		return
	}
	s := &r.slots[seq%replayMax]
	s.seq, s.raw = seq, append(s.raw[:0], raw...)
	if r.journal != nil {
		r.journal.sent(seq, raw)
	}
}

// get returns the message sent under seq, or nil.
func (r *replay) get(seq uint64) []byte {
	if s := &r.slots[seq%replayMax]; s.seq == seq && seq != 0 {
		return s.raw
	}
	return nil
}

// reset starts both sequences over (ResetSeqNumFlag).
func (r *replay) reset() {
	r.nextIn, r.nextOut = 1, 1
	for i := range r.slots {
		r.slots[i].seq = 0
	}
	if r.journal != nil {
		r.journal.reset()
	}
}

// sync makes the journal hold all that was said so far. It is called before bytes
// leave for the socket: no peer has seen what the journal does not know.
func (r *replay) sync() error {
	if r.journal == nil {
		return nil
	}
	return r.journal.flush(r)
}
