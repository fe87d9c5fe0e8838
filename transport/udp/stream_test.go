package udp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestEveryMessageComesInOrderThroughABadNetwork loses, repeats and reorders, and waits for
// the slowest: nothing may be missing.
func TestEveryMessageComesInOrderThroughABadNetwork(t *testing.T) {
	for _, bad := range []float64{0, 0.01, 0.2} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprint(bad, " ", seed), func(t *testing.T) {
				w := newWorld(t, seed)
				w.loss, w.twice, w.reorder = bad, bad, bad
				x := w.sender(SenderConfig{Flow: FlowMin})
				for range 2 {
					x.join(1, nil)
				}
				x.send(3000)
				x.run(2 * time.Second)
				for _, e := range x.ends {
					if len(e.ear.got) != 3000 || len(e.ear.gaps) > 0 {
						t.Errorf("%s: %d messages, gaps %v; %+v, sender %+v", e.ear.name, len(e.ear.got), e.ear.gaps, e.r.Stats(), x.s.Stats())
					}
				}
				if !x.s.Drained() {
					t.Error("the sender does not know that all is there")
				}
			})
		}
	}
}

// TestSlowReaderHoldsNobody has one receiver that takes nothing for a while: the others
// have everything, and it has an exact gap.
func TestSlowReaderHoldsNobody(t *testing.T) {
	for _, flow := range []Flow{FlowMax, FlowTagged} {
		w := newWorld(t, 1)
		w.loss = 0.001
		x := w.sender(SenderConfig{Flow: flow, Window: 256})
		fast := x.join(1, nil)
		slow := x.join(1, nil)
		stuck := true
		slow.ear.refuse = func() bool { return stuck }
		x.send(4000)
		if flow == FlowTagged && len(fast.ear.gaps) > 0 {
			t.Errorf("the receiver that is waited for has gaps %v", fast.ear.gaps)
		}
		stuck = false
		x.run(time.Second)
		x.send(500)
		x.run(time.Second)
		if got := len(fast.ear.got); got < 4490 {
			t.Errorf("flow %d: the fast one has %d of 4500, gaps %v", flow, got, fast.ear.gaps)
		}
		if len(slow.ear.gaps) == 0 || slow.ear.next != 4500 {
			t.Errorf("flow %d: the slow one: gaps %v, next %d", flow, slow.ear.gaps, slow.ear.next)
		}
		if st := slow.r.Stats(); st.Lost == 0 || st.Lost+st.Messages != 4500 {
			t.Errorf("flow %d: lost %d and handed over %d of 4500", flow, st.Lost, st.Messages)
		}
	}
}

// TestSenderSaysFullAndNothingIsLost lets the one that is waited for take nothing.
func TestSenderSaysFullAndNothingIsLost(t *testing.T) {
	w := newWorld(t, 1)
	x := w.sender(SenderConfig{Flow: FlowMin, Window: 64})
	e := x.join(1, nil)
	stuck := true
	e.ear.refuse = func() bool { return stuck }
	x.run(10 * time.Millisecond)
	for x.s.Offer(w.now, uint16(x.count%1000), payload(x.count)) == Sent {
		if x.count++; x.count > 10_000 {
			t.Fatal("it is never full")
		}
		x.run(50 * time.Microsecond)
	}
	taken := x.count
	x.run(time.Second)
	if x.s.Offer(w.now, uint16(x.count%1000), payload(x.count)) != Full {
		t.Error("not full any more, though nothing was taken")
	}
	stuck = false
	x.run(100 * time.Millisecond)
	x.send(100)
	x.run(100 * time.Millisecond)
	if uint64(len(e.ear.got)) != taken+100 || len(e.ear.gaps) > 0 {
		t.Errorf("%d of %d, gaps %v", len(e.ear.got), taken+100, e.ear.gaps)
	}
}

// TestLossIsAnExactGap cuts the path for longer than anything is kept.
func TestLossIsAnExactGap(t *testing.T) {
	w := newWorld(t, 3)
	x := w.sender(SenderConfig{Flow: FlowMax, Window: 64})
	e := x.join(1, nil)
	x.send(300)
	x.run(100 * time.Millisecond)
	w.loss = 1
	x.send(2000)
	w.loss = 0
	x.run(300 * time.Millisecond) // nothing new: heartbeats alone tell
	if e.ear.next != 2300 || len(e.ear.gaps) == 0 {
		t.Errorf("next %d, gaps %v, %+v", e.ear.next, e.ear.gaps, e.r.Stats())
	}
	x.send(300)
	x.run(100 * time.Millisecond)
	if e.ear.next != 2600 {
		t.Errorf("next %d of 2600", e.ear.next)
	}
}

// TestLastMessagesAreRepairedWithoutTraffic loses the tail.
func TestLastMessagesAreRepairedWithoutTraffic(t *testing.T) {
	w := newWorld(t, 3)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(100)
	w.loss = 1
	x.send(10)
	w.loss = 0
	from := w.now
	for e.ear.next < 110 && w.now-from < int64(time.Second) {
		x.run(100 * time.Microsecond)
	}
	if took := time.Duration(w.now - from); e.ear.next != 110 || took > 5*time.Millisecond {
		t.Errorf("%d of 110 after %v", e.ear.next, took)
	}
}

// TestEitherLineIsEnough kills A, then B: the other carries everything, and no NAK is asked
// for what only one line has lost.
func TestEitherLineIsEnough(t *testing.T) {
	w := newWorld(t, 5)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(2, nil)
	x.run(5 * time.Millisecond)
	x.send(500)
	w.dead[0] = true
	x.send(500)
	w.dead[0], w.dead[1] = false, true
	x.send(500)
	w.dead[1] = false
	x.send(500)
	x.run(50 * time.Millisecond)
	st := e.r.Stats()
	if len(e.ear.got) != 2000 || len(e.ear.gaps) > 0 {
		t.Errorf("%d messages, gaps %v", len(e.ear.got), e.ear.gaps)
	}
	if st.First[0] == 0 || st.First[1] == 0 || st.Repeated == 0 {
		t.Errorf("no arbitration: %+v", st)
	}
	if st.Naks > 0 {
		t.Errorf("%d NAKs for what the other line had", st.Naks)
	}
}

// TestBothLinesLostIsAskedForAtOnce does not wait for a line that has passed the hole.
func TestBothLinesLostIsAskedForAtOnce(t *testing.T) {
	w := newWorld(t, 5)
	w.loss = 0.2 // on each line: every 25th on both
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(2, nil)
	x.send(2000)
	x.run(200 * time.Millisecond)
	if st := e.r.Stats(); len(e.ear.got) != 2000 || st.Naks == 0 {
		t.Errorf("%d messages, %+v", len(e.ear.got), st)
	}
}

// TestNewcomerBeginsAtTheSnapshot joins late.
func TestNewcomerBeginsAtTheSnapshot(t *testing.T) {
	w := newWorld(t, 5)
	x := w.sender(SenderConfig{Flow: FlowMax, SnapshotType: 600, Window: 32})
	x.join(1, nil)
	x.send(650) // message 600 has type 600
	late := x.join(1, nil)
	x.send(50)
	x.run(100 * time.Millisecond)
	if first := late.ear.got[0]; first != 600 || late.ear.next != 700 || len(late.ear.gaps) > 0 {
		t.Errorf("it began at %d and is at %d, gaps %v", first, late.ear.next, late.ear.gaps)
	}
	x.send(5250) // the snapshot is kept no more
	later := x.join(1, nil)
	x.send(10)
	x.run(10 * time.Millisecond)
	if len(later.ear.got) != 10 {
		t.Errorf("%d messages of the newest 10", len(later.ear.got))
	}
}

func TestSilenceAndGoodbyeAreKnown(t *testing.T) {
	w := newWorld(t, 5)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(10)
	x.run(2 * SilentAfter)
	if e.peer.Silent(w.now) || e.r.Silent(w.now) || !e.peer.Met() || !e.r.Met() {
		t.Fatal("an idle stream is not silent")
	}
	w.dead[0] = true
	x.run(2 * SilentAfter)
	if !e.peer.Silent(w.now) || !e.r.Silent(w.now) {
		t.Fatal("nothing comes, and nobody has noticed")
	}
	w.dead[0] = false
	x.run(2 * SilentAfter)
	if e.peer.Silent(w.now) || e.r.Silent(w.now) {
		t.Fatal("silent after the path is back")
	}
	x.s.Offer(w.now, uint16(10), payload(10))
	x.s.Close(w.now)
	x.run(10 * time.Millisecond)
	if !e.r.Ended() || e.ear.next != 11 {
		t.Fatalf("ended %v, next %d", e.r.Ended(), e.ear.next)
	}
	if x.s.Offer(w.now, 1, nil) != Over {
		t.Error("a closed sender takes messages")
	}
	e.r.Close(w.now)
	x.run(10 * time.Millisecond)
	if !e.peer.Gone() {
		t.Error("the goodbye was not heard")
	}
}

func TestLongestMessageAndOneByteMore(t *testing.T) {
	w := newWorld(t, 5)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	e.ear.payload = func(k uint64) []byte { b := make([]byte, MessageBytesMax); return b }
	if r := x.s.Offer(w.now, 0, make([]byte, MessageBytesMax)); r != Sent {
		t.Fatal(r)
	}
	x.s.Flush(w.now)
	if r := x.s.Offer(w.now, 0, make([]byte, MessageBytesMax+1)); r != TooLong {
		t.Error(r)
	}
	x.run(100 * time.Millisecond)
	if len(e.ear.got) != 1 {
		t.Error(len(e.ear.got), e.r.Stats())
	}
}

// TestSkippedMessagesAreAGap loses messages before the sender has them, with and without
// traffic after.
func TestSkippedMessagesAreAGap(t *testing.T) {
	w := newWorld(t, 5)
	w.loss = 0.05
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(110)
	for range 2 {
		x.s.Skip(w.now, 7)
		x.count += 7
		x.send(100)
	}
	x.s.Skip(w.now, 3)
	x.count += 3
	x.run(200 * time.Millisecond)
	if len(e.ear.gaps) != 3 || e.ear.next != x.count || len(e.ear.got) != 310 {
		t.Errorf("gaps %v, next %d of %d", e.ear.gaps, e.ear.next, x.count)
	}
}

// TestRedirectedReceiverMissesNothing sends elsewhere what finds no way.
func TestRedirectedReceiverMissesNothing(t *testing.T) {
	w := newWorld(t, 5)
	x := w.sender(SenderConfig{Flow: FlowMin})
	e := x.join(1, nil)
	x.send(10)
	other := addr(555)
	w.at[other] = w.at[e.at]
	w.at[e.at] = nil
	x.run(20 * time.Millisecond)
	x.s.Redirect(e.peer, [LinesMax]netip.AddrPort{other})
	x.send(100)
	x.run(20 * time.Millisecond)
	if len(e.ear.got) != 110 {
		t.Error(len(e.ear.got))
	}
}

func TestRoomIsForTheLongest(t *testing.T) {
	w := newWorld(t, 5)
	x := w.sender(SenderConfig{Flow: FlowMin, Window: 1024})
	x.join(1, nil)
	n := x.s.Room()
	if n == 0 {
		t.Fatal("no room in an empty window")
	}
	for range n {
		if r := x.s.Offer(w.now, 1, make([]byte, MessageBytesMax)); r != Sent {
			t.Fatal(r)
		}
	}
}

// TestAnotherReceiverResumesWhereOneWasCutOff in any packet, also within a long message, and
// with what was never confirmed: nothing is lost and nothing comes twice.
func TestAnotherReceiverResumesWhereOneWasCutOff(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		w.loss, w.reorder = 0.02, 0.02
		x := w.sender(SenderConfig{Flow: FlowMin, Window: 64})
		first := x.join(1, nil)
		x.send(100 + int(seed)*7)
		w.at[first.at] = nil // cut off: it hears nothing, and confirms nothing
		for range 30 {
			if x.s.Offer(w.now, uint16(x.count%1000), payload(x.count)) == Sent {
				x.count++
			}
		}
		x.s.Flush(w.now)
		x.run(5 * time.Millisecond)
		packet, message := first.r.Boundary()
		if message != first.ear.next {
			t.Fatalf("boundary at message %d, %d is next", message, first.ear.next)
		}
		x.s.Suspend(first.peer)
		for x.s.Offer(w.now, uint16(x.count%1000), payload(x.count)) == Sent { // it waits for who is away
			if x.count++; x.count > 10_000 {
				t.Fatal("nobody is waited for")
			}
		}
		x.ends = nil
		x.resume = &packet
		next := x.join(1, func(c *ReceiverConfig) { c.Skip = message })
		next.ear.next = message
		x.s.Leave(first.peer)
		x.send(200)
		x.run(200 * time.Millisecond)
		if len(next.ear.gaps) > 0 || next.ear.next != x.count {
			t.Fatalf("seed %d: gaps %v, at %d of %d", seed, next.ear.gaps, next.ear.next, x.count)
		}
	}
}

func TestNobodyResumesWhereNothingIsKept(t *testing.T) {
	w := newWorld(t, 1)
	x := w.sender(SenderConfig{Flow: FlowMax, Window: 8})
	x.join(1, nil)
	x.send(500)
	for _, at := range []uint64{0, x.s.next + 1} {
		if _, _, _, err := x.s.Join(w.now, PeerConfig{Index: 9, Resume: true, At: at}); err == nil {
			t.Errorf("packet %d of %d to %d is resumed", at, x.s.oldest, x.s.next)
		}
	}
}
