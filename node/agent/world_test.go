package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
)

var eu = id.Domain{Region: "eu", Mesh: "floor"}

// world is a small control: the real Directory, Authority and TokenBook behind
// sessions in memory that had a real TLS handshake.
type world struct {
	t         testing.TB
	authority *pki.Authority
	book      *pki.TokenBook
	identity  *pki.Identity
	verifier  *pki.Verifier
	serving   sync.WaitGroup
	quit      chan struct{}

	mu       sync.Mutex
	dir      *catalog.Directory
	signed   *catalog.Signed
	links    map[*fakeLink]bool
	down     map[string]bool // addresses that do not answer
	dials    []dialled
	heard    []catalog.NodeMessage
	requests int
	spoil    func(*catalog.Signed) *catalog.Signed // applied to what is sent
	skew     time.Duration
	spoilIn  func(*catalog.JoinAnswer) // applied to the answer of a join
	deaf     bool                      // reads nothing after the welcome
	pace     time.Duration             // how often leases are renewed; days pass sooner with a slow one
}

type dialled struct {
	addr string
	at   time.Time
}

type fakeLink struct {
	node    string
	number  uint64
	session transport.Session
	stream  transport.Stream
	base    *catalog.State
	out     chan catalog.ControlMessage
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB) *world { return newWorldPaced(t, time.Second) }

func newWorldPaced(t testing.TB, pace time.Duration) *world {
	t.Helper()
	limits := catalog.DefaultLimits()
	limits.Lease = 3 * pace
	w := &world{t: t, pace: pace, links: map[*fakeLink]bool{}, down: map[string]bool{}, quit: make(chan struct{}), dir: catalog.NewDirectory(eu, limits)}
	var err error
	w.authority, err = pki.OpenAuthority(filepath.Join(t.TempDir(), "ca"), eu, time.Now)
	must(t, err)
	w.book, err = pki.OpenTokenBook(nil, func([]byte) error { return nil })
	must(t, err)
	w.verifier = pki.NewVerifier(time.Now)
	must(t, w.verifier.SetBundle(w.authority.Bundle()))
	w.identity, err = pki.NewKey(eu.Control("c1"))
	must(t, err)
	w.renewOwn()
	w.dir.Reserve()
	w.dir.SetBundle(w.authority.Bundle())
	w.floor(map[string]catalog.Service{"orders": placed("h1"), "risk": placed("h1", "h2")})
	w.serving.Go(w.expire)
	t.Cleanup(w.stop)
	return w
}

func placed(nodes ...string) catalog.Service {
	s := catalog.DefaultService()
	s.Port, s.Nodes = 9000, nodes
	return s
}

func (w *world) stop() {
	w.mu.Lock()
	select {
	case <-w.quit:
	default:
		close(w.quit)
	}
	for l := range w.links {
		l.session.Close(reason.Shutdown, "")
	}
	w.mu.Unlock()
	w.serving.Wait()
}

func (w *world) renewOwn() {
	chain, err := w.authority.Issue(w.identity.CSR(), w.identity.Principal())
	must(w.t, err)
	must(w.t, w.identity.Install(chain))
}

func (w *world) token(node string) *pki.Token {
	w.t.Helper()
	pin, err := w.authority.Bundle().PinBytes()
	must(w.t, err)
	tok, err := w.book.Mint(pki.Mint{Pin: pin, Domain: eu, Controls: []string{"c1:7400"}, Node: node, Life: time.Hour}, time.Now())
	must(w.t, err)
	return tok
}

// floor applies services with one allow-all rule.
func (w *world) floor(services map[string]catalog.Service) {
	w.t.Helper()
	w.change(func(d *catalog.Directory) error {
		_, _, err := d.ApplyFloor(catalog.Floor{Services: services}, "test", "", time.Now())
		return err
	})
}

// change alters the directory and publishes.
func (w *world) change(f func(*catalog.Directory) error) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	must(w.t, f(w.dir))
	w.publish()
}

// publish signs what changed and sends it to all links. The caller holds mu.
func (w *world) publish() {
	if w.dir.Low() {
		w.dir.Reserve()
	}
	state := w.dir.State()
	if w.signed != nil && w.signed.State == state {
		return
	}
	w.signed = catalog.Sign(state, time.Now(), w.authority.SignHead)
	for l := range w.links {
		w.offer(l, l.base != nil)
	}
}

func (w *world) offer(l *fakeLink, delta bool) {
	m := catalog.ControlMessage{Snapshot: w.signed}
	if delta {
		m = catalog.ControlMessage{Delta: w.signed.AsDelta(l.base)}
	}
	if w.spoil != nil {
		if m.Snapshot != nil {
			m.Snapshot = w.spoil(m.Snapshot)
		} else {
			m.Delta = w.spoil(m.Delta)
		}
	}
	l.base = w.signed.State
	l.out <- m
}

func (w *world) expire() {
	tick := time.NewTicker(w.pace / 20)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
			w.mu.Lock()
			w.dir.Expire(time.Now())
			w.publish()
			w.mu.Unlock()
		}
	}
}

// Dial is the agent's Dialer.
func (w *world) Dial(ctx context.Context, addr string, tc *tls.Config, class transport.Class) (transport.Session, error) {
	w.mu.Lock()
	w.dials = append(w.dials, dialled{addr, time.Now()})
	down := w.down[addr]
	w.mu.Unlock()
	if down {
		return nil, reason.New(reason.PeerUnreachable, "%s does not answer", addr)
	}
	alpn := tc.NextProtos[0]
	sc := pki.ServerConfig(w.identity.Certificate, w.verifier, pki.Want{Kinds: []id.Kind{id.KindNode}}, pki.ALPNControl)
	if alpn == pki.ALPNJoin {
		sc = pki.JoinServerConfig(w.identity.Certificate, w.authority)
	}
	peer, err := shake(sc, tc)
	if err != nil {
		return nil, err
	}
	client, server := transport.Pipe(alpn, class, transport.PipeEnd{Who: peer}, transport.PipeEnd{Who: w.identity.Principal()})
	w.serving.Go(func() { w.serve(server) })
	return client, nil
}

// shake does a TLS handshake in memory and returns whom the server met.
func shake(server, client *tls.Config) (peer id.Principal, err error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	met := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		met <- err
		if err != nil {
			a.Close()
		}
	}()
	cerr := c.Handshake()
	if cerr == nil {
		_, cerr = c.Read(make([]byte, 1))
	}
	b.Close()
	serr := <-met
	if e, ok := errors.AsType[*reason.Error](cerr); ok {
		return peer, e
	}
	if serr != nil {
		return peer, serr
	}
	if cerr == nil && server.ClientAuth != tls.NoClientCert {
		peer, cerr = pki.PeerOf(s.ConnectionState())
	}
	return peer, cerr
}

func (w *world) serve(s transport.Session) {
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		st, err := s.Accept(context.Background())
		if err != nil {
			return
		}
		streams.Go(func() {
			if s.Protocol() == pki.ALPNJoin {
				w.join(st)
			} else {
				w.control(s, st)
			}
		})
	}
}

func (w *world) join(st transport.Stream) {
	var q catalog.JoinRequest
	if catalog.ReadMessage(st, catalog.JoinBytesMax, &q) != nil || q.Check() != nil {
		st.Cancel(reason.FrameMalformed)
		return
	}
	answer := catalog.JoinAnswer{Node: q.Node, Bundle: w.authority.Bundle(), Controls: []string{"c1:7400", "c2:7400"}}
	err := w.book.RedeemFor(q.TokenID, q.Secret, q.Node, time.Now())
	if err == nil {
		answer.Chain, err = w.authority.Issue(q.CSR, eu.Node(q.Node))
	}
	if err == nil {
		w.mu.Lock()
		_, err = w.dir.Join(q.Node, q.Addr, true, time.Now())
		w.publish()
		w.mu.Unlock()
	}
	if err != nil {
		answer = catalog.JoinAnswer{Refuse: catalog.Refused(err, reason.NotPermitted)}
	}
	if w.spoilIn != nil {
		w.spoilIn(&answer)
	}
	_ = catalog.WriteMessage(st, catalog.JoinBytesMax, answer)
	_ = st.CloseWrite()
}

func (w *world) control(s transport.Session, st transport.Stream) {
	var o catalog.Opening
	if err := catalog.ReadMessage(st, catalog.ToControlBytesMax, &o); err != nil {
		st.Cancel(reason.FrameMalformed)
		return
	}
	if err := o.Check(); err != nil {
		w.t.Errorf("the agent sent what control refuses: %v", err)
	}
	if o.Hello == nil {
		w.answer(s, st, o.Request)
		return
	}
	w.watch(s, st, o.Hello)
}

func (w *world) answer(s transport.Session, st transport.Stream, q catalog.Request) {
	var a catalog.Answer
	w.mu.Lock()
	w.requests++
	if q.Issue != nil {
		node, p := s.Peer(), q.Issue.Principal
		if p != node && !w.dir.State().Placed(p.Name, node.Name) {
			a.Refuse = &catalog.Refuse{Code: reason.NotPlaced, Detail: p.String()}
		} else if chain, err := w.authority.IssueHeld(q.Issue.CSR, p, node); err != nil {
			a.Refuse = catalog.Refused(err, reason.NotPermitted)
		} else {
			a.Issue = &catalog.IssueAnswer{Chain: chain, Bundle: w.authority.Bundle()}
		}
	} else {
		body, _ := json.Marshal(q.Inspect.Path + "?" + q.Inspect.Query)
		a.Inspect = &catalog.InspectAnswer{Status: 200, Body: body}
	}
	w.mu.Unlock()
	_ = catalog.WriteMessage(st, catalog.ToNodeBytesMax, a)
	_ = st.CloseWrite()
}

func (w *world) watch(s transport.Session, st transport.Stream, h *catalog.Hello) {
	l := &fakeLink{node: s.Peer().Name, session: s, stream: st, out: make(chan catalog.ControlMessage, 4096)}
	w.mu.Lock()
	w.heard = append(w.heard, catalog.NodeMessage{Hello: h})
	var err error
	if l.number, _, err = w.dir.Link(l.node, h, time.Now()); err != nil {
		w.mu.Unlock()
		_ = catalog.WriteMessage(st, catalog.ToNodeBytesMax, catalog.ControlMessage{Refuse: catalog.Refused(err, reason.NotPermitted)})
		_ = st.CloseWrite()
		return
	}
	l.out <- catalog.ControlMessage{Welcome: &catalog.Welcome{Protocol: 1, Control: "c1", Time: time.Now().Add(w.skew),
		LeaseFor: catalog.Duration(3 * w.pace), RenewEvery: catalog.Duration(w.pace), ReportEvery: catalog.Duration(w.pace / 4)}}
	for _, c := range h.Claims {
		w.register(l, c)
	}
	if h.Have == w.signed.Head() {
		l.base = w.signed.State
	} else {
		w.offer(l, false)
	}
	w.links[l] = true
	w.publish()
	deaf := w.deaf
	w.mu.Unlock()

	over := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case m := <-l.out:
				if catalog.WriteMessage(st, catalog.ToNodeBytesMax, m) != nil {
					return
				}
			case <-over:
				return
			}
		}
	})
	if deaf {
		<-s.Done()
	}
	for {
		var m catalog.NodeMessage
		if err := catalog.ReadMessage(st, catalog.ToControlBytesMax, &m); err != nil {
			break
		}
		if err := m.Check(); err != nil {
			w.t.Errorf("the agent sent what control refuses: %v", err)
		}
		w.hear(l, &m)
	}
	w.mu.Lock()
	delete(w.links, l)
	w.dir.Unlink(l.node, l.number, reason.PeerClosed, time.Now())
	w.publish()
	w.mu.Unlock()
	s.Close(reason.PeerClosed, "")
	close(over)
	sending.Wait()
}

func (w *world) register(l *fakeLink, c catalog.Claim) {
	g, _, err := w.dir.Register(l.node, l.number, c, time.Now())
	if err != nil {
		w.refuse(l, c.Service, err)
		return
	}
	l.out <- catalog.ControlMessage{Grant: &g}
}

func (w *world) refuse(l *fakeLink, service string, err error) {
	if err != nil {
		r := catalog.Refused(err, reason.NotPermitted)
		r.Service = service
		l.out <- catalog.ControlMessage{Refuse: r}
	}
}

func (w *world) hear(l *fakeLink, m *catalog.NodeMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, *m)
	now := time.Now()
	switch {
	case m.Register != nil:
		w.register(l, *m.Register)
	case m.Renew != nil:
		stale, _ := w.dir.Renew(l.node, l.number, m.Renew.Leases, now)
		for _, s := range stale {
			l.out <- catalog.ControlMessage{Refuse: &s}
		}
	case m.Health != nil:
		_, err := w.dir.Health(l.node, l.number, *m.Health, now)
		w.refuse(l, m.Health.Service, err)
	case m.Withdraw != nil:
		_, err := w.dir.Withdraw(l.node, l.number, *m.Withdraw, now)
		w.refuse(l, m.Withdraw.Service, err)
	case m.Drain != nil:
		_, err := w.dir.DrainSelf(l.node, l.number, *m.Drain, now)
		w.refuse(l, m.Drain.Service, err)
	case m.Resync != nil:
		l.base = nil
		w.offer(l, false)
	}
	w.publish()
}

// cut ends every link, as a restart of control does.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.links {
		l.session.Close(reason.PeerLost, "cut by the test")
	}
}

// asked is how many requests control has answered.
func (w *world) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

func (w *world) setDown(down bool, addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addrs {
		w.down[a] = down
	}
}

func (w *world) tell(m catalog.ControlMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.links {
		l.out <- m
	}
}

// heard returns what pick finds in the messages heard so far.
func heard[T any](w *world, pick func(*catalog.NodeMessage) *T) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []T
	for i := range w.heard {
		if v := pick(&w.heard[i]); v != nil {
			out = append(out, *v)
		}
	}
	return out
}

func (w *world) endpoint(service, node string) (catalog.Endpoint, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.dir.State().Endpoints[catalog.EndpointKey(service, node)]
	return e, ok
}

// running is an agent with its Run.
type running struct {
	*Agent
	t      testing.TB
	log    *syncBuffer
	cancel context.CancelFunc
	done   chan error
	ended  bool
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

type option func(*Config, *Host, map[string]Service, *Deps)

// agent makes one with services orders and risk, both always healthy.
func (w *world) agent(t testing.TB, dir string, options ...option) (*Agent, *syncBuffer, error) {
	log := &syncBuffer{}
	cfg := Default()
	host := Host{Name: "h1", Dir: dir, Zone: "z1", Release: "test", Roles: []string{"proxy"},
		Listen: netip.MustParseAddrPort("127.0.0.2:7400"), Advertise: "127.0.0.2:7400"}
	services := map[string]Service{}
	for _, name := range []string{"orders", "risk"} {
		s := DefaultService()
		s.Address, s.Health.Type, s.Health.Interval = "127.0.0.1:1", CheckNone, time.Minute
		services[name] = s
	}
	deps := Deps{Dialer: w, Log: slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), nil))}
	for _, o := range options {
		o(&cfg, &host, services, &deps)
	}
	a, err := New(cfg, host, services, deps)
	return a, log, err
}

func (w *world) start(t testing.TB, dir string, options ...option) *running {
	t.Helper()
	a, log, err := w.agent(t, dir, options...)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Agent: a, t: t, log: log, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.cancel()
	if !r.ended {
		r.ended = true
		if err := <-r.done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
}

func withToken(tok *pki.Token) option {
	return func(_ *Config, _ *Host, _ map[string]Service, d *Deps) { d.Token = tok }
}

// inBubble runs f in virtual time with a world.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// overDays is inBubble at a pace that lets days pass quickly.
func overDays(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, newWorldPaced(t, 10*time.Minute)) })
}

// patient is an agent that dials and checks at the pace of overDays.
func patient(c *Config, _ *Host, services map[string]Service, _ *Deps) {
	c.ReconnectMax = 10 * time.Minute
	for name, s := range services {
		s.Health.Interval = time.Hour
		services[name] = s
	}
}

func wait(d time.Duration) {
	time.Sleep(d) // virtual: the bubble's clock
	synctest.Wait()
}

func codeOf(err error) reason.Code {
	if err == nil {
		return reason.OK
	}
	return reason.Of(err, 65535)
}
