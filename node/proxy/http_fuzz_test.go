package proxy

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/http1"
)

// watched is a gate that notes what was admitted, in front of an application that
// notes what net/http makes of the bytes that come out.
type watched struct {
	testGate
	apps     sync.WaitGroup
	lock     sync.Mutex
	admitted []string
	seen     []string
}

func (g *watched) admit(r *http1.Request) error {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.admitted = append(g.admitted, string(r.Method)+" "+string(r.Path)+string(r.Query))
	return nil
}

func (g *watched) connect(context.Context, int) (*httpFar, error) {
	ses, other := transport.Pipe("", transport.ClassOrder, transport.PipeEnd{}, transport.PipeEnd{})
	s, err := ses.Open(context.Background())
	if err != nil {
		return nil, err
	}
	g.apps.Go(func() {
		o, err := other.Accept(context.Background())
		if err != nil {
			return
		}
		r := bufio.NewReader(o)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			g.lock.Lock()
			g.seen = append(g.seen, req.Method+" "+req.RequestURI)
			g.lock.Unlock()
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := io.WriteString(o, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	return &httpFar{Stream: s, gone: reason.AppReset, slow: reason.IdleTimeout, owner: &pipeOwner{ses}}, nil
}

type pipeOwner struct{ ses transport.Session }

func (o *pipeOwner) dropped(*httpFar) {}
func (o *pipeOwner) finished(f *httpFar, _ httpEnd) {
	f.Cancel(reason.OK)
	o.ses.Close(reason.OK, "")
}

// FuzzHTTPRelay looks for requests that reach the application unseen by policy:
// whatever a client sends, net/http behind the relay reads exactly the requests that
// were admitted, in their order. The last one may be missing when its body is broken.
func FuzzHTTPRelay(f *testing.F) {
	const get, post = "GET /a?b HTTP/1.1\r\nHost: b\r\n\r\n", "POST /p HTTP/1.1\r\nHost: b\r\n"
	for _, s := range []string{
		get, get + get, post + "Content-Length: 3\r\n\r\nabc" + get, post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + get,
		post + "Content-Length: 40\r\n\r\n" + get, post + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n" + get + get,
		post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + get, post + "Transfer-Encoding: chunked\r\n\r\n1;" + get,
		post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + get, "GET / HTTP/1.0\r\nHost: b\r\n\r\n" + get,
		post + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + get, post + "Content-Length: 0\r\n\r\n\r\n" + get, "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n" + get,
		"HEAD /h HTTP/1.1\r\nHost: b\r\n\r\n" + get, "GET http://b/x HTTP/1.1\r\nHost: b\r\nConnection: x, close\r\nX: y\r\n\r\n" + get,
	} {
		f.Add([]byte(s), 1000)
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		ses, other := transport.Pipe("", transport.ClassOrder, transport.PipeEnd{}, transport.PipeEnd{})
		defer ses.Close(reason.OK, "")
		client, err := ses.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ends sync.WaitGroup
		ends.Go(func() { _, _ = io.Copy(io.Discard, client) })
		ends.Go(func() {
			for rest := in; len(rest) > 0; {
				n := max(1, min(piece, len(rest)))
				if _, err := client.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			_ = client.CloseWrite()
		})
		if len(in) == 0 {
			return
		}
		near, err := other.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g := &watched{}
		(&httpSide{cfg: testHTTPConfig(), gate: g}).near(near).serve(t.Context())
		near.Cancel(reason.OK)
		ses.Close(reason.OK, "")
		ends.Wait()
		g.apps.Wait()
		if n := len(g.seen); n > len(g.admitted) || n < len(g.admitted)-1 || !slices.Equal(g.seen, g.admitted[:n]) {
			t.Fatalf("%q: admitted\n%s\nthe application saw\n%s", in, strings.Join(g.admitted, "\n"), strings.Join(g.seen, "\n"))
		}
	})
}
