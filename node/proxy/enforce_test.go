package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/frame"

	"golang.org/x/sys/unix"
)

// threeFloor has two sources and one destination: strategy on h1, blotter on h3, echo on h2.
func threeFloor(t testing.TB) (m *mesh, h1, h2, h3 *host) {
	m = newMesh(t)
	h1, h2, h3 = m.host("h1"), m.host("h2"), m.host("h3")
	m.service("strategy", catalog.TCP, h1)
	m.service("blotter", catalog.TCP, h3)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.allow("blotter", "echo")
	m.publish()
	m.run(h2, quick(), nil, map[string]App{"echo": echoApp(t)})
	m.run(h1, quick(), map[string]Upstream{"echo": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"}}, nil)
	m.run(h3, quick(), map[string]Upstream{"echo": {Service: "echo", As: "blotter", Listen: "127.0.0.1:0"}}, nil)
	return m, h1, h2, h3
}

func ping(t testing.TB, c net.Conn) {
	t.Helper()
	c.Write([]byte("ping"))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

func TestPolicyChangeCutsWhatItForbidsAndNothingElse(t *testing.T) {
	m, h1, h2, h3 := threeFloor(t)
	cut, kept := h1.dial(t, "echo"), h3.dial(t, "echo")
	ping(t, cut)
	ping(t, kept)

	m.state.Rules["unrelated"] = policy.Rule{Action: policy.Allow, From: []string{"echo"}, To: []string{"blotter"}}
	m.publish()
	ping(t, cut)

	began := time.Now()
	m.state.Rules["freeze"] = policy.Rule{Action: policy.Deny, From: []string{"strategy"}, To: []string{"*"}}
	m.publish()
	wantReset(t, cut)
	if took := time.Since(began); took > time.Second {
		t.Errorf("the cut took %v", took)
	}
	ping(t, kept)
	eventually(t, "one flow is left at the server", func() bool { return h2.proxy.flows.count() == 1 })
	ping(t, kept)
	h1.refused(t, reason.PolicyChanged)
	h2.refused(t, reason.PolicyChanged)

	h1.wantRefused(t, "echo")
	h1.refused(t, reason.DeniedByRule)
	if r := h1.proxy.Refusals()[0]; r.Rule != "freeze" || r.Src != "strategy" || r.Dst != "echo" || !strings.Contains(r.Detail, "freeze") {
		t.Errorf("%+v", r)
	}
}

func TestRevokedIdentityLosesItsConnections(t *testing.T) {
	for name, revoked := range map[string]string{"service": domain.Service("strategy").String(), "node": domain.Node("h1").String()} {
		t.Run(name, func(t *testing.T) {
			m, h1, h2, h3 := threeFloor(t)
			cut, kept := h1.dial(t, "echo"), h3.dial(t, "echo")
			ping(t, cut)
			ping(t, kept)
			began := time.Now()
			m.state.Revoked[revoked] = catalog.Revocation{At: began}
			m.publish()
			wantReset(t, cut)
			if took := time.Since(began); took > time.Second {
				t.Errorf("the cut took %v", took)
			}
			ping(t, kept)
			eventually(t, "one flow is left", func() bool { return h2.proxy.flows.count() == 1 })
			h2.refused(t, reason.IdentityRevoked)
			h1.wantRefused(t, "echo")
		})
	}
}

func TestServerAuthorisesForItself(t *testing.T) {
	m := newMesh(t)
	h1, h2 := m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.publish() // nothing is allowed
	m.run(h2, quick(), nil, map[string]App{"echo": echoApp(t)})
	s := m.hostile(h1, h2)
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolTCP}, reason.DeniedByDefault)
	wantReply(t, s, frame.Open{Service: "nowhere", Protocol: protocolTCP}, reason.NoSuchService)
	m.allow("strategy", "echo")
	m.allow("strategy", "strategy")
	m.publish()
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolTCP}, reason.OK)
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolFIX}, reason.FrameMalformed)
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolTCP, Instance: "echo@h9"}, reason.NotPlaced)
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolTCP, Hops: 9}, reason.FrameMalformed)
	wantReply(t, s, frame.Open{Service: "strategy", Protocol: protocolTCP}, reason.NotPlaced)
}

// hostile is a session of a peer that is on the floor and does what it likes.
func (m *mesh) hostile(from, to *host) transport.Session {
	m.t.Helper()
	tc := pki.ClientConfig(from.keys[domain.Service("strategy")].Certificate, from.verifier, pki.Want{Exactly: domain.Node(to.name)}, pki.ALPNMesh)
	s, err := from.endpoint.Dial(m.t.Context(), m.state.Nodes[to.name].Addr, tc, transport.ClassBulk)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { s.Close(reason.OK, ""); from.endpoint.Close() })
	return s
}

func wantReply(t testing.TB, s transport.Session, o frame.Open, want reason.Code) {
	t.Helper()
	b, err := frame.AppendOpen(nil, &o)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := exchange(t, s, b, false); code != want {
		t.Errorf("%+v is answered %v, want %v", o, code, want)
	}
}

// exchange sends raw bytes on a new stream and reads the reply.
func exchange(t testing.TB, s transport.Session, b []byte, end bool) (reason.Code, string) {
	t.Helper()
	st, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Cancel(reason.OK)
	st.SetReadDeadline(time.Now().Add(10 * time.Second))
	st.Write(b)
	if end {
		st.CloseWrite()
	}
	var r frame.Reply
	if err := frame.ReadReply(st, nil, &r); err != nil {
		t.Fatalf("no reply to %q: %v", b[:min(len(b), 20)], err)
	}
	return r.Code, r.Detail
}

func TestHostileHeadersAreRefusedByName(t *testing.T) {
	m := newMesh(t)
	h1, h2 := m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.publish()
	cfg := quick()
	cfg.HeaderTimeout = 300 * time.Millisecond
	m.run(h2, cfg, nil, map[string]App{"echo": echoApp(t)})
	s := m.hostile(h1, h2)
	good, err := frame.AppendOpen(nil, &frame.Open{Service: "echo", Protocol: protocolTCP})
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(nil), good...)
	newer[4] = 2
	oversized := append([]byte(nil), good...)
	oversized[6], oversized[7] = 0xff, 0xff
	for _, c := range []struct {
		name string
		b    []byte
		end  bool
		want reason.Code
	}{
		{"newer version", newer, false, reason.FrameVersion},
		{"oversized", oversized, false, reason.FrameOversized},
		{"truncated", good[:len(good)-3], true, reason.FrameTruncated},
		{"never finished", good[:20], false, reason.HeaderTimeout},
		{"http", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false, reason.FrameMalformed},
	} {
		code, detail := exchange(t, s, c.b, c.end)
		if code != c.want || detail == "" {
			t.Errorf("%s: %v %q, want %v", c.name, code, detail, c.want)
		}
		h2.refused(t, c.want)
	}
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolTCP}, reason.OK) // the session is none the worse
}

func TestClientThatNeverSendsEndsByIdleTimeout(t *testing.T) {
	cfg := quick()
	cfg.IdleTimeout = 500 * time.Millisecond
	_, h1, _ := pairOf(t, cfg, echoApp(t))
	c := h1.dial(t, "echo")
	wantReset(t, c)
	h1.refused(t, reason.IdleTimeout)
}

func TestSlowReaderIsCutAndHoldsLittle(t *testing.T) {
	cfg := quick()
	cfg.WriteTimeout = 500 * time.Millisecond
	sent := make(chan int64, 1)
	_, h1, h2 := pairOf(t, cfg, app(t, func(c *net.TCPConn) {
		n, _ := io.Copy(c, struct{ io.Reader }{endless{}})
		sent <- n
	}))
	c := h1.dial(t, "echo")
	c.SetReadBuffer(16 << 10)
	c.Write([]byte("go"))
	h1.refused(t, reason.SlowReader)
	// Sockets on the way hold some megabytes each; what must not happen is a queue in
	// the proxies that grows with time.
	if n := <-sent; n > 64<<20 {
		t.Errorf("%d bytes were taken for a reader that reads none", n)
	}
	eventually(t, "the flow is gone", func() bool { return h1.proxy.flows.count()+h2.proxy.flows.count() == 0 })
}

// Many readers that take nothing are ended long before write_timeout: what they do not
// take lies in the window of the session that an honest client shares with them.
func TestManySlowReadersLeaveTheSessionToOthers(t *testing.T) {
	cfg := quick()
	cfg.SlowReadersMax = 4
	_, h1, _ := pairOf(t, cfg, echoApp(t))
	honest := h1.dial(t, "echo")
	ping(t, honest)
	chunk := make([]byte, 64<<10)
	for range 12 {
		c := h1.dial(t, "echo")
		c.SetReadBuffer(16 << 10)
		go func() {
			for {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}()
	}
	h1.refused(t, reason.SlowReader)
	eventually(t, "few slow readers are left", func() bool { return h1.proxy.flows.count() <= 1+4 })
	ping(t, honest)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLimitsOfConnections(t *testing.T) {
	m := newMesh(t)
	h1, h2 := m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.publish()
	cfg := quick()
	cfg.MaxConnectionsPerSource = 3
	m.run(h2, cfg, nil, map[string]App{"echo": echoApp(t)})
	m.run(h1, cfg, map[string]Upstream{
		"two":  {Service: "echo", As: "strategy", Listen: "127.0.0.1:0", MaxConnections: 2},
		"more": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"},
	}, nil)
	for range 2 {
		ping(t, h1.dial(t, "two"))
	}
	h1.wantRefused(t, "two")
	h1.refused(t, reason.TooManyConnections)
	ping(t, h1.dial(t, "more"))
	h1.wantRefused(t, "more")
	h2.refused(t, reason.TooManyConnections)
}

func TestNextEndpointIsTriedWhenNothingHasLeft(t *testing.T) {
	m := newMesh(t)
	h1, h2, h3 := m.host("h1"), m.host("h2"), m.host("h3")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2, h3)
	m.endpointOf("echo", h2)
	m.endpointOf("echo", h3)
	m.allow("strategy", "echo")
	m.publish()
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	dead := App{Network: "tcp", Address: l.Addr().String()}
	l.Close()
	m.run(h2, quick(), nil, map[string]App{"echo": dead})
	m.run(h3, quick(), nil, map[string]App{"echo": echoApp(t)})
	m.run(h1, quick(), map[string]Upstream{"echo": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"}}, nil)
	for range 12 { // round robin meets the dead one until it is ejected
		ping(t, h1.dial(t, "echo"))
	}
	if n := len(h2.proxy.Refusals()); n == 0 || n > 6 {
		t.Errorf("the dead endpoint was asked %d times, want it ejected after 5", n)
	}
}

func TestEndpointOfTheSameNodeIsReached(t *testing.T) {
	m := newMesh(t)
	h1 := m.host("h1")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h1)
	m.endpointOf("echo", h1)
	m.allow("strategy", "echo")
	m.publish()
	m.run(h1, quick(), map[string]Upstream{"echo": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"}},
		map[string]App{"echo": echoApp(t)})
	ping(t, h1.dial(t, "echo"))
}

func TestUnixUpstream(t *testing.T) {
	m := newMesh(t)
	h1, h2 := m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.publish()
	m.run(h2, quick(), nil, map[string]App{"echo": echoApp(t)})
	path := filepath.Join(t.TempDir(), "echo.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close() // what a killed process leaves behind
	m.run(h1, quick(), map[string]Upstream{"echo": {Service: "echo", As: "strategy", Unix: path}}, nil)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o660 {
		t.Fatalf("%v %v", fi.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ping(t, c)
	if _, err := listenUnix("echo", path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second proxy takes the socket: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := listenUnix("echo", file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file is taken for a socket: %v", err)
	}
}

func TestPortInUseNamesTheTableAndTheNextCommand(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = New(Default(), map[string]Upstream{"orders": {Service: "gw", As: "s", Listen: l.Addr().String()}}, Deps{Domain: domain, Node: "h1", Log: silentLog()})
	if err == nil {
		t.Fatal("bound twice")
	}
	for _, want := range []string{"upstream.orders.listen", l.Addr().String(), "ss -ltnp"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestStopDrainsThenCuts(t *testing.T) {
	cfg := quick()
	cfg.DrainTimeout = 10 * time.Second
	_, h1, h2 := pairOf(t, cfg, echoApp(t))
	c := h1.dial(t, "echo")
	ping(t, c)
	address := h1.proxy.Listeners()["echo"].String()
	stopped := make(chan struct{})
	go func() { h1.stop(); close(stopped) }()
	eventually(t, "the listener is closed", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	ping(t, c) // the live one goes on
	c.CloseWrite()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	<-stopped

	s := make(chan struct{})
	go func() { h2.stop(); close(s) }()
	<-s
}

func TestConfigDefaultsPassTheirOwnCheck(t *testing.T) {
	c := Default()
	c.Check(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
	n := 0
	(&Config{}).Check(func(key, problem string) { n++ })
	if n < 8 {
		t.Errorf("%d problems in an empty configuration", n)
	}
	for want, u := range map[string]Upstream{
		"service": {As: "a", Listen: "127.0.0.1:1"}, "listen": {Service: "a", As: "b"}, "unix": {Service: "a", As: "b", Unix: strings.Repeat("x", 108)},
		"max_connections": {Service: "a", As: "b", Listen: "127.0.0.1:1", MaxConnections: -1},
	} {
		var got []string
		u.Check(func(key, problem string) { got = append(got, key) })
		if len(got) != 1 || got[0] != want {
			t.Errorf("%+v: %v", u, got)
		}
	}
}

func TestFlowAdmittedUnderAnOlderViewIsJudgedAgain(t *testing.T) {
	m, h1, _, _ := threeFloor(t)
	old := h1.proxy.view()
	m.state.Rules["freeze"] = policy.Rule{Action: policy.Deny, From: []string{"strategy"}, To: []string{"*"}}
	m.publish()
	p := h1.proxy
	src, dst := domain.Service("strategy"), domain.Service("echo")
	ended := make(chan *reason.Error, 1)
	f := &flow{side: sideOut, src: src, dst: dst, holder: domain.Node("h1"), host: "h2", op: policy.Op{Port: 9000, Opaque: true},
		edge: p.edges.edge(src, dst, sideOut, "tcp"), end: func(why *reason.Error) {
			select {
			case ended <- why:
			default:
			}
		}}
	p.add(f, old)
	defer p.remove(f)
	select {
	case why := <-ended:
		if why.Code != reason.PolicyChanged {
			t.Error(why)
		}
	default:
		t.Error("the flow lives although its view is gone and the new one forbids it")
	}
}

// An application that takes no connection, and says nothing, costs its client the connect
// time-out and no more.
func TestApplicationThatNeverAnswersEndsByConnectTimeout(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
	for range 4 { // its queue is full then: the kernel answers no more
		if c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond); err == nil {
			defer c.Close()
		}
	}
	cfg := quick()
	cfg.ConnectTimeout = 300 * time.Millisecond
	_, h1, _ := pairOf(t, cfg, App{Network: "tcp", Address: addr})
	begun := time.Now()
	h1.wantRefused(t, "echo")
	if took := time.Since(begun); took < cfg.ConnectTimeout/2 {
		t.Errorf("refused after %v already", took)
	}
	h1.refused(t, reason.ConnectTimeout)
}
