package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fire/policy/reason"
)

// Whatever request we forward, net/http reads as the same method, path, host and
// body length, and reading what we emit again changes nothing.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		get("/a/b?c"), get("/%41/caf%c3%a9"), get("http://a/x"), get("/a%2fb"), with("Content-Length: 3\r\n") + "abc",
		with("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n", with("Connection: close, x\r\nX: y\r\nX_Fire_Id: 1\r\n"),
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / HTTP/1.0\r\nHost: A.\r\n\r\n", with("Expect: 100-continue\r\nContent-Length: 1\r\n") + "a",
		"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", with("X: a\r\n b\r\n"), with("A : b\r\n"),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Request
		n, err := r.Parse(in, limit)
		if err != nil {
			if reason.Of(err, 0) == reason.OK && !errors.Is(err, ErrShort) {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		out := r.AppendRequest(nil, Added{Source: "spiffe://eu.floor/svc/a"})
		head := len(out)
		body := r.Body
		k, done, err := body.Scan(in[n:])
		out = append(out, in[n:n+k]...)
		std, stdErr := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if stdErr != nil {
			t.Fatalf("net/http refuses %q: %v", out, stdErr)
		}
		if std.Method != string(r.Method) || std.Host != string(r.Authority) || std.ProtoMinor != 1 {
			t.Fatalf("net/http reads %s %s %s from %q", std.Method, std.Host, std.Proto, out)
		}
		if std.RequestURI != string(r.Path)+string(r.Query) || std.URL.EscapedPath() != string(r.Path) && r.Path[0] == '/' && !sameDecoded(std.URL, r.Path) {
			t.Fatalf("net/http reads path %q of %q", std.URL.EscapedPath(), out)
		}
		if err == nil && done {
			sameBody(t, std, body.Framing, int64(k), out)
		}
		if got := std.Header.Values("X-Fire-Source"); len(got) != 1 || got[0] != "spiffe://eu.floor/svc/a" {
			t.Fatalf("identity %q in %q", got, out)
		}
		for name := range std.Header {
			if kindOf([]byte(name)) == hop || kindOf([]byte(name)) == own && name != "X-Fire-Source" {
				t.Fatalf("%s was forwarded in %q", name, out)
			}
		}
		var again Request
		if m, err := again.Parse(out[:head], HeadBytesMax); err == nil {
			if twice := again.AppendRequest(nil, Added{Source: "spiffe://eu.floor/svc/a"}); m != head || !bytes.Equal(twice, out[:head]) {
				t.Fatalf("%q is not stable: %q", out[:head], twice)
			}
		} else if reason.Of(err, 0) != reason.HTTPHeaderTooLarge {
			t.Fatalf("we refuse what we emit: %q: %v", out[:head], err)
		}
	})
}

// sameDecoded allows for EscapedPath's own spelling of a path that means the same.
func sameDecoded(u *url.URL, path []byte) bool {
	decoded, err := url.PathUnescape(string(path))
	return err == nil && decoded == u.Path
}

func sameBody(t *testing.T, std *http.Request, framing Framing, length int64, out []byte) {
	body, err := io.ReadAll(std.Body)
	switch {
	case err != nil:
		t.Fatalf("net/http reads %q to %v", out, err)
	case framing == Length && int64(len(body)) != length, framing == None && len(body) != 0:
		t.Fatalf("net/http reads a body of %d from %q", len(body), out)
	case framing == Chunked && (len(std.TransferEncoding) != 1 || std.ContentLength != -1):
		t.Fatalf("net/http sees no chunks in %q", out)
	}
}

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200\r\n\r\nabc", "HTTP/1.0 200 OK\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: x, close\r\nX: y\r\nKeep-Alive: 1\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		var r Response
		n, err := r.Parse(in, limit, Asked{Head: head})
		if err != nil || r.Interim() {
			return
		}
		out := r.AppendResponse(nil, Receiver{})
		body := r.Body
		k, _, err := body.Scan(in[n:])
		if err != nil || body.EOF() != nil {
			return
		}
		out = append(out, in[n:n+k]...)
		method := "GET"
		if head {
			method = "HEAD"
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", out, err)
		}
		read, err := io.ReadAll(std.Body)
		if err != nil || std.StatusCode != r.Status || r.Body.Framing != Chunked && len(read) != k || std.Close != (r.Body.Framing == UntilClose) {
			t.Fatalf("net/http reads %d, %d bytes, close %v, %v from %q", std.StatusCode, len(read), std.Close, err, out)
		}
	})
}

// A canonical path is stable, clean, and decodes to what the raw one decodes to.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/%41", "/a%2fb", "/a/../b", "/%25%34%31", "/caf%c3%a9", "/a//b", "/[x]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, code := CanonicalPath(nil, []byte(raw))
		if code != reason.OK {
			return
		}
		again, code := CanonicalPath(nil, path)
		if code != reason.OK || !bytes.Equal(again, path) {
			t.Fatalf("%q became %q became %q, %v", raw, path, again, code)
		}
		was, err := url.PathUnescape(raw)
		is, errIs := url.PathUnescape(string(path))
		if err != nil || errIs != nil || was != is {
			t.Fatalf("%q decodes to %q, %q to %q", raw, was, path, is)
		}
		twice, err := url.PathUnescape(is)
		if err == nil && strings.ContainsAny(is, "%") && twice != is {
			t.Fatalf("%q decodes twice", path)
		}
		for _, s := range strings.Split(is, "/")[1:] {
			if s == "." || s == ".." || strings.ContainsAny(s, "\x00\\;\n\r") {
				t.Fatalf("%q holds segment %q", path, s)
			}
		}
		if strings.Contains(is, "//") {
			t.Fatalf("%q holds an empty segment", path)
		}
	})
}
