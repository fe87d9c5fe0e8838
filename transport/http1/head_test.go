package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"fire/policy/reason"
)

const limit = 16 << 10

// get is a request with the given target.
func get(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n" }

// with is a good POST with more header lines.
func with(lines string) string { return "POST /x HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n" }

// Every row of the enforcement table that is a refusal, and its kin.
func TestHostileRequestsAreRefused(t *testing.T) {
	const bad, path, large, upgrade = reason.HTTPMalformed, reason.HTTPPathUnclean, reason.HTTPHeaderTooLarge, reason.HTTPUpgradeRefused
	for _, c := range []struct {
		name, in string
		code     reason.Code
	}{
		{"dot dot", get("/app/../admin"), path},
		{"dot dot at the end", get("/app/.."), path},
		{"dot", get("/./admin"), path},
		{"encoded dot dot", get("/app/%2e%2e/admin"), path},
		{"half encoded dot dot", get("/app/.%2E/admin"), path},
		{"encoded dot", get("/a%2ejson"), path},
		{"encoded slash", get("/a%2fb"), path},
		{"encoded backslash", get("/a%5Cb"), path},
		{"backslash", get(`/a\..\b`), path},
		{"double slash", get("//admin"), path},
		{"inner double slash", get("/a//b"), path},
		{"encoded NUL", get("/admin%00"), path},
		{"encoded newline", get("/admin%0d%0a"), path},
		{"fragment", get("/admin#x"), path},
		{"fragment in the query", get("/admin?a#x"), path},
		{"path parameter", get("/app/..;/admin"), path},
		{"encoded twice", get("/a%252e%252e/b"), path},
		{"encoded twice in pieces", get("/a%25%32e"), path},
		{"overlong dot", get("/a/%c0%ae%c0%ae/b"), path},
		{"half a rune", get("/a%c3"), path},
		{"raw byte outside ASCII", get("/caf\xc3\xa9"), path},
		{"IIS code", get("/a%u002e"), path},
		{"cut percent code", get("/a%4"), path},
		{"NUL in the target", get("/a\x00b"), path},
		{"tab in the target", get("/a\tb"), path},

		{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", bad},
		{"blank host", "GET / HTTP/1.1\r\nHost: \t \r\n\r\n", bad},
		{"no host", "GET / HTTP/1.1\r\n\r\n", bad},
		{"HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", bad},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", bad},
		{"two hosts in one", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", bad},
		{"host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", bad},
		{"host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", bad},
		{"host of dots", "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", bad},
		{"host a dot", "GET / HTTP/1.1\r\nHost: .\r\n\r\n", bad},
		{"host a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", bad},
		{"host with empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", bad},
		{"host with port 0", "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", bad},
		{"host with port 65536", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", bad},
		{"host with percent", "GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", bad},
		{"host with open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", bad},
		{"host with zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", bad},
		{"host IPv4 in brackets", "GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n", bad},
		{"long host", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", 256) + "\r\n\r\n", bad},

		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", upgrade},
		{"CONNECT with a path", "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", upgrade},
		{"h2c", with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), upgrade},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", upgrade},
		{"upgrade to two things", get2("GET", "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), upgrade},
		{"two upgrades", get2("GET", "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"), bad},
		{"websocket by POST", get2("POST", "Connection: upgrade\r\nUpgrade: websocket\r\n"), upgrade},
		{"websocket with a body", get2("GET", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"), upgrade},
		{"websocket without the option", get2("GET", "Upgrade: websocket\r\n"), upgrade},

		{"CL and TE", with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), bad},
		{"two CL", with("Content-Length: 3\r\nContent-Length: 3\r\n"), bad},
		{"CL list", with("Content-Length: 3, 3\r\n"), bad},
		{"CL signed", with("Content-Length: +3\r\n"), bad},
		{"CL hex", with("Content-Length: 0x3\r\n"), bad},
		{"CL empty", with("Content-Length:\r\n"), bad},
		{"CL huge", with("Content-Length: 9999999999999999999\r\n"), bad},
		{"CL in disguise", with("Content_Length: 3\r\n"), bad},
		{"TE in disguise", with("Transfer_Encoding: chunked\r\n"), bad},
		{"chunked tab", with("Transfer-Encoding: chunked\t\r\n"), bad},
		{"tab chunked", with("Transfer-Encoding:\tchunked\r\n"), bad},
		{"chunked space", with("Transfer-Encoding: chunked \r\n"), bad},
		{"two TE", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), bad},
		{"TE list", with("Transfer-Encoding: gzip, chunked\r\n"), bad},
		{"TE identity", with("Transfer-Encoding: identity\r\n"), bad},
		{"TE quoted", with("Transfer-Encoding: \"chunked\"\r\n"), bad},
		{"TE vertical tab", with("Transfer-Encoding: \vchunked\r\n"), bad},
		{"TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", bad},

		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", bad},
		{"bare LF in the fields", "GET / HTTP/1.1\r\nHost: ab\nX: yz\r\n\r\n", bad},
		{"bare CR", with("X: a\rb\r\n"), bad},
		{"folded field", with("X: a\r\n b\r\n"), bad},
		{"folded first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", bad},
		{"space before colon", with("X : a\r\n"), bad},
		{"tab before colon", with("Transfer-Encoding\t: chunked\r\n"), bad},
		{"no colon", with("X\r\n"), bad},
		{"no name", with(": a\r\n"), bad},
		{"NUL in a value", with("X: a\x00b\r\n"), bad},
		{"NUL in a name", with("X\x00: a\r\n"), bad},
		{"DEL in a value", with("X: a\x7f\r\n"), bad},
		{"two expects", with("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"), bad},
		{"unknown expectation", with("Expect: 200-ok\r\nContent-Length: 1\r\n"), bad},
		{"bad option", with("Connection: a b\r\n"), bad},

		{"lower-case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		{"no method", " / HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		{"long method", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", path},
		{"tab for space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		{"trailing space", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", bad},
		{"HTTP/0.9", "GET /\r\n\r\n", bad},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", bad},
		{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", bad},
		{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		{"asterisk by GET", get("*"), bad},
		{"authority form", get("a:80"), bad},
		{"relative target", get("admin"), bad},
		{"absolute of another host", get("http://b/"), bad},
		{"absolute of another port", get("http://a:81/"), bad},
		{"absolute with user", get("http://u@a/"), bad},
		{"absolute without host", get("http:///x"), bad},
		{"absolute https", get("https://a/"), bad},
		{"absolute with dots", get("http://a/../b"), path},
		{"two empty lines first", "\r\n\r\n" + get("/"), bad},

		{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", limit) + "\r\n\r\n", large},
		{"large head without end", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", limit), large},
		{"large target", get("/" + strings.Repeat("a", TargetBytesMax)), large},
		{"many fields", with(strings.Repeat("X: a\r\n", FieldsMax)), large},
		{"many options", with("Connection: " + strings.Repeat("a,", ConnectionsMax+1) + "\r\n"), large},
	} {
		var r Request
		_, err := r.Parse([]byte(c.in), limit)
		if got := reason.Of(err, 0); got != c.code {
			t.Errorf("%s: %v, want %v", c.name, err, c.code)
		}
	}
}

func get2(method, lines string) string {
	return method + " /x HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n"
}

// The rows that are mended: what goes in, and the one head that goes out.
func TestRequestsAreForwardedInOneForm(t *testing.T) {
	head := func(s string) string { return "GET /x HTTP/1.1\r\nHost: a\r\n" + s + "\r\n" }
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct{ name, in, out string }{
		{"plain", get("/a/b?c=/../d;e"), "GET /a/b?c=/../d;e HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"one empty line first", "\r\n" + get("/"), get("/")},
		{"respelled path", get("/%41%7e/caf%c3%a9/%20[x]%25"), get("/A~/caf%C3%A9/%20%5Bx%5D%25")},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"absolute form", get("HTTP://A./x?y"), get("/x?y")},
		{"absolute form without path", get("http://a?y"), get("/?y")},
		{"absolute form, bare", get("http://a"), get("/")},
		{"host", "GET / HTTP/1.1\r\nhOST:\t SECRET.Com.:8080 \r\n\r\n", "GET / HTTP/1.1\r\nHost: secret.com:8080\r\n\r\n"},
		{"host IPv6", "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade: h2c\r\n\r\n", get("/")},
		{"ours in any spelling", with("X_Fire_Id: 1\r\nx-fire-source: root\r\nX-FIRE: 1\r\nX.Fire-a: 1\r\nx_fire: 2\r\nx-firewall: on\r\n"), with("x-firewall: on\r\n")},
		{"hop fields", with("Keep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nHTTP2-Settings: x\r\nA: b\r\n"), with("A: b\r\n")},
		{"named fields", with("Secret: 1\r\nConnection: close, SECRET ,, other\r\nOther: 2\r\nA: b\r\n"), with("A: b\r\n")},
		{"naming host and length has no effect", with("Connection: host, content-length, traceparent\r\nContent-Length: 3\r\ntraceparent: " + trace + "\r\n"),
			with("Content-Length: 3\r\ntraceparent: " + trace + "\r\n")},
		{"length", with("content-length: 003 \r\nB: c\r\n"), with("B: c\r\nContent-Length: 3\r\n")},
		{"no body stated", with("Content-Length: 0\r\n"), with("Content-Length: 0\r\n")},
		{"chunked", with("tRANSFER-eNCODING: CHUNKED\r\nTrailer: x\r\n"), with("Trailer: x\r\nTransfer-Encoding: chunked\r\n")},
		{"expect", with("Expect: 100-Continue\r\nContent-Length: 3\r\n"), with("Content-Length: 3\r\nExpect: 100-continue\r\n")},
		{"expect without body", with("Expect: 100-continue\r\n"), with("")},
		{"websocket", head("Sec-WebSocket-Key: k\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"),
			head("Sec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")},
		{"values keep their inside", with("A:  b \t c\t\r\nE:\r\nU: \xc3\xa9\r\n"), with("A: b \t c\r\nE: \r\nU: \xc3\xa9\r\n")},
		{"trace", with("traceparent: " + trace + "\r\ntracestate: a=b\r\n"), with("tracestate: a=b\r\ntraceparent: " + trace + "\r\n")},
		{"bad trace", with("traceparent: " + strings.ToUpper(trace) + "\r\ntracestate: a=b\r\n"), with("")},
		{"two traces", with("traceparent: " + trace + "\r\ntraceparent: " + trace + "\r\ntracestate: a=b\r\n"), with("")},
	} {
		var r Request
		n, err := r.Parse([]byte(c.in), limit)
		if err != nil || n != len(c.in) {
			t.Errorf("%s: %d, %v", c.name, n, err)
			continue
		}
		if out := string(r.AppendRequest(nil, Added{})); out != c.out {
			t.Errorf("%s:\n got %q\nwant %q", c.name, out, c.out)
		}
	}
}

func TestOursAreAddedWhateverTheClientNames(t *testing.T) {
	var r Request
	in := with("Connection: X-Fire-Source, traceparent\r\nX-Fire-Source: spiffe://eu.floor/svc/admin\r\ntraceparent: junk\r\n")
	if _, err := r.Parse([]byte(in), limit); err != nil {
		t.Fatal(err)
	}
	made := AppendTraceParent(nil, [24]byte{})
	out := string(r.AppendRequest(nil, Added{TraceParent: made, Source: "spiffe://eu.floor/svc/a", Close: true}))
	want := with("Connection: close\r\ntraceparent: 00-01000000000000000000000000000000-0100000000000000-00\r\nx-fire-source: spiffe://eu.floor/svc/a\r\n")
	if out != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
	if !goodTraceParent(made) {
		t.Error("we made a trace that we would refuse")
	}
}

func TestTraceParentFollowsTheW3CRules(t *testing.T) {
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for v, want := range map[string]bool{
		"00-" + id + "-" + span + "-01":                      true,
		"cc-" + id + "-" + span + "-01":                      true,
		"cc-" + id + "-" + span + "-01-more":                 true,
		"cc-" + id + "-" + span + "-01more":                  false,
		"00-" + id + "-" + span + "-01-more":                 false,
		"ff-" + id + "-" + span + "-01":                      false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": false,
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":   false,
		"00-" + strings.ToUpper(id) + "-" + span + "-01":     false,
		"00-" + id + "-" + span + "-0":                       false,
		"00_" + id + "-" + span + "-01":                      false,
		"":                                                   false,
		"zz-" + id + "-" + span + "-01":                      false,
		"00-" + id + "-" + span + "-zz":                      false,
		"00-" + strings.Repeat("g", 32) + "-" + span + "-01": false,
	} {
		if got := goodTraceParent([]byte(v)); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

// All 256 percent codes: refused, or one canonical spelling that net/http decodes
// to the same byte.
func TestEveryPercentCodeHasOneSpellingOrNone(t *testing.T) {
	for c := range 256 {
		raw := fmt.Sprintf("/a%%%02xb", c)
		if c >= 0x80 {
			raw = fmt.Sprintf("/a%%%02x", c) // never whole UTF-8 alone
		}
		got, code := CanonicalPath(nil, []byte(raw))
		refuse := c < 0x20 || c == 0x7f || c >= 0x80 || strings.IndexByte(`./\;`, byte(c)) >= 0
		if refuse != (code == reason.HTTPPathUnclean) {
			t.Errorf("%s: %q, %v", raw, got, code)
			continue
		}
		if refuse {
			continue
		}
		want := fmt.Sprintf("/a%%%02Xb", c)
		if classes[c]&segment != 0 {
			want = fmt.Sprintf("/a%cb", c)
		}
		if string(got) != want {
			t.Errorf("%s became %s, want %s", raw, got, want)
		}
		again, code := CanonicalPath(nil, got)
		if code != reason.OK || !bytes.Equal(again, got) {
			t.Errorf("%s is not stable: %s, %v", got, again, code)
		}
	}
	for _, hex := range []string{"%c3%a9", "%C3%a9", "%e2%82%ac", "%f0%9f%94%a5"} {
		got, code := CanonicalPath(nil, []byte("/"+hex))
		if code != reason.OK || string(got) != "/"+strings.ToUpper(hex) {
			t.Errorf("%s: %s, %v", hex, got, code)
		}
	}
}

func TestHostIsMatchedWithoutItsPort(t *testing.T) {
	for in, want := range map[string]string{"Orders.:8080": "orders", "a.b": "a.b", "[::1]:80": "[::1]", "10.0.0.1:1": "10.0.0.1"} {
		var r Request
		if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: "+in+"\r\n\r\n"), limit); err != nil || string(r.Host) != want {
			t.Errorf("%s: %q, %v", in, r.Host, err)
		}
	}
}

func TestHeadMayArriveInAnyPieces(t *testing.T) {
	in := []byte("\r\n" + with("A: b\r\nContent-Length: 3\r\n") + "abc")
	head := len(in) - 3
	var r Request
	for i := range head {
		piece := bytes.Clone(in[:i]) // the buffer may move
		if _, err := r.Parse(piece, limit); !errors.Is(err, ErrShort) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	n, err := r.Parse(in, limit)
	if err != nil || n != head {
		t.Fatalf("%d, %v", n, err)
	}
	if r.scan.seen != head {
		t.Errorf("searched %d bytes of a head of %d", r.scan.seen, head)
	}
}

func TestKeepAliveFollowsVersionAndOption(t *testing.T) {
	for in, want := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                                  false,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n":                        false,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n":                             true,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: keep-alive,close\r\n\r\n": true,
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n":                                                  true,
		"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n":                        true,
	} {
		var r Request
		if _, err := r.Parse([]byte(in), limit); err != nil || r.Close != want {
			t.Errorf("%q: close %v, %v", in, r.Close, err)
		}
	}
}

func TestResponsesAreReadByTheBodyRules(t *testing.T) {
	head, socket := Asked{Head: true}, Asked{WebSocket: true}
	for _, c := range []struct {
		name, in string
		asked    Asked
		framing  Framing
		out      string // "" = refused
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked{}, Length, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Asked{}, None, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\n\r\n", Asked{}, Chunked, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\n", Asked{}, UntilClose, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Asked{}, Length, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", Asked{}, Length, "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head, None, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"HEAD chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head, None, "HTTP/1.1 200 OK\r\n\r\n"},
		{"204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Asked{}, None, "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Asked{}, None, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", Asked{}, None, "HTTP/1.1 100 Continue\r\n\r\n"},
		{"103", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", Asked{}, None, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"},
		{"101 asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 7\r\n\r\n", socket, UntilClose,
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"426 to a socket", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n", socket, None,
			"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"},
		{"the app's x-fire", "HTTP/1.1 200 OK\r\nX_Fire_Reason: ok\r\nContent-Length: 0\r\n\r\n", Asked{}, None, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},

		{"101 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Asked{}, 0, ""},
		{"101 to something else", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", socket, 0, ""},
		{"CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Asked{}, 0, ""},
		{"two CL", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Asked{}, 0, ""},
		{"TE in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Asked{}, 0, ""},
		{"TE on 204", "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", Asked{}, 0, ""},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\n", Asked{}, 0, ""},
		{"folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Asked{}, 0, ""},
		{"status 99", "HTTP/1.1 099 x\r\n\r\n", Asked{}, 0, ""},
		{"status 600", "HTTP/1.1 600 x\r\n\r\n", Asked{}, 0, ""},
		{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", Asked{}, 0, ""},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", Asked{}, 0, ""},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", Asked{}, 0, ""},
		{"empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", Asked{}, 0, ""},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", Asked{}, 0, ""},
	} {
		var r Response
		_, err := r.Parse([]byte(c.in), limit, c.asked)
		if c.out == "" {
			if reason.Of(err, 0) != reason.HTTPMalformed {
				t.Errorf("%s: %v, want a refusal", c.name, err)
			}
			continue
		}
		if err != nil || r.Body.Framing != c.framing {
			t.Errorf("%s: framing %v, %v", c.name, r.Body.Framing, err)
			continue
		}
		if out := string(r.AppendResponse(nil, Receiver{})); out != c.out {
			t.Errorf("%s:\n got %q\nwant %q", c.name, out, c.out)
		}
	}
}

func TestAnHTTP10ReceiverGetsNoChunks(t *testing.T) {
	var r Response
	in := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-fire-reason: ok\r\n\r\n"
	if _, err := r.Parse([]byte(in), limit, Asked{}); err != nil {
		t.Fatal(err)
	}
	if got, want := string(r.AppendResponse(nil, Receiver{HTTP10: true, Own: true})), "HTTP/1.1 200 OK\r\nx-fire-reason: ok\r\nConnection: close\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRefusalIsAWholeAnswerWithItsReason(t *testing.T) {
	for _, info := range reason.All() {
		for _, head := range []bool{false, true} {
			raw := AppendRefusal(nil, Refusal{Code: info.Code, Detail: "svc/a to svc/b", Close: true, Head: head})
			method := "GET"
			if head {
				method = "HEAD"
			}
			res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%v: %v", info.Name, err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != Status(info.Code) || res.StatusCode < 400 || res.Header.Get("X-Fire-Reason") != info.Name || !res.Close {
				t.Errorf("%v: %v %v, %v", info.Name, res.Status, res.Header, err)
			}
			if !head && (strings.Count(string(body), "\n") != 1 || !strings.Contains(string(body), info.Name)) || head && len(body) > 0 {
				t.Errorf("%v: body %q", info.Name, body)
			}
			if want := fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode)); res.Status != want {
				t.Errorf("status %q, want %q", res.Status, want)
			}
		}
	}
}
