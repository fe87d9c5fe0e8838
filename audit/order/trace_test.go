package order

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fire/audit/entry"
	"fire/policy/reason"
)

// digests are written as A, B in the order in which they are named.
func nameDigests(text string) string {
	return regexp.MustCompile(`digest [0-9a-f]{16}( became [0-9a-f]{16})?`).ReplaceAllStringFunc(text, func(s string) string {
		if strings.Contains(s, "became") {
			return "digest A became B"
		}
		return "digest A"
	})
}

func TestStories(t *testing.T) {
	for _, row := range scenarios {
		t.Run(row.name, func(t *testing.T) {
			f := newFloor(t)
			row.play(f)
			got := nameDigests(strings.TrimSpace(lines(f.order(row.ask))))
			if want := strings.TrimSpace(row.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestOneIdentifierInTwoSessionsIsTwoOrders(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "1"))
	f.down(deskFlow, execution(1, "1", "O-1", "E-1", "0", "0", ""))
	other := flow{"flow-other", "other", "gateway", "h4", "h2"}
	f.up(other, strings.Replace(newOrder(1, "1"), "49=DESK", "49=OTHER", 1))
	f.down(deskFlow, "35=D|34=2|49=GW|56=DESK|52=20261008-09:00:00|11=1|55=BP.L|") // the gateway's own order to the desk
	f.up(venueFlow, "35=D|34=70|49=GW|56=VENUE|52=20261008-09:00:00.070|11=1|55=VOD.L|")
	r := f.trace(f.query("1"))
	var names []string
	unclear := 0
	for _, o := range r.Orders {
		names = append(names, o.Legs[0].Buyer+"/"+o.Legs[0].Seller)
		unclear += len(o.Notes)
		if len(o.Legs) != 1 {
			t.Errorf("%v are one order", names)
		}
	}
	if got := strings.Join(names, " "); got != "DESK/GW OTHER/GW GW/DESK GW/VENUE" || unclear != 1 {
		t.Errorf("%s, %d notes", got, unclear)
	}
	q := f.query("1")
	q.Party = "nobody"
	if s, keys := Start(q); len(keys) != 2 {
		t.Errorf("%d keys", len(keys))
	} else if keys, err := s.Add(f.all); err != nil || len(keys) != 0 {
		t.Errorf("%v: nobody's order leads to %d keys", err, len(keys))
	}
	for party, want := range map[string]int{"OTHER": 1, "other": 1, "DESK": 2, "VENUE": 1, "nobody": 0} {
		if q.Party = party; len(f.trace(q).Orders) != want {
			t.Errorf("%s has part in %d orders; want %d", party, len(f.trace(q).Orders), want)
		}
	}
}

func TestWhatSharesMoreIdentifiersIsTheUpstreamOrder(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "1"))
	f.up(flow{"flow-other", "other", "gateway", "h4", "h2"}, strings.Replace(newOrder(1, "1"), "49=DESK", "49=OTHER", 1))
	f.up(venueFlow, "35=D|34=70|49=GW|56=VENUE|52=20261008-09:00:00.070|11=1|55=VOD.L|")
	f.down(venueFlow, "35=8|34=80|49=VENUE|56=GW|52=20261008-09:00:00.080|37=V-9|17=VE-1|11=1|55=VOD.L|150=F|39=2|")
	f.down(deskFlow, execution(2, "1", "O-1", "VE-1", "F", "2", ""))
	f.up(venueFlow, "35=D|34=71|49=GW|56=VENUE2|52=20261008-09:00:00.071|11=1|55=OTHER.L|") // of another instrument
	r := f.trace(f.query("1"))
	if len(r.Orders) != 3 || len(r.Orders[0].Legs) != 2 || r.Orders[0].Legs[1].Seller != "VENUE" || *r.Orders[0].Legs[1].From != 0 || len(r.Orders[0].Legs[1].JoinedBy) != 2 {
		t.Errorf("%+v", r.Orders)
	}
}

func TestWhatBeganLaterIsNoOrigin(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "1"))
	f.down(deskFlow, strings.Replace(newOrder(1, "1"), "49=DESK|56=GW", "49=GW|56=DESK", 1)) // its own, the other way
	f.up(venueFlow, "35=D|34=70|49=GW|56=VENUE|52=20261008-09:00:00.070|11=1|55=VOD.L|")
	f.up(flow{"flow-other", "other", "gateway", "h4", "h2"}, strings.Replace(newOrder(1, "1"), "49=DESK", "49=OTHER", 1))
	var legs []int
	for _, o := range f.trace(f.query("1")).Orders {
		legs = append(legs, len(o.Legs))
	}
	if fmt.Sprint(legs) != "[2 1 1]" {
		t.Errorf("orders of %v legs", legs)
	}
}

func TestHalfAContentIsNotCompared(t *testing.T) {
	for whole, want := range map[uint64]string{0: "35=8\x01", 5: "35=8\x01", 6: ""} {
		var b entry.Builder
		b.Begin(nil, entry.Head{Kind: entry.Message})
		b.Str(entry.Content, "35=8\x01")
		b.Uint(entry.Whole, whole)
		v, err := entry.Parse(b.Raw())
		if err != nil {
			t.Fatal(err)
		}
		if got := see(Found{View: v}, [32]byte{}).content; got != want {
			t.Errorf("of %d bytes %q are taken for all", whole, got)
		}
	}
}

func TestIdentifiersOfAnotherDayAreOthers(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "1"))
	f.down(deskFlow, execution(1, "1", "O-1", "E-1", "0", "0", ""))
	f.now += int64(24 * time.Hour)
	f.up(deskFlow, strings.Replace(newOrder(9, "1"), "20261008", "20261009", 1))
	f.down(deskFlow, execution(9, "1", "O-2", "E-1", "0", "0", ""))
	f.down(deskFlow, execution(10, "GTC", "O-1", "E-2", "F", "2", "")) // the first one's, a day later
	q := f.query("1")
	q.To += int64(24 * time.Hour)
	r := f.trace(q)
	if len(r.Orders) != 2 || len(r.Orders[0].Steps) != 3 || len(r.Orders[1].Steps) != 2 || r.Orders[0].State != "filled" || r.Orders[1].State != "new" {
		t.Errorf("%+v", r.Orders)
	}
	q.DayBegins = 10 * time.Hour // both fall on the day that begins then, but for a day that ends between
	if r := f.trace(q); len(r.Orders) != 2 {
		t.Errorf("%d orders", len(r.Orders))
	}
	q = f.query("1")
	if all := tell(t, q, f.all); strings.Contains(all, "O-2") || strings.Contains(all, "GTC") {
		t.Errorf("what lies beyond the time asked for is told: %s", all)
	}
}

func TestPersonalValuesDoNotLookLikeChanges(t *testing.T) {
	p := personal(t, 1, 58)
	order := newOrder(1, "C-1") + "1=ACC-9|58=for ann|47=*|"
	rows := []struct {
		name string
		hops []hop
		want string
	}{
		{"both seal", []hop{{persons: p}, {persons: p}}, "unchanged: unchanged h1/client-proxy -> h2/server-proxy (but for personal values, which the digests leave out)"},
		{"one seals", []hop{{persons: p}, {}}, "unchanged: unchanged h1/client-proxy -> h2/server-proxy (but for personal values, which the digests leave out)"},
		{"one seals and keeps no content", []hop{{persons: p, bare: true}, {}}, "incomparable: not comparable between h1/client-proxy and h2/server-proxy: only one of them overwrites personal values (but for personal values, which the digests leave out)"},
		{"one seals and the price was changed", []hop{{persons: p}, {alter: swap("44=72.5", "44=92.5")}}, "changed: changed between h1/client-proxy and h2/server-proxy: digest A became B, in tag 44 (but for personal values, which the digests leave out)"},
		{"a star that nobody overwrote", []hop{{}, {persons: p, alter: swap("47=*", "47=A")}}, "changed: changed between h1/client-proxy and h2/server-proxy: digest A became B, in tag 47 (but for personal values, which the digests leave out)"},
	}
	for _, row := range rows {
		f := newFloor(t)
		f.up(deskFlow, order, row.hops...)
		if got := nameDigests(strings.TrimSpace(lines(f.order("C-1")))); got != "0 D DESK->GW #0.1 "+row.want {
			t.Errorf("%s:\n%s", row.name, got)
		}
	}
}

func TestTheStateAndFillsAreThoseOfTheReportsThatAreNoCopies(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1"))
	if s := f.order("C-1"); s.State != "sent" || s.Verdict != Unchanged {
		t.Errorf("%s, %s", s.State, s.Verdict)
	}
	f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "0", "0", "14=0|151=100|"))
	f.down(deskFlow, execution(2, "C-1", "O-1", "E-2", "F", "1", "32=40|31=72.5|14=40|151=60|"))
	f.down(deskFlow, execution(3, "C-1", "O-1", "E-3", "F", "2", "32=60|31=72.4|14=100|151=0|"))
	f.down(deskFlow, strings.Replace(execution(2, "C-1", "O-1", "E-2", "F", "1", "32=40|31=72.5|14=40|151=60|"), "52=20261008-09:00:00.002|", "43=Y|52=20261008-09:00:07|122=20261008-09:00:00.002|", 1))
	if s := f.order("C-1"); s.State != "filled" || s.Legs[0].Filled != "100" {
		t.Errorf("%s %+v", s.State, s.Legs[0])
	}
	f.down(deskFlow, execution(7, "C-1", "O-1", "E-3", "F", "2", "32=60|31=72.4|14=100|151=0|")) // once more, not marked
	f.down(deskFlow, execution(8, "C-1", "O-1", "E-4", "H", "1", "32=60|31=72.4|14=40|151=60|"))
	s := f.order("C-1")
	l := s.Legs[0]
	if s.State != "partially_filled" || l.OrdStatus != "1" || l.Filled != "40" || l.Leaves != "60" || l.Uncertain || len(l.Fills) != 3 || s.Steps[4].Verdict != Resent {
		t.Errorf("%s %+v", s.State, l)
	}
	if got := fmt.Sprintf("%+v", l.Fills[0]); !strings.HasPrefix(got, "{Message:2 ExecID:E-2 Kind:trade Qty:40 Price:72.5 CumQty:40 Leaves:60 TimeUTC:2026-10-08T09:00:00.") || l.Fills[2].Kind != "cancel" {
		t.Errorf("%s, %+v", got, l.Fills[2])
	}
}

func TestAStateIsUncertainWhereItsReportsAre(t *testing.T) {
	f := newFloor(t)
	f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "F", "2", ""), hop{}, hop{lost: true})
	f.down(deskFlow, execution(2, "C-1", "O-1", "E-2", "4", "4", ""), hop{lost: true}, hop{bound: 50_000_000})
	if l := f.order("C-1").Legs[0]; l.State != "canceled" || !l.Uncertain || l.BuyerService != "desk" || l.SellerService != "gateway" {
		t.Errorf("%+v", l)
	}
	f = newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1"), hop{reason: reason.DeniedByRule})
	if s := f.order("C-1"); s.State != "refused" {
		t.Error(s.State)
	}
}

func TestAmongACrowdNoOriginIsGuessed(t *testing.T) {
	f := newFloor(t)
	for i := range upstreamMax + 1 {
		f.up(flow{fmt.Sprint("flow", i), "desk", "gateway", "h1", "h2"}, strings.Replace(newOrder(1, "1"), "DESK", fmt.Sprint("DESK", i), 1))
	}
	f.up(venueFlow, "35=D|34=70|49=GW|56=VENUE|52=20261008-09:00:00.070|11=1|55=VOD.L|")
	r := f.trace(f.query("1"))
	last := r.Orders[len(r.Orders)-1]
	if len(r.Orders) != upstreamMax+2 || len(last.Notes) != 1 || !strings.Contains(last.Notes[0], "GW/VENUE may come from one of 65 others") {
		t.Errorf("%d orders, %v", len(r.Orders), last.Notes)
	}
}

func TestFillsOfOldVersionsAreToldByTheirTransaction(t *testing.T) {
	for body, want := range map[string]string{
		"20=0|32=5|": "trade", "20=1|32=5|": "cancel", "20=2|32=5|": "correct", "20=3|32=5|": "", "20=0|32=0|": "", "32=x|": "", "": "", "32=5.5|": "trade",
	} {
		if got := readReport(strings.ReplaceAll(body, "|", "\x01")).kind("", "1"); got != want {
			t.Errorf("%s is %q; want %q", body, got, want)
		}
	}
	if got := (report{last: "5"}).kind("0", "1"); got != "" {
		t.Errorf("a new order is a %s", got)
	}
}

func TestLatenciesHaveTheBoundsOfBothClocks(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1"), hop{bound: 700}, hop{bound: 30_000})
	f.up(deskFlow, "35=F|34=2|49=DESK|56=GW|52=20261008-09:00:01|11=C-2|41=C-1|", hop{}, hop{bound: unknownBound})
	s := f.order("C-1")
	l, unknown := s.Steps[0].Latencies, s.Steps[1].Latencies
	if len(l) != 1 || l[0].Nanos != 20_000 || *l[0].Bound != 30_700 || l[0].Certain || unknown[0].Bound != nil || unknown[0].Certain {
		t.Errorf("%+v %+v", l, unknown)
	}
	same := deskFlow
	same.serverHost = same.clientHost
	f = newFloor(t)
	f.up(same, newOrder(1, "C-1"), hop{bound: 700_000}, hop{bound: 700_000})
	if l := f.order("C-1").Steps[0].Latencies; *l[0].Bound != 0 || !l[0].Certain {
		t.Errorf("one clock is compared with itself: %+v", l)
	}
}

func TestTheMessagesOwnTrailStandsBesideTheHops(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1")+"627=2|628=HUB|629=20261008-08:59:59|628=EDGE|630=7|")
	s := f.order("C-1").Steps[0]
	if fmt.Sprint(s.FIXHops) != "[{HUB 20261008-08:59:59 } {EDGE  7}]" || len(s.Hops) != 2 || s.Hops[1].Verdict != Unchanged || s.Hops[1].Node != "h2" {
		t.Errorf("%v, %+v", s.FIXHops, s.Hops)
	}
}

func TestWhatIsMissingStandsWhereItIsExpected(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
	f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "0", "0", ""), hop{lost: true}, hop{})
	for i, want := range []string{"h1/client-proxy h2/server-proxy", "h2/server-proxy h1/client-proxy"} {
		h := f.order("C-1").Steps[i].Hops
		if h[0].Label+" "+h[1].Label != want || (h[1-i].Index != nil) || h[1-i].Verdict != Missing {
			t.Errorf("%+v", h)
		}
	}
}

func TestASearchIsBounded(t *testing.T) {
	f := newFloor(t)
	for i := range 60 {
		f.down(deskFlow, execution(i+1, "C-1", "O-1", fmt.Sprint("E-", i), "F", "1", ""))
	}
	q := f.query("C-1")
	q.EntriesMax = 100
	s, _ := Start(q)
	keys, err := s.Add(f.all)
	if !errors.Is(err, ErrTooMany) || keys != nil || !strings.Contains(err.Error(), `"C-1" leads to more than 100`) {
		t.Fatalf("%v, %d keys", err, len(keys))
	}
	if r := s.Result(); !r.Incomplete || len(r.Orders) != 1 {
		t.Errorf("the story does not say that it is not whole")
	}
	if _, err := s.Add(nil); !errors.Is(err, ErrTooMany) {
		t.Errorf("and goes on: %v", err)
	}
}

func TestALogWithTwoEntriesAtOneIndexIsNamed(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1"))
	f.up(deskFlow, "35=F|34=2|49=DESK|56=GW|52=20261008-09:00:01|11=C-2|41=C-1|")
	f.all[2].Index = 0
	r := f.trace(f.query("C-1"))
	if len(r.Conflicts) != 1 || r.Conflicts[0] != (Conflict{"eu.floor/audit/h1", 0}) || len(r.Orders[0].Steps) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestTheNamesInJSONAreThoseOfEntries(t *testing.T) {
	f := newFloor(t)
	f.up(deskFlow, newOrder(1, "C-1"), hop{bound: unknownBound})
	b, err := json.Marshal(f.trace(f.query("C-1")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"cl_ord_id":"C-1"`, `"service":"desk"`, `"hop":"client-proxy"`, `"digest_in":"`, `"digest_out":"`, `"time_utc_ns":179145000000`, `"error_bound_ns":null`,
		`"error_bound_ns":1000`, `"index":0`, `"verdict":"unchanged"`, `"origin":"eu.floor/audit/h1"`, `"node":"h1"`, `"rule":"desk-trades"`, `"msg_type":"D"`,
		`"msg_seq_num":1`, `"direction":"up"`, `"clock":"ptp"`, `"clock_sync":"synchronised"`, `"latency_ns":20000`, `"source":"0700000000000000"`, `"conflicts":[]`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

// tell is a search that is given entries as they come, whatever it asks for.
func tell(t interface{ Fatal(...any) }, q Query, batches ...[]Found) string {
	s, _ := Start(q)
	for _, b := range batches {
		if _, err := s.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(s.Result())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheOrderOfTheInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFloor(t)
		for range rapid.IntRange(1, 3).Draw(rt, "scenarios") {
			rapid.SampledFrom(scenarios).Draw(rt, "scenario").play(f)
		}
		want := tell(rt, f.query("C-1"), f.all)
		shuffled := rapid.Permutation(f.all).Draw(rt, "order")
		cut := rapid.IntRange(0, len(shuffled)).Draw(rt, "cut")
		again := rapid.SliceOfN(rapid.SampledFrom(f.all), 0, 5).Draw(rt, "again")
		if got := tell(rt, f.query("C-1"), shuffled[:cut], again, shuffled[cut:], again); got != want {
			rt.Fatalf("shuffled\n%s\nis not\n%s", got, want)
		}
		asked, err := json.Marshal(f.trace(f.query("C-1")))
		if err != nil || string(asked) != want {
			rt.Fatalf("by its keys the search finds\n%s\nand not\n%s", asked, want)
		}
	})
}

// TestEveryEntryIsToldOnce plays what nobody would think of.
func TestEveryEntryIsToldOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFloor(t)
		hops := rapid.Custom(func(rt *rapid.T) hop {
			h := hop{lost: rapid.IntRange(0, 4).Draw(rt, "lost") == 0, bound: rapid.SampledFrom([]uint32{1, 1000, 50_000_000, unknownBound}).Draw(rt, "bound")}
			if rapid.IntRange(0, 4).Draw(rt, "altered") == 0 {
				h.alter = swap("55=VOD.L", "55=BP.L")
			}
			h.skew = time.Duration(rapid.IntRange(-1, 1).Draw(rt, "skew")) * time.Millisecond
			return h
		})
		for range rapid.IntRange(1, 12).Draw(rt, "messages") {
			id, seq := rapid.SampledFrom([]string{"C-1", "C-2", "C-3"}).Draw(rt, "id"), rapid.IntRange(1, 4).Draw(rt, "seq")
			body := rapid.SampledFrom([]string{newOrder(seq, id), execution(seq, id, "O-1", "E-1", "F", "1", ""), swap("34=", "43=Y|34=")(newOrder(seq, id)),
				newOrder(seq, id) + "41=C-1|", swap("49=DESK", "49=X")(newOrder(seq, id))}).Draw(rt, "body")
			send := f.up
			if strings.HasPrefix(body, "35=8") {
				send = f.down
			}
			send(rapid.SampledFrom([]flow{deskFlow, venueFlow}).Draw(rt, "flow"), body, hops.Draw(rt, "hop"), hops.Draw(rt, "hop"))
		}
		s, _ := Start(f.query("C-1"))
		if _, err := s.Add(f.all); err != nil {
			rt.Fatal(err)
		}
		told := map[string]int{}
		for _, o := range s.Result().Orders {
			for i, m := range o.Steps {
				if m.Position != i || m.Sentence == "" || m.CopyOf != nil && o.Steps[*m.CopyOf].Sender != m.Sender {
					rt.Fatalf("%+v", m)
				}
				for _, h := range m.Hops {
					if h.Index != nil {
						told[fmt.Sprint(h.Origin, *h.Index)]++
					}
				}
			}
		}
		own, _ := s.found()
		bearers := 0
		for _, x := range own {
			n := told[fmt.Sprint(x.origin, x.index)]
			if n > 1 || n == 0 && (x.fix.clOrdID == "C-1" || x.fix.origID == "C-1") {
				rt.Fatalf("%s index %d is told %d times", x.origin, x.index, n)
			}
			bearers += n
		}
		if bearers != len(told) {
			rt.Fatalf("%d entries are told, %d of them found", len(told), bearers)
		}
	})
}

func FuzzStory(f *testing.F) {
	for _, row := range scenarios {
		floor := newFloor(f)
		row.play(floor)
		var b []byte
		for _, e := range floor.all {
			b = binary.LittleEndian.AppendUint16(b, uint16(len(e.View.Raw())))
			b = append(b, e.View.Raw()...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var found []Found
		for len(b) > 2 {
			n := min(int(binary.LittleEndian.Uint16(b)), len(b)-2)
			if v, err := entry.Parse(b[2 : 2+n]); err == nil {
				found = append(found, Found{Origin: []string{"a", "b"}[n%2], Index: int64(len(found)), View: v})
			}
			b = b[2+n:]
		}
		q := Query{ClOrdID: "C-1", From: math.MinInt64, To: math.MaxInt64}
		want := tell(t, q, found)
		slices.Reverse(found)
		if got := tell(t, q, found); got != want {
			t.Fatalf("reversed\n%s\nis not\n%s", got, want)
		}
	})
}
