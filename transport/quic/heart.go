package quic

import (
	"errors"
	"io"
	"os"
	"time"

	"fire/policy/reason"

	quicgo "github.com/quic-go/quic-go"
)

// heart keeps a session's pulse in one goroutine. The dialler asks, the other side
// answers; each counts the intervals in which it heard nothing.
//
// Intervals are counted, not compared with a clock: a process that was stopped for a
// second wakes up with one miss, not with a verdict about everybody else.
type heart struct {
	session   *session
	stream    *quicgo.Stream
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
	h.stream.SetPriority(0, false) // before all data
	var buf [beatBytes]byte
	have, next := 0, time.Now().Add(h.interval)
	for {
		h.stream.SetReadDeadline(next)
		n, err := h.stream.Read(buf[have:])
		have += n
		if have == beatBytes {
			have = 0
			if broken := h.listen(&buf); broken != nil {
				h.session.Close(reason.Of(broken, reason.FrameMalformed), "heartbeat")
				return
			}
			if !h.asks {
				next = time.Now().Add(h.interval)
			}
			continue
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !h.tick() {
				h.session.Close(reason.PeerLost, "heartbeats stopped")
				return
			}
			next = time.Now().Add(h.interval)
		default:
			if h.session.Err() == nil {
				why := "the heartbeat stream was reset"
				if errors.Is(err, io.EOF) {
					why = "the heartbeat stream was closed"
				}
				h.session.Close(reason.PeerClosed, why)
			}
			return
		}
	}
}

// listen takes one message.
func (h *heart) listen(buf *[beatBytes]byte) error {
	m, err := parseBeat(buf)
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

// say never waits: a heartbeat that cannot be queued is one that would come too late.
func (h *heart) say(m beat) {
	var b [beatBytes]byte
	_ = h.stream.TryWriteAll(appendBeat(b[:0], m)) // refused: the next interval counts it as a miss
}
