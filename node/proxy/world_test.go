package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport/meter"
	"fire/transport/quic"
)

var domain = id.Domain{Region: "eu", Mesh: "floor"}

// mesh is a floor of proxies in one process: real UDP, real certificates, and a
// catalogue that the test changes at will.
type mesh struct {
	t         testing.TB
	authority *pki.Authority
	state     *catalog.State
	board     *board
	hosts     map[string]*host
}

// board is the catalogue of all proxies.
type board struct {
	mu          sync.Mutex
	view        *catalog.View
	subscribers []chan struct{}
}

func (b *board) View() *catalog.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.view
}

func (b *board) Subscribe() (<-chan struct{}, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{}, 1)
	b.subscribers = append(b.subscribers, c)
	return c, func() {}
}

func (b *board) publish(v *catalog.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view = v
	for _, c := range b.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// host is one node with its proxy.
type host struct {
	name     string
	endpoint *quic.Endpoint
	listener *quic.Listener
	verifier *pki.Verifier
	keys     map[id.Principal]*pki.Identity
	proxy    *Proxy
	page     *meter.Page
	audit    Audit
	stop     func()
}

func (h *host) Identity(p id.Principal) *pki.Identity { return h.keys[p] }

func newMesh(t testing.TB) *mesh {
	t.Helper()
	a, err := pki.OpenAuthority(filepath.Join(t.TempDir(), "ca"), domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{t: t, authority: a, hosts: map[string]*host{}, board: &board{}}
	m.state = &catalog.State{Domain: domain, Version: 1, Services: map[string]catalog.Service{}, Rules: map[string]policy.Rule{},
		Nodes: map[string]catalog.Node{}, Endpoints: map[string]catalog.Endpoint{}, Revoked: map[string]catalog.Revocation{}, Bundle: a.Bundle()}
	return m
}

// host opens the socket of a node; its proxy comes with run.
func (m *mesh) host(name string) *host {
	m.t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		m.t.Fatal(err)
	}
	cfg := quic.Default()
	cfg.HeartbeatMisses = 20 // a busy test machine is no dead peer
	e, err := quic.New(pc, cfg, nil, silentLog())
	if err != nil {
		m.t.Fatal(err)
	}
	h := &host{name: name, endpoint: e, verifier: pki.NewVerifier(time.Now), keys: map[id.Principal]*pki.Identity{}}
	if err := h.verifier.SetBundle(m.authority.Bundle()); err != nil {
		m.t.Fatal(err)
	}
	m.hosts[name] = h
	m.key(h, domain.Node(name))
	m.state.Nodes[name] = catalog.Node{Addr: pc.LocalAddr().String(), Linked: true}
	return h
}

func (m *mesh) key(h *host, p id.Principal) {
	m.t.Helper()
	i, err := pki.NewKey(p)
	if err == nil {
		var chain [][]byte
		if chain, err = m.authority.IssueHeld(i.CSR(), p, domain.Node(h.name)); err == nil {
			err = i.Install(chain)
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
	h.keys[p] = i
}

// service declares a service and gives its keys to the hosts it is placed on.
func (m *mesh) service(name string, protocol catalog.Transport, on ...*host) {
	s := catalog.Service{Protocol: protocol, Port: 9000, Balance: catalog.RoundRobin, Class: catalog.Order, EjectAfter: 5,
		EjectFor: catalog.Duration(time.Second), EjectMax: catalog.Duration(time.Minute)}
	for _, h := range on {
		s.Nodes = append(s.Nodes, h.name)
		m.key(h, domain.Service(name))
	}
	m.state.Services[name] = s
}

func (m *mesh) endpointOf(service string, h *host) {
	m.state.Endpoints[catalog.EndpointKey(service, h.name)] = catalog.Endpoint{Service: service, Node: h.name, Epoch: 1, Linked: true, Healthy: true, Weight: 1}
}

func (m *mesh) allow(from, to string) {
	m.state.Rules[from+"-"+to] = policy.Rule{Action: policy.Allow, From: []string{from}, To: []string{to}}
}

// publish gives the state to all proxies, as the next version.
func (m *mesh) publish() {
	m.t.Helper()
	m.state.Version++
	s := *m.state
	s.Services, s.Rules, s.Nodes = clone(s.Services), clone(s.Rules), clone(s.Nodes)
	s.Endpoints, s.Revoked = clone(s.Endpoints), clone(s.Revoked)
	v, err := catalog.Compile(&s)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, h := range m.hosts {
		h.verifier.SetRevoked(v.RevokedSet())
	}
	m.board.publish(v)
}

func clone[V any](m map[string]V) map[string]V {
	out := map[string]V{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// run starts a host's proxy.
func (m *mesh) run(h *host, cfg Config, upstreams map[string]Upstream, apps map[string]App) {
	m.t.Helper()
	var err error
	if h.page, err = meter.Create("", 64); err != nil {
		m.t.Fatal(err)
	}
	h.proxy, err = New(cfg, upstreams, Deps{Domain: domain, Node: h.name, Catalogue: m.board, Identities: h, Verifier: h.verifier,
		Dialer: h.endpoint, Meter: h.page, Apps: apps, Audit: h.audit, Log: silentLog()})
	if err != nil {
		m.t.Fatal(err)
	}
	tc := h.proxy.ServerTLS()
	if h.listener, err = h.endpoint.Listen(func([]string) *tls.Config { return tc }); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	started := make(chan struct{})
	parts.Go(func() { close(started); h.proxy.Run(ctx) })
	parts.Go(func() {
		for {
			s, err := h.listener.Accept(ctx)
			if err != nil {
				return
			}
			h.proxy.ServeSession(s)
		}
	})
	<-started
	h.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
		h.endpoint.Close()
		h.page.Close()
	})
	m.t.Cleanup(h.stop)
	eventually(m.t, "the proxy runs", func() bool {
		h.proxy.served.mu.Lock()
		defer h.proxy.served.mu.Unlock()
		return h.proxy.served.proxy != nil
	})
}

func silentLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// quick are bounds that a test can wait for.
func quick() Config {
	c := Default()
	c.DrainTimeout = 0
	return c
}

// app is a local application: serve is called for each connection.
func app(t testing.TB, serve func(c *net.TCPConn)) App {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { c.Close() })
				defer stop()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return App{Network: "tcp", Address: l.Addr().String()}
}

func echoApp(t testing.TB) App {
	return app(t, func(c *net.TCPConn) {
		io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		c.CloseWrite()
	})
}

// pairOf is the usual floor: strategy on h1 calls echo on h2.
func pairOf(t testing.TB, cfg Config, a App) (*mesh, *host, *host) {
	t.Helper()
	m := newMesh(t)
	h1, h2 := m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.publish()
	m.run(h2, cfg, nil, map[string]App{"echo": a})
	m.run(h1, cfg, map[string]Upstream{"echo": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"}}, nil)
	return m, h1, h2
}

func (h *host) dial(t testing.TB, upstream string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", h.proxy.Listeners()[upstream].String())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// eventually waits for a fact that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never came true: %s", what)
}

// refused waits until a proxy remembers a refusal with that code.
func (h *host) refused(t testing.TB, code reason.Code) {
	t.Helper()
	eventually(t, h.name+" remembers "+code.String(), func() bool {
		for _, r := range h.proxy.Refusals() {
			if r.Reason == code.String() {
				return true
			}
		}
		return false
	})
}
