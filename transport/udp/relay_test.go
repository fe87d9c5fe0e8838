package udp

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// relay carries datagrams between two real sockets, and loses, repeats and holds back as
// its seed says.
type relay struct {
	ends  [2]netip.AddrPort
	conn  *net.UDPConn
	rng   *rand.Rand
	bad   float64
	later [][]byte
	to    []netip.AddrPort
}

func (r *relay) run() {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		to := r.ends[0]
		if from == r.ends[0] {
			to = r.ends[1]
		}
		b := slices.Clone(buf[:n])
		switch p := r.rng.Float64(); {
		case p < r.bad: // lost
			continue
		case p < 2*r.bad: // twice
			r.conn.WriteToUDPAddrPort(b, to)
		case p < 3*r.bad: // overtaken by what follows
			r.later, r.to = append(r.later, b), append(r.to, to)
			continue
		}
		r.conn.WriteToUDPAddrPort(b, to)
		for i := range r.later {
			r.conn.WriteToUDPAddrPort(r.later[i], r.to[i])
		}
		r.later, r.to = r.later[:0], r.to[:0]
	}
}

// socket is one end's, with what it has to do.
type socket struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

func (s *socket) Send(_ int, _ netip.AddrPort, b []byte) { s.conn.WriteToUDPAddrPort(b, s.to) }

// turn reads what comes until the time.
func (s *socket) turn(t *testing.T, until int64, each func(now int64, b []byte)) {
	buf := make([]byte, 2048)
	s.conn.SetReadDeadline(time.Unix(0, until))
	n, _, err := s.conn.ReadFromUDPAddrPort(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	each(time.Now().UnixNano(), buf[:n])
}

func listenUDP(t *testing.T) *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func portOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// TestRealSocketsThroughARelayThatLoses has 1 % of loss, repeats and reordering: whoever waits
// gets every message, whoever does not gets every message or the exact gap.
func TestRealSocketsThroughARelayThatLoses(t *testing.T) {
	for _, flow := range []Flow{FlowMin, FlowMax} {
		const messages = 10_000
		a, b, m := listenUDP(t), listenUDP(t), listenUDP(t)
		r := &relay{conn: m, ends: [2]netip.AddrPort{portOf(a), portOf(b)}, rng: rand.New(rand.NewPCG(11, uint64(flow))), bad: 0.01}
		over := make(chan struct{})
		go func() { defer close(over); r.run() }()
		there, back := &socket{a, portOf(m)}, &socket{b, portOf(m)}
		now := time.Now().UnixNano()
		s, err := NewSender(SenderConfig{DatagramBytes: 512, Window: 256, Flow: flow}, there)
		if err != nil {
			t.Fatal(err)
		}
		p, packet, message, err := s.Join(now, PeerConfig{Index: 1, Secret: secret(1), Feedback: secret(2), To: [LinesMax]netip.AddrPort{portOf(m)}})
		if err != nil {
			t.Fatal(err)
		}
		heard := &ear{t: t, name: "reader", payload: payload}
		done := make(chan *Receiver, 1)
		go func() { // the reader's whole life
			rc, err := NewReceiver(now, ReceiverConfig{DatagramBytes: 512, Window: 256, Lossy: flow == FlowMax, Index: 2, Secret: secret(1), Feedback: secret(2),
				To: [LinesMax]netip.AddrPort{portOf(m)}, Packet: packet, Message: message}, back, heard)
			if err != nil {
				t.Error(err)
			}
			for end := time.Now().Add(30 * time.Second); !rc.Ended() && time.Now().Before(end); {
				back.turn(t, rc.Tick(time.Now().UnixNano()), func(now int64, d []byte) { rc.Input(now, 0, d) })
			}
			done <- rc
		}()
		feed := func(now int64, d []byte) { s.Input(now, p, d) }
		for k := uint64(0); k < messages; {
			now := time.Now().UnixNano()
			if s.Offer(now, uint16(k%1000), payload(k)) == Sent {
				if k++; k%8 != 0 {
					continue
				}
			}
			s.Flush(now)
			there.turn(t, min(s.Tick(now), now+int64(200*time.Microsecond)), feed)
		}
		s.Close(time.Now().UnixNano())
		var rc *Receiver
		for rc == nil {
			there.turn(t, min(s.Tick(time.Now().UnixNano()), time.Now().UnixNano()+int64(time.Millisecond)), feed)
			select {
			case rc = <-done:
			default:
			}
		}
		m.Close()
		<-over
		st := rc.Stats()
		if st.Messages+st.Lost != messages || heard.next != messages || flow == FlowMin && st.Lost > 0 || st.Naks == 0 {
			t.Errorf("flow %d: %+v", flow, st)
		}
		t.Logf("flow %d: %d messages, %d lost in %d gaps, %d NAKs, %d packets again", flow, st.Messages, st.Lost, st.Gaps, st.Naks, s.Stats().Repaired)
	}
}
