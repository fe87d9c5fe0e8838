package control

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/quic"
)

// socket is an endpoint on loopback whose wire can be cut without a word.
type socket struct {
	*quic.Endpoint
	wire *cuttable
	addr string
}

// cuttable drops everything once it is cut, as a host without power does.
type cuttable struct {
	net.PacketConn
	mu  sync.Mutex
	cut bool
}

func (c *cuttable) WriteTo(b []byte, to net.Addr) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

func newSocket(t testing.TB, beat time.Duration) *socket {
	t.Helper()
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // a wrapped socket cannot be tuned
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := quic.Default()
	cfg.HeartbeatInterval = beat
	wire := &cuttable{PacketConn: pc}
	e, err := quic.New(wire, cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return &socket{e, wire, pc.LocalAddr().String()}
}

// overQUIC is a control behind a real socket.
func overQUIC(t testing.TB, beat time.Duration) (*world, string) {
	t.Helper()
	w := startWorld(t, t.TempDir()+"/control", newTestDisk())
	s := newSocket(t, beat)
	l, err := s.Listen(w.c.TLS)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var pumping sync.WaitGroup
	pumping.Go(func() {
		for {
			session, err := l.Accept(ctx)
			if err != nil {
				return
			}
			select {
			case w.sessions <- session:
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { cancel(); pumping.Wait() })
	return w, s.addr
}

// host is a machine with its own socket, keys and trust.
type host struct {
	*socket
	t        testing.TB
	w        *world
	control  string
	name     string
	key      *pki.Identity
	verifier *pki.Verifier
	bundle   pki.Bundle
}

// joined takes a new host through the join over the wire.
func joined(t testing.TB, w *world, control, name string, beat time.Duration) *host {
	t.Helper()
	h := &host{socket: newSocket(t, beat), t: t, w: w, control: control, name: name, key: newKey(t, domain.Node(name)), verifier: pki.NewVerifier(time.Now)}
	token := w.token("")
	a, err := h.join(token)
	if err != nil {
		t.Fatal(err)
	}
	h.bundle = a.Bundle
	if err := first(h.key.Install(a.Chain), h.verifier.SetBundle(a.Bundle)); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) join(token *pki.Token) (a catalog.JoinAnswer, err error) {
	s, err := h.Dial(h.t.Context(), h.control, pki.JoinClientConfig(token.Pin, token.Domain, time.Now), transport.ClassControl)
	if err != nil {
		return a, err
	}
	defer s.Close(reason.OK, "")
	stream, err := s.Open(h.t.Context())
	if err != nil {
		return a, err
	}
	r := catalog.JoinRequest{TokenID: token.ID, Secret: token.Secret, Node: h.name, CSR: h.key.CSR(), Addr: h.addr}
	if err := catalog.WriteMessage(stream, catalog.JoinBytesMax, &r); err != nil {
		return a, err
	}
	if err := catalog.ReadMessage(stream, catalog.JoinBytesMax, &a); err != nil {
		return a, err
	}
	if a.Refuse != nil {
		return a, a.Refuse.Err()
	}
	return a, nil
}

// joinUntilAnswered tries again while control only says that it has too much to do.
func (h *host) joinUntilAnswered(token *pki.Token) reason.Code {
	for tries := 0; ; tries++ {
		_, err := h.join(token)
		switch code := reason.Of(err, reason.OK); code {
		case reason.HandshakeFlood, reason.PeerUnreachable, reason.TooManyConnections, reason.ConnectTimeout, reason.PeerLost, reason.PeerClosed:
			if tries < 50 {
				continue
			}
			return code
		default:
			return code
		}
	}
}

func (h *host) tls(cert func() *tls.Certificate) *tls.Config {
	return pki.ClientConfig(cert, h.verifier, pki.Want{Kinds: []id.Kind{id.KindControl}}, pki.ALPNControl)
}

// link says hello and follows the catalogue.
func (h *host) link(claims ...catalog.Claim) *testNode {
	h.t.Helper()
	s, err := h.Dial(h.t.Context(), h.control, h.tls(h.key.Certificate), transport.ClassControl)
	if err != nil {
		h.t.Fatal(err)
	}
	n := &testNode{t: h.t, name: h.name, session: s, bundle: h.bundle, ended: make(chan struct{})}
	if n.stream, err = s.Open(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	n.say(catalog.NodeMessage{Hello: &catalog.Hello{Protocol: 1, Addr: h.addr, Release: "test", Claims: claims, Time: time.Now(), NotAfter: h.key.NotAfter()}})
	go n.read()
	h.t.Cleanup(func() { s.Close(reason.OK, ""); <-n.ended })
	return n
}

// until waits for a condition that the other side brings about.
func until(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !ok() {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begun)
}

func TestHostsJoinLinkAndSeeEachOtherOverQUIC(t *testing.T) {
	w, addr := overQUIC(t, time.Second)
	one, two := joined(t, w, addr, "h1", time.Second), joined(t, w, addr, "h2", time.Second)
	w.apply(testFloor2)
	a, b := one.link(healthy("orders")), two.link(healthy("risk"))
	until(t, "both see both endpoints", func() bool {
		return len(a.view().Endpoints) == 2 && len(b.view().Endpoints) == 2
	})
	key := newKey(t, domain.Service("orders"))
	answer := a.request(catalog.Request{Issue: &catalog.IssueRequest{Principal: key.Principal(), CSR: key.CSR()}})
	if answer.Issue == nil || key.Install(answer.Issue.Chain) != nil {
		t.Fatalf("issue: %+v", answer.Refuse)
	}
	// The key of a service, which lies on the same host, is no key to control.
	_, err := one.Dial(t.Context(), addr, one.tls(key.Certificate), transport.ClassControl)
	wantCode(t, err, reason.CertRefused) // the dialler is not told more; the accepting side's log is
	_, err = one.Dial(t.Context(), addr, one.tls(func() *tls.Certificate { return nil }), transport.ClassControl)
	if err == nil {
		t.Fatal("a node without a certificate was let in")
	}
	r, err := w.c.Apply(t.Context(), admin.ApplyRequest{Text: testFloor2 + "[policy.more]\nfrom = [\"*\"]\nto = [\"*\"]\n"})
	if err != nil || len(r.Nodes) != 2 || !r.Nodes[0].Applied || !r.Nodes[1].Applied {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "node/h1"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the revoked node's session ends", func() bool { return a.session.Err() != nil })
	wantCode(t, a.session.Err(), reason.IdentityRevoked)
	_, err = one.Dial(t.Context(), addr, one.tls(one.key.Certificate), transport.ClassControl)
	wantCode(t, err, reason.CertRefused)
	if b.session.Err() != nil {
		t.Fatal("another node's session was cut")
	}
}

const testFloor2 = `
[service.orders]
port = 9001
nodes = ["h1"]
[service.risk]
port = 8080
nodes = ["h2"]
`

func TestLostHostIsSetAsideWithinItsMissedHeartbeats(t *testing.T) {
	const beat = 100 * time.Millisecond
	w, addr := overQUIC(t, beat)
	one, two := joined(t, w, addr, "h1", beat), joined(t, w, addr, "h2", beat)
	w.apply(testFloor2)
	one.link(healthy("orders"))
	b := two.link()
	until(t, "h2 sees the endpoint", func() bool { return b.view().Endpoints["orders@h1"].Linked })
	one.wire.mu.Lock()
	one.wire.cut = true
	one.wire.mu.Unlock()
	took := until(t, "h2 hears that h1 is lost", func() bool { return !b.view().Endpoints["orders@h1"].Linked })
	// Four misses; a busy machine gets as much again.
	if ratio := float64(took) / float64(beat); ratio > 8 {
		t.Fatalf("it took %.1f heartbeats", ratio)
	}
	if _, ok := b.view().Endpoints["orders@h1"]; !ok {
		t.Fatal("the lease ended with the session")
	}
}

func TestOneTokenAdmitsOneHostOfAThousandOverQUIC(t *testing.T) {
	w, addr := overQUIC(t, time.Second)
	token := w.token("")
	h := &host{socket: newSocket(t, time.Second), t: t, w: w, control: addr}
	var joiners sync.WaitGroup
	var mu sync.Mutex
	outcome := map[string]int{}
	for range 1000 {
		joiners.Go(func() {
			own := *h
			own.name, own.key = "h1", newKey(t, domain.Node("h1"))
			code := own.joinUntilAnswered(token)
			mu.Lock()
			defer mu.Unlock()
			outcome[code.String()]++
		})
	}
	joiners.Wait()
	// On a machine that starves, the winner's answer may be lost with its session: then
	// nobody else may have it either.
	if outcome["ok"] > 1 || outcome["ok"]+outcome["token_used"] != 1000 {
		t.Fatalf("outcomes %v", outcome)
	}
	if n := len(w.c.View().State.Nodes); n != 1 {
		t.Fatalf("%d hosts are members", n)
	}
	wrong := *token
	wrong.Pin[0] ^= 1
	_, err := h.join(&wrong)
	wantCode(t, err, reason.PinMismatch)
}
