package order

import (
	"strings"
	"time"

	"fire/policy/reason"
)

// scenario is something that happens on a floor, and the story that is to be told of it.
type scenario struct {
	name string
	play func(*floor)
	ask  string
	want string // as lines writes it
}

// scenarios are all cases that make tracking hard.
var scenarios = []scenario{
	{"two hops", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(deskFlow, newOrder(2, "C-2")) // somebody else's
		f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "0", "0", ""))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"changed on the way", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{alter: swap("38=100", "38=900")})
	}, "C-1", `
0 D DESK->GW #0.1 changed: changed between h1/client-proxy and h2/server-proxy: digest A became B, in tag 38`},

	{"number and body changed on the way", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{alter: func(s string) string { return swap("38=100", "38=900")(swap("34=1|", "34=3|")(s)) }})
	}, "C-1", `
0 D DESK->GW #0.1 changed: changed between h1/client-proxy and h2/server-proxy: digest A became B, in tag 34 38`},

	{"identifier changed on the way", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{alter: swap("11=C-1", "11=C-9")})
		f.down(deskFlow, execution(1, "C-9", "O-1", "E-1", "0", "0", ""))
	}, "C-1", `
0 D DESK->GW #0.1 changed: changed between h1/client-proxy and h2/server-proxy: digest A became B, in tag 11
1 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"framed anew by a hop that says so", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{out: swap("34=1|49=DESK|56=GW|52=20261008-09:00:00.001|", "34=51|49=HUB|56=GW|52=20261008-09:00:00.777|")})
	}, "C-1", `
0 D DESK->GW #0.1 changed: changed at h1/client-proxy: digest A became B`},

	{"lost between proxies", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
		f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "8", "8", ""), hop{lost: true})
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there
1 8 GW->DESK #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there`},

	{"gone on without an entry", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
		f.gap("h2", deskFlow, 3)
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there; eu.floor/audit/h2 index 0 tells of 3 messages that went on without an entry`},

	{"garbled on the way", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{alter: func(s string) string { return "!" + strings.Replace(s, "=", "", 1) }})
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there; eu.floor/audit/h2 index 0 has garbled bytes, digest A`},

	{"refused", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{reason: reason.DeniedByRule})
	}, "C-1", `
0 D DESK->GW #0.1 single: seen at h1/client-proxy only; refused at h1/client-proxy: denied_by_rule`},

	{"refused at the second hop", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{reason: reason.DeniedByRule})
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy; refused at h2/server-proxy: denied_by_rule`},

	{"through a ring, then between hosts", func(f *floor) {
		f.ring("h1", "orders", newOrder(1, "C-1"), true)
		f.ring("h2", "orders", newOrder(1, "C-1"), false)
		f.up(venueFlow, newOrder(1, "C-1"))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/ring/orders -> h2/ring/orders -> h2/client-proxy -> h3/server-proxy`},

	{"sent again after a new connection", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
		again := deskFlow
		again.id = "flow-again"
		f.up(again, strings.Replace(newOrder(1, "C-1"), "52=20261008-09:00:00.001|", "43=Y|52=20261008-09:00:09|122=20261008-09:00:00.001|", 1))
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there
1 D DESK->GW #0.1 resent: resent, PossDup of number 1: a copy of message 0; unchanged h1/client-proxy -> h2/server-proxy`},

	{"sent again and its first sending is in no log", func(f *floor) {
		f.up(deskFlow, strings.Replace(newOrder(1, "C-1"), "52=", "43=Y|122=20261008-09:00:00|52=", 1))
	}, "C-1", `
0 D DESK->GW #0.1 resent: resent, PossDup of number 1; its first sending was not found; unchanged h1/client-proxy -> h2/server-proxy`},

	{"sent again as something else", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(deskFlow, swap("38=100", "38=900")(strings.Replace(newOrder(1, "C-1"), "52=20261008-09:00:00.001|", "43=Y|52=20261008-09:00:09|122=20261008-09:00:00.001|", 1)))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D DESK->GW #0.1 changed: resent, PossDup of number 1: a copy of message 0; the copy differs from it in tag 38`},

	{"sent again under another number", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(deskFlow, strings.Replace(newOrder(8, "C-1"), "52=", "97=Y|52=", 1))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D DESK->GW #0.8 resent: resent, PossResend under number 8: a copy of message 0; unchanged h1/client-proxy -> h2/server-proxy`},

	{"the same bytes twice", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D DESK->GW #0.1 missing: resent, the same bytes: a copy of message 0; missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there`},

	{"the same bytes again, to another host", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
		f.up(flow{"flow-again", "desk", "gateway", "h1", "h3"}, newOrder(1, "C-1"))
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there
1 D DESK->GW #0.1 resent: resent, the same bytes: a copy of message 0; unchanged h1/client-proxy -> h3/server-proxy`},

	{"the same bytes twice, and sent on twice", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(venueFlow, newOrder(1, "C-1"))
		f.up(venueFlow, newOrder(1, "C-1"))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy -> h2/client-proxy -> h3/server-proxy
1 D DESK->GW #0.1 resent: resent, the same bytes: a copy of message 0; unchanged h1/client-proxy -> h2/server-proxy -> h2/client-proxy -> h3/server-proxy`},

	{"a gap fill in its place", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{lost: true})
		f.up(deskFlow, "35=F|34=2|49=DESK|56=GW|52=20261008-09:00:01|11=C-2|41=C-1|")
		f.up(deskFlow, "35=4|34=1|43=Y|49=DESK|56=GW|52=20261008-09:00:05|122=20261008-09:00:05|123=Y|36=2|")
		f.up(deskFlow, "35=4|34=3|43=Y|49=DESK|56=GW|52=20261008-09:00:05|122=20261008-09:00:05|123=Y|36=9|") // of others
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there (filled by [2])
1 F DESK->GW #0.2 unchanged: unchanged h1/client-proxy -> h2/server-proxy
2 4 DESK->GW #0.1 resent: resent, PossDup of number 1; its first sending was not found; unchanged h1/client-proxy -> h2/server-proxy`},

	{"numbers begin anew at a logon in mid-day", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "0", "0", ""))
		f.up(deskFlow, "35=A|34=1|49=DESK|56=GW|52=20261008-12:00:00|141=Y|")
		f.down(deskFlow, "35=A|34=1|49=GW|56=DESK|52=20261008-12:00:00|141=Y|")
		f.up(deskFlow, "35=F|34=2|49=DESK|56=GW|52=20261008-12:00:01|11=C-2|41=C-1|55=VOD.L|54=1|")
		f.up(deskFlow, "35=F|34=2|43=Y|49=DESK|56=GW|52=20261008-12:00:02|122=20261008-12:00:01|11=C-2|41=C-1|55=VOD.L|54=1|")
		f.down(deskFlow, strings.Replace(execution(2, "C-2", "O-1", "E-2", "4", "4", "41=C-1|"), "09:00:00", "12:00:02", 1))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy
2 A DESK->GW #1.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
3 A GW->DESK #1.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy
4 F DESK->GW #1.2 unchanged: unchanged h1/client-proxy -> h2/server-proxy
5 F DESK->GW #1.2 resent: resent, PossDup of number 2: a copy of message 4; unchanged h1/client-proxy -> h2/server-proxy
6 8 GW->DESK #1.2 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"one number, two messages, one epoch each", func(f *floor) {
		f.up(deskFlow, newOrder(5, "C-1"))
		f.up(deskFlow, "35=4|34=9|49=DESK|56=GW|52=20261008-12:00:00|36=5|") // a reset of this direction
		f.up(deskFlow, strings.Replace(newOrder(5, "C-1"), "09:00:00.005", "12:00:01", 1))
	}, "C-1", `
0 D DESK->GW #0.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 4 DESK->GW #1.9 unchanged: unchanged h1/client-proxy -> h2/server-proxy
2 D DESK->GW #1.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy`},

	{"one number, two messages, one epoch", func(f *floor) {
		f.up(deskFlow, newOrder(5, "C-1"))
		f.up(deskFlow, strings.Replace(newOrder(5, "C-1"), "09:00:00.005", "12:00:01", 1))
	}, "C-1", `
0 D DESK->GW #0.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D DESK->GW #0.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy [number 5 of its session was message 0 before, and this is not marked as a copy]`},

	{"replaced, then cancelled, asked in the middle", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(deskFlow, "35=G|34=2|49=DESK|56=GW|52=20261008-09:00:00.002|11=C-2|41=C-1|55=VOD.L|54=1|38=200|")
		f.down(deskFlow, execution(1, "C-2", "O-1", "E-1", "5", "5", "41=C-1|"))
		f.up(deskFlow, "35=F|34=3|49=DESK|56=GW|52=20261008-09:00:00.003|11=C-3|41=C-2|55=VOD.L|54=1|")
		f.down(deskFlow, "35=9|34=2|49=GW|56=DESK|52=20261008-09:00:00.002|37=NONE|11=C-3|41=C-2|39=8|")
		f.down(deskFlow, "35=9|34=3|49=GW|56=DESK|52=20261008-09:00:00.003|37=NONE|11=X-3|41=X-2|39=8|") // another unknown order
	}, "C-2", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 G DESK->GW #0.2 unchanged: unchanged h1/client-proxy -> h2/server-proxy
2 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy
3 F DESK->GW #0.3 unchanged: unchanged h1/client-proxy -> h2/server-proxy
4 9 GW->DESK #0.2 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"sent on in another session", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(venueFlow, "35=D|34=70|49=GW|56=VENUE|52=20261008-09:00:00.070|11=C-1|55=VOD.L|54=1|38=100|44=72.5|")
		f.down(venueFlow, "35=8|34=80|49=VENUE|56=GW|52=20261008-09:00:00.080|37=V-9|17=VE-1|11=C-1|55=VOD.L|150=F|39=2|32=100|31=72.5|14=100|151=0|")
		f.down(deskFlow, execution(2, "C-1", "O-1", "E-1", "F", "2", "32=100|31=72.5|14=100|151=0|"))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D GW->VENUE #0.70 unchanged: unchanged h2/client-proxy -> h3/server-proxy
2 8 VENUE->GW #0.80 unchanged: unchanged h3/server-proxy -> h2/client-proxy
3 8 GW->DESK #0.2 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"sent on under an own identifier, joined by the execution's", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(venueFlow, "35=D|34=70|49=GW|56=VENUE|52=20261008-09:00:00.070|11=G-1|55=VOD.L|54=1|38=100|44=72.5|")
		f.down(venueFlow, "35=8|34=80|49=VENUE|56=GW|52=20261008-09:00:00.080|37=V-9|17=VE-1|11=G-1|55=VOD.L|150=F|39=2|")
		f.down(deskFlow, execution(2, "C-1", "O-1", "VE-1", "F", "2", ""))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D GW->VENUE #0.70 unchanged: unchanged h2/client-proxy -> h3/server-proxy
2 8 VENUE->GW #0.80 unchanged: unchanged h3/server-proxy -> h2/client-proxy
3 8 GW->DESK #0.2 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"the same bytes sent on", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(venueFlow, newOrder(1, "C-1"))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy -> h2/client-proxy -> h3/server-proxy`},

	{"changed by who sends on", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(venueFlow, swap("44=72.5", "44=72.4")(newOrder(1, "C-1")))
	}, "C-1", `
0 D DESK->GW #0.1 changed: changed between h2/server-proxy and h2/client-proxy: digest A became B, in tag 44`},

	{"clocks that do not tell the order", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{bound: 5_000_000}, hop{lost: true})
		f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "0", "0", ""), hop{bound: 1000}, hop{bound: 5_000_000})
		f.down(deskFlow, execution(2, "C-1", "O-1", "E-2", "F", "1", ""), hop{bound: unknownBound, lost: true}, hop{bound: unknownBound})
	}, "C-1", `
0 D DESK->GW #0.1 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there
1 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy (after [0] uncertain)
2 8 GW->DESK #0.2 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there`},

	{"a clock that is wrong, and a log that knows better", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{skew: time.Second}, hop{})
		f.down(deskFlow, execution(1, "C-1", "O-1", "E-1", "0", "0", ""), hop{}, hop{skew: time.Second})
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy [h2/server-proxy has it 999980000 ns before h1/client-proxy, more than the bounds of their clocks allow: one of them is wrong]
1 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},

	{"a copy of the first of two with its number", func(f *floor) {
		f.up(deskFlow, newOrder(5, "C-1"))
		f.up(deskFlow, strings.Replace(newOrder(5, "C-1"), "09:00:00.005", "12:00:01", 1))
		f.up(deskFlow, strings.Replace(newOrder(5, "C-1"), "52=20261008-09:00:00.005|", "43=Y|52=20261008-12:00:02|122=20261008-09:00:00.005|", 1))
	}, "C-1", `
0 D DESK->GW #0.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 D DESK->GW #0.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy [number 5 of its session was message 0 before, and this is not marked as a copy]
2 D DESK->GW #0.5 resent: resent, PossDup of number 5: a copy of message 0; unchanged h1/client-proxy -> h2/server-proxy`},

	{"a clock set back before a new beginning", func(f *floor) {
		f.up(deskFlow, newOrder(5, "C-1"))
		back := hop{skew: -time.Hour}
		f.up(deskFlow, "35=4|34=9|49=DESK|56=GW|52=20261008-12:00:00|36=5|", back, back)
		f.up(deskFlow, strings.Replace(newOrder(5, "C-1"), "09:00:00.005", "12:00:01", 1), back, back)
	}, "C-1", `
0 D DESK->GW #0.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 4 DESK->GW #1.9 unchanged: unchanged h1/client-proxy -> h2/server-proxy
2 D DESK->GW #1.5 unchanged: unchanged h1/client-proxy -> h2/server-proxy`},

	{"two orders under one number, each lost at one end", func(f *floor) {
		f.up(deskFlow, newOrder(5, "C-2")+"41=C-1|", hop{}, hop{lost: true})
		f.up(deskFlow, strings.Replace(newOrder(5, "C-3"), "09:00:00.005", "12:00:01", 1)+"41=C-1|", hop{lost: true}, hop{})
	}, "C-1", `
0 D DESK->GW #0.5 missing: missing at h2/server-proxy: h1/client-proxy saw it in the same flow, no log that was searched has it there
1 D DESK->GW #0.5 missing: missing at h1/client-proxy: h2/server-proxy saw it in the same flow, no log that was searched has it there [number 5 of its session was message 0 before, and this is not marked as a copy]`},

	{"changed, and delivered twice", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{}, hop{alter: swap("38=100", "38=900")})
		f.up(deskFlow, newOrder(1, "C-1"), hop{lost: true}, hop{alter: swap("38=100", "38=900")})
	}, "C-1", `
0 D DESK->GW #0.1 changed: changed between h1/client-proxy and h2/server-proxy: digest A became B, in tag 38
1 D DESK->GW #0.1 changed: resent, the same bytes: a copy of message 0; missing at h1/client-proxy: h2/server-proxy saw it in the same flow, no log that was searched has it there; the copy differs from it in tag 38`},

	{"clocks that differ within their bounds", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"), hop{bound: 50_000}, hop{bound: 50_000, skew: -30 * time.Microsecond})
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy`},

	{"sent on by a clock that is behind", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.up(venueFlow, newOrder(1, "C-1"), hop{skew: -5 * time.Millisecond}, hop{skew: -5 * time.Millisecond})
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy -> h2/client-proxy -> h3/server-proxy [h2/client-proxy has it 3980000 ns before h2/server-proxy, and both are of one log: its clock was set back]`},

	{"asked for its status, which has no execution of its own", func(f *floor) {
		f.up(deskFlow, newOrder(1, "C-1"))
		f.down(deskFlow, execution(1, "C-1", "0", "0", "I", "0", ""))
		f.up(deskFlow, newOrder(2, "C-2"))
		f.down(deskFlow, execution(2, "C-2", "0", "0", "I", "0", ""))
	}, "C-1", `
0 D DESK->GW #0.1 unchanged: unchanged h1/client-proxy -> h2/server-proxy
1 8 GW->DESK #0.1 unchanged: unchanged h2/server-proxy -> h1/client-proxy`},
}
