package http1

import (
	"bytes"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

// scanIn shows the body in pieces of the given size and returns what was vouched for.
func scanIn(b *Body, in []byte, piece int) (forwarded []byte, err error) {
	for len(in) > 0 && !b.Done() {
		p := in[:min(piece, len(in))]
		n, _, err := b.Scan(p)
		forwarded = append(forwarded, p[:n]...)
		if err != nil {
			return forwarded, err
		}
		in = in[n:]
	}
	return forwarded, nil
}

func TestBodyEndsWhereItsFramingSays(t *testing.T) {
	for _, c := range []struct {
		name, in, body string
		start          Body
	}{
		{"length", "hello next", "hello", Body{Framing: Length, left: 5}},
		{"none", "next", "", Body{Framing: None, state: bodyDone}},
		{"chunked", "5\r\nhello\r\n0\r\n\r\nnext", "5\r\nhello\r\n0\r\n\r\n", Body{Framing: Chunked}},
		{"chunked, two chunks", "1\r\nh\r\n00A\r\n0123456789\r\n0\r\n\r\nnext", "1\r\nh\r\n00A\r\n0123456789\r\n0\r\n\r\n", Body{Framing: Chunked}},
		{"trailers", "0\r\nGrpc-Status: 0\r\nX:\r\n\r\nnext", "0\r\nGrpc-Status: 0\r\nX:\r\n\r\n", Body{Framing: Chunked}},
	} {
		for piece := 1; piece <= len(c.in); piece++ {
			b := c.start
			got, err := scanIn(&b, []byte(c.in), piece)
			if err != nil || string(got) != c.body || !b.Done() || b.EOF() != nil {
				t.Fatalf("%s in pieces of %d: %q, %v, done %v", c.name, piece, got, err, b.Done())
			}
		}
	}
}

func TestUntilCloseTakesEverything(t *testing.T) {
	b := Body{Framing: UntilClose}
	if n, done, err := b.Scan([]byte("abc")); n != 3 || done || err != nil {
		t.Fatalf("%d, %v, %v", n, done, err)
	}
	if b.EOF() != nil || !b.Done() {
		t.Fatal("the end of the stream is the end of the body")
	}
}

func TestBadChunksAreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"no size":               "\r\nhello",
		"extension":             "5;a=b\r\nhello\r\n",
		"space after size":      "5 \r\nhello\r\n",
		"space before size":     " 5\r\nhello\r\n",
		"sign":                  "+5\r\nhello\r\n",
		"0x":                    "0x5\r\nhello\r\n",
		"bare LF after size":    "5\nhello\r\n",
		"bare CR after size":    "5\rhello\r\n",
		"longer than its size":  "5\r\nhello!\r\n",
		"bare LF after data":    "5\r\nhello\n",
		"size overflow":         "fffffffffffffffff\r\n",
		"size too large":        "8000000000000000\r\n",
		"folded trailer":        "0\r\nA: b\r\n c\r\n\r\n",
		"trailer without name":  "0\r\n: b\r\n\r\n",
		"trailer without colon": "0\r\nA\r\n\r\n",
		"space before colon":    "0\r\nA : b\r\n\r\n",
		"trailer with NUL":      "0\r\nA: \x00\r\n\r\n",
		"trailer bare LF":       "0\r\nA: b\n\r\n",
		"trailer bare CR":       "0\r\nA: b\rc\r\n\r\n",
		"last bare CR":          "0\r\n\rx",
		"trailer frames":        "0\r\nContent-Length: 1\r\n\r\n",
		"trailer frames too":    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"trailer in disguise":   "0\r\nTransfer_Encoding: chunked\r\n\r\n",
		"trailer routes":        "0\r\nHost: b\r\n\r\n",
		"trailer is ours":       "0\r\nx_fire_source: b\r\n\r\n",
		"trailer authorises":    "0\r\nAuthorization: b\r\n\r\n",
		"trailers too large":    "0\r\n" + strings.Repeat("A: b\r\n", TrailerBytesMax/6+1) + "\r\n",
	} {
		b := Body{Framing: Chunked}
		if _, err := scanIn(&b, []byte(in), len(in)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestStreamThatEndsInABodyIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		b  Body
		in string
	}{
		"length":         {Body{Framing: Length, left: 5}, "hell"},
		"chunk":          {Body{Framing: Chunked}, "5\r\nhell"},
		"between":        {Body{Framing: Chunked}, "5\r\nhello\r\n"},
		"last line":      {Body{Framing: Chunked}, "5\r\nhello\r\n0\r\n"},
		"nothing at all": {Body{Framing: Chunked}, ""},
	} {
		if _, err := scanIn(&c.b, []byte(c.in), 100); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.b.EOF() == nil {
			t.Errorf("%s: the early end was not noticed", name)
		}
	}
}

func TestDecodeYieldsTheDataInAnyPieces(t *testing.T) {
	const in, want = "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nA: b\r\n\r\nnext", "hello world"
	for piece := 1; piece <= len(in); piece++ {
		b := Body{Framing: Chunked}
		var got []byte
		for rest := []byte(in); !b.Done(); {
			p := bytes.Clone(rest[:min(piece, len(rest))])
			data, n, _, err := b.Decode(p)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, data...)
			rest = rest[n:]
		}
		if string(got) != want {
			t.Fatalf("pieces of %d: %q", piece, got)
		}
	}
}

// Whatever chunked body we forward, the standard library reads to the same end.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\n", "0\r\nA: b\r\n\r\nx", "a\r\n0123456789\r\n00\r\n\r\n", "5;x\r\nhello\r\n0\r\n\r\n", "1\n"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		piece = max(1, min(piece, len(in)))
		whole, pieces, decoding := Body{Framing: Chunked}, Body{Framing: Chunked}, Body{Framing: Chunked}
		forwarded, err := scanIn(&whole, in, max(1, len(in)))
		again, errAgain := scanIn(&pieces, in, piece)
		if (err == nil) != (errAgain == nil) || !bytes.Equal(forwarded, again) {
			t.Fatalf("pieces of %d: %q %v, whole: %q %v", piece, again, errAgain, forwarded, err)
		}
		if err != nil || !whole.Done() {
			return
		}
		data, _, _, err := decoding.Decode(bytes.Clone(in))
		if err != nil {
			t.Fatalf("scans, but does not decode: %v", err)
		}
		std, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(forwarded)))
		if err != nil || !bytes.Equal(std, data) {
			t.Fatalf("the library reads %q, %v from %q; we read %q", std, err, forwarded, data)
		}
	})
}
