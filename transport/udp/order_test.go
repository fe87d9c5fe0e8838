package udp

import (
	"slices"
	"testing"
	"time"
)

// TestOvertakenHeartbeatIsNotEchoed has one come late that says the same packet.
func TestOvertakenHeartbeatIsNotEchoed(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(10)
	x.run(20 * time.Millisecond)
	var old []byte
	to := w.at[e.at]
	w.at[e.at] = func(line int, b []byte) {
		if b[0] == typeHeartbeat && old == nil {
			old = slices.Clone(b)
			return
		}
		to(line, b)
	}
	x.run(200 * time.Millisecond)
	beat := e.r.beat
	if v := e.r.Input(w.now, 0, old); v != Opened || e.r.beat != beat {
		t.Errorf("%v: %v is set back to %v", v, beat, e.r.beat)
	}
}

// TestOvertakenCheckpointMovesNothingBack to a peer of its own, whose counters are not signed.
func TestOvertakenCheckpointMovesNothingBack(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin, Prove: func([]byte) []byte { return []byte{1} }})
	e := x.join(1, func(c *ReceiverConfig) { c.Check = func(_, s []byte) bool { return s[0] == 1 } })
	var old []byte
	to := w.at[e.at]
	x.send(50)
	w.at[e.at] = func(line int, b []byte) {
		if b[0] == typeCheckpoint && old == nil {
			old = slices.Clone(b)
			return
		}
		to(line, b)
	}
	x.run(20 * time.Millisecond)
	x.send(500)
	x.run(200 * time.Millisecond)
	signed := e.r.doubt.signed
	if v := e.r.Input(w.now, 0, old); v != Opened || e.r.doubt.signed != signed || e.ear.next != 550 {
		t.Errorf("%v: %d is set back to %d", v, signed.next, e.r.doubt.signed.next)
	}
}
