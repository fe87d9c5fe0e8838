package udp

import (
	"crypto/ed25519"
	"net/netip"
	"testing"
	"time"
)

// forger is a member of the group: it has the key, and not the sender's signature.
func (x *stream) forger(t *testing.T) *sealer {
	t.Helper()
	f, err := newSealer(secret(200), 9, x.w.now, true, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.counter = x.s.group.sealer.counter + 10
	return f
}

func forge(t *testing.T, x *stream, f *sealer, to *Receiver, typ uint8, payload []byte) Verdict {
	t.Helper()
	b, err := f.seal(x.w.now, make([]byte, 1408), typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return to.Input(x.w.now, 0, b)
}

func packetOf(packet, message uint64, at int64, lie []byte) []byte {
	body := make([]byte, dataHeadBytes+frameHeadBytes+len(lie))
	(&dataHead{packet, message, at}).put(body)
	putFrameHead(body[dataHeadBytes:], len(lie), frameBegin|frameEnd, 7)
	copy(body[dataHeadBytes+frameHeadBytes:], lie)
	return body
}

// TestMemberCannotDeafenAnother says with the group's key all that would lead a receiver
// away from what the sender sends.
func TestMemberCannotDeafenAnother(t *testing.T) {
	const far = uint64(1) << 40
	lies := map[string]func(f *sealer, r *Receiver, now int64) (uint8, []byte){
		"a heartbeat that is far ahead": func(_ *sealer, _ *Receiver, now int64) (uint8, []byte) {
			return typeHeartbeat, (&heartbeat{far, far, far, now}).append(nil)
		},
		"a heartbeat that the oldest is gone": func(_ *sealer, r *Receiver, now int64) (uint8, []byte) {
			return typeHeartbeat, (&heartbeat{r.next + 5000, r.message + 5000, r.next + 5000, now}).append(nil)
		},
		"a heartbeat with messages that never were": func(_ *sealer, r *Receiver, now int64) (uint8, []byte) {
			return typeHeartbeat, (&heartbeat{r.next, r.message + 100, 0, now}).append(nil)
		},
		"a packet that is far ahead": func(_ *sealer, _ *Receiver, now int64) (uint8, []byte) {
			return typeData, packetOf(far, far, now, []byte("lie"))
		},
		"the end": func(_ *sealer, r *Receiver, now int64) (uint8, []byte) {
			return typeBye, (&heartbeat{r.next, r.message, 0, now}).append(nil)
		},
		"a counter that is far ahead": func(f *sealer, r *Receiver, now int64) (uint8, []byte) {
			f.counter += far
			return typeHeartbeat, (&heartbeat{r.next, 0, 0, now}).append(nil)
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4)
			x, _ := w.group(t, 2, FlowMax)
			x.send(200)
			x.run(50 * time.Millisecond)
			victim, f := x.ends[0], x.forger(t)
			for range 5 {
				typ, b := lie(f, victim.r, w.now)
				forge(t, x, f, victim.r, typ, b)
				if victim.r.Ended() {
					t.Fatal("the stream has ended by a member's word")
				}
				x.send(100)
				x.run(200 * time.Millisecond)
			}
			for _, e := range x.ends {
				packet, _ := e.r.Position()
				if e.ear.next != 700 || len(e.ear.gaps) > 0 || e.r.Betrayed() || e.r.Proved() != packet {
					t.Errorf("%s is at %d of 700, gaps %v, betrayed %v, proved to %d of %d", e.ear.name, e.ear.next, e.ear.gaps, e.r.Betrayed(), e.r.Proved(), packet)
				}
			}
			x.s.Close(w.now)
			x.run(200 * time.Millisecond)
			if !victim.r.Ended() {
				t.Error("the sender's own end is not taken")
			}
		})
	}
}

// TestMemberThatForgesOnAndOnIsFoundOut takes the sender's place, faster than it signs.
func TestMemberThatForgesOnAndOnIsFoundOut(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMax)
	x.send(200)
	x.run(50 * time.Millisecond)
	victim, f := x.ends[0], x.forger(t)
	began, _ := victim.r.Position()
	victim.ear.payload = nil // it is not what the sender says
	for k := range uint64(5000) {
		forge(t, x, f, victim.r, typeData, packetOf(began+k, 200+k, w.now, []byte("lie")))
	}
	if packet, _ := victim.r.Position(); packet > began+proofAhead {
		t.Errorf("%d packets were handed over that nobody has signed", packet-began)
	}
	x.s.Offer(w.now, 200, payload(200))
	x.s.Flush(w.now)
	x.run(50 * time.Millisecond)
	if !victim.r.Betrayed() {
		t.Error("it is not found out")
	}
}

// TestFirstPacketsAreProvedToo forges what comes right after a member has joined.
func TestFirstPacketsAreProvedToo(t *testing.T) {
	w := newWorld(t, 4)
	public, private, _ := ed25519.GenerateKey(nil)
	x := w.sender(SenderConfig{Flow: FlowMax, SnapshotType: 50, Prove: func(b []byte) []byte { return ed25519.Sign(private, b) }})
	if err := x.s.Group(w.now, GroupConfig{Sender: 9, Epoch: 1, Secret: secret(200), To: [LinesMax]netip.AddrPort{addr(1)}}); err != nil {
		t.Fatal(err)
	}
	x.send(100) // message 50 is a snapshot, and has a packet of its own
	honest := x.joinGroup(public, 1, 200)
	victim := x.joinGroup(public, 1, 200)
	f := x.forger(t)
	victim.ear.payload = nil
	packet, message := victim.r.Position()
	forge(t, x, f, victim.r, typeData, packetOf(packet, message, w.now, []byte("lie")))
	x.run(100 * time.Millisecond)
	if honest.r.Betrayed() || honest.ear.next != 100 {
		t.Errorf("who was told no lie is at %d, betrayed %v", honest.ear.next, honest.r.Betrayed())
	}
	if p, _ := honest.r.Position(); honest.r.Proved() != p {
		t.Errorf("proved to %d of %d", honest.r.Proved(), p)
	}
	if !victim.r.Betrayed() {
		t.Error("the first packet may be anybody's")
	}
}

// TestCountersThatNobodyReachesHarmNothing takes them ever further ahead of the sender's.
func TestCountersThatNobodyReachesHarmNothing(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMax)
	x.send(200)
	x.run(50 * time.Millisecond)
	victim, f := x.ends[0], x.forger(t)
	for range 10 * badProofsMax {
		f.counter += 1 << 30
		forge(t, x, f, victim.r, typeHeartbeat, (&heartbeat{0, 0, 0, w.now}).append(nil))
		x.send(10)
		x.run(20 * time.Millisecond)
	}
	packet, _ := victim.r.Position()
	if victim.ear.next != x.count || len(victim.ear.gaps) > 0 || victim.r.Betrayed() || victim.r.Proved() != packet {
		t.Errorf("at %d of %d, gaps %v, betrayed %v, proved to %d of %d", victim.ear.next, x.count, victim.ear.gaps, victim.r.Betrayed(), victim.r.Proved(), packet)
	}
}

// TestReplayedCheckpointMovesNothing plays the same one again, by who has no key.
func TestReplayedCheckpointMovesNothing(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMax)
	e := x.ends[0]
	var kept [][]byte
	to := w.at[e.at]
	w.at[e.at] = func(line int, b []byte) {
		if b[0] == typeCheckpoint {
			kept = append(kept, append([]byte(nil), b...))
		}
		to(line, b)
	}
	x.send(500)
	x.run(100 * time.Millisecond)
	if len(kept) < 3 {
		t.Fatal(len(kept))
	}
	newest, checked := e.r.opener.window.newest, 0
	check := e.r.cfg.Check
	e.r.cfg.Check = func(b, s []byte) bool { checked++; return check(b, s) }
	for range 100 {
		for _, b := range kept {
			if v := e.r.Input(w.now, 0, append([]byte(nil), b...)); v != Repeated {
				t.Fatal(v)
			}
		}
	}
	if e.r.opener.window.newest != newest || checked > 0 {
		t.Errorf("the window is at %d, was %d; %d signatures were checked", e.r.opener.window.newest, newest, checked)
	}
}

// TestSteadyTrafficIsNeverHeldForProof sends fast through a network that loses and reorders
// checkpoints as all else.
func TestSteadyTrafficIsNeverHeldForProof(t *testing.T) {
	w := newWorld(t, 9)
	w.loss, w.reorder = 0.02, 0.02
	x, _ := w.group(t, 3, FlowMin)
	for range 100 {
		x.send(100)
		x.run(2 * time.Millisecond)
	}
	x.run(300 * time.Millisecond)
	for _, e := range x.ends {
		if e.ear.next != 10_000 || len(e.ear.gaps) > 0 || e.r.Betrayed() {
			t.Errorf("%s is at %d, gaps %v, betrayed %v", e.ear.name, e.ear.next, e.ear.gaps, e.r.Betrayed())
		}
	}
}
