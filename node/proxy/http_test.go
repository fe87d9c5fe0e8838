package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
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
func (g *testGate) added(*http1.Request) http1.Added                       { return http1.Added{Source: g.source} }
func (g *testGate) draining() bool                                         { return g.drain.Load() }
func (g *testGate) moved(up, down int) {
	g.edge.BytesOut.Add(uint64(up))
	g.edge.BytesIn.Add(uint64(down))
}
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
	app := newHTTPApp(App{"tcp", address}, time.Second, cfg)
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
			s := newConnStream(c)
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

func TestHTTPRelayCarriesRealClientsToRealServers(t *testing.T) {
	app := startApp(t, echo)
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	client := httpClient(t)
	for _, c := range []struct {
		method string
		body   io.Reader
		want   string
	}{
		{"GET", nil, "GET b.floor /x/caf%C3%A9?q=1 0"},
		{"POST", strings.NewReader("hello"), "POST b.floor /x/caf%C3%A9?q=1 5"},
		{"PUT", io.MultiReader(strings.NewReader("hello"), strings.NewReader(" world")), "PUT b.floor /x/caf%C3%A9?q=1 11"}, // chunked
		{"DELETE", nil, "DELETE b.floor /x/caf%C3%A9?q=1 0"},
		{"POST", bytes.NewReader(make([]byte, 1<<20)), "POST b.floor /x/caf%C3%A9?q=1 1048576"},
	} {
		req, _ := http.NewRequest(c.method, "http://"+b.addr+"/x/caf%c3%a9?q=1", c.body)
		req.Host = "B.Floor."
		req.Header.Set("X_Fire_Source", "root")
		req.Header.Set("X-Fire-Source", "root")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 || string(got) != c.want {
			t.Errorf("%s: %d %q, %v; want %q", c.method, res.StatusCode, got, err, c.want)
		}
		if src := res.Header.Get("X-Seen-Source"); src != "spiffe://eu.floor/svc/a" {
			t.Errorf("%s: the application saw source %q", c.method, src)
		}
		if forged := res.Header.Get("X-Fire-Reason"); forged != "" {
			t.Errorf("%s: the application's x-fire-reason %q came through", c.method, forged)
		}
	}
	if n := b.opened.Load(); n != 1 {
		t.Errorf("%d streams for requests in a row, want 1", n)
	}
	if b.client.edge.Requests.Load() != 5 || b.client.edge.Errors.Load() != 0 || b.app.edge.Requests.Load() != 5 {
		t.Errorf("edge: %d requests, %d errors", b.client.edge.Requests.Load(), b.client.edge.Errors.Load())
	}
	if b.client.edge.BytesOut.Load() < 1<<20 {
		t.Errorf("edge: %d bytes out", b.client.edge.BytesOut.Load())
	}
}

func TestHTTPBodiesArriveWholeInBothDirections(t *testing.T) {
	payload := make([]byte, 8<<20)
	for i := range payload {
		payload[i] = byte(i * 7 >> 3)
	}
	want := sha256.Sum256(payload)
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if r.URL.Path == "/echo" { // up and down at the same time
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.Copy(io.MultiWriter(h, w), r.Body)
			w.Header().Set("X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
			return
		}
		_, _ = io.Copy(h, r.Body)
		if !bytes.Equal(h.Sum(nil), want[:]) {
			w.WriteHeader(500)
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(len(payload)))
		}
		_, _ = w.Write(payload)
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	client := httpClient(t)
	for _, path := range []string{"/length", "/chunked", "/echo"} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = bytes.NewReader(payload)
			if chunked {
				body = io.MultiReader(body)
			}
			res, err := client.Post("http://"+b.addr+path, "application/octet-stream", body)
			if err != nil {
				t.Fatal(path, err)
			}
			h := sha256.New()
			n, err := io.Copy(h, res.Body)
			if err != nil || res.StatusCode != 200 || n != int64(len(payload)) || !bytes.Equal(h.Sum(nil), want[:]) {
				t.Errorf("%s: status %d, %d bytes, %v", path, res.StatusCode, n, err)
			}
			if path == "/echo" && res.Trailer.Get("X-Sum") != fmt.Sprintf("%x", want) {
				t.Errorf("the trailer was lost: %v", res.Trailer)
			}
		}
	}
}

func TestHTTPPolicyIsAskedForEachRequestAtBothEnds(t *testing.T) {
	app := startApp(t, echo)
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	ask := func(path string) (int, string) {
		t.Helper()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: b\r\n\r\n", path)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(path, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode, res.Header.Get("X-Fire-Reason")
	}
	steps := []struct {
		rules  map[string]policy.Rule
		path   string
		status int
		why    string
	}{
		{allowAll(), "/x", 200, ""},
		{map[string]policy.Rule{"x": {From: []string{"a"}, To: []string{"b"}, Paths: []string{"/x"}}}, "/x", 200, ""},
		{nil, "/y", 403, "denied_by_default"},
		{nil, "/x", 200, ""},
		{map[string]policy.Rule{"no": {Action: policy.Deny, From: []string{"a"}, To: []string{"b"}}}, "/x", 403, "denied_by_rule"},
		{nil, "/%78", 403, "denied_by_rule"},
		{allowAll(), "/x", 200, ""},
	}
	for i, s := range steps { // all on one connection
		if s.rules != nil {
			b.apply(s.rules)
		}
		if status, why := ask(s.path); status != s.status || why != s.why {
			t.Errorf("step %d: %d %q, want %d %q", i, status, why, s.status, s.why)
		}
	}
	if n := b.client.edge.Refused.Load(); n != 3 {
		t.Errorf("%d refusals counted, want 3", n)
	}
	b.client.src = testDomain.Service("friend") // a client's proxy that lies about its source
	b.apply(map[string]policy.Rule{"friend": {From: []string{"friend"}, To: []string{"b"}}})
	if status, why := ask("/x"); status != 403 || why != "denied_by_default" {
		t.Errorf("the server's side let it pass: %d %q", status, why)
	}
	if b.app.edge.Refused.Load() != 1 {
		t.Errorf("the server's side counted %d refusals", b.app.edge.Refused.Load())
	}
}

func TestHTTPHostileClientsAreRefusedAndNothingReachesTheApplication(t *testing.T) {
	var reached atomic.Int64
	app := startApp(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	b := startHTTP(t, app.Listener.Addr().String(), func(c *HTTPConfig) { c.HeaderTimeout = 200 * time.Millisecond })
	for _, c := range []struct{ name, raw, status, why string }{
		{"dot dot", "GET /a/../b HTTP/1.1\r\nHost: b\r\n\r\n", "400", "http_path_unclean"},
		{"CL and TE", "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "http_malformed"},
		{"smuggled behind", "POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: b\r\n\r\n", "400", "http_malformed"},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", "400", "http_malformed"},
		{"giant head", "GET / HTTP/1.1\r\nHost: b\r\nX: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", "431", "http_header_too_large"},
		{"CONNECT", "CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n", "400", "http_upgrade_refused"},
		{"h2c", "GET / HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "400", "http_upgrade_refused"},
		{"websocket while it is off", "GET / HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "400", "http_upgrade_refused"},
		{"half a head", "GET / HTTP/1.1\r\nHost:", "400", "http_malformed"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "400", "http_malformed"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400", "http_malformed"},
	} {
		got := b.talk(c.raw)
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.status+" ") || !strings.Contains(got, "x-fire-reason: "+c.why+"\r\n") || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%s: %q, want one %s %s", c.name, got, c.status, c.why)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached the application", n)
	}
	c, err := net.Dial("tcp", b.addr) // and one that never sends
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(got), "x-fire-reason: header_timeout") {
		t.Errorf("a silent client got %q, %v", got, err)
	}
}

func TestHTTPSlowHeadEndsByTheClock(t *testing.T) {
	app := startApp(t, echo)
	b := startHTTP(t, app.Listener.Addr().String(), func(c *HTTPConfig) { c.HeaderTimeout = 150 * time.Millisecond })
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		for _, ch := range "GET / HTTP/1.1\r\nHost: b\r\n" + strings.Repeat("X: y\r\n", 1000) {
			if _, err := c.Write([]byte{byte(ch)}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // the attack itself
		}
	}()
	got, _ := io.ReadAll(c)
	if !strings.Contains(string(got), "x-fire-reason: header_timeout") {
		t.Errorf("a slow client got %q", got)
	}
}

func TestHTTPPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	app := startApp(t, echo)
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	var raw, want strings.Builder
	for i := range 50 {
		if i%2 == 0 {
			fmt.Fprintf(&raw, "GET /%d HTTP/1.1\r\nHost: b\r\n\r\n", i)
			fmt.Fprintf(&want, "GET b /%d 0;", i)
		} else {
			body := strings.Repeat("x", i*997)
			fmt.Fprintf(&raw, "POST /%d HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
			fmt.Fprintf(&want, "POST b /%d %d;", i, len(body))
		}
	}
	r := bufio.NewReader(strings.NewReader(b.talk(raw.String())))
	var got strings.Builder
	for range 50 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		body, _ := io.ReadAll(res.Body)
		got.Write(body)
		got.WriteByte(';')
	}
	if got.String() != want.String() {
		t.Errorf("got %q", got.String())
	}
}

func TestHTTPHeadAndBodilessAnswersKeepTheConnection(t *testing.T) {
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		case "/103":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			fmt.Fprint(w, "ok")
		default:
			w.Header().Set("Content-Length", "7")
			fmt.Fprint(w, "content")
		}
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for _, step := range []struct {
		method, path string
		status       int
		length       int64
		body         string
	}{
		{"HEAD", "/", 200, 7, ""}, {"GET", "/204", 204, 0, ""}, {"GET", "/304", 304, 0, ""}, {"GET", "/", 200, 7, "content"},
		{"GET", "/103", 103, 0, ""}, {"", "", 200, 2, "ok"}, {"HEAD", "/204", 204, 0, ""}, {"GET", "/", 200, 7, "content"},
	} {
		if step.method != "" {
			fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: b\r\n\r\n", step.method, step.path)
		}
		res, err := http.ReadResponse(r, &http.Request{Method: step.method})
		if err != nil {
			t.Fatal(step, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != step.status || string(body) != step.body || res.Close || step.status == 200 && res.ContentLength != step.length {
			t.Errorf("%s %s: %d, length %d, %q, close %v, %v", step.method, step.path, res.StatusCode, res.ContentLength, body, res.Close, err)
		}
	}
	if n := b.opened.Load(); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
}

func TestHTTPExpectContinueIsPassedOn(t *testing.T) {
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(417)
			return
		}
		echo(w, r)
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	client := httpClient(t)
	for path, want := range map[string]int{"/yes": 200, "/no": 417} {
		req, _ := http.NewRequest("POST", "http://"+b.addr+path, bytes.NewReader(make([]byte, 100<<10)))
		req.Header.Set("Expect", "100-continue")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(path, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != want {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

func TestHTTP10ClientGetsOneWholeAnswerWithoutChunks(t *testing.T) {
	app := startApp(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			fmt.Fprint(w, "part ")
			w.(http.Flusher).Flush()
		}
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	got := b.talk("GET / HTTP/1.0\r\nHost: b\r\nConnection: keep-alive\r\n\r\n")
	if !strings.HasSuffix(got, "\r\nConnection: close\r\n\r\npart part part ") || strings.Contains(got, "chunked") {
		t.Errorf("got %q", got)
	}
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

func TestHTTPBrokenApplicationsBecomeGatewayErrorsOrResets(t *testing.T) {
	for _, c := range []struct {
		name, reply string
		status, why string // empty: the client must see a broken connection, not an end
	}{
		{"nothing", "", "502", "app_reset"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-", "502", "app_reset"},
		{"garbage", "SSH-2.0-OpenSSH\r\n\r\n", "502", "http_malformed"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "502", "http_malformed"},
		{"bad first chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz", "502", "http_malformed"},
		{"giant head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 40<<10) + "\r\n\r\n", "502", "http_header_too_large"},
		{"unasked switch", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "502", "http_malformed"},
		{"short body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "", ""},
		{"cut chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := rawApp(t, func(conn net.Conn, r *bufio.Reader) {
				if req, err := http.ReadRequest(r); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
				}
				_, _ = io.WriteString(conn, c.reply)
			})
			b := startHTTP(t, addr, nil)
			conn, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
			got, err := io.ReadAll(conn)
			if c.status == "" {
				if err == nil && !strings.HasPrefix(string(got), "HTTP/1.1 502 ") { // the reset may overtake the head between the proxies
					t.Errorf("a part passed for the whole: %q", got)
				}
			} else if !strings.HasPrefix(string(got), "HTTP/1.1 "+c.status+" ") || !strings.Contains(string(got), "x-fire-reason: "+c.why+"\r\n") {
				t.Errorf("got %q, %v", got, err)
			}
			waitFor(t, func() bool { return b.app.edge.Errors.Load() == 1 && b.client.edge.Errors.Load() == 1 })
		})
	}
}

func TestHTTPBodyUntilCloseIsWhole(t *testing.T) {
	addr := rawApp(t, func(conn net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nabc")
	})
	b := startHTTP(t, addr, nil)
	if got := b.talk("GET / HTTP/1.1\r\nHost: b\r\n\r\n"); got != "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc" {
		t.Errorf("got %q", got)
	}
}

func TestHTTPDeadKeptConnectionIsNotUsed(t *testing.T) {
	var served atomic.Int64
	addr := rawApp(t, func(conn net.Conn, r *bufio.Reader) { // says keep-alive, then closes: as servers with short limits do
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		served.Add(1)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	b := startHTTP(t, addr, nil)
	client := httpClient(t)
	for range 20 {
		res, err := client.Post("http://"+b.addr+"/", "text/plain", strings.NewReader("order"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
		waitForQuietEnd()
	}
	if served.Load() != 20 {
		t.Errorf("%d requests served, want 20", served.Load())
	}
}

// waitForQuietEnd lets a FIN cross the loopback; a request that overtakes it may
// rightly become a 502, since it may have been delivered.
func waitForQuietEnd() { time.Sleep(5 * time.Millisecond) }

func TestHTTPRequestThatMayHaveArrivedIsNeverSentTwice(t *testing.T) {
	var seen atomic.Int64
	addr := rawApp(t, func(_ net.Conn, r *bufio.Reader) { // takes the order, then dies
		if _, err := http.ReadRequest(r); err == nil {
			seen.Add(1)
		}
	})
	b := startHTTP(t, addr, nil)
	got := b.talk("POST /order HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nbuy")
	if !strings.Contains(got, "x-fire-reason: app_reset") || seen.Load() != 1 {
		t.Errorf("seen %d times, answer %q", seen.Load(), got)
	}
}

// deaf is a stream whose other end went away before it took a byte.
type deaf struct {
	transport.Stream
	takes int
}

func (d deaf) Write(p []byte) (int, error) {
	return min(d.takes, len(p)), reason.New(reason.PeerLost, "gone")
}

func TestHTTPRetryNeedsProofThatNothingLeft(t *testing.T) {
	for takes, want := range map[int]string{0: "HTTP/1.1 200 ", 1: "HTTP/1.1 502 "} {
		app := startApp(t, echo)
		b := startHTTP(t, app.Listener.Addr().String(), nil)
		real := b.client.reach
		b.client.reach = func(ctx context.Context, try int) (*httpFar, error) {
			f, err := real(ctx, try)
			if err == nil && try == 0 {
				f.Stream = deaf{f.Stream, takes}
			}
			return f, err
		}
		if got := b.talk("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nbuy"); !strings.HasPrefix(got, want) {
			t.Errorf("%d bytes taken: %q", takes, got)
		}
	}
}

func TestHTTPNoWayToTheDestinationIsAnAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	b := startHTTP(t, dead, nil)
	got := b.talk(strings.Repeat("GET / HTTP/1.1\r\nHost: b\r\n\r\n", 2))
	if strings.Count(got, "HTTP/1.1 502 ") != 2 || strings.Count(got, "x-fire-reason: app_unreachable") != 2 {
		t.Errorf("got %q", got)
	}
	b.client.reach = func(context.Context, int) (*httpFar, error) {
		return nil, reason.New(reason.NoHealthyEndpoint, "service b")
	}
	if got := b.talk("HEAD / HTTP/1.1\r\nHost: b\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestHTTPSlowApplicationIsAGatewayTimeOut(t *testing.T) {
	release := make(chan struct{})
	app := startApp(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	b := startHTTP(t, app.Listener.Addr().String(), func(c *HTTPConfig) { c.ResponseTimeout = 100 * time.Millisecond })
	if got := b.talk("GET / HTTP/1.1\r\nHost: b\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 504 ") || !strings.Contains(got, "idle_timeout") {
		t.Errorf("got %q", got)
	}
}

func TestHTTPRequestThatStopsInItsBodyIsNotDelivered(t *testing.T) {
	var whole atomic.Int64
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
		}
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	for name, raw := range map[string]string{
		"length":    "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nabc",
		"chunked":   "POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"late junk": "POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, raw)
		if name == "late junk" {
			time.Sleep(20 * time.Millisecond) // let it arrive apart from the head
			fmt.Fprint(c, "5;evil\r\nhello\r\n")
		} else {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		answer, _ := io.ReadAll(c)
		c.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Errorf("%s: %q", name, answer)
		}
	}
	app.Close() // waits for its handlers
	if n := whole.Load(); n != 0 {
		t.Errorf("the application took a part for the whole %d times", n)
	}
}

func TestHTTPEarlyAnswerEndsTheUpload(t *testing.T) {
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(413)
		fmt.Fprint(w, "too large")
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000000\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 413 || string(body) != "too large" || !res.Close {
		t.Errorf("%d %q, close %v, %v", res.StatusCode, body, res.Close, err)
	}
}

func TestHTTPClientThatGoesAwayIsNoErrorOfTheEdge(t *testing.T) {
	started := make(chan struct{}, 1)
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	b := startHTTP(t, app.Listener.Addr().String(), nil)
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	<-started
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	waitFor(t, func() bool { return b.client.edge.Requests.Load() == 1 && b.app.edge.Requests.Load() == 1 })
	if b.client.edge.Errors.Load() != 0 {
		t.Error("the client's own reset counts as an error of the destination")
	}
}

// waitFor waits until the other goroutines have got there.
func waitFor(t testing.TB, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never happened")
		}
	}
}

func TestHTTPDrainEndsConnectionsAfterTheirRequest(t *testing.T) {
	var b *httpBench
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		b.app.drain.Store(r.URL.Path == "/server")
		b.client.drain.Store(r.URL.Path == "/client")
		echo(w, r)
	})
	b = startHTTP(t, app.Listener.Addr().String(), nil)
	client := httpClient(t)
	for i, step := range []struct {
		path    string
		close   bool
		streams int64
	}{{"/", false, 1}, {"/server", false, 1}, {"/", false, 2}, {"/client", true, 2}, {"/", false, 2}} {
		res, err := client.Get("http://" + b.addr + step.path)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(step.path, res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		waitFor(t, func() bool { return b.client.edge.Requests.Load() == uint64(i+1) }) // and the stream is kept
		b.app.drain.Store(false)
		b.client.drain.Store(false)
		if res.Close != step.close || b.opened.Load() != step.streams {
			t.Errorf("%s: close %v, %d streams; want %v, %d", step.path, res.Close, b.opened.Load(), step.close, step.streams)
		}
	}
}

// sworn is a stream whose other end took no byte of the request, or does not say so.
type sworn struct {
	transport.Stream
	code reason.Code
}

func (s sworn) Write(p []byte) (int, error) { return len(p), nil }
func (s sworn) Read([]byte) (int, error)    { return 0, reason.New(s.code, "gone") }

func TestHTTPRetryWhenTheOtherProxySwearsThatItTookNothing(t *testing.T) {
	for code, want := range map[reason.Code]string{reason.Draining: "HTTP/1.1 200 ", reason.PeerLost: "HTTP/1.1 502 ", reason.IdleTimeout: "HTTP/1.1 504 "} {
		app := startApp(t, echo)
		b := startHTTP(t, app.Listener.Addr().String(), nil)
		real := b.client.reach
		b.client.reach = func(ctx context.Context, try int) (*httpFar, error) {
			f, err := real(ctx, try)
			if err == nil && try == 0 {
				f.Stream = sworn{f.Stream, code}
			}
			return f, err
		}
		if got := b.talk("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nbuy"); !strings.HasPrefix(got, want) {
			t.Errorf("%v: %q", code, got)
		}
	}
}

func TestHTTPIdleConnectionsLeaveWhenAsked(t *testing.T) {
	cfg := testHTTPConfig()
	for _, own := range []bool{true, false} {
		g := &testGate{}
		ses, other := transport.Pipe("fire-mesh/1", transport.ClassOrder, transport.PipeEnd{Who: testDomain.Service("a")}, transport.PipeEnd{Who: testDomain.Node("h")})
		s, err := ses.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Write([]byte("\r"))
		o, err := other.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = o.Read(make([]byte, 1))
		c := (&httpSide{cfg: cfg, gate: g, own: own}).near(o)
		done := make(chan struct{})
		go func() { defer close(done); c.serve(t.Context()) }()
		waitFor(t, func() bool { return c.mood.Load() == httpIdle })
		c.leave()
		_, err = s.Read(make([]byte, 1))
		if own && err != io.EOF || !own && reason.Of(err, 0) != reason.Draining {
			t.Errorf("own %v: %v", own, err)
		}
		_ = s.CloseWrite()
		<-done
		ses.Close(reason.OK, "")
	}
}

func TestHTTPWebSocketIsATunnelWhenAllowed(t *testing.T) {
	addr := rawApp(t, func(conn net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
		_, _ = io.Copy(conn, r)
		_, _ = io.WriteString(conn, " bye")
	})
	b := startHTTP(t, addr, func(c *HTTPConfig) { c.WebSocket = true })
	payload := strings.Repeat("0123456789", 50_000)
	got := b.talk("GET /ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + payload)
	want := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello " + payload + " bye"
	if got != want {
		t.Errorf("got %d bytes, want %d: %.200q", len(got), len(want), got)
	}
}

func TestHTTPConnectionsToTheApplicationAreBounded(t *testing.T) {
	var open, most atomic.Int64
	release := make(chan struct{})
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		n := open.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		open.Add(-1)
	})
	b := startHTTP(t, app.Listener.Addr().String(), func(c *HTTPConfig) { c.AppConnectionsMax = 4 })
	client := httpClient(t)
	statuses := make(chan int, 12)
	var clients sync.WaitGroup
	for range 12 {
		clients.Go(func() {
			res, err := client.Get("http://" + b.addr + "/")
			if err != nil {
				statuses <- 0
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			statuses <- res.StatusCode
		})
	}
	for range 8 { // the ones that waited a second for their turn
		if s := <-statuses; s != 503 {
			t.Errorf("status %d, want 503", s)
		}
	}
	close(release)
	clients.Wait()
	for range 4 {
		if s := <-statuses; s != 200 {
			t.Errorf("status %d, want 200", s)
		}
	}
	if most.Load() != 4 {
		t.Errorf("%d at once, want 4", most.Load())
	}
}

func TestHTTPCutFromOutsideEndsEverythingUnderWay(t *testing.T) {
	started := make(chan struct{}, 1)
	ended := make(chan struct{})
	app := startApp(t, func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
		close(ended)
	})
	cfg := testHTTPConfig()
	b := &httpBench{t: t}
	b.apply(allowAll())
	g := &testGate{bench: b, src: testDomain.Service("a"), dst: testDomain.Service("b")}
	a := newHTTPApp(App{"tcp", app.Listener.Addr().String()}, time.Second, cfg)
	defer a.close()
	g.reach = a.get
	clientEnd, proxyEnd := net.Pipe()
	defer clientEnd.Close()
	ctx, cut := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := newConnStream(proxyEnd)
		(&httpSide{cfg: cfg, gate: g}).near(s).serve(ctx)
		s.Cancel(reason.OK)
	}()
	fmt.Fprint(clientEnd, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	<-started
	cut(reason.New(reason.PolicyChanged, "rule gone"))
	<-done
	<-ended
	if got, _ := io.ReadAll(clientEnd); len(got) > 0 {
		t.Errorf("the client got %q", got)
	}
}

func TestHTTPPoolForgetsWhatIsOldDeadOrTooMuch(t *testing.T) {
	ses, other := transport.Pipe("fire-mesh/1", transport.ClassOrder, transport.PipeEnd{Who: testDomain.Service("a")}, transport.PipeEnd{Who: testDomain.Node("h")})
	defer other.Close(reason.OK, "")
	open := func() (*httpFar, transport.Stream) {
		s, err := ses.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		o, err := other.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return &httpFar{Stream: s, key: "k", owner: new(streamPool)}, o
	}
	p := newHTTPPool(50*time.Millisecond, 2)
	defer p.close()
	a, _ := open()
	dead, deadEnd := open()
	p.put(a)
	p.put(dead)
	deadEnd.Cancel(reason.Shutdown)
	if got := p.get("k"); got != a {
		t.Error("a dead stream was given out")
	}
	said := make(chan struct{})
	conn, err := net.Dial("tcp", rawApp(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "HTTP/1.1 408 \r\n\r\n")
		close(said)
		_, _ = r.ReadByte()
	}))
	if err != nil {
		t.Fatal(err)
	}
	talking := newConnStream(conn)
	defer talking.Cancel(reason.OK)
	<-said
	waitFor(t, func() bool { return !talking.quiet() })
	p.put(&httpFar{Stream: talking, key: "k", owner: new(streamPool)})
	if got := p.get("k"); got != nil {
		t.Error("a connection with an unasked answer was given out")
	}
	b, _ := open()
	c, _ := open()
	p.put(a)
	p.put(b)
	p.put(c) // one too many
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("more than the limit were kept")
	}
	waitFor(t, func() bool { _, err := a.Write([]byte("x")); return err != nil })
	if got := p.get("k"); got != nil || p.get("other") != nil {
		t.Error("an old stream was given out")
	}
	p.close()
	d, _ := open()
	p.put(d)
	if _, err := d.Write([]byte("x")); err == nil {
		t.Error("a closed pool kept a stream")
	}
}

func TestHTTPConfigDefaultsPassAndNonsenseDoesNot(t *testing.T) {
	c := DefaultHTTP()
	c.Check(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
	bad := 0
	new(HTTPConfig).Check(func(string, string) { bad++ })
	if bad != 10 {
		t.Errorf("%d problems with an empty config, want 10", bad)
	}
}

func BenchmarkHTTPRelay(b *testing.B) {
	addr := rawApp(b, func(conn net.Conn, r *bufio.Reader) {
		buf := make([]byte, 4096)
		reply := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
			if _, err := conn.Write(reply); err != nil {
				return
			}
		}
	})
	bench := startHTTP(b, addr, nil)
	c, err := net.Dial("tcp", bench.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	req, buf := []byte("GET /v1/orders HTTP/1.1\r\nHost: b\r\nUser-Agent: wrk\r\n\r\n"), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
