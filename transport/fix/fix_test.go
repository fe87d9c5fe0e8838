package fix

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fire/policy/reason"
)

// wire turns | into SOH and fills in BodyLength and CheckSum where they read 9=? and 10=?.
func wire(s string) []byte {
	s = strings.ReplaceAll(s, "|", "\x01")
	if head, body, ok := strings.Cut(s, "9=?\x01"); ok {
		body = strings.TrimSuffix(body, "10=?\x01")
		s = fmt.Sprintf("%s9=%d\x01%s", head, len(body), body)
		sum := 0
		for i := range len(s) {
			sum += int(s[i])
		}
		s += fmt.Sprintf("10=%03d\x01", sum%256)
	}
	return []byte(s)
}

func TestNextFramesEveryVersion(t *testing.T) {
	for _, version := range []string{"FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIX.5.0", "FIXT.1.1"} {
		b := wire("8=" + version + "|9=?|35=AE|49=A|56=B|34=7|10=?|")
		tail := append(bytes.Clone(b), "8=FIX"...)
		var m Message
		n, err := Next(tail, &m, MessageBytesMax)
		if err != nil || n != len(b) || string(m.Version) != version || string(m.Type) != "AE" || !bytes.Equal(m.Raw, b) {
			t.Errorf("%s: n=%d err=%v version=%q type=%q", version, n, err, m.Version, m.Type)
		}
		for cut := range b {
			if n, err := Next(b[:cut], &m, MessageBytesMax); n != 0 || err != ErrShort {
				t.Errorf("%s cut at %d: n=%d err=%v", version, cut, n, err)
			}
		}
	}
}

func TestKnownMessageFromTheSpecification(t *testing.T) {
	// FIX 4.2's classic example: the body has 178 bytes and the sum is 128.
	b := wire("8=FIX.4.2|9=178|35=8|49=PHLX|56=PERS|52=20071123-05:30:00.000|11=ATOMNOCCC9990900|20=3|150=E|39=E|55=MSFT|167=CS|54=1|38=15|40=2|44=15|58=PHLX EQUITY TESTING|59=0|47=C|32=0|31=0|151=15|14=0|6=0|10=128|")
	var m Message
	if n, err := Next(b, &m, MessageBytesMax); err != nil || n != len(b) {
		t.Fatalf("n=%d of %d, err=%v", n, len(b), err)
	}
}

func TestGarbledMessagesArePassedOver(t *testing.T) {
	good := wire("8=FIX.4.4|9=?|35=0|49=A|56=B|34=2|10=?|")
	badSum := bytes.Clone(good)
	badSum[len(badSum)-2] ^= 1
	rows := map[string]struct {
		front []byte
		want  error
	}{
		"line noise":              {[]byte("GET / HTTP/1.1\r\n"), ErrBeginString},
		"noise with a false mark": {[]byte("x8=8=FI"), ErrBeginString},
		"wrong sum":               {badSum, ErrCheckSum},
		"length one short":        {wire("8=FIX.4.4|9=24|35=0|49=A|56=B|34=2|1128=9|10=000|"), ErrBodyLength},
		"length not a number":     {wire("8=FIX.4.4|9=x|35=0|10=000|"), ErrBodyLength},
		"length negative":         {wire("8=FIX.4.4|9=-5|35=0|10=000|"), ErrBodyLength},
		"length empty":            {wire("8=FIX.4.4|9=|35=0|10=000|"), ErrBodyLength},
		"length of ten digits":    {wire("8=FIX.4.4|9=0000000005|35=0|10=000|"), ErrBodyLength},
		"length above the bound":  {wire("8=FIX.4.4|9=999999999|35=0|10=000|"), ErrOversized},
		"no length":               {wire("8=FIX.4.4|35=0|34=1|10=000|"), ErrBodyLength},
		"type not third":          {wire("8=FIX.4.4|9=?|34=1|35=0|10=?|"), ErrMsgType},
		"type empty":              {wire("8=FIX.4.4|9=?|35=|34=1|10=?|"), ErrMsgType},
		"sum of two digits":       {wire("8=FIX.4.4|9=5|35=0|10=61|"), ErrBodyLength},
		"version in lower case":   {wire("8=fix.4.4|9=5|35=0|10=161|"), ErrBeginString},
		"version of nobody":       {wire("8=FIX.x.4|9=5|35=0|10=161|"), ErrBeginString},
	}
	for name, row := range rows {
		stream := append(bytes.Clone(row.front), good...)
		var m Message
		var first error
		for passed := 0; ; {
			n, err := Next(stream[passed:], &m, 4096)
			if err == nil {
				if !bytes.Equal(m.Raw, good) {
					t.Errorf("%s: found %q", name, m.Raw)
				}
				break
			}
			if first == nil {
				first = err
			}
			if n <= 0 {
				t.Errorf("%s: stuck after %d bytes: %v", name, passed, err)
				break
			}
			passed += n
		}
		if first != row.want {
			t.Errorf("%s: %v; want %v", name, first, row.want)
		}
		if _, ok := errors.AsType[*reason.Error](first); !ok {
			t.Errorf("%s: %T is no reason", name, first)
		}
	}
}

func TestNoiseKeepsOnlyWhatMayBeginAMessage(t *testing.T) {
	var m Message
	for front, keep := range map[string]int{"xxxx": 0, "xxx8": 1, "xx8=": 2, "x8=F": 3, "x8=FI": 4, "8=X8=FI": 4} {
		n, err := Next([]byte(front), &m, 100)
		if err != ErrBeginString || n != len(front)-keep {
			t.Errorf("%q: passes over %d (%v); want %d", front, n, err, len(front)-keep)
		}
	}
}

func TestDataFieldsMayHoldAnything(t *testing.T) {
	inside := "a\x01b=8=FIX.4.4\x019=5\x0110=000\x01"
	var b Builder
	b.Begin("FIX.4.4", "B")
	b.Data(95, 96, []byte(inside))
	b.String(148, "head")
	b.Data(93, 89, []byte("\x01"))
	raw := b.End()
	var m Message
	if n, err := Next(raw, &m, MessageBytesMax); err != nil || n != len(raw) {
		t.Fatal(n, err)
	}
	want := map[int]string{95: fmt.Sprint(len(inside)), 96: inside, 148: "head", 93: "1", 89: "\x01"}
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		if want[tag] != string(v) {
			t.Errorf("%d = %q; want %q", tag, v, want[tag])
		}
		delete(want, tag)
	}
	if f.Err() != nil || len(want) != 0 {
		t.Fatalf("err %v, missing %v", f.Err(), want)
	}
}

func TestFieldsStopAtABadField(t *testing.T) {
	for _, bad := range []string{"=1|", "x=1|", "05=1|", "5|", "5", "5=1", "-5=1|", "1234567890=1|", "|", "95=2|96=abc|"} {
		f := FieldsOf([]byte(strings.ReplaceAll("1=a|"+bad, "|", "\x01")))
		for _, _, ok := f.Next(); ok; _, _, ok = f.Next() {
		}
		if f.Err() != ErrField {
			t.Errorf("%q: err %v", bad, f.Err())
		}
	}
}

func TestValues(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "-5": -5, "007": 7, "999999999999999999": 999999999999999999} {
		if n, ok := Int([]byte(in)); !ok || n != want {
			t.Errorf("Int(%q) = %d, %v", in, n, ok)
		}
	}
	for _, in := range []string{"", "-", "1.0", "+1", " 1", "1234567890123456789"} {
		if _, ok := Int([]byte(in)); ok {
			t.Errorf("Int(%q) is taken", in)
		}
	}
	for in, want := range map[string]int64{"1": 100, "1.5": 150, "1.25": 125, "1.250": 125, "-0.01": -1, ".5": 50, "23.": 2300} {
		if n, ok := Decimal([]byte(in), 2); !ok || n != want {
			t.Errorf("Decimal(%q) = %d, %v", in, n, ok)
		}
	}
	for _, in := range []string{"", "-", ".", "1.234", "1e5", "1.2.3", "99999999999999999999"} {
		if n, ok := Decimal([]byte(in), 2); ok {
			t.Errorf("Decimal(%q) = %d", in, n)
		}
	}
	at := time.Date(2026, 2, 28, 23, 59, 60-1, 123e6, time.UTC)
	if got := string(AppendTime(nil, at)); got != "20260228-23:59:59.123" {
		t.Errorf("AppendTime = %q", got)
	}
	for in, want := range map[string]time.Time{
		"20260228-23:59:59.123":       at,
		"20260228-23:59:59":           at.Truncate(time.Second),
		"20260228-23:59:60":           at.Truncate(time.Second).Add(time.Second),
		"20260228-23:59:59.123000001": at.Add(1),
	} {
		if got, ok := Time([]byte(in)); !ok || !got.Equal(want) {
			t.Errorf("Time(%q) = %v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "20260230-00:00:00", "20260228-24:00:00", "20260228-23:59:59.", "20260228 23:59:59", "2026022x-23:59:59", "20260228-23:59:59,1"} {
		if got, ok := Time([]byte(in)); ok {
			t.Errorf("Time(%q) = %v", in, got)
		}
	}
}

func TestBuilderWritesEveryLengthRight(t *testing.T) {
	var b Builder
	var lengths []int
	for _, n := range []int{0, 1, 4, 80, 90, 95, 100, 900, 985, 990, 1000, 9990, 12000} {
		b.Begin("FIX.4.4", "B")
		b.String(58, strings.Repeat("x", n))
		b.Decimal(44, -12345, 2)
		lengths = append(lengths, len(b.End()))
	}
	rest := b.Raw()
	for i, want := range lengths {
		var m Message
		n, err := Next(rest, &m, MessageBytesMax)
		if err != nil || n != want {
			t.Fatalf("message %d: n=%d want %d err=%v", i, n, want, err)
		}
		if !bytes.Contains(m.Raw, []byte("\x0144=-123.45\x01")) || bytes.Contains(m.Raw, []byte("\x019=0")) {
			t.Fatalf("message %d: %q", i, m.Raw[:20])
		}
		rest = rest[n:]
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes left", len(rest))
	}
}

func TestCheckSumEqualsTheByteLoop(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 1500 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
			if n%3 == 0 {
				b[i] = 0xff
			}
		}
		var want byte
		for _, c := range b {
			want += c
		}
		if got := CheckSum(b); got != want {
			t.Fatalf("%d bytes: %d, want %d", n, got, want)
		}
	}
}

func TestNothingAllocates(t *testing.T) {
	stream := sample()
	var b Builder
	build := func() {
		b.Reset()
		b.Begin("FIX.4.4", "D")
		b.String(11, "A1")
		b.Int(38, 100)
		b.Decimal(44, 10025, 2)
		b.Time(52, time.Unix(1e9, 0))
		b.End()
	}
	build()
	if n := testing.AllocsPerRun(100, build); n != 0 {
		t.Errorf("building allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		var m Message
		if _, err := Next(stream, &m, MessageBytesMax); err != nil {
			t.Fatal(err)
		}
		f := m.Fields()
		for _, _, ok := f.Next(); ok; _, _, ok = f.Next() {
		}
	}); n != 0 {
		t.Errorf("reading allocates %v times", n)
	}
	stream[40] ^= 1
	if n := testing.AllocsPerRun(100, func() { var m Message; Next(stream, &m, MessageBytesMax) }); n != 0 {
		t.Errorf("a garbled message allocates %v times", n)
	}
}

func sample() []byte {
	return wire("8=FIXT.1.1|9=?|35=X|49=EXCHANGE|56=SUBSCRIBER|34=1234567|52=20261123-05:30:00.123|262=req1|268=1|279=0|269=0|278=98765|55=ACME|270=101.25|271=300|346=4|10=?|")
}

func FuzzNext(f *testing.F) {
	f.Add(sample())
	f.Add(wire("8=FIX.4.4|9=?|35=A|49=A|56=B|34=1|95=3|96=a|b|10=?|"))
	f.Add(wire("8=FIX.4.2|9=5|35=0|10=161|8=FIX.4.2|9=5|35=0|10=161|"))
	f.Add([]byte("noise8=FIX.4.4\x019=99999999\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const bound = 1 << 12
		var m Message
		n, err := Next(b, &m, bound)
		switch {
		case err == nil:
			if n < 20 || n > len(b) || n > bound || !bytes.Equal(m.Raw, b[:n]) || len(m.Type) == 0 {
				t.Fatalf("n=%d raw=%q type=%q", n, m.Raw, m.Type)
			}
			var sum byte
			for _, c := range b[:n-7] {
				sum += c
			}
			if want := fmt.Sprintf("10=%03d\x01", sum); want != string(b[n-7:n]) {
				t.Fatalf("ends in %q; want %q", b[n-7:n], want)
			}
			walk(t, &m)
		case err == ErrShort:
			if n != 0 || len(b) >= bound {
				t.Fatalf("n=%d of %d and short", n, len(b))
			}
		case n <= 0 || n > len(b):
			t.Fatalf("n=%d of %d with %v", n, len(b), err)
		}
	})
}

// walk checks that the fields are the body, byte for byte, and that a rebuilt
// message reads the same.
func walk(t *testing.T, m *Message) {
	var again []byte
	var b Builder
	b.Begin(string(m.Version), string(m.Type))
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		again = append(fmt.Appendf(again, "%d=", tag), v...)
		again = append(again, SOH)
		b.Bytes(tag, v)
	}
	if f.Err() != nil {
		return
	}
	if !bytes.Equal(again, m.Body()) {
		t.Fatalf("fields give %q, body is %q", again, m.Body())
	}
	var back Message
	if n, err := Next(b.End(), &back, 1<<13); err != nil || n == 0 || !bytes.Equal(back.Body(), m.Body()) {
		t.Fatalf("rebuilt: %v, %q", err, back.Body())
	}
}

func BenchmarkFrameAndType(b *testing.B) {
	s := sample()
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		var m Message
		if n, err := Next(s, &m, MessageBytesMax); err != nil || n == 0 || m.Type[0] != 'X' {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllFields(b *testing.B) {
	s := sample()
	b.SetBytes(int64(len(s)))
	total := 0
	for b.Loop() {
		var m Message
		if _, err := Next(s, &m, MessageBytesMax); err != nil {
			b.Fatal(err)
		}
		f := m.All()
		for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
			total += tag + len(v)
		}
	}
}

func BenchmarkCheckSum(b *testing.B) {
	s := sample()
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		CheckSum(s)
	}
}

func BenchmarkBuild(b *testing.B) {
	var m Builder
	now := time.Now()
	for b.Loop() {
		m.Reset()
		m.Begin("FIX.4.4", "D")
		m.String(49, "STRATEGY-A")
		m.String(56, "GATEWAY")
		m.Int(34, 123456)
		m.Time(52, now)
		m.String(11, "A-123456")
		m.String(55, "ACME")
		m.Char(54, '1')
		m.Int(38, 100)
		m.Char(40, '2')
		m.Decimal(44, 10025, 2)
		m.End()
	}
}
