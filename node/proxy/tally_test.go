package proxy

import (
	"bytes"
	"testing"

	"fire/transport/feed"
	"fire/transport/fix"
)

// fixStream is n orders of many lengths.
func fixStream(t testing.TB, n int) []byte {
	t.Helper()
	var all []byte
	for i := range n {
		var b fix.Builder
		b.Begin("FIX.4.4", "D")
		b.String(11, "order")
		b.Bytes(58, bytes.Repeat([]byte("x"), i*37%900))
		all = append(all, b.End()...)
	}
	return all
}

func soupStream(t testing.TB, n int) []byte {
	t.Helper()
	var all []byte
	for i := range n {
		var err error
		if all, err = feed.AppendPacket(all, feed.Sequenced, bytes.Repeat([]byte("m"), i*53%1200)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestTallyCountsEveryMessageHoweverTheStreamIsCut(t *testing.T) {
	const n = 40
	for protocol, all := range map[string][]byte{"fix": fixStream(t, n), "soupbin": soupStream(t, n)} {
		for _, piece := range []int{1, 2, 3, 7, 23, 24, 25, 100, 1000, len(all)} {
			c := tallyOf(protocol)
			var got uint64
			for rest := all; len(rest) > 0; {
				cut := min(piece, len(rest))
				got += c.count(rest[:cut])
				rest = rest[cut:]
			}
			if got != n || !c.on() {
				t.Errorf("%s in pieces of %d: %d messages (still counting: %v), want %d", protocol, piece, got, c.on(), n)
			}
		}
	}
}

func TestTallyStopsAtWhatIsNoMessage(t *testing.T) {
	for protocol, bad := range map[string]string{
		"fix":     "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"soupbin": "\x00\x00\x00\x00",
	} {
		c := tallyOf(protocol)
		if got := c.count([]byte(bad)); got != 0 || c.on() {
			t.Errorf("%s: %d messages in nonsense, still counting: %v", protocol, got, c.on())
		}
	}
	c := tallyOf("fix")
	if got := c.count([]byte("8=FIX.4.4\x019=99999999999999999999\x01")); got != 0 || c.on() {
		t.Errorf("an absurd BodyLength counts %d", got)
	}
	off := tallyOf("tcp")
	if off.on() || off.count([]byte("8=FIX")) != 0 {
		t.Error("an opaque protocol is counted")
	}
}

func TestTallyAllocatesNothing(t *testing.T) {
	all := fixStream(t, 20)
	c := tallyOf("fix")
	if got := testing.AllocsPerRun(100, func() { c.count(all) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func FuzzTally(f *testing.F) {
	f.Add(fixStream(f, 3), 5)
	f.Add(soupStream(f, 3), 2)
	f.Add([]byte("8=FIX.4.4\x019=5\x0135=0\x0110=000\x01"), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 0 {
			cut = -(cut + 1)
		}
		for _, protocol := range []string{"fix", "soupbin"} {
			whole, pieces := tallyOf(protocol), tallyOf(protocol)
			at := cut % (len(b) + 1)
			want := whole.count(b)
			if got := pieces.count(b[:at]) + pieces.count(b[at:]); got != want || whole.on() != pieces.on() {
				t.Fatalf("%s: whole %d (%v), cut at %d %d (%v)", protocol, want, whole.on(), at, got, pieces.on())
			}
		}
	})
}
