package quic

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/transporttest"
)

func TestSessionKeepsTheContract(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) (transport.Session, transport.Session) {
		cfg := calm()
		cfg.StreamsMax = 128
		return pair(t, cfg)
	})
}

func TestPeersAreTakenFromTheVerifiedLeaf(t *testing.T) {
	a, b := pair(t, calm())
	if a.Peer() != domain.Node("h2") || b.Peer() != domain.Service("strategy") || transport.Holder(b) != domain.Node("h1") {
		t.Fatalf("%v %v held by %v", a.Peer(), b.Peer(), transport.Holder(b))
	}
	if b.Class() != transport.ClassOrder || b.Protocol() != "fire-mesh/1" {
		t.Fatalf("%v %q", b.Class(), b.Protocol())
	}
}

func TestRefusedHandshakesHaveTheirReason(t *testing.T) {
	w, stranger := newWorld(t), newWorld(t)
	server, client := endpoint(t, loopback(t), calm()), endpoint(t, loopback(t), calm())
	l, err := server.Listen(w.server(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	dial := func(tc *tls.Config) error {
		_, err := client.Dial(t.Context(), l.Addr().String(), tc, transport.ClassOrder)
		return err
	}
	wantCode(t, "another node than dialled", dial(w.client(t, "strategy", "h1", "h3")), reason.CertWrongPeer)
	wantCode(t, "a server of another CA", dial(stranger.client(t, "strategy", "h1", "h2")), reason.CertUnknownAuthority)

	other := stranger.client(t, "strategy", "h1", "h2")
	other.VerifyConnection = nil // a client that does not look
	err = dial(other)
	wantCode(t, "a client of another CA", err, reason.CertRefused)
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v does not mention the certificate", err)
	}
	w.verifier.SetRevoked(map[id.Principal]bool{domain.Node("h1"): true})
	wantCode(t, "a client on a revoked node", dial(w.client(t, "strategy", "h1", "h2")), reason.CertRefused)
	if st := server.Stats(); st.Accepted != 0 || st.Failed == 0 {
		t.Errorf("%+v", st)
	}
}

func TestUnreachableNamesTheAddress(t *testing.T) {
	w := newWorld(t)
	cfg := calm()
	cfg.HandshakeTimeout = 100 * time.Millisecond
	client := endpoint(t, loopback(t), cfg)
	silent := loopback(t)
	defer silent.Close()
	for _, addr := range []string{silent.LocalAddr().String(), "127.0.0.1", "127.0.0.1:nonsense"} {
		_, err := client.Dial(t.Context(), addr, w.client(t, "s", "h1", "h2"), transport.ClassOrder)
		wantCode(t, addr, err, reason.PeerUnreachable)
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%v does not name %s", err, addr)
		}
	}
}

func TestOneSocketListensAndDials(t *testing.T) {
	w := newWorld(t)
	var listeners [2]*Listener
	var ends [2]*Endpoint
	for i, name := range []string{"h1", "h2"} {
		ends[i] = endpoint(t, loopback(t), calm())
		l, err := ends[i].Listen(w.server(t, name))
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	_, b := connect(t, ends[0], listeners[1], w.client(t, "s", "h1", "h2"))
	_, d := connect(t, ends[1], listeners[0], w.client(t, "s", "h2", "h1"))
	if b.RemoteAddr().String() != listeners[0].Addr().String() || d.RemoteAddr().String() != listeners[1].Addr().String() {
		t.Errorf("%v and %v dialled from another port than they listen on", b.RemoteAddr(), d.RemoteAddr())
	}
}

func TestAStrangerOnTheFirstStreamIsRefused(t *testing.T) {
	w := newWorld(t)
	server, client := endpoint(t, loopback(t), calm()), endpoint(t, loopback(t), calm())
	l, err := server.Listen(w.server(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"GET / HTTP/1.1\r\n\r\n", "FB\x01\x01\x02\x00\x00\x00ABCDEFGH", "FB\x02\x03\x02\x00\x00\x00ABCDEFGH", "FB\x02\x01\x09\x00\x00\x00ABCDEFGH"} {
		to, _ := net.ResolveUDPAddr("udp", l.Addr().String())
		conn, err := client.transport.Dial(t.Context(), to, w.client(t, "s", "h1", "h2"), client.quicConfig(to))
		if err != nil {
			t.Fatal(err)
		}
		st, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		st.Write([]byte(first))
		<-conn.Context().Done()
		err = sessionError(context.Cause(conn.Context()))
		if code := reason.Of(err, 0); code != reason.FrameMalformed && code != reason.FrameVersion {
			t.Errorf("%q: %v", first, err)
		}
	}
	if n := server.Stats().HalfOpen; n != 0 {
		t.Errorf("%d slots are still held", n)
	}
}

func TestCloseTellsPeersAndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	server, client := endpoint(t, loopback(t), calm()), endpoint(t, loopback(t), calm())
	l, err := server.Listen(w.server(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := connect(t, client, l, w.client(t, "s", "h1", "h2"))
	go echo(b)
	st, err := a.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st.Write([]byte("x"))
	if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	_, err = st.Read(make([]byte, 1))
	wantCode(t, "the peer's stream", err, reason.Shutdown)
	<-a.Done() // the streams hear of it first
	wantCode(t, "the peer's session", a.Err(), reason.Shutdown)
	_, err = l.Accept(t.Context())
	wantCode(t, "Accept", err, reason.Shutdown)
	if _, err := server.Listen(nil); err == nil {
		t.Error("a closed endpoint listens")
	}
}

func TestConfigDefaultsPassTheirOwnCheck(t *testing.T) {
	c := Default()
	c.Check(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
	bad := 0
	(&Config{PacketBytes: 1}).Check(func(key, problem string) { bad++ })
	if bad < 7 {
		t.Errorf("%d problems in an empty configuration", bad)
	}
	if _, err := New(nil, Config{}, nil, quiet()); err == nil || !strings.Contains(err.Error(), "quic.heartbeat_interval") {
		t.Errorf("New: %v", err)
	}
}
