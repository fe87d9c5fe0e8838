package udp

import (
	"crypto/ed25519"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestMemberCannotUseUpTheSendersCounters takes those that the sender comes to next, but for some,
// so that now and then a checkpoint is fresh.
func TestMemberCannotUseUpTheSendersCounters(t *testing.T) {
	for _, spare := range []uint64{0, 2, 5} {
		w := newWorld(t, 4)
		x, _ := w.group(t, 2, FlowMax)
		x.send(200)
		x.run(50 * time.Millisecond)
		victim, f := x.ends[0], x.forger(t)
		taken := x.s.group.sealer.counter
		for range 100 {
			for taken = max(taken, x.s.group.sealer.counter); taken < x.s.group.sealer.counter+200; taken++ {
				if spare > 0 && taken%spare == 0 {
					continue
				}
				f.counter = taken
				forge(t, x, f, victim.r, typeHeartbeat, (&heartbeat{0, 0, 0, w.now}).append(nil))
			}
			x.send(20)
		}
		x.run(300 * time.Millisecond)
		packet, _ := victim.r.Position()
		if victim.ear.next != 2200 || len(victim.ear.gaps) > 0 || victim.r.Betrayed() || victim.r.Proved() != packet {
			t.Errorf("spare %d: at %d of 2200, %d gaps, betrayed %v, proved to %d of %d", spare, victim.ear.next, len(victim.ear.gaps), victim.r.Betrayed(), victim.r.Proved(), packet)
		}
	}
}

// TestMemberCannotDeclareMessagesLost forges the packet that is next, with the number of a
// message that nobody has sent.
func TestMemberCannotDeclareMessagesLost(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 2, FlowMax)
	x.send(200)
	x.run(50 * time.Millisecond)
	victim, f := x.ends[0], x.forger(t)
	victim.ear.payload = nil
	packet, message := victim.r.Position()
	forge(t, x, f, victim.r, typeData, packetOf(packet, 1<<40, w.now, []byte("lie")))
	x.run(50 * time.Millisecond)
	if _, m := victim.r.Position(); m != message || len(victim.ear.gaps) > 0 {
		t.Errorf("a member has declared %v lost", victim.ear.gaps)
	}
	x.send(10)
	x.run(100 * time.Millisecond)
	if _, m := victim.r.Position(); m > 210 || len(victim.ear.gaps) > 0 || !victim.r.Betrayed() {
		t.Errorf("at message %d of 210, gaps %v, betrayed %v", m, victim.ear.gaps, victim.r.Betrayed())
	}
}

// TestSendersOwnGapIsTakenWhenSigned has messages lost before they come to the sender.
func TestSendersOwnGapIsTakenWhenSigned(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 2, FlowMin)
	x.send(200)
	x.run(50 * time.Millisecond)
	x.s.Skip(w.now, 7)
	x.count += 7
	x.send(100)
	x.run(50 * time.Millisecond)
	for _, e := range x.ends {
		packet, _ := e.r.Position()
		if e.ear.next != 307 || !slices.Equal(e.ear.gaps, [][2]uint64{{200, 206}}) || e.r.Betrayed() || e.r.Proved() != packet {
			t.Errorf("%s is at %d, gaps %v, betrayed %v, proved to %d of %d", e.ear.name, e.ear.next, e.ear.gaps, e.r.Betrayed(), e.r.Proved(), packet)
		}
	}
}

// TestMemberCannotShortenTheWaitForRepair says that packets exist long before they do: when
// the first of them is lost, its repair is still waited for.
func TestMemberCannotShortenTheWaitForRepair(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 2, FlowMax)
	x.send(200)
	x.run(50 * time.Millisecond)
	victim, f := x.ends[0], x.forger(t)
	packet, message := victim.r.Position()
	forge(t, x, f, victim.r, typeHeartbeat, (&heartbeat{packet + 50, message + 50, 0, w.now}).append(nil))
	x.run(2 * time.Duration(repairWithin))
	to := w.at[victim.at]
	w.at[victim.at] = func(line int, b []byte) { // checkpoints only
		if b[0] == typeCheckpoint {
			to(line, b)
		}
	}
	x.send(20)
	x.run(15 * time.Millisecond)
	w.at[victim.at] = to
	x.run(100 * time.Millisecond)
	if victim.ear.next != 220 || len(victim.ear.gaps) > 0 {
		t.Errorf("at %d of 220, gaps %v", victim.ear.next, victim.ear.gaps)
	}
}

// TestPacketsFarAheadAreNotAskedFor forges one at the end of the window, which nobody has sent.
func TestPacketsFarAheadAreNotAskedFor(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMax)
	x.send(200)
	x.run(50 * time.Millisecond)
	victim, f := x.ends[0], x.forger(t)
	packet, _ := victim.r.Position()
	victim.r.doubt.signed.next -= min(victim.r.doubt.signed.next, proofAhead-8) // it is said to be far behind what is signed
	forge(t, x, f, victim.r, typeData, packetOf(packet+victim.r.mask, 1<<20, w.now, []byte("lie")))
	if victim.r.high > victim.r.doubt.signed.next+proofAhead {
		t.Errorf("%d packets are said to exist beyond what is signed", victim.r.high-victim.r.doubt.signed.next)
	}
	x.send(100)
	x.run(50 * time.Millisecond)
	if victim.ear.next != 300 || len(victim.ear.gaps) > 0 {
		t.Errorf("at %d of 300, gaps %v", victim.ear.next, victim.ear.gaps)
	}
}

// TestWhoResumesInAGroupIsNotTakenForBetrayed begins in the middle of what is kept.
func TestWhoResumesInAGroupIsNotTakenForBetrayed(t *testing.T) {
	w := newWorld(t, 4)
	x, private := w.group(t, 1, FlowMin)
	x.send(200)
	x.run(50 * time.Millisecond)
	old := x.ends[0]
	at, _ := old.r.Position()
	x.s.Suspend(old.peer)
	w.at[old.at] = func(int, []byte) {}
	x.send(20)
	x.resume = &at
	e := x.joinGroup(private.Public().(ed25519.PublicKey), 1, 200)
	x.s.Leave(old.peer)
	x.send(100)
	x.run(100 * time.Millisecond)
	if packet, _ := e.r.Position(); e.r.Betrayed() || e.ear.next != 320 || e.r.Proved() != packet {
		t.Errorf("at %d of 320, betrayed %v, proved to %d of %d", e.ear.next, e.r.Betrayed(), e.r.Proved(), packet)
	}
}

// TestForgeryRightAfterAGapIsFoundOut forges what comes after packets that were given up, of
// which several checkpoints have come.
func TestForgeryRightAfterAGapIsFoundOut(t *testing.T) {
	for _, lie := range []bool{false, true} {
		w := newWorld(t, 4)
		x, _ := w.group(t, 1, FlowMax)
		x.send(200)
		x.run(50 * time.Millisecond)
		victim, f := x.ends[0], x.forger(t)
		to := w.at[victim.at]
		w.at[victim.at] = func(line int, b []byte) {
			if b[0] == typeCheckpoint {
				to(line, b)
			}
		}
		for range 2 {
			x.send(50)
			x.run(15 * time.Millisecond)
		}
		next, _ := x.s.Position()
		for k := 0; victim.r.next < next && k < 1000; k++ {
			x.run(100 * time.Microsecond)
		}
		w.at[victim.at] = to
		packet, _ := victim.r.Position()
		if packet != next {
			t.Fatalf("at %d of %d", packet, next)
		}
		message := x.count
		if lie {
			victim.ear.payload = nil
			forge(t, x, f, victim.r, typeData, packetOf(packet, message, w.now, []byte("lie")))
		}
		x.send(20)
		x.run(100 * time.Millisecond)
		if victim.r.Betrayed() != lie {
			t.Errorf("betrayed: %v, forged: %v", victim.r.Betrayed(), lie)
		}
	}
}

// TestPacketHeldBeyondWhatIsBelievedIsHandedOverInTurn has one come early, and those before it
// when more is signed.
func TestPacketHeldBeyondWhatIsBelievedIsHandedOverInTurn(t *testing.T) {
	w := newWorld(t, 4)
	public, private, _ := ed25519.GenerateKey(nil)
	x := w.sender(SenderConfig{Flow: FlowMax, Window: 1024, Prove: func(b []byte) []byte { return ed25519.Sign(private, b) }})
	if err := x.s.Group(w.now, GroupConfig{Sender: 9, Epoch: 1, Secret: secret(200)}); err != nil {
		t.Fatal(err)
	}
	e, f := x.joinGroup(public, 1, 200), x.forger(t)
	e.ear.payload = nil
	give := func(k uint64) { forge(t, x, f, e.r, typeData, packetOf(k, k, w.now, []byte("x"))) }
	give(proofAhead + 4)
	e.r.doubt.signed.next += 10
	for k := range uint64(proofAhead + 4) {
		give(k)
	}
	if packet, _ := e.r.Position(); packet != proofAhead+5 {
		t.Errorf("at %d of %d", packet, proofAhead+5)
	}
}

// TestGapIsSignedThoughNobodyFlushes offers on and on, so that a packet has always begun.
func TestGapIsSignedThoughNobodyFlushes(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMin)
	x.send(200)
	x.run(50 * time.Millisecond)
	x.s.Skip(w.now, 7)
	x.count += 7
	for range 400 {
		if x.s.Offer(w.now, uint16(x.count), payload(x.count)) == Sent {
			x.count++
		}
		x.run(500 * time.Microsecond)
	}
	if e := x.ends[0]; !slices.Equal(e.ear.gaps, [][2]uint64{{200, 206}}) || e.ear.next+50 < x.count {
		t.Errorf("at %d of %d, gaps %v", e.ear.next, x.count, e.ear.gaps)
	}
}

// TestMemberCannotVouchForThePath has nothing of the sender come.
func TestMemberCannotVouchForThePath(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMax)
	victim, f := x.ends[0], x.forger(t)
	forge(t, x, f, victim.r, typeHeartbeat, (&heartbeat{0, 0, 0, w.now}).append(nil))
	if victim.r.Met() {
		t.Error("a member's heartbeat shows that the sender's way is good")
	}
	x.run(10 * time.Millisecond)
	if !victim.r.Met() {
		t.Error("the sender's own does not")
	}
}

// TestNothingIsAllocatedPerMessageInAGroup with a member that uses up the counters.
func TestNothingIsAllocatedPerMessageInAGroup(t *testing.T) {
	link, signature := &loop{}, []byte{1}
	s, err := NewSender(SenderConfig{DatagramBytes: 1408, Window: 64, Flow: FlowMax, Prove: func([]byte) []byte { return signature }}, link)
	if err != nil {
		t.Fatal(err)
	}
	now := int64(1_000_000)
	if err := s.Group(now, GroupConfig{Sender: 9, Epoch: 1, Secret: secret(1), To: [LinesMax]netip.AddrPort{addr(1)}}); err != nil {
		t.Fatal(err)
	}
	peer, packet, message, err := s.Join(now, PeerConfig{Index: 1, Feedback: secret(2)})
	if err != nil {
		t.Fatal(err)
	}
	e := &counting{t: t}
	r, err := NewReceiver(now, ReceiverConfig{DatagramBytes: 1408, Window: 64, Lossy: true, Group: true, Epoch: 1, Index: 2, Secret: secret(1), Feedback: secret(2),
		Check: func(_, b []byte) bool { return b[0] == 1 }, Chain: peer.Chain(), To: [LinesMax]netip.AddrPort{addr(2)}, Packet: packet, Message: message}, link, e)
	if err != nil {
		t.Fatal(err)
	}
	r.opener.window.newest = 1 << 40 // a member has sealed with that counter
	link.there = func(b []byte) { r.Input(now, 0, b) }
	link.back = func(b []byte) { s.Input(now, peer, b) }
	msg, k := make([]byte, 64), 0
	step := func() {
		k++
		now += 5000
		link.lose = k%10 == 0
		s.Offer(now, 1, msg)
		s.Flush(now)
		link.lose = false
		s.Tick(now)
		r.Tick(now)
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(5000, step); n > 0 {
		t.Errorf("%v allocations per message", n)
	}
	if st := r.Stats(); st.Messages < 5000 || st.Proved == 0 || st.BadProofs > 0 || s.Stats().Repaired == 0 {
		t.Errorf("%+v, %+v", st, s.Stats())
	}
}
