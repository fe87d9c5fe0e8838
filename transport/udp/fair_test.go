package udp

import (
	"testing"
	"time"
)

// TestOldHeartbeatEndsNothing has the end come early, and an old heartbeat after it.
func TestOldHeartbeatEndsNothing(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(10)
	x.run(20 * time.Millisecond)
	var old []byte
	to := w.at[e.at]
	w.at[e.at] = func(line int, b []byte) {
		if b[0] == typeHeartbeat {
			old = append(old[:0], b...)
			return
		}
		to(line, b)
	}
	x.run(60 * time.Millisecond)
	w.at[e.at] = func(line int, b []byte) {
		if b[0] != typeData {
			to(line, b)
		}
	}
	x.s.Offer(w.now, 10, payload(10))
	x.s.Flush(w.now)
	x.s.Close(w.now)
	x.run(time.Millisecond)
	to(0, old)
	if old == nil || e.r.Ended() {
		t.Errorf("%d of 11 are handed over, and it is said to have ended", e.ear.next)
	}
	w.at[e.at] = to
	x.run(100 * time.Millisecond)
	if e.ear.next != 11 || !e.r.Ended() {
		t.Errorf("at %d, ended %v", e.ear.next, e.r.Ended())
	}
}

// TestSnapshotWaitsAsAnyMessage fills the window with a packet that has begun.
func TestSnapshotWaitsAsAnyMessage(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin, Window: 8, SnapshotType: 9})
	e := x.join(1, nil)
	x.run(20 * time.Millisecond)
	w.at[e.at] = func(int, []byte) {} // nothing reaches it any more
	full := 0
	for range 100 {
		if x.s.Offer(w.now, 9, []byte("snapshot")) == Full {
			full++
		}
	}
	if packet, _ := x.s.Position(); packet > e.peer.Stats().Packet+8 || full < 80 {
		t.Errorf("packet %d is begun, the receiver is at %d; full %d times", packet, e.peer.Stats().Packet, full)
	}
}

// TestOneReceiversNaksLeaveAnothersRepairs asks for everything again and again.
func TestOneReceiversNaksLeaveAnothersRepairs(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin})
	loud, victim := x.join(1, nil), x.join(1, nil)
	x.send(10)
	x.run(20 * time.Millisecond)
	to := w.at[victim.at]
	w.at[victim.at] = func(int, []byte) {}
	x.send(20)
	w.at[victim.at] = to
	for range 20_000 {
		b, err := loud.r.sealer.seal(w.now, make([]byte, 200), typeNak, appendSpans(nil, []span{{0, 1 << 20}}))
		if err != nil {
			t.Fatal(err)
		}
		x.s.Input(w.now, loud.peer, b)
		x.run(2 * time.Microsecond)
		if victim.ear.next == 30 {
			return
		}
	}
	t.Errorf("in 40 ms the other is at %d of 30", victim.ear.next)
}

// TestRepairsAreOfEachOnceInAWhile asks for one packet all the time.
func TestRepairsAreOfEachOnceInAWhile(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(10)
	x.run(20 * time.Millisecond)
	before, steps := x.s.Stats().Repaired, int64(10_000)
	for range steps {
		w.now += repairAgainUnicast / 100
		x.s.nak(w.now, e.peer, appendSpans(nil, []span{{0, 1}}))
	}
	if n, most := int64(x.s.Stats().Repaired-before), steps/100+1; n > most || n < most/3 {
		t.Errorf("%d repairs in %d pauses", n, most)
	}
}

// TestFarLeapLooksAtEachSlotOnce leaps far with one packet held, in a small and in a large
// window: the work grows as the window does, and not as its square.
func TestFarLeapLooksAtEachSlotOnce(t *testing.T) {
	took := func(window int) time.Duration {
		best := time.Hour
		for range 5 {
			w := newWorld(t, 4)
			x := w.sender(SenderConfig{Flow: FlowMax, Window: 8})
			e := x.join(1, func(c *ReceiverConfig) { c.Window = window })
			e.ear.payload = nil
			last := uint64(window - 1)
			b, _ := x.ends[0].peer.target.sealer.seal(w.now, make([]byte, 300), typeData, packetOf(last, last, w.now, []byte("x")))
			if v := e.r.Input(w.now, 0, b); v != Opened || e.r.holding != 1 {
				t.Fatal(v, e.r.holding)
			}
			began := time.Now()
			e.r.leap(1 << 40)
			best = min(best, time.Since(began))
			if e.r.next != 1<<40 || e.r.holding != 0 {
				t.Fatal(e.r.next, e.r.holding)
			}
		}
		return best
	}
	small, large := took(2048), took(32768)
	if ratio := float64(large) / float64(small); ratio > 64 {
		t.Errorf("%v with 2048 slots, %v with 32768: %.0f times", small, large, ratio)
	}
}

// TestWindowBelowPacketsMostNeverHasRoom ties the bound to what Room says.
func TestWindowBelowPacketsMostNeverHasRoom(t *testing.T) {
	for _, bytes := range []int{256, 512, 576, 1408, 9000} {
		for _, window := range []int{8, 64, 128, 256, 512} {
			w := newWorld(t, 4)
			s, err := NewSender(SenderConfig{DatagramBytes: bytes, Window: window, Flow: FlowMin}, w)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := s.Join(w.now, PeerConfig{}); err != nil {
				t.Fatal(err)
			}
			if room := s.Room(); room > 0 != (window >= PacketsMost(bytes)) {
				t.Errorf("%d datagrams of %d bytes: room for %d, a message takes %d", window, bytes, room, PacketsMost(bytes))
			}
		}
	}
}

// TestOneNakCostsNoMoreThanTheWindow asks for all in every span, and for what is long gone.
func TestOneNakCostsNoMoreThanTheWindow(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMax, Window: 256})
	loud, other := x.join(1, nil), x.join(1, nil)
	x.send(3000)
	x.run(50 * time.Millisecond)
	var gone, all []span
	for range nakRangesMax {
		gone, all = append(gone, span{0, 1}), append(all, span{x.s.oldest, 1 << 31})
	}
	before, others := x.s.Stats().Heartbeats, 0
	to := w.at[other.at]
	w.at[other.at] = func(line int, b []byte) { others++; to(line, b) }
	x.s.nak(w.now, loud.peer, appendSpans(nil, gone))
	x.w.run(time.Millisecond)
	if n := x.s.Stats().Heartbeats - before; n != 1 || others > 0 {
		t.Errorf("one NAK makes %d heartbeats, %d datagrams go to another receiver", n, others)
	}
	for range 3 {
		x.s.nak(w.now, loud.peer, appendSpans(nil, all))
		if left := loud.peer.repairs.looks; left < 0 {
			t.Errorf("one NAK has %d more packets looked at than are kept", -left)
		}
	}
}

// TestNaksInVainKeepNobodyAStranger asks for what is gone faster than a newcomer can answer.
func TestNaksInVainKeepNobodyAStranger(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMax, Window: 64})
	loud := x.join(1, nil)
	x.send(1000)
	x.run(50 * time.Millisecond)
	newcomer := x.join(1, nil)
	for range 10_000 {
		x.s.nak(w.now, loud.peer, appendSpans(nil, []span{{0, 1}}))
		x.run(3 * time.Microsecond)
	}
	if !newcomer.peer.Met() {
		t.Error("after 30 ms the newcomer is a stranger")
	}
}
