package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

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

type sworn struct {
	transport.Stream
	code reason.Code
}

func (s sworn) Write(p []byte) (int, error) { return len(p), nil }

func (s sworn) Read([]byte) (int, error) { return 0, reason.New(s.code, "gone") }

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
	talking := newConnStream(conn, nil)
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
