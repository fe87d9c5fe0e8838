package quic

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fire/policy/reason"
	"fire/transport"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// cable is a network that can be cut.
type cable struct {
	simnet.PerfectRouter
	cut atomic.Bool
}

func (c *cable) SendPacket(p simnet.Packet) error {
	if c.cut.Load() {
		return nil
	}
	return c.PerfectRouter.SendPacket(p)
}

// overCable runs test in virtual time with one session over a link of 10 ms.
func overCable(t *testing.T, test func(t *testing.T, c *cable, a, b transport.Session)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := &cable{}
		net0 := &simnet.Simnet{Router: c}
		link := simnet.NodeBiDiLinkSettings{Latency: 5 * time.Millisecond}
		one := net0.NewEndpoint(&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7443}, link)
		two := net0.NewEndpoint(&net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 7443}, link)
		if err := net0.Start(); err != nil {
			t.Fatal(err)
		}
		defer net0.Close()
		client, err := New(one, Default(), nil, quiet())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := New(two, Default(), nil, quiet())
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		l, err := server.Listen(w.server(t, "h2"))
		if err != nil {
			t.Fatal(err)
		}
		a, b := connect(t, client, l, w.client(t, "strategy", "h1", "h2"))
		test(t, c, a, b)
	})
}

func TestVanishedPeerIsLostWithinAMultipleOfTheInterval(t *testing.T) {
	overCable(t, func(t *testing.T, c *cable, a, b transport.Session) {
		st, err := a.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // an idle session lives
		if a.Err() != nil || b.Err() != nil {
			t.Fatalf("idle: %v, %v", a.Err(), b.Err())
		}
		c.cut.Store(true)
		gone := time.Now()
		for side, s := range map[string]transport.Session{"dialler": a, "acceptor": b} {
			<-s.Done()
			if took := time.Since(gone); took > time.Second {
				t.Errorf("%s noticed after %v", side, took)
			}
			wantCode(t, side, s.Err(), reason.PeerLost)
		}
		if took := time.Since(gone); took < 500*time.Millisecond {
			t.Errorf("lost after %v already", took)
		}
		_, err = st.Read(make([]byte, 1))
		wantCode(t, "a stream's Read", err, reason.PeerLost)
	})
}

func TestShortCutIsSurvived(t *testing.T) {
	overCable(t, func(t *testing.T, c *cable, a, b transport.Session) {
		go echo(b)
		st, err := a.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			c.cut.Store(true)
			st.Write([]byte("x"))
			time.Sleep(300 * time.Millisecond)
			c.cut.Store(false)
			if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if a.Err() != nil || b.Err() != nil {
			t.Fatalf("%v, %v", a.Err(), b.Err())
		}
		if rtt := a.RTT(); rtt < 10*time.Millisecond || rtt > 60*time.Millisecond {
			t.Errorf("heartbeats say %v for a link of 10 ms", rtt)
		}
	})
}

// Readers that take nothing fill the window of the whole session. That is for the proxies
// to end; the session, which others use, must not be taken for dead.
func TestFullWindowDoesNotSilenceTheHeart(t *testing.T) {
	overCable(t, func(t *testing.T, _ *cable, a, b transport.Session) {
		window := Default().SessionWindowMaxBytes
		chunk := make([]byte, 1<<20)
		sent := 0
		for stalled := 0; sent < window && stalled < 8; {
			st, err := a.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			st.SetWriteDeadline(time.Now().Add(2 * time.Second))
			n, err := st.Write(chunk)
			sent += n
			if err != nil {
				stalled++
			}
		}
		st, err := a.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		st.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := st.Write(chunk); err == nil {
			t.Fatalf("%d and %d bytes unread, and still there is room", sent, n)
		}
		time.Sleep(time.Minute)
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("dialler: %v; acceptor: %v", a.Err(), b.Err())
		}
	})
}
