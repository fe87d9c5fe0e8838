package entry

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func sample(b *Builder, buf []byte) []byte {
	b.Begin(buf, Head{Kind: Message, Sync: Synchronised, Clock: ClockPTP, Bound: 850, Time: 1_700_000_000_123_456_789, Source: 7, Seq: 42})
	b.Str(Hop, "client-proxy")
	b.Str(Service, "strategy-a")
	b.Str(Peer, "")
	b.Uint(Reason, 101)
	b.Bytes(Digest, bytes.Repeat([]byte{0xab}, 32))
	b.Uint(SeqNum, 300)
	b.Str(ClOrdID, "A-\"1\"")
	b.Bytes(Content, []byte("8=FIX\x01"))
	b.Int(Offset, -5)
	return b.Raw()
}

func TestAnEntryGivesBackWhatWasBuilt(t *testing.T) {
	var b Builder
	raw := sample(&b, nil)
	v, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := Head{Kind: Message, Sync: Synchronised, Clock: ClockPTP, Bound: 850, Time: 1_700_000_000_123_456_789, Source: 7, Seq: 42}
	if v.Head() != want || v.Str(Hop) != "client-proxy" || v.Bytes(Peer) != nil || v.Uint(SeqNum) != 300 || v.Int(Offset) != -5 || v.Uint(Count) != 0 {
		t.Errorf("%+v %q %d %d", v.Head(), v.Str(Hop), v.Uint(SeqNum), v.Int(Offset))
	}
	n := 0
	for range v.All() {
		n++
	}
	if n != 8 {
		t.Errorf("%d fields", n)
	}
	var m map[string]any
	if err := json.Unmarshal(append(v.AppendJSON([]byte("{")), '}'), &m); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{"kind": "message", "time_utc_ns": 1.7000000001234568e18, "error_bound_ns": 850.0, "clock": "ptp", "reason": "denied_by_rule",
		"cl_ord_id": `A-"1"`, "digest": strings.Repeat("ab", 32), "offset_ns": -5.0, "content": "OD1GSVgB", "source": "0700000000000000"} {
		if m[k] != want {
			t.Errorf("%s is %v; want %v", k, m[k], want)
		}
	}
}

func TestOneFactHasOneForm(t *testing.T) {
	var b Builder
	good := sample(&b, nil)
	rows := map[string]func([]byte) []byte{
		"short":            func(r []byte) []byte { return r[:31] },
		"other version":    func(r []byte) []byte { r[0] = 2; return r },
		"kind 0":           func(r []byte) []byte { r[1] = 0; return r },
		"half a field":     func(r []byte) []byte { return append(r, 200, 1) },
		"beyond the end":   func(r []byte) []byte { return append(r, 200, 2, 0, 'x') },
		"empty":            func(r []byte) []byte { return append(r, 200, 0, 0) },
		"falling tags":     func(r []byte) []byte { return append(r, 1, 1, 0, 'x') },
		"the same tag":     func(r []byte) []byte { return append(r, byte(Offset), 1, 0, 1) },
		"a leading zero":   func(r []byte) []byte { return append(r, byte(Stratum), 2, 0, 1, 0) },
		"a number too big": func(r []byte) []byte { return append(append(r, byte(Stratum), 9, 0), bytes.Repeat([]byte{1}, 9)...) },
		"too large":        func(r []byte) []byte { return append(append(r, 200, 0xff, 0xff), make([]byte, 65535)...) },
	}
	for name, spoil := range rows {
		if _, err := Parse(spoil(bytes.Clone(good))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Parse(append(bytes.Clone(good), 250, 1, 0, 'x')); err != nil {
		t.Error("a field of a later version is refused:", err)
	}
}

func TestAnEntryNeverOutgrowsItsBound(t *testing.T) {
	var b Builder
	b.Begin(nil, Head{Kind: Admin})
	b.Str(Verb, strings.Repeat("x", 40000))
	b.Str(Object, strings.Repeat("y", 40000))
	b.Uint(Process, math.MaxUint64)
	b.Str(Unit, "z")
	v, err := Parse(b.Raw())
	if err != nil || len(v.Raw()) > BytesMax || len(v.Str(Object)) < 25000 {
		t.Errorf("%v: %d bytes", err, len(v.Raw()))
	}
}

func TestNamesAndNumbersAreOneToOne(t *testing.T) {
	seen := map[string]Tag{}
	for tag := range fields {
		n := fields[tag].name
		if n == "" {
			continue
		}
		if other, twice := seen[n]; twice {
			t.Errorf("%d and %d are both %s", tag, other, n)
		}
		seen[n] = Tag(tag)
		if back, ok := TagOf(n); !ok || back != Tag(tag) {
			t.Errorf("%s is %d and %d", n, tag, back)
		}
	}
	for _, name := range Kinds() {
		if k, ok := KindOf(name); !ok || k.String() != name {
			t.Errorf("%s is %v", name, k)
		}
	}
	if Kind(99).String() != "kind_99" || Tag(250).String() != "tag_250" || Kind(0).String() != "kind_0" {
		t.Error("numbers without a name are not shown as numbers")
	}
}

func TestBuildingAndReadingAllocateNothing(t *testing.T) {
	var b Builder
	buf := make([]byte, 0, 1024)
	n := testing.AllocsPerRun(100, func() {
		v, err := Parse(sample(&b, buf[:0]))
		if err != nil || v.Uint(SeqNum) != 300 {
			t.Fatal(err)
		}
	})
	if n > 2 { // the sample's own digest and content
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	var b Builder
	f.Add(sample(&b, nil))
	f.Add(append(sample(&b, nil), 250, 1, 0, 'x'))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := Parse(raw)
		if err != nil {
			return
		}
		var b Builder
		b.Begin(nil, v.Head())
		for tag, val := range v.All() {
			b.Bytes(tag, val)
			if !bytes.Equal(v.Bytes(tag), val) {
				t.Fatalf("%v reads as %x and %x", tag, v.Bytes(tag), val)
			}
		}
		if !bytes.Equal(b.Raw(), raw) {
			t.Fatalf("%x is built again as %x", raw, b.Raw())
		}
		if !json.Valid(append(v.AppendJSON([]byte("{")), '}')) {
			t.Fatalf("%x makes no JSON", raw)
		}
	})
}
