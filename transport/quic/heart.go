package quic

import (
	"context"
	"time"

	"fire/policy/reason"
)

// heart keeps a session's pulse in one goroutine. The dialler asks, the other side
// answers; each counts the intervals in which it heard nothing.
//
// It beats in datagrams (RFC 9221), which no flow control holds up: on a stream, readers
// that do not read could fill the session's window and so silence the heart of a session
// that others use. A lost one is a miss; the packets by which QUIC finds the loss count
// as signs of life.
//
// Intervals are counted, not compared with a clock: a process that was stopped for a
// second wakes up with one miss, not with a verdict about everybody else.
type heart struct {
	session   *session
	interval  time.Duration
	missesMax int
	asks      bool

	misses  int
	heard   uint64 // packets received until the last interval's end
	seq     uint64
	askedAt time.Time
}

// mercy multiplies missesMax while packets of the peer still arrive: its stack lives
// and heartbeats wait behind bulk or a busy processor.
const mercy = 4

// run returns when the session is over or has to be.
func (h *heart) run() {
	next := time.Now().Add(h.interval)
	for {
		b, err := h.hear(next)
		switch {
		case err == nil:
			if broken := h.listen(b); broken != nil {
				h.session.Close(reason.Of(broken, reason.FrameMalformed), "heartbeat")
				return
			}
			if !h.asks {
				next = time.Now().Add(h.interval)
			}
		case h.session.Err() != nil:
			return
		case !h.tick():
			h.session.Close(reason.PeerLost, "heartbeats stopped")
			return
		default:
			next = time.Now().Add(h.interval)
		}
	}
}

// hear waits for one message, until the time.
func (h *heart) hear(until time.Time) ([]byte, error) {
	ctx, cancel := context.WithDeadline(h.session.conn.Context(), until)
	defer cancel()
	return h.session.conn.ReceiveDatagram(ctx)
}

// listen takes one message.
func (h *heart) listen(b []byte) error {
	if len(b) != beatBytes {
		return reason.New(reason.FrameMalformed, "heartbeat of %d bytes", len(b))
	}
	m, err := parseBeat((*[beatBytes]byte)(b))
	if err != nil {
		return err
	}
	switch {
	case m.kind == beatPing && !h.asks:
		h.say(beat{kind: beatPong, class: m.class, value: m.value})
	case m.kind == beatPong && h.asks && m.value <= h.seq:
		if m.value == h.seq {
			h.session.rtt.Store(int64(max(1, time.Since(h.askedAt))))
		}
	default:
		return reason.New(reason.FrameMalformed, "heartbeat kind %d, value %d out of turn", m.kind, m.value)
	}
	h.misses = 0
	return nil
}

// tick ends an interval: it counts the miss, asks again, and tells whether to go on.
func (h *heart) tick() bool {
	h.misses++
	packets := h.session.conn.ConnectionStats().PacketsReceived
	moved := packets != h.heard
	h.heard = packets
	if h.misses >= h.missesMax && (!moved || h.misses >= mercy*h.missesMax) {
		return false
	}
	if h.asks {
		h.seq++
		h.askedAt = time.Now()
		h.say(beat{kind: beatPing, class: h.session.class, value: h.seq})
	}
	return true
}

// say does not wait but when 32 of its datagrams could not be sent, and the session is
// over before that.
func (h *heart) say(m beat) {
	var b [beatBytes]byte
	_ = h.session.conn.SendDatagram(appendBeat(b[:0], m)) // refused: the next interval counts it as a miss
}
