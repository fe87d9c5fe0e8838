package order

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fire/transport/fix"
)

func personal(t testing.TB, tags ...int) *Personal {
	t.Helper()
	p, err := NewPersonal(tags)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPersonalValuesAreOverwrittenAndComeBack(t *testing.T) {
	p := personal(t, 1, 448, 96)
	raw := wire("FIX.4.4", "35=D|34=5|1=ACC-9|448=ann|448=bob|11=C-1|21=1|95=5|96=a|1=b|58=x|1=|")
	var r Redaction
	p.Redact(raw, &r)
	for _, gone := range []string{"ACC-9", "ann", "bob", "a\x011=b"} {
		if bytes.Contains(r.Redacted, []byte(gone)) {
			t.Errorf("%q is still there", gone)
		}
	}
	var m fix.Message
	if n, err := fix.Next(r.Redacted, &m, 1<<16); err != nil || n != len(raw) {
		t.Errorf("the copy is no message: %v", err)
	}
	var got []string
	for tag, v := range Values(r.Values) {
		got = append(got, fmt.Sprintf("%d=%s", tag, v))
	}
	if want := []string{"1=ACC-9", "448=ann", "448=bob", "96=a\x011=b", "10=" + string(raw[len(raw)-4:len(raw)-1])}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q; want %q", got, want)
	}
	back, err := Restore([]byte("before"), r.Redacted, r.Values)
	if err != nil || string(back) != "before"+string(raw) {
		t.Errorf("%v: %q", err, back)
	}
}

func TestRedactedCopiesTellNothingOfTheValues(t *testing.T) {
	p := personal(t, 1)
	var a, b Redaction
	p.Redact(wire("FIX.4.4", "35=D|34=5|1=ACC-1|11=C|"), &a)
	p.Redact(wire("FIX.4.4", "35=D|34=5|1=ACC-2|11=C|"), &b)
	if !bytes.Equal(a.Redacted, b.Redacted) {
		t.Errorf("two accounts can be told apart: %q and %q", a.Redacted, b.Redacted)
	}
	for name, other := range map[string][]byte{
		"shorter": a.Redacted[:20], "not overwritten": bytes.ReplaceAll(a.Redacted, []byte("*"), []byte("x")), "another trailer": bytes.ReplaceAll(a.Redacted, []byte("10="), []byte("12=")),
	} {
		if back, err := Restore(nil, other, a.Values); err == nil {
			t.Errorf("%s: values are put into other bytes: %q", name, back)
		}
	}
}

func TestAMessageWithoutPersonalValuesStaysAsItIs(t *testing.T) {
	raw := wire("FIX.4.4", "35=D|34=5|11=C|")
	var r Redaction
	personal(t, 1).Redact(raw, &r)
	if len(r.Values) != 0 || !bytes.Equal(r.Redacted, raw) {
		t.Errorf("%d bytes of values, %q", len(r.Values), r.Redacted)
	}
}

func TestOfGarbledBytesPersonalValuesAreOverwrittenToo(t *testing.T) {
	p := personal(t, 1, 58)
	for raw, want := range map[string]string{
		"35=D|1=ACC":               "35=D|1=***",             // no SOH behind it
		"35=D|95=99|96=x|1=ACC|":   "35=D|95=99|96=x|1=***|", // a length that leads astray
		"35=D|ACC-9|11=C|":         "35=D|*****|11=C|",       // no tag
		"01=ACC|||58=a|x":          "******|||58=*|*",
		"1=A|8=FIX.4.4|1=B|10=00|": "1=*|8=FIX.4.4|1=*|10=00|",
	} {
		var r Redaction
		in := []byte(strings.ReplaceAll(raw, "|", "\x01"))
		p.Redact(in, &r)
		if got := strings.ReplaceAll(string(r.Redacted), "\x01", "|"); got != want {
			t.Errorf("%s: %s; want %s", raw, got, want)
		}
		if back, err := Restore(nil, r.Redacted, r.Values); err != nil || !bytes.Equal(back, in) {
			t.Errorf("%s: %v, %q", raw, err, back)
		}
	}
}

func TestAWrongCheckSumStaysWrong(t *testing.T) {
	raw := wire("FIX.4.4", "35=D|34=5|1=ACC|")
	raw[len(raw)-2] = '0' + (raw[len(raw)-2]-'0'+1)%10
	var r Redaction
	personal(t, 1).Redact(raw, &r)
	var m Message
	if err := m.Read(r.Redacted); err != fix.ErrCheckSum {
		t.Errorf("the copy of a garbled message reads: %v", err)
	}
}

func TestTagsThatHoldAMessageTogetherAreNotPersonal(t *testing.T) {
	for _, tag := range []int{-1, 0, 8, 9, 10, 35, 93, 95, 212, 354, 1_000_000_000} {
		if _, err := NewPersonal([]int{1, tag}); err == nil {
			t.Errorf("tag %d is taken", tag)
		}
	}
	many := make([]int, PersonalTagsMax+1)
	for i := range many {
		many[i] = 10_000 + i
	}
	if _, err := NewPersonal(many); err == nil {
		t.Error("too many tags are taken")
	}
}

func TestRestoreOfRedactIsTheMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := NewPersonal([]int{1, 50, 57, 58, 448, 96})
		if err != nil {
			t.Fatal(err)
		}
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{"1=", "1=ACC|", "448=x|", "58=|", "95=3|96=a|b|", "95=7|96=a|", "10=123|", "|", "*", "1=**|", "=|", "01=A|", "8=FIX.4.4|9=5|"}),
			rapid.StringMatching(`[0-9]{1,4}=[a-z*]{0,8}\|`), rapid.String())
		body := strings.ReplaceAll(strings.Join(rapid.SliceOf(piece).Draw(t, "pieces"), ""), "|", "\x01")
		raw := []byte(body)
		if rapid.Bool().Draw(t, "framed") {
			raw = wire("FIX.4.4", "35=D|"+body)
		}
		var r Redaction
		p.Redact(raw, &r)
		back, err := Restore(nil, r.Redacted, r.Values)
		if err != nil || !bytes.Equal(back, raw) || len(r.Redacted) != len(raw) {
			t.Fatalf("%v: %q came back as %q", err, raw, back)
		}
	})
}

func FuzzRestoring(f *testing.F) {
	p := personal(f, 1, 58)
	var r Redaction
	p.Redact(wire("FIX.4.4", "35=D|34=5|1=ACC|58=text|"), &r)
	f.Add(bytes.Clone(r.Redacted), bytes.Clone(r.Values))
	f.Add([]byte("1=ACC\x01ACC\x0110=000\x01"), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, raw, values []byte) {
		var r Redaction
		p.Redact(raw, &r)
		if back, err := Restore(nil, r.Redacted, r.Values); err != nil || !bytes.Equal(back, raw) {
			t.Fatalf("%v: %q came back as %q", err, raw, back)
		}
		back, err := Restore(nil, raw, values)
		if err == nil && len(back) != len(raw) || err != nil && len(back) != 0 {
			t.Fatalf("%v: %d bytes of %d", err, len(back), len(raw))
		}
		for i := range back {
			if back[i] != raw[i] && raw[i] != '*' && i < len(raw)-4 {
				t.Fatalf("byte %d was changed, which nobody had overwritten", i)
			}
		}
	})
}
