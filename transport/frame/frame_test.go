package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"fire/policy/reason"
)

func sampleOpen() Open {
	return Open{
		Service: "gateway", Instance: "gateway@h3", Protocol: 3, Class: 2,
		ID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Hops: 1,
		StartUnixNanos: 1_795_411_200_123_456_789,
		TraceParent:    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
}

func mustOpen(t testing.TB, o Open) []byte {
	t.Helper()
	b, err := AppendOpen(nil, &o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustReply(t testing.TB, r Reply) []byte {
	t.Helper()
	b, err := AppendReply(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reseal puts the right length and checksum on a tampered message.
func reseal(b []byte) []byte {
	b[offTotal], b[offTotal+1] = byte(len(b)), byte(len(b)>>8)
	seal(b)
	return b
}

// TestBytesAreTheGoldenOnes fails when a byte of version 1 changes: peers that are
// out in the world would no longer understand this side.
func TestBytesAreTheGoldenOnes(t *testing.T) {
	for name, got := range map[string][]byte{
		"open.hex":     mustOpen(t, sampleOpen()),
		"open-min.hex": mustOpen(t, Open{Service: "a"}),
		"reply-ok.hex": mustReply(t, Reply{}),
		"reply-no.hex": mustReply(t, Reply{Code: reason.DeniedByDefault, Detail: "svc/blotter to svc/engine"}),
	} {
		path := filepath.Join("testdata", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%s", path, err, hex.Dump(got))
		}
	}
}

func TestRoundTripIgnoresWhatFollows(t *testing.T) {
	o := sampleOpen()
	b := append(mustOpen(t, o), "GET / HTTP/1.1"...)
	var back Open
	if n, err := ParseOpen(b, &back); err != nil || back != o || string(b[n:]) != "GET / HTTP/1.1" {
		t.Fatalf("%d %v %+v", n, err, back)
	}
	r := Reply{Code: reason.AppUnreachable, Detail: "127.0.0.1:9001: größe"}
	b = append(mustReply(t, r), 0)
	var rback Reply
	if n, err := ParseReply(b, &rback); err != nil || rback != r || n != len(b)-1 {
		t.Fatalf("%d %v %+v", n, err, rback)
	}
}

func TestEveryTruncationAsksForMore(t *testing.T) {
	o, r := mustOpen(t, sampleOpen()), mustReply(t, Reply{Code: reason.Draining, Detail: "noon"})
	for n := range len(o) {
		got := Open{Service: "kept"}
		if _, err := ParseOpen(o[:n], &got); !errors.Is(err, ErrShort) || got.Service != "kept" {
			t.Fatalf("%d of %d bytes: %v %+v", n, len(o), err, got)
		}
		err := ReadOpen(bytes.NewReader(o[:n]), nil, &got)
		if n == 0 && err != io.EOF || n > 0 && reason.Of(err, 0) != reason.FrameTruncated {
			t.Fatalf("reading %d of %d bytes: %v", n, len(o), err)
		}
	}
	for n := range len(r) {
		if _, err := ParseReply(r[:n], new(Reply)); !errors.Is(err, ErrShort) {
			t.Fatalf("%d of %d bytes: %v", n, len(r), err)
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	good := mustOpen(t, sampleOpen())
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		_, err := ParseOpen(bad, new(Open))
		if err == nil {
			t.Fatalf("bit %d of byte %d flipped unnoticed", i%8, i/8)
		}
		inTotal := i/8 == offTotal || i/8 == offTotal+1 // may only look incomplete
		if _, refused := errors.AsType[*reason.Error](err); !refused && !inTotal {
			t.Fatalf("byte %d: %v is not a reason", i/8, err)
		}
	}
}

func TestNewerVersionIsNamedBeforeAnythingElse(t *testing.T) {
	for n := 5; n < 60; n++ {
		b := mustOpen(t, sampleOpen())[:n]
		b[offVersion] = 2
		_, err := ParseOpen(b, new(Open))
		if reason.Of(err, 0) != reason.FrameVersion || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), "speaks 1") {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	b := mustReply(t, Reply{})
	b[offVersion] = 7
	if err := ReadReply(bytes.NewReader(b), nil, new(Reply)); reason.Of(err, 0) != reason.FrameVersion {
		t.Fatal(err)
	}
}

func TestOversizedIsRefusedFromThePrefix(t *testing.T) {
	b := mustOpen(t, sampleOpen())[:offCRC]
	b[offTotal], b[offTotal+1] = 0x01, 0x04 // 1025
	if _, err := ParseOpen(b, new(Open)); reason.Of(err, 0) != reason.FrameOversized {
		t.Fatal(err)
	}
}

func TestFieldsOfANewerMinorAreSkipped(t *testing.T) {
	o := sampleOpen()
	b := reseal(append(mustOpen(t, o), "a field of minor 1"...))
	b[openMinor] = 1
	var back Open
	if n, err := ParseOpen(reseal(b), &back); err != nil || back != o || n != len(b) {
		t.Fatalf("%v %+v", err, back)
	}
	r := Reply{Code: reason.Draining, Detail: "x"}
	rb := reseal(append(mustReply(t, r), 9, 9, 9))
	var rback Reply
	if n, err := ParseReply(rb, &rback); err != nil || rback != r || n != len(rb) {
		t.Fatalf("%v %+v", err, rback)
	}
}

func TestMalformedIsRefusedByBothEnds(t *testing.T) {
	long := strings.Repeat("x", 129)
	for _, o := range []Open{{}, {Service: "Upper"}, {Service: strings.Repeat("a", 64)}, {Service: "a", Instance: long},
		{Service: "a", Instance: "with blank"}, {Service: "a", TraceParent: "line\nbreak"}, {Service: "a", TraceParent: long}} {
		b, err := AppendOpen([]byte("kept"), &o)
		if reason.Of(err, 0) != reason.FrameMalformed || string(b) != "kept" {
			t.Errorf("%+v: %v", o, err)
		}
	}
	tampered := func(edit func(b []byte)) []byte {
		b := mustOpen(t, sampleOpen())
		edit(b)
		return reseal(b)
	}
	for name, b := range map[string][]byte{
		"strings beyond the end": tampered(func(b []byte) { b[openTrace] = 255 }),
		"service with a slash":   tampered(func(b []byte) { b[openStrings] = '/' }),
		"control in instance":    tampered(func(b []byte) { b[openStrings+8] = 7 }),
		"too small":              reseal(mustOpen(t, sampleOpen())[:20]),
	} {
		if _, err := ParseOpen(b, new(Open)); reason.Of(err, 0) != reason.FrameMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"http":          ReadOpen(strings.NewReader("GET / HTTP/1.1\r\n\r\n"), nil, new(Open)),
		"reply as open": ReadOpen(bytes.NewReader(mustReply(t, Reply{Detail: strings.Repeat("x", 99)})), nil, new(Open)),
	} {
		if reason.Of(err, 0) != reason.FrameMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplyDetailIsMadeFitForALog(t *testing.T) {
	var back Reply
	b := mustReply(t, Reply{Code: 1, Detail: "a\nb\x00c\xffd\u0085" + strings.Repeat("é", 400)})
	if _, err := ParseReply(b, &back); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(back.Detail, "a b c\ufffdd é") || len(back.Detail) > DetailBytesMax || len(back.Detail) < DetailBytesMax-1 {
		t.Fatalf("%d bytes: %q", len(back.Detail), back.Detail)
	}
	bad := mustReply(t, Reply{Detail: "abc"})
	bad[replyStrings] = '\n'
	if _, err := ParseReply(reseal(bad), new(Reply)); reason.Of(err, 0) != reason.FrameMalformed {
		t.Fatalf("a line break from the wire was accepted: %v", err)
	}
}

func TestReadTakesNotOneByteMore(t *testing.T) {
	o := sampleOpen()
	wire := append(mustOpen(t, o), "application"...)
	for name, r := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r },
		"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data with error": iotest.DataErrReader} {
		src := bytes.NewReader(wire)
		var back Open
		if err := ReadOpen(r(src), make([]byte, HeaderBytesMax), &back); err != nil || back != o {
			t.Fatalf("%s: %v %+v", name, err, back)
		}
		if rest, _ := io.ReadAll(src); name != "data with error" && string(rest) != "application" {
			t.Fatalf("%s: the application keeps %q", name, rest)
		}
	}
	broken := errors.New("stream reset")
	if err := ReadOpen(io.MultiReader(bytes.NewReader(wire[:7]), iotest.ErrReader(broken)), nil, new(Open)); !errors.Is(err, broken) {
		t.Fatalf("the reader's own error became %v", err)
	}
	if err := ReadOpen(emptyReader{}, nil, new(Open)); !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	o, r := sampleOpen(), Reply{Code: reason.Draining, Detail: "noon"}
	buf, scratch := make([]byte, 0, HeaderBytesMax), make([]byte, HeaderBytesMax)
	var back Open
	var rback Reply
	src := bytes.NewReader(nil)
	if n := testing.AllocsPerRun(500, func() {
		o.StartUnixNanos++
		b, err := AppendOpen(buf, &o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = ParseOpen(b, &back); err != nil || back != o {
			t.Fatal(err)
		}
		src.Reset(b)
		if err = ReadOpen(src, scratch, &back); err != nil {
			t.Fatal(err)
		}
		if b, err = AppendReply(buf, &r); err != nil {
			t.Fatal(err)
		}
		if _, err = ParseReply(b, &rback); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		back = Open{}
		ParseOpen(mustOpenInto(&o, buf), &back)
	}); n > 3 {
		t.Fatalf("a fresh target costs %v allocations, three strings are stated", n)
	}
}

func mustOpenInto(o *Open, buf []byte) []byte {
	b, err := AppendOpen(buf, o)
	if err != nil {
		return nil
	}
	return b
}

func BenchmarkOpen(b *testing.B) {
	o := sampleOpen()
	buf := make([]byte, 0, HeaderBytesMax)
	var back Open
	b.ReportAllocs()
	for b.Loop() {
		msg, _ := AppendOpen(buf, &o)
		ParseOpen(msg, &back)
	}
}
