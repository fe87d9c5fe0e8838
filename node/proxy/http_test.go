package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fire/policy"
)

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
	eventually(t, "both ends have counted the last request, which they do after its answer", func() bool {
		return b.client.edge.Requests.Load() == 5 && b.app.edge.Requests.Load() == 5
	})
	if n := b.client.edge.Errors.Load(); n != 0 {
		t.Errorf("edge: %d errors", n)
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
