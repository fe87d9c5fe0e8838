package udp

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDatagramsAreAsTheSpecificationSays compares with bytes that were written down.
func TestDatagramsAreAsTheSpecificationSays(t *testing.T) {
	var lines []string
	s, err := NewSender(SenderConfig{DatagramBytes: 256, Window: 8, Flow: FlowMin}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Flow = FlowMin
	body := make([]byte, 0, 256)
	d := make([]byte, dataHeadBytes)
	(&dataHead{1, 2, 3}).put(d)
	body = append(body, d...)
	f := make([]byte, frameHeadBytes)
	putFrameHead(f, 2, frameBegin|frameEnd, 0x1234)
	body = append(append(body, f...), "hi"...)
	h := heartbeat{1, 2, 3, 4}
	st := status{1, 2, 3, 4, 5}
	bodies := map[string][]byte{"1 data": body, "2 heartbeat": h.append(nil), "3 status": st.append(nil), "4 nak": appendSpans(nil, []span{{1, 2}}),
		"5 checkpoint": appendSignature((&checkpoint{heartbeat: h, counter: 5, over: true, chain: [chainBytes]byte{2}}).append(nil), []byte("signature")), "6 bye": h.append(nil)}
	for _, name := range []string{"1 data", "2 heartbeat", "3 status", "4 nak", "5 checkpoint", "6 bye"} {
		k, err := newSealer(secret(1), 0x01020304, 0, false, 0)
		if err != nil {
			t.Fatal(err)
		}
		k.counter = 5
		b, err := k.seal(0, make([]byte, 512), name[0]-'0', bodies[name])
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, name+" plain "+hex.EncodeToString(bodies[name]), name+" sealed "+hex.EncodeToString(b))
	}
	got := strings.Join(lines, "\n") + "\n"
	want, err := os.ReadFile("testdata/datagrams.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the bytes are\n%s", got)
	}
}

// TestPeersThatLieHarmNothing has genuine datagrams with nonsense in them.
func TestPeersThatLieHarmNothing(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMin})
	honest, liar := x.join(1, nil), x.join(1, nil)
	x.send(500)
	x.run(10 * time.Millisecond)
	rng := rand.New(rand.NewPCG(3, 3))
	evil := func(typ uint8, b []byte) {
		d, err := liar.r.sealer.seal(w.now, make([]byte, 1024), typ, b)
		if err != nil {
			t.Fatal(err)
		}
		x.s.Input(w.now, liar.peer, d)
	}
	for range 3000 {
		b := make([]byte, rng.IntN(400))
		for i := range b {
			b[i] = byte(rng.Uint32() & rng.Uint32())
		}
		evil(uint8(rng.IntN(9)), b)
	}
	// One NAK for everything that ever was, again and again, is answered within a bound.
	before := x.s.Stats().Repaired
	for range 100 {
		evil(typeNak, appendSpans(nil, []span{{0, 1 << 31}, {0, 1<<32 - 1}, {1 << 63, 1<<32 - 1}}))
	}
	if n := x.s.Stats().Repaired - before; n > repairsPerNakMax {
		t.Errorf("%d packets sent again at once", n)
	}
	// A status from the future does not move the sender.
	ahead := status{next: 1 << 60, window: 1 << 16}
	evil(typeStatus, ahead.append(nil))
	if liar.peer.next > x.s.next {
		t.Error("a receiver says to have what was never sent, and is believed")
	}
	x.s.Leave(liar.peer)
	x.send(500)
	x.run(100 * time.Millisecond)
	if len(honest.ear.got) != 1000 || len(honest.ear.gaps) > 0 {
		t.Errorf("the honest one has %d of 1000, gaps %v", len(honest.ear.got), honest.ear.gaps)
	}
}

// FuzzReceiver opens genuine datagrams of a sender that lies: whatever it says, the
// receiver keeps its bounds and its order.
func FuzzReceiver(f *testing.F) {
	h := heartbeat{9, 9, 3, 1}
	f.Add(uint8(typeHeartbeat), h.append(nil), uint8(typeData), make([]byte, 40))
	f.Add(uint8(typeData), append(make([]byte, dataHeadBytes), 2, 0xc0, 1, 0, 'h', 'i'), uint8(typeData), append(make([]byte, dataHeadBytes), 0xff, 0xff, 0, 0))
	f.Add(uint8(typeCheckpoint), make([]byte, 104), uint8(typeBye), h.append(nil))
	f.Fuzz(func(t *testing.T, t1 uint8, b1 []byte, t2 uint8, b2 []byte) {
		if len(b1) > 400 || len(b2) > 400 {
			t.Skip()
		}
		for _, group := range []bool{false, true} {
			listen(t, group, []uint8{t1, t2}, [][]byte{b1, b2})
		}
	})
}

// listen has a receiver take three times what a sender, or a member of its group, has sealed.
func listen(t *testing.T, group bool, types []uint8, bodies [][]byte) {
	k, err := newSealer(secret(1), 1, 0, group, 0)
	if err != nil {
		t.Fatal(err)
	}
	e := &counting{t: t}
	r, err := NewReceiver(0, ReceiverConfig{DatagramBytes: 512, Window: 8, Lossy: true, Group: group, Secret: secret(1), Check: func(_, s []byte) bool { return s[0]&1 == 0 }}, nowhere{}, e)
	if err != nil {
		t.Fatal(err)
	}
	now := int64(1)
	for turn := range 3 {
		for i, typ := range types {
			if k.counter = k.counter + uint64(i); group && turn == 2 {
				k.counter = 1 // it was seen
			}
			d, err := k.seal(now, make([]byte, 512), typ, bodies[i])
			if err != nil {
				t.Fatal(err)
			}
			r.Input(now, 0, d)
			r.Tick(now)
			now += int64(30 * time.Millisecond)
		}
	}
	if st := r.Stats(); st.Messages+st.Lost != e.next {
		t.Fatalf("%+v, told %d", st, e.next)
	}
	if r.high > r.doubt.signed.next+proofAhead || r.next > r.doubt.signed.next+proofAhead || r.holding > 8 {
		t.Fatalf("next %d, high %d, signed %d, %d held", r.next, r.high, r.doubt.signed.next, r.holding)
	}
}

type nowhere struct{}

func (nowhere) Send(int, netip.AddrPort, []byte) {}

// counting holds gaps to their order.
type counting struct {
	t    *testing.T
	next uint64
}

func (c *counting) Message(uint16, []byte) bool { c.next++; return true }
func (c *counting) Gap(first, last uint64) {
	if first != c.next || last < first {
		c.t.Fatalf("gap %d to %d where %d is next", first, last, c.next)
	}
	c.next = last + 1
}

// TestNothingIsAllocatedPerMessage both ways, with repairs.
func TestNothingIsAllocatedPerMessage(t *testing.T) {
	link := &loop{}
	s, err := NewSender(SenderConfig{DatagramBytes: 1408, Window: 64, Flow: FlowMax}, link)
	if err != nil {
		t.Fatal(err)
	}
	now := int64(1_000_000)
	peer, packet, message, err := s.Join(now, PeerConfig{Index: 1, Secret: secret(1), Feedback: secret(2), To: [LinesMax]netip.AddrPort{addr(1)}})
	if err != nil {
		t.Fatal(err)
	}
	e := &counting{t: t}
	r, err := NewReceiver(now, ReceiverConfig{DatagramBytes: 1408, Window: 64, Lossy: true, Index: 2, Secret: secret(1), Feedback: secret(2),
		To: [LinesMax]netip.AddrPort{addr(2)}, Packet: packet, Message: message}, link, e)
	if err != nil {
		t.Fatal(err)
	}
	link.there = func(b []byte) { r.Input(now, 0, b) }
	link.back = func(b []byte) { s.Input(now, peer, b) }
	msg := make([]byte, 64)
	k := 0
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
	if st := r.Stats(); st.Messages < 5000 || s.Stats().Repaired == 0 {
		t.Errorf("%+v, %+v", st, s.Stats())
	}
}

// loop carries datagrams between two ends by calls.
type loop struct {
	there, back func(b []byte)
	lose        bool
	buf         [2048]byte
}

func (l *loop) Send(_ int, to netip.AddrPort, b []byte) {
	if l.lose || l.there == nil {
		return
	}
	c := l.buf[:copy(l.buf[:], b)]
	if to == addr(1) {
		l.there(c)
	} else {
		l.back(c)
	}
}

func BenchmarkSealAndOpen64(b *testing.B) {
	s, o := pairOf(b)
	p, buf := make([]byte, 64), make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		d, _ := s.seal(0, buf, typeData, p)
		if _, _, v := o.open(0, d); v != Opened {
			b.Fatal(v)
		}
	}
}

// TestWhoNamesAnothersAddressFloodsNobody sends status and NAK with good keys and never hears
// anything: data does not go where it has said.
func TestWhoNamesAnothersAddressFloodsNobody(t *testing.T) {
	w := newWorld(t, 4)
	x := w.sender(SenderConfig{Flow: FlowMax})
	honest, liar := x.join(1, nil), x.join(1, nil)
	flood := 0
	w.at[liar.at] = func(_ int, b []byte) { flood += len(b) }
	for k := range 200 {
		x.send(20)
		st := status{next: x.s.next, window: 256, echo: w.now - int64(k)} // it can only guess
		d, _ := liar.r.sealer.seal(w.now, make([]byte, 512), typeStatus, st.append(nil))
		x.s.Input(w.now, liar.peer, d)
		d, _ = liar.r.sealer.seal(w.now, make([]byte, 512), typeNak, appendSpans(nil, []span{{0, 1 << 20}}))
		x.s.Input(w.now, liar.peer, d)
	}
	if sent := x.s.Stats().Packets * 512; flood > int(sent)/20 || liar.peer.Met() {
		t.Errorf("%d bytes to an address that nobody has shown to be its own; the stream has %d", flood, sent)
	}
	if len(honest.ear.got) < 3900 {
		t.Error(len(honest.ear.got))
	}
}
