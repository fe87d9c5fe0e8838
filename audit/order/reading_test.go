package order

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fire/audit/entry"
	"fire/transport/fix"
)

// wire turns | into SOH and fills in BodyLength and CheckSum.
func wire(version, body string) []byte {
	body = strings.ReplaceAll(body, "|", "\x01")
	s := fmt.Sprintf("8=%s\x019=%d\x01%s", version, len(body), body)
	return fmt.Appendf(nil, "%s10=%03d\x01", s, fix.CheckSum([]byte(s)))
}

func entryOf(t testing.TB, m *Message) entry.View {
	t.Helper()
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Message})
	b.Uint(entry.Size, 1)
	m.Append(&b)
	b.Str(entry.Content, "x")
	v, err := entry.Parse(b.Raw())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryFieldOfEveryVersionBecomesAFieldOfAnEntry(t *testing.T) {
	for _, version := range []string{"FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIX.5.0", "FIXT.1.1"} {
		var m Message
		raw := wire(version, "35=8|49=GW|56=DESK|34=17|43=Y|97=Y|52=20261008-09:00:00.001|122=20261008-08:59:59|627=2|628=HUB|629=20261008-08:59:58|630=4|628=A,B|"+
			"37=O-1|17=E-1|11=C-2|41=C-1|55=VOD.L|150=5|39=5|38=100|")
		if err := m.Read(raw); err != nil {
			t.Fatal(version, err)
		}
		v := entryOf(t, &m)
		for tag, want := range map[entry.Tag]string{
			entry.MsgType: "8", entry.SeqNum: "17", entry.Sender: "GW", entry.Target: "DESK", entry.ClOrdID: "C-2", entry.OrigID: "C-1", entry.OrderID: "O-1",
			entry.ExecID: "E-1", entry.Symbol: "VOD.L", entry.ExecType: "5", entry.OrdStatus: "5", entry.SentAt: "20261008-09:00:00.001",
			entry.FirstSent: "20261008-08:59:59", entry.Marks: "3", entry.Trail: "HUB@20261008-08:59:58#4,A%2CB",
		} {
			if got := v.Text(tag); got != want {
				t.Errorf("%s: %v is %q; want %q", version, tag, got, want)
			}
		}
	}
}

func TestMarksSayWhatKindOfMessageItIs(t *testing.T) {
	for body, want := range map[string]struct{ marks, newSeq uint64 }{
		"35=4|34=5|123=Y|36=9|":       {entry.MarkGapFill, 9},
		"35=4|34=5|43=Y|123=Y|36=9|":  {entry.MarkGapFill | entry.MarkPossDup, 9},
		"35=4|34=5|123=N|36=9|":       {entry.MarkReset, 9},
		"35=4|34=5|36=9|":             {entry.MarkReset, 9},
		"35=A|34=1|141=Y|":            {entry.MarkReset, 0},
		"35=A|34=1|141=N|":            {},
		"35=D|34=1|141=Y|123=Y|36=7|": {},
		"35=D|34=1|43=N|97=N|":        {},
	} {
		var m Message
		if err := m.Read(wire("FIX.4.4", body)); err != nil || m.Marks != want.marks || m.NewSeqNum != want.newSeq {
			t.Errorf("%s: %v, marks %b, new number %d", body, err, m.Marks, m.NewSeqNum)
		}
	}
}

func TestOfAGarbledMessageNothingIsInvented(t *testing.T) {
	good := wire("FIX.4.4", "35=D|34=5|49=A|56=B|11=C-1|628=X|")
	sum := bytes.Clone(good)
	sum[len(sum)-2] ^= 1
	m := Message{}
	for name, raw := range map[string][]byte{
		"empty": nil, "noise": []byte("GET / HTTP/1.1"), "wrong sum": sum, "cut": good[:len(good)-9], "two": append(bytes.Clone(good), good...),
		"no field": wire("FIX.4.4", "35=D|34=5|11=C-1|ORDER|"), "data of another length": wire("FIX.4.4", "35=D|11=C-1|95=2|96=x|55=VOD|"),
	} {
		if err := m.Read(good); err != nil || string(m.ClOrdID) != "C-1" { // what was read before must not shine through
			t.Fatal(err)
		}
		err := m.Read(raw)
		v := entryOf(t, &m)
		n := 0
		for range v.All() {
			n++
		}
		if err == nil || !m.Garbled() || n != 3 || v.Uint(entry.Marks) != entry.MarkGarbled {
			t.Errorf("%s: %v, %d fields", name, err, n)
		}
	}
}

func TestTheFirstValueCountsAndNoneIsCut(t *testing.T) {
	long := strings.Repeat("x", TextBytesMax+1)
	var m Message
	raw := wire("FIX.4.4", "35=D|34=x|49=A|95=9|96=11=EVIL|||11=C-1|11=C-2|55="+long+"|55=VOD|37=|37=O|")
	if err := m.Read(raw); err != nil {
		t.Fatal(err)
	}
	v := entryOf(t, &m)
	if v.Str(entry.ClOrdID) != "C-1" || v.Bytes(entry.Symbol) != nil || m.Omitted != 1 || v.Bytes(entry.OrderID) != nil || v.Bytes(entry.SeqNum) != nil {
		t.Errorf("%q %q, %d omitted, %q %d", m.ClOrdID, m.Symbol, m.Omitted, m.OrderID, m.SeqNum)
	}
	hops := strings.Repeat("628=HUB-OF-SOME-LENGTH|", 300)
	if err := m.Read(wire("FIX.4.4", "35=D|"+hops)); err != nil || m.Omitted != 1 || len(m.Trail()) != 0 {
		t.Errorf("%v: a trail of %d bytes", err, len(m.Trail()))
	}
}

func TestATrailIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("aZ0@#,%245C\x02é"))) // what could be taken for punctuation
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) TrailHop {
			return TrailHop{CompID: text.Filter(func(s string) bool { return s != "" }).Draw(t, "comp"), SentAt: text.Draw(t, "at"), RefID: text.Draw(t, "ref")}
		}), 0, 5).Draw(t, "hops")
		body := fmt.Sprintf("35=D|627=%d|", len(want))
		for _, h := range want {
			body += "628=" + h.CompID + "|629=" + h.SentAt + "|630=" + h.RefID + "|"
		}
		var m Message
		if err := m.Read(wire("FIX.4.4", body)); err != nil {
			t.Fatal(err)
		}
		got, err := ParseTrail(string(m.Trail()))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v: %v; want %v", err, got, want)
		}
	})
	for _, bad := range []string{"a@b@c", "a#b#c", "a%", "a%4", "a%zz", "%41"} {
		if got, err := ParseTrail(bad); err == nil {
			t.Errorf("%s is taken as %v", bad, got)
		}
	}
}

func TestReadingAndRedactingAllocateNothing(t *testing.T) {
	p, err := NewPersonal([]int{1, 448, 50, 57, 58})
	if err != nil {
		t.Fatal(err)
	}
	raw := wire("FIX.4.4", "35=D|34=17|49=DESK|56=GW|50=ann|52=20261008-09:00:00.001|627=2|628=HUB|629=20261008-08:59:58|628=X|11=C-1|1=ACC-9|55=VOD.L|54=1|38=100|58=for Ann|")
	var m Message
	var r Redaction
	var b entry.Builder
	entryBytes, back := make([]byte, 0, 4096), make([]byte, 0, 4096)
	once := func() {
		p.Redact(raw, &r)
		if err := m.Read(r.Redacted); err != nil {
			t.Fatal(err)
		}
		b.Begin(entryBytes, entry.Head{Kind: entry.Message})
		m.Append(&b)
		if back, err = Restore(back[:0], r.Redacted, r.Values); err != nil || !bytes.Equal(back, raw) {
			t.Fatal(err)
		}
	}
	once()
	if n := testing.AllocsPerRun(200, once); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func FuzzReading(f *testing.F) {
	f.Add(wire("FIX.4.4", "35=D|34=5|49=A|56=B|11=C-1|627=1|628=X|629=T|630=R|"))
	f.Add(wire("FIXT.1.1", "35=4|34=5|123=Y|36=9|"))
	f.Add([]byte("8=FIX.4.2\x019=5\x0135=0\x0110=000\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		err := m.Read(raw)
		v := entryOf(t, &m)
		if (err != nil) != m.Garbled() || m.Garbled() && v.Uint(entry.Marks) != entry.MarkGarbled {
			t.Fatalf("%v with marks %b", err, m.Marks)
		}
		for tag, val := range v.All() {
			if tag != entry.Trail && tag != entry.Marks && tag != entry.SeqNum && tag != entry.NewSeqNum && tag != entry.Size && tag != entry.Content && !bytes.Contains(raw, val) {
				t.Fatalf("%v is %q, which is not in the message", tag, val)
			}
		}
		if _, err := ParseTrail(v.Str(entry.Trail)); err != nil {
			t.Fatal(err)
		}
	})
}
