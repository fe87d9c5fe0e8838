package proxy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"fire/policy/reason"
)

func TestEchoThroughTwoProxies(t *testing.T) {
	_, h1, h2 := pairOf(t, quick(), echoApp(t))
	c := h1.dial(t, "echo")
	buf := make([]byte, 64)
	for range 100 {
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadFull(c, buf[:4]); err != nil || string(buf[:n]) != "ping" {
			t.Fatalf("%q %v", buf[:n], err)
		}
	}
	for _, h := range []*host{h1, h2} {
		flows := h.proxy.Flows()
		if len(flows) != 1 || flows[0].Src != "strategy" || flows[0].Dst != "echo" || flows[0].BytesOut != 400 || flows[0].BytesIn != 400 {
			t.Errorf("%s: %+v", h.name, flows)
		}
	}
	c.CloseWrite()
	if n, err := c.Read(buf); n != 0 || err != io.EOF {
		t.Fatalf("%d %v", n, err)
	}
	for _, h := range []*host{h1, h2} {
		eventually(t, "the flow is gone from "+h.name, func() bool { return h.proxy.flows.count() == 0 })
		d := h.proxy.Deltas()
		if len(d) != 1 || d[0].Requests != 100 || d[0].BytesOut != 400 || d[0].Opened != 1 || d[0].Closed != 1 || d[0].Errors != 0 ||
			d[0].Latency.Count() != 100 || d[0].Connect.Count() != 1 || !d[0].Secured || d[0].Protocol != "tcp" {
			t.Errorf("%s: %+v", h.name, d)
		}
		if d := h.proxy.Deltas(); len(d) != 0 {
			t.Errorf("%s tells twice: %+v", h.name, d)
		}
	}
}

func TestHalfCloseIsCarriedBothWays(t *testing.T) {
	got := make(chan []byte, 1)
	_, h1, _ := pairOf(t, quick(), app(t, func(c *net.TCPConn) {
		c.Write([]byte("greeting"))
		all, _ := io.ReadAll(c) // until the client's half ends
		got <- all
		c.Write([]byte("answer"))
		c.CloseWrite()
	}))
	c := h1.dial(t, "echo")
	c.Write([]byte("question"))
	c.CloseWrite()
	all, err := io.ReadAll(c)
	if err != nil || string(all) != "greetinganswer" {
		t.Fatalf("%q %v", all, err)
	}
	if q := <-got; string(q) != "question" {
		t.Fatalf("%q", q)
	}
}

func TestServerMayCloseItsHalfFirst(t *testing.T) {
	got := make(chan []byte, 1)
	_, h1, _ := pairOf(t, quick(), app(t, func(c *net.TCPConn) {
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		got <- all
	}))
	c := h1.dial(t, "echo")
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("%d %v", n, err)
	}
	c.Write([]byte("still heard"))
	c.CloseWrite()
	if q := <-got; string(q) != "still heard" {
		t.Fatalf("%q", q)
	}
}

func TestEveryByteArrivesBothWays(t *testing.T) {
	_, h1, _ := pairOf(t, quick(), echoApp(t))
	var all sync.WaitGroup
	for i := range 4 {
		c := h1.dial(t, "echo")
		data := make([]byte, 1<<20+i*977)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		all.Go(func() {
			c.Write(data)
			c.CloseWrite()
		})
		all.Go(func() {
			back, err := io.ReadAll(c)
			if err != nil || sha256.Sum256(back) != sha256.Sum256(data) {
				t.Errorf("%d of %d bytes, %v", len(back), len(data), err)
			}
		})
	}
	all.Wait()
}

// wantReset holds that a client saw a failure and not an end.
func wantReset(t testing.TB, c net.Conn) {
	t.Helper()
	for {
		_, err := c.Read(make([]byte, 4096))
		switch {
		case errors.Is(err, syscall.ECONNRESET):
			return
		case err != nil:
			t.Fatalf("the client sees %v; want a reset", err)
		}
	}
}

// wantRefused connects to an upstream that must not let the client through. On a busy
// machine the reset can come before the client's own connect has returned.
func (h *host) wantRefused(t testing.TB, upstream string) {
	t.Helper()
	c, err := net.Dial("tcp", h.proxy.Listeners()[upstream].String())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	wantReset(t, c)
}

func TestUnreachableAppIsAReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := App{Network: "tcp", Address: l.Addr().String()}
	l.Close()
	_, h1, h2 := pairOf(t, quick(), dead)
	h1.wantRefused(t, "echo")
	h1.refused(t, reason.AppUnreachable)
	h2.refused(t, reason.AppUnreachable)
}

func TestAppResetReachesTheClientAsReset(t *testing.T) {
	_, h1, _ := pairOf(t, quick(), app(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 5))
		c.SetLinger(0)
	}))
	c := h1.dial(t, "echo")
	c.Write([]byte("hello"))
	wantReset(t, c)
	h1.refused(t, reason.AppReset)
}

func TestClientThatLeavesIsNoErrorOfTheEdge(t *testing.T) {
	_, h1, h2 := pairOf(t, quick(), echoApp(t))
	c := h1.dial(t, "echo")
	ping(t, c)
	c.SetLinger(0)
	c.Close()
	for _, h := range []*host{h1, h2} {
		eventually(t, "the flow is gone from "+h.name, func() bool { return h.proxy.flows.count() == 0 })
		d := h.proxy.Deltas()
		if len(d) != 1 || d[0].Errors != 0 || d[0].Reasons["app_reset"] != 1 || len(h.proxy.Refusals()) != 0 {
			t.Errorf("%s: %+v %+v", h.name, d, h.proxy.Refusals())
		}
	}
}

func TestKilledPeerResetsItsFlows(t *testing.T) {
	_, h1, h2 := pairOf(t, quick(), echoApp(t))
	c := h1.dial(t, "echo")
	c.Write([]byte("x"))
	io.ReadFull(c, make([]byte, 1))
	h2.endpoint.Close()
	wantReset(t, c)
	h1.refused(t, reason.Shutdown)
	eventually(t, "the flow is gone", func() bool { return h1.proxy.flows.count() == 0 })
}

func TestManyConnectionsAtOnce(t *testing.T) {
	_, h1, h2 := pairOf(t, quick(), echoApp(t))
	const clients = 2000
	conns := make([]*net.TCPConn, clients)
	var all sync.WaitGroup
	gate := make(chan struct{}, 64)
	for i := range conns {
		all.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			c := h1.dial(t, "echo")
			conns[i] = c
			msg := bytes.Repeat([]byte{byte(i)}, 100)
			back := make([]byte, 100)
			c.Write(msg)
			if _, err := io.ReadFull(c, back); err != nil || !bytes.Equal(msg, back) {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if n := h1.proxy.flows.count(); n != clients {
		t.Errorf("%d flows are live, want %d", n, clients)
	}
	if n := len(h1.proxy.Sessions()); n != 1 {
		t.Errorf("%d sessions carry them, want 1", n)
	}
	for _, c := range conns {
		c.CloseWrite()
	}
	for _, h := range []*host{h1, h2} {
		eventually(t, "all flows are gone from "+h.name, func() bool { return h.proxy.flows.count() == 0 })
	}
}
