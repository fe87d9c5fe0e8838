package udp

import (
	"crypto/ed25519"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// group is a stream to many at once, with proof of source.
func (w *world) group(t *testing.T, members int, flow Flow) (x *stream, private ed25519.PrivateKey) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	x = w.sender(SenderConfig{Flow: flow, Prove: func(b []byte) []byte { return ed25519.Sign(private, b) }})
	if err := x.s.Group(w.now, GroupConfig{Sender: 9, Epoch: 1, Secret: secret(200), To: [LinesMax]netip.AddrPort{addr(1)}}); err != nil {
		t.Fatal(err)
	}
	for range members {
		x.joinGroup(public, 1, 200)
	}
	return x, private
}

func (x *stream) joinGroup(public ed25519.PublicKey, epoch uint32, of byte) *streamEnd {
	e := x.join(1, func(c *ReceiverConfig) {
		c.Group, c.Epoch, c.Secret = true, epoch, secret(of)
		c.Check = func(b, sig []byte) bool { return ed25519.Verify(public, b, sig) }
	})
	x.w.groups[addr(1)] = append(x.w.groups[addr(1)], e.at)
	return e
}

func TestGroupHasEverythingInOrder(t *testing.T) {
	w := newWorld(t, 4)
	w.loss, w.twice, w.reorder = 0.01, 0.01, 0.01
	x, _ := w.group(t, 8, FlowMin)
	x.send(3000)
	x.run(time.Second)
	naks := uint64(0)
	for _, e := range x.ends {
		st := e.r.Stats()
		naks += st.Naks
		if len(e.ear.got) != 3000 || len(e.ear.gaps) > 0 {
			t.Errorf("%s: %d messages, gaps %v", e.ear.name, len(e.ear.got), e.ear.gaps)
		}
		if packet, _ := e.r.Position(); st.Proved == 0 || st.BadProofs > 0 || e.r.Proved() != packet {
			t.Errorf("%s: proved to %d of %d: %+v", e.ear.name, e.r.Proved(), packet, st)
		}
	}
	if st := x.s.Stats(); st.Datagrams > st.Packets+st.Repaired+st.Heartbeats+st.Proofs || st.Repaired == 0 {
		t.Errorf("more datagrams than a group needs: %+v", st)
	}
}

// TestLossOfManyIsAskedForByFew loses packets on the way of all 64 members at once.
func TestLossOfManyIsAskedForByFew(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 64, FlowMin)
	x.send(100)
	const losses = 40
	for range losses {
		members := w.groups[addr(1)]
		w.groups[addr(1)] = nil
		x.send(4)
		w.groups[addr(1)] = members
		x.send(4)
		x.run(20 * time.Millisecond)
	}
	naks := uint64(0)
	for _, e := range x.ends {
		naks += e.r.Stats().Naks
		if e.ear.next != x.count {
			t.Fatalf("%s is at %d of %d", e.ear.name, e.ear.next, x.count)
		}
	}
	if naks > losses*64/3 {
		t.Errorf("%d NAKs for %d losses of 64 members: no back-off", naks, losses)
	}
	t.Logf("%d NAKs for %d losses that 64 members had alike, %d repairs", naks, losses, x.s.Stats().Repaired)
}

// TestWhoLeavesUnderstandsNothingMore changes the epoch under traffic: members lose
// nothing, and the one that left opens nothing that is sealed after.
func TestWhoLeavesUnderstandsNothingMore(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 3, FlowMin)
	x.send(500)
	x.run(20 * time.Millisecond)
	left := x.ends[2]
	x.s.Leave(left.peer) // its host hears the group on
	for _, e := range x.ends[:2] {
		if err := e.r.Epoch(w.now, 2, secret(77)); err != nil {
			t.Fatal(err)
		}
	}
	x.send(100) // under the first epoch still, while members get the second
	if err := x.s.Epoch(w.now, 2, secret(77)); err != nil {
		t.Fatal(err)
	}
	at := left.ear.next
	before := left.r.Stats().Unkeyed
	x.send(500)
	x.run(100 * time.Millisecond)
	for _, e := range x.ends[:2] {
		if len(e.ear.got) != 1100 || len(e.ear.gaps) > 0 {
			t.Errorf("%s: %d of 1100, gaps %v", e.ear.name, len(e.ear.got), e.ear.gaps)
		}
	}
	if left.ear.next > at+20 || left.r.Stats().Unkeyed == before { // what was in flight
		t.Errorf("who left read on to %d from %d", left.ear.next, at)
	}
}

// TestMemberCannotSpeakAsTheSender has a member with the group's key seal packets, and
// checkpoints with a key of its own.
func TestMemberCannotSpeakAsTheSender(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 2, FlowMax)
	x.send(200)
	x.run(200 * time.Millisecond)
	victim := x.ends[0]
	if victim.r.Betrayed() {
		t.Fatal("betrayed by nobody")
	}
	forger, err := newSealer(secret(200), 9, w.now, true, 1)
	if err != nil {
		t.Fatal(err)
	}
	forger.counter = x.s.group.sealer.counter + 100
	_, mine, _ := ed25519.GenerateKey(nil)
	c := checkpoint{heartbeat: heartbeat{next: victim.r.next, at: w.now}, counter: forger.counter, chain: victim.r.doubt.chain}
	fake := c.append(nil)
	b, _ := forger.seal(w.now, make([]byte, 512), typeCheckpoint, appendSignature(fake, ed25519.Sign(mine, fake)))
	if v := victim.r.Input(w.now, 0, b); v != Forged {
		t.Errorf("a checkpoint of a member's own key is %v", v)
	}
	// A packet that is not the sender's is handed over, and known at the next checkpoint.
	victim.ear.payload = func(k uint64) []byte {
		if k == 200 {
			return append(payload(k), "forged"...)
		}
		return payload(k)
	}
	body := make([]byte, 300)
	head := dataHead{victim.r.next, victim.r.message, w.now}
	head.put(body)
	lie := victim.ear.payload(200)
	putFrameHead(body[dataHeadBytes:], len(lie), frameBegin|frameEnd, 200)
	n := dataHeadBytes + frameHeadBytes + copy(body[dataHeadBytes+frameHeadBytes:], lie)
	b, _ = forger.seal(w.now, make([]byte, 512), typeData, body[:n])
	if v := victim.r.Input(w.now, 0, b); v != Opened {
		t.Fatal(v)
	}
	x.s.Offer(w.now, 200, payload(200))
	x.s.Flush(w.now)
	x.run(200 * time.Millisecond)
	if !victim.r.Betrayed() || x.ends[1].r.Betrayed() {
		t.Errorf("betrayed: the victim %v, the other %v", victim.r.Betrayed(), x.ends[1].r.Betrayed())
	}
}

func TestProofGoesOnAfterAGap(t *testing.T) {
	w := newWorld(t, 4)
	x, _ := w.group(t, 1, FlowMax)
	e := x.ends[0]
	x.send(200)
	x.run(100 * time.Millisecond)
	w.loss = 1
	x.send(4000)
	w.loss = 0
	x.send(200)
	x.run(300 * time.Millisecond)
	x.send(200)
	x.run(300 * time.Millisecond)
	packet, _ := e.r.Position()
	if len(e.ear.gaps) == 0 || e.r.Proved() != packet || e.r.Betrayed() {
		t.Errorf("gaps %v, proved to %d of %d, betrayed %v", e.ear.gaps, e.r.Proved(), packet, e.r.Betrayed())
	}
}

// TestBackoffIsSpread draws from RFC 5401's distribution: bounded, and mostly late, so
// that of many one is early.
func TestBackoffIsSpread(t *testing.T) {
	r := &Receiver{cfg: ReceiverConfig{Group: true, Random: rand.New(rand.NewPCG(1, 2))}}
	var all []int64
	for range 10_000 {
		d := r.backoff()
		if d < 0 || d > int64(groupBackoff) {
			t.Fatalf("%d ns, at most %v", d, groupBackoff)
		}
		all = append(all, d)
	}
	slices.Sort(all)
	if median := all[len(all)/2]; median < int64(groupBackoff)/2 {
		t.Errorf("median %d ns: too many are early", median)
	}
	if all[len(all)/100] > int64(groupBackoff)/2 {
		t.Error("none is early")
	}
}
