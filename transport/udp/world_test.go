package udp

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// world is a network in virtual time: what is sent arrives later, twice, out of order, or
// never, as its seed wants.
type world struct {
	t      *testing.T
	now    int64
	rng    *rand.Rand
	flight inFlight
	at     map[netip.AddrPort]func(line int, b []byte)
	groups map[netip.AddrPort][]netip.AddrPort

	loss, twice, reorder float64
	dead                 [LinesMax]bool // lines that carry nothing
	sent                 uint64
}

type datagram struct {
	due  int64
	line int
	to   netip.AddrPort
	b    []byte
}

type inFlight []datagram

func (f inFlight) Len() int           { return len(f) }
func (f inFlight) Less(i, j int) bool { return f[i].due < f[j].due }
func (f inFlight) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *inFlight) Push(x any)        { *f = append(*f, x.(datagram)) }
func (f *inFlight) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, now: 1_800_000_000_000_000_000, rng: rand.New(rand.NewPCG(seed, 7)), at: map[netip.AddrPort]func(int, []byte){}, groups: map[netip.AddrPort][]netip.AddrPort{}}
}

const transit = int64(20 * time.Microsecond)

func (w *world) Send(line int, to netip.AddrPort, b []byte) {
	members, ok := w.groups[to]
	if !ok {
		members = []netip.AddrPort{to}
	}
	for _, m := range members {
		w.sent++
		if w.dead[line] || w.rng.Float64() < w.loss {
			continue
		}
		for range 1 + min(1, int(w.rng.Float64()+w.twice)) {
			due := w.now + transit + w.rng.Int64N(1000)
			if w.rng.Float64() < w.reorder {
				due += w.rng.Int64N(int64(500 * time.Microsecond))
			}
			heap.Push(&w.flight, datagram{due, line, m, slices.Clone(b)})
		}
	}
}

// run lets time pass, with what ticks.
func (w *world) run(d time.Duration, tick ...func(now int64) int64) {
	for end := w.now + int64(d); w.now < end; {
		next := end
		for _, f := range tick {
			next = min(next, f(w.now))
		}
		if len(w.flight) > 0 && w.flight[0].due <= next {
			g := heap.Pop(&w.flight).(datagram)
			w.now = max(w.now, g.due)
			if f := w.at[g.to]; f != nil {
				f(g.line, g.b)
			}
			continue
		}
		w.now = max(w.now+1000, next)
	}
}

// ear notes what a receiver hears, and checks the order.
type ear struct {
	t       *testing.T
	name    string
	next    uint64
	got     []uint64
	gaps    [][2]uint64
	refuse  func() bool
	payload func(k uint64) []byte // what it must hear; nil: anything
}

func (e *ear) Message(typ uint16, b []byte) bool {
	if e.refuse != nil && e.refuse() {
		return false
	}
	if e.payload == nil {
		e.next++
		return true
	}
	k := binary.LittleEndian.Uint64(b)
	if k != e.next {
		e.t.Fatalf("%s: message %d where %d is next", e.name, k, e.next)
	}
	if want := e.payload(k); typ != uint16(k%1000) || !slices.Equal(want, b) {
		e.t.Fatalf("%s: message %d of type %d has other bytes (%d, want %d)", e.name, k, typ, len(b), len(want))
	}
	e.next++
	e.got = append(e.got, k)
	return true
}

func (e *ear) Gap(first, last uint64) {
	if first != e.next || last < first {
		e.t.Fatalf("%s: gap %d to %d where %d is next", e.name, first, last, e.next)
	}
	e.next = last + 1
	e.gaps = append(e.gaps, [2]uint64{first, last})
}

// line is a sender with receivers in a world.
type stream struct {
	w      *world
	s      *Sender
	ends   []*streamEnd
	count  uint64
	resume *uint64 // packet with which the next one that joins begins
}

type streamEnd struct {
	peer *Peer
	r    *Receiver
	ear  *ear
	at   netip.AddrPort
}

func addr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 7000)
}

func secret(n byte) (s Secret) {
	for i := range s {
		s[i] = n + byte(i)
	}
	return s
}

func (w *world) sender(cfg SenderConfig) *stream {
	if cfg.DatagramBytes == 0 {
		cfg.DatagramBytes = 512
	}
	if cfg.Window == 0 {
		cfg.Window = 256
	}
	s, err := NewSender(cfg, w)
	if err != nil {
		w.t.Fatal(err)
	}
	return &stream{w: w, s: s}
}

// payload is message k: mostly short, now and then of many packets.
func payload(k uint64) []byte {
	n := 8 + int(k*37%90)
	if k%97 == 13 {
		n = 3000
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(k) + byte(i)
	}
	binary.LittleEndian.PutUint64(b, k)
	return b
}

func (x *stream) join(lines int, edit func(*ReceiverConfig)) *streamEnd {
	n := len(x.ends) + 1
	pc := PeerConfig{Name: fmt.Sprint("r", n), Index: uint32(n), Secret: secret(byte(n)), Feedback: secret(100 + byte(n)), Tagged: n == 1}
	rc := ReceiverConfig{DatagramBytes: x.s.cfg.DatagramBytes, Window: x.s.cfg.Window, Lines: lines, Lossy: x.s.cfg.Flow != FlowMin, Index: uint32(n),
		Secret: pc.Secret, Feedback: pc.Feedback, Random: rand.New(rand.NewPCG(uint64(n), 1))}
	for l := range lines {
		pc.To[l] = addr(100*n + l)
		rc.To[l] = addr(10_000 + 100*n + l)
	}
	e := &streamEnd{at: pc.To[0], ear: &ear{t: x.w.t, name: pc.Name, payload: payload}}
	if x.resume != nil {
		pc.Resume, pc.At, x.resume = true, *x.resume, nil
	}
	var err error
	if e.peer, rc.Packet, rc.Message, err = x.s.Join(x.w.now, pc); err != nil {
		x.w.t.Fatal(err)
	}
	e.ear.next, rc.Chain = rc.Message, e.peer.Chain()
	if edit != nil {
		edit(&rc)
	}
	if e.r, err = NewReceiver(x.w.now, rc, x.w, e.ear); err != nil {
		x.w.t.Fatal(err)
	}
	for l := range lines {
		x.w.at[pc.To[l]] = func(line int, b []byte) { e.r.Input(x.w.now, line, b) }
		x.w.at[rc.To[l]] = func(_ int, b []byte) { x.s.Input(x.w.now, e.peer, b) }
	}
	x.ends = append(x.ends, e)
	return e
}

func (x *stream) ticks() []func(int64) int64 {
	f := []func(int64) int64{x.s.Tick}
	for _, e := range x.ends {
		f = append(f, e.r.Tick)
	}
	return f
}

func (x *stream) run(d time.Duration) { x.w.run(d, x.ticks()...) }

// send offers messages until so many more are taken, a few at a time.
func (x *stream) send(messages int) {
	for end := x.count + uint64(messages); x.count < end; {
		for range 4 {
			if x.count == end {
				break
			}
			if x.s.Offer(x.w.now, uint16(x.count%1000), payload(x.count)) != Sent {
				break
			}
			x.count++
		}
		x.s.Flush(x.w.now)
		x.run(30 * time.Microsecond)
	}
}
