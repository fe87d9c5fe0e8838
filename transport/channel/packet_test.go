package channel

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fire/policy/reason"
)

// samples has a packet of each type; their bytes lie in testdata/packets.hex, which the
// bindings read, too.
var samples = []Packet{
	{Type: TypeAttach, Hash: 0x1122334455667788, Side: 1, Held: 2, Channel: "md-nyse", Service: "market-data"},
	{Type: TypeHeld, ID: 7},
	{Type: TypeMapped, ID: 8},
	{Type: TypeAdded, ID: 9, Position: 1 << 40},
	{Type: TypeDetach},
	{Type: TypeWelcome, Kind: 2, Wait: 3, Service: "market-data"},
	{Type: TypeLane, ID: 8, Epoch: 3, Pair: 12, Way: Read, Service: "strategy-a"},
	{Type: TypeReader, ID: 9, Lane: 8, Service: "blotter"},
	{Type: TypeStart, ID: 9, Position: 64},
	{Type: TypeGone, ID: 9},
	{Type: TypeRefused, Reason: reason.DeniedByDefault, Text: "svc größe may not publish"},
	{Type: TypeAdopted, ID: 7, Link: 21},
	{Type: TypeSettled, ID: 21},
	{Type: TypeWelcome, Kind: 1, Wait: 4, Service: "strategy-a"},
}

func TestPacketsAreTheGoldenOnes(t *testing.T) {
	var got strings.Builder
	for _, p := range samples {
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(hex.EncodeToString(b) + "\n")
	}
	file := filepath.Join("testdata", "packets.hex")
	want, err := os.ReadFile(file)
	if err != nil || got.String() != string(want) {
		t.Errorf("%v; the packets are now\n%s", err, got.String())
	}
}

func TestPacketsReadBackAsWritten(t *testing.T) {
	for _, p := range samples {
		b, err := p.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(b[6:])
		if err != nil || back != p {
			t.Errorf("%+v became %+v, %v", p, back, err)
		}
		for n := range len(b) - 6 {
			if _, err := Parse(b[6 : 6+n]); err == nil {
				t.Errorf("type %d is read from %d of its %d bytes", p.Type, n, len(b)-6)
			}
		}
		if _, err := Parse(append(b[6:], 0)); err == nil {
			t.Errorf("type %d is read with a byte behind it", p.Type)
		}
	}
}

func TestNewerProtocolIsNamed(t *testing.T) {
	b, _ := samples[0].Append(nil)
	b[2] = 2
	if _, err := Parse(b); reason.Of(err, 0) != reason.FrameVersion {
		t.Error(err)
	}
	long := Packet{Type: TypeAttach, Channel: strings.Repeat("x", 64)}
	if b, err := long.Append(nil); err == nil || len(b) != 0 {
		t.Errorf("% x, %v", b, err)
	}
	refused := Packet{Type: TypeRefused, Text: strings.Repeat("ä", 400)}
	b, err := refused.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Parse(b); err != nil || back.Text != strings.Repeat("ä", 256) {
		t.Errorf("%q, %v", back.Text, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range samples {
		b, _ := p.Append(nil)
		f.Add(b)
	}
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		again, err := p.Append(nil)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if q, err := Parse(again); err != nil || q != p {
			t.Fatalf("%+v, %+v, %v", p, q, err)
		}
	})
}
