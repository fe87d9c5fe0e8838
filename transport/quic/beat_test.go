package quic

import (
	"bytes"
	"testing"

	"fire/policy/reason"
	"fire/transport"
)

func TestBeatBytesAreTheGoldenOnes(t *testing.T) {
	got := appendBeat(nil, beat{kind: beatHello, class: transport.ClassOrder, value: 200_000_000})
	if want := []byte("FB\x02\x01\x02\x00\x00\x00\x00\xc2\xeb\x0b\x00\x00\x00\x00"); !bytes.Equal(got, want) {
		t.Errorf("% x", got)
	}
}

func FuzzParseBeat(f *testing.F) {
	for kind := range byte(6) {
		f.Add(appendBeat(nil, beat{kind: kind, class: transport.ClassBulk, value: 1<<63 + 7}))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("FB\x02\x01\x02\x00\x00\x00ABCDEFGH"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readBeat(bytes.NewReader(b))
		if err != nil {
			if code := reason.Of(err, 0); len(b) >= beatBytes && code != reason.FrameMalformed && code != reason.FrameVersion {
				t.Fatalf("%x: %v has no reason", b, err)
			}
			return
		}
		again := appendBeat(nil, m)
		copy(again[5:8], b[5:8]) // reserved
		if !bytes.Equal(again, b[:beatBytes]) {
			t.Fatalf("%x reads as %+v, which is %x", b, m, again)
		}
	})
}
