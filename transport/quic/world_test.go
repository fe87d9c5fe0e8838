package quic

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var domain = id.Domain{Region: "eu", Mesh: "floor"}

// world is a CA and what two hosts hold of it.
type world struct {
	authority *pki.Authority
	verifier  *pki.Verifier
}

func newWorld(t testing.TB) *world {
	t.Helper()
	a, err := pki.OpenAuthority(filepath.Join(t.TempDir(), "ca"), domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	v := pki.NewVerifier(time.Now)
	if err := v.SetBundle(a.Bundle()); err != nil {
		t.Fatal(err)
	}
	return &world{authority: a, verifier: v}
}

func (w *world) identity(t testing.TB, p, holder id.Principal) *pki.Identity {
	t.Helper()
	i, err := pki.NewKey(p)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := w.authority.IssueHeld(i.CSR(), p, holder)
	if err == nil {
		err = i.Install(chain)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (w *world) server(t testing.TB, node string) func([]string) *tls.Config {
	n := domain.Node(node)
	c := pki.ServerConfig(w.identity(t, n, n).Certificate, w.verifier, pki.Want{Kinds: []id.Kind{id.KindService}}, pki.ALPNMesh)
	return func([]string) *tls.Config { return c }
}

func (w *world) client(t testing.TB, service, on, wantNode string) *tls.Config {
	i := w.identity(t, domain.Service(service), domain.Node(on))
	return pki.ClientConfig(i.Certificate, w.verifier, pki.Want{Exactly: domain.Node(wantNode)}, pki.ALPNMesh)
}

func loopback(t testing.TB) net.PacketConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

func endpoint(t testing.TB, pc net.PacketConn, cfg Config) *Endpoint {
	t.Helper()
	e, err := New(pc, cfg, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// calm has heartbeats that a busy test machine cannot miss.
func calm() Config {
	c := Default()
	c.HeartbeatInterval, c.HeartbeatMisses = time.Second, 20
	return c
}

// pair is one session over real sockets.
func pair(t testing.TB, cfg Config) (a, b transport.Session) {
	t.Helper()
	w := newWorld(t)
	server, client := endpoint(t, loopback(t), cfg), endpoint(t, loopback(t), cfg)
	l, err := server.Listen(w.server(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, client, l, w.client(t, "strategy", "h1", "h2"))
}

func connect(t testing.TB, client *Endpoint, l *Listener, tc *tls.Config) (a, b transport.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := client.Dial(ctx, l.Addr().String(), tc, transport.ClassOrder)
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// echo answers everything on every stream until the session ends.
func echo(s transport.Session) {
	for {
		st, err := s.Accept(context.Background())
		if err != nil {
			return
		}
		go func() {
			io.Copy(struct{ io.Writer }{st}, struct{ io.Reader }{st})
			st.CloseWrite()
		}()
	}
}

func wantCode(t testing.TB, what string, err error, want reason.Code) {
	t.Helper()
	if got := reason.Of(err, reason.OK); err == nil || got != want {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}
