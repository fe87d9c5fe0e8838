package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fire/policy/reason"
)

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
	a := newHTTPApp(App{"tcp", app.Listener.Addr().String()}, time.Second, nil, cfg)
	defer a.close()
	g.reach = a.get
	clientEnd, proxyEnd := net.Pipe()
	defer clientEnd.Close()
	ctx, cut := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := newConnStream(proxyEnd, nil)
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
