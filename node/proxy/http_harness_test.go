package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/http1"
	"fire/transport/meter"
)

var testDomain = id.Domain{Region: "eu", Mesh: "floor"}

// httpBench is a client's side and a server's side of the HTTP relay around a

// session in memory, in front of a real application.

type httpBench struct {
	t           testing.TB
	addr        string // where clients connect
	client, app *testGate
	rules       atomic.Pointer[policy.Table]
	opened      atomic.Int64 // streams
}

// testGate decides by a table and counts in an edge of its own.

type testGate struct {
	bench    *httpBench
	src, dst id.Principal
	edge     meter.Edge
	drain    atomic.Bool
	reach    func(ctx context.Context, try int) (*httpFar, error)
	source   string
	mu       sync.Mutex
	last     httpOutcome
}

func (g *testGate) admit(r *http1.Request) error {
	v := g.bench.rules.Load().Authorize(g.src, g.dst, policy.Op{Port: 80, Method: string(r.Method), Path: string(r.Path)})
	if v.Allowed {
		return nil
	}
	return reason.New(v.Code, "%s to %s", g.src.Short(), g.dst.Short())
}

func (g *testGate) connect(ctx context.Context, try int) (*httpFar, error) { return g.reach(ctx, try) }

func (g *testGate) added(*http1.Request) http1.Added { return http1.Added{Source: g.source} }

func (g *testGate) draining() bool { return g.drain.Load() }

func (g *testGate) moved(up, down int) {
	g.edge.BytesOut.Add(uint64(up))
	g.edge.BytesIn.Add(uint64(down))
}

func (g *testGate) giving(up, begins bool) {}

func (g *testGate) account(o *httpOutcome) {
	o.count(&g.edge, false)
	g.mu.Lock()
	g.last = *o
	g.mu.Unlock()
}

// streamPool makes mesh streams and takes them back.

type streamPool struct {
	bench *httpBench
	ses   transport.Session
	pool  *httpPool
}

func (p *streamPool) dropped(*httpFar) {}

func (p *streamPool) finished(f *httpFar, end httpEnd) {
	if end.reusable {
		p.pool.put(f)
	} else {
		f.Cancel(reason.PeerClosed)
	}
}

func (p *streamPool) reach(ctx context.Context, try int) (*httpFar, error) {
	if f := p.pool.get("ep"); f != nil && try == 0 {
		return f, nil
	}
	s, err := p.ses.Open(ctx)
	if err != nil {
		return nil, err
	}
	p.bench.opened.Add(1)
	return &httpFar{Stream: s, gone: reason.PeerClosed, slow: reason.IdleTimeout, owner: p, key: "ep"}, nil
}

func allowAll() map[string]policy.Rule {
	return map[string]policy.Rule{"all": {From: []string{"*"}, To: []string{"*"}}}
}

func (b *httpBench) apply(rules map[string]policy.Rule) {
	table, problems := policy.Compile("floor", rules)
	if len(problems) > 0 {
		b.t.Fatal(problems)
	}
	b.rules.Store(table)
}

func testHTTPConfig() HTTPConfig {
	c := DefaultHTTP()
	c.HeaderTimeout, c.ResponseTimeout, c.BodyTimeout, c.WriteTimeout = 5*time.Second, 5*time.Second, 5*time.Second, 5*time.Second
	return c
}

// startHTTP puts the relay in front of the application at address.

func startHTTP(t testing.TB, address string, change func(*HTTPConfig)) *httpBench {
	cfg := testHTTPConfig()
	if change != nil {
		change(&cfg)
	}
	b := &httpBench{t: t}
	b.apply(allowAll())
	near, far := transport.Pipe("fire-mesh/1", transport.ClassOrder, transport.PipeEnd{Who: testDomain.Service("a")}, transport.PipeEnd{Who: testDomain.Node("h2")})
	streams := &streamPool{bench: b, ses: near, pool: newHTTPPool(cfg.StreamIdleTimeout, cfg.StreamsIdleMax)}
	app := newHTTPApp(App{"tcp", address}, time.Second, nil, cfg)
	b.client = &testGate{bench: b, src: testDomain.Service("a"), dst: testDomain.Service("b"), reach: streams.reach}
	b.app = &testGate{bench: b, src: far.Peer(), dst: testDomain.Service("b"), reach: app.get, source: far.Peer().String()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { b.acceptClients(ctx, l, &httpSide{cfg: cfg, gate: b.client, own: true}) })
	tasks.Go(func() { acceptStreams(ctx, far, &httpSide{cfg: cfg, gate: b.app}) })
	t.Cleanup(func() {
		cancel()
		l.Close()
		streams.pool.close()
		app.close()
		near.Close(reason.Shutdown, "test over")
		tasks.Wait()
	})
	return b
}

func (b *httpBench) acceptClients(ctx context.Context, l net.Listener, side *httpSide) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			s := newConnStream(c, nil)
			side.near(s).serve(ctx)
			s.Cancel(reason.OK)
		})
	}
}

func acceptStreams(ctx context.Context, ses transport.Session, side *httpSide) {
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		s, err := ses.Accept(ctx)
		if err != nil {
			return
		}
		streams.Go(func() { side.near(s).serve(ctx) })
	}
}

// httpClient is a real client that keeps connections alive and follows nothing.

func httpClient(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true, ExpectContinueTimeout: 5 * time.Second, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func startApp(t testing.TB, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// echo answers with what it saw.

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Seen-Source", strings.Join(r.Header.Values("X-Fire-Source"), "|"))
	w.Header().Set("X-Fire-Reason", "forged")
	fmt.Fprintf(w, "%s %s %s %d", r.Method, r.Host, r.RequestURI, len(body))
}

// talk sends raw bytes and returns everything that comes back until the end.

func (b *httpBench) talk(raw string) string {
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		b.t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite() // a half-closed client still gets its answers
	got, err := io.ReadAll(c)
	if err != nil {
		b.t.Fatalf("%q: %v after %q", raw, err, got)
	}
	return string(got)
}

// rawApp answers each connection with a script.

func rawApp(t testing.TB, script func(c net.Conn, r *bufio.Reader)) string {
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
				script(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().String()
}

// waitForQuietEnd lets a FIN cross the loopback; a request that overtakes it may

// rightly become a 502, since it may have been delivered.

// deaf is a stream whose other end went away before it took a byte.

// waitFor waits until the other goroutines have got there.

func waitFor(t testing.TB, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never happened")
		}
	}
}

// sworn is a stream whose other end took no byte of the request, or does not say so.
