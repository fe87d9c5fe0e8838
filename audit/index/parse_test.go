package index

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/audit/entry"
)

func now() time.Time { return time.Unix(0, epoch).UTC() }

func TestTextBecomesAQuery(t *testing.T) {
	rows := map[string]Query{
		"": {},
		"cl_ord_id=A1 service=gateway reason=denied_by_rule since=10m until=2026-11-27T10:00:00Z kind=message,refused": {
			Match: []Match{{entry.ClOrdID, "A1"}, {entry.Service, "gateway"}, {entry.Reason, "denied_by_rule"}},
			From:  epoch - 600_000_000_000, To: epoch + 7200_000_000_000, Kinds: []entry.Kind{entry.Message, entry.Refused}},
		"  actor=\"ops from \\\"home\\\"\"\n limit=7 order=oldest ": {Match: []Match{{entry.Actor, `ops from "home"`}}, Limit: 7, Oldest: true},
		"session=ALPHA/NYSE log=eu.floor/audit/a,eu.floor/audit/b":  {Match: []Match{{entry.Sender, "ALPHA"}, {entry.Target, "NYSE"}}, Logs: []string{"eu.floor/audit/a", "eu.floor/audit/b"}},
		"digest=00FF since=2d until=2026-11-26":                     {Match: []Match{{entry.Digest, "00FF"}}, From: epoch - 2*86400_000_000_000, To: epoch - 32*3600_000_000_000},
		"msg_seq_num=7 cl_ord_id=a=b":                               {Match: []Match{{entry.SeqNum, "7"}, {entry.ClOrdID, "a=b"}}},
	}
	for text, want := range rows {
		got, err := ParseQuery(text, now())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v\n%+v, not\n%+v", text, err, got, want)
		}
	}
}

func TestAMistakeIsNamedWithWhatWasMeant(t *testing.T) {
	rows := map[string]string{
		"clordid=A1":                             `clordid is no key; did you mean "cl_ord_id"?`,
		"servcie=x":                              `servcie is no key; did you mean "service"?`,
		"xyzzyplugh=1":                           "xyzzyplugh is no key",
		"hello":                                  `"hello": want KEY=VALUE`,
		"=x":                                     "want KEY=VALUE",
		"service=":                               "service has no value",
		`service="a`:                             "the quoted value of service has no end",
		`service="a"b`:                           "something follows the quoted value of service",
		`service=""`:                             "service has no value",
		"service=a service=b":                    "service is there twice",
		"kind=mesage":                            `"mesage" is no kind; did you mean "message"?`,
		"reason=denied_by_rul":                   `is no reason code; did you mean "denied_by_rule"?`,
		"reason=ok":                              "an entry has no such field then",
		"digest=xyz":                             "want hex digits",
		"since=yesterday":                        "want a duration like 10m",
		"since=-10m":                             "want a duration",
		"since=3000-01-01":                       "want a duration",
		"since=1h until=2h":                      "the time window ends before it begins",
		"session=ALPHA":                          "want SENDER/TARGET",
		"session=A/B sender=C":                   "session is sender and target",
		"limit=0":                                "limit=0: want 1 to",
		"limit=1000000":                          "want 1 to 10000",
		"order=random":                           "want newest or oldest",
		"cursor=zzz":                             "the cursor is not of this query",
		strings.Repeat("x", textBytesMax) + "=1": "bytes, 65536 at most",
	}
	for text, want := range rows {
		if _, err := ParseQuery(text, now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, not %q", text, err, want)
		}
	}
	if h := HelpText(); !strings.Contains(h, "cl_ord_id=A1") || !strings.Contains(h, "orig_cl_ord_id, order_id") || strings.Contains(h, "%!") {
		t.Error(h)
	}
}

func TestAQueryBeyondItsBoundsIsRefused(t *testing.T) {
	many := slices.Repeat([]Match{{entry.ClOrdID, "A"}}, anyMax+1)
	for _, q := range []Query{{Match: many}, {Any: many}, {Limit: LimitMax + 1}, {Limit: -1}, {Reads: ReadsMax + 1}, {From: 5, To: 5},
		{Any: []Match{{entry.Verb, "x"}}}, {Match: []Match{{entry.ClOrdID, ""}}}} {
		if _, err := Scan(t.Context(), nil, q); err == nil {
			t.Errorf("taken: %.100v", q)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"cl_ord_id=A1 service=gateway since=10m", `actor="a b" kind=message,refused`, "until=2026-11-27T10:00:00+01:00", "session=A/B limit=9 order=oldest log=x,y",
		"digest=00ff reason=unknown_77", `x="`, "since=99999999h", "since=65535d until=1970-01-01"} {
		f.Add(s)
	}
	l := newLog("eu.floor/audit/a", newFloor(31), 20)
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuery(s, now())
		if err != nil {
			if !strings.HasPrefix(err.Error(), "audit query: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %q is not one line that says where", s, err)
			}
			return
		}
		if _, err := Scan(t.Context(), []Log{l}, q); err != nil {
			t.Errorf("%q is taken and cannot be asked: %v", s, err)
		}
	})
}

func FuzzReadEntries(f *testing.F) {
	f.Add([]byte{listGaps, 1, 2, 3})
	f.Add([]byte{listBits, 0xff, 1})
	f.Add([]byte{listGaps, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m bitmap
		if readEntries(b, &m) != nil {
			return
		}
		var at []uint16
		for i := m.from(0); i >= 0; i = m.from(i + 1) {
			at = append(at, uint16(i))
		}
		if len(at) == 0 {
			return
		}
		var again bitmap
		if err := readEntries(appendEntries(nil, at), &again); err != nil || again != m {
			t.Errorf("%v: %v", err, at)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add(formatCursor(7, 1, 2, []place{{3, 4}, {5, 1 << 40}}))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, s string) {
		from, to, places, err := parseCursor(s, 7)
		if err != nil {
			return
		}
		var list []place
		for o, at := range places {
			list = append(list, place{o, at})
		}
		if f, g, again, err := parseCursor(formatCursor(7, from, to, list), 7); err != nil || f != from || g != to || !reflect.DeepEqual(again, places) {
			t.Errorf("%v %v, not %v", err, again, places)
		}
	})
}

func TestListsAreShortAndGiveBackWhatWasPutIn(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, share := range []float64{0.0003, 0.01, 0.06, 0.5, 1} {
		var at []uint16
		var want bitmap
		for i := range blockSpan {
			if r.Float64() < share || i == 77 {
				at = append(at, uint16(i))
				want.set(i)
			}
		}
		b := appendEntries(nil, at)
		var got bitmap
		if err := readEntries(b, &got); err != nil || got != want {
			t.Errorf("%v of all: %v", share, err)
		}
		if len(b) > blockSpan/8+1 || len(b) > 2*len(at)+1 {
			t.Errorf("%d entries in %d bytes", len(at), len(b))
		}
		for i, n := want.upTo(blockSpan), len(at)-1; n >= 0; i, n = want.upTo(i), n-1 {
			if i != int(at[n]) {
				t.Fatalf("downwards %d, not %d", i, at[n])
			}
		}
	}
	var m bitmap
	m.fill(60, 200)
	m.keep(63, 130)
	if m.from(0) != 63 || m.upTo(blockSpan) != 129 || m.count() != 67 {
		t.Errorf("%d to %d, %d bits", m.from(0), m.upTo(blockSpan), m.count())
	}
}
