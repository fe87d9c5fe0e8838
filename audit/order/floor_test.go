package order

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/policy/reason"
)

// floor is a small one: hosts with logs, flows between services, and messages that pass. Its
// index answers every key by walking all entries.
type floor struct {
	t    testing.TB
	logs map[string]int64 // entries of each
	all  []Found
	now  int64 // nanoseconds after morning
}

const morning = 1_791_450_000_000_000_000 // 2026-10-08T09:00:00Z

// flow is a connection between two services, through a proxy on each one's host.
type flow struct {
	id                     string
	service, peer          string
	clientHost, serverHost string
}

var (
	deskFlow  = flow{"flow-desk-gateway", "desk", "gateway", "h1", "h2"}
	venueFlow = flow{"flow-gateway-venue", "gateway", "venue", "h2", "h3"}
)

// hop says what one hop did to a message.
type hop struct {
	lost    bool
	alter   func(string) string // of the body, before this hop
	out     func(string) string // by this hop itself
	reason  reason.Code
	bound   uint32 // 0: 1 µs
	skew    time.Duration
	persons *Personal
	bare    bool // no content
}

func newFloor(t testing.TB) *floor { return &floor{t: t, logs: map[string]int64{}} }

// up sends a message from the flow's client, down from its server. body begins with 35= and has |
// for SOH; hops are the client's proxy and the server's.
func (f *floor) up(w flow, body string, hops ...hop) { f.send(w, "up", body, hops) }

func (f *floor) down(w flow, body string, hops ...hop) { f.send(w, "down", body, hops) }

func (f *floor) send(w flow, direction, body string, hops []hop) {
	for len(hops) < 2 {
		hops = append(hops, hop{})
	}
	way := []string{clientProxy, serverProxy}
	if direction == "down" {
		way = []string{serverProxy, clientProxy}
	}
	f.now += int64(time.Millisecond)
	for i, name := range way {
		h := hops[i]
		if h.alter != nil {
			body = h.alter(body)
		}
		if f.now += int64(20 * time.Microsecond); !h.lost {
			f.entry(w, name, direction, body, h)
		}
		if h.reason != reason.OK {
			return
		}
		if h.out != nil {
			body = h.out(body)
		}
	}
}

func (f *floor) entry(w flow, name, direction, body string, h hop) {
	raw := f.bytes(body)
	host, far := w.clientHost, w.serverHost
	if name == serverProxy {
		host, far = far, host
	}
	var r Redaction
	if h.persons != nil {
		h.persons.Redact(raw, &r)
		raw = r.Redacted
	}
	head := entry.Head{Kind: entry.Message, Sync: entry.Synchronised, Clock: entry.ClockPTP, Bound: 1000, Time: morning + f.now + int64(h.skew), Source: 7, Seq: 1}
	if h.bound != 0 {
		head.Bound = h.bound
	}
	var b entry.Builder
	b.Begin(nil, head)
	b.Str(entry.Flow, w.id)
	b.Str(entry.Hop, name)
	b.Str(entry.Direction, direction)
	b.Str(entry.Service, w.service)
	b.Str(entry.Peer, w.peer)
	b.Str(entry.Node, far)
	b.Str(entry.Rule, "desk-trades")
	b.Uint(entry.Reason, uint64(h.reason))
	digest := sha256.Sum256(raw)
	b.Bytes(entry.Digest, digest[:])
	if h.out != nil {
		out := sha256.Sum256(f.bytes(h.out(body)))
		b.Bytes(entry.DigestOut, out[:])
	}
	b.Uint(entry.Size, uint64(len(raw)))
	var m Message
	_ = m.Read(raw) // garbled bytes are marked
	m.Append(&b)
	if !h.bare {
		b.Bytes(entry.Content, raw)
	}
	if len(r.Values) > 0 {
		b.Bytes(entry.Sealed, r.Values)
	}
	f.log(host, b.Raw())
}

// ring has a host's direct node see a message in a channel; reads says whether it knows FIX.
func (f *floor) ring(host, channel, body string, reads bool) {
	f.now += int64(20 * time.Microsecond)
	raw := f.bytes(body)
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Message, Time: morning + f.now, Bound: 1000})
	b.Str(entry.Hop, "ring")
	b.Str(entry.Channel, channel)
	digest := sha256.Sum256(raw)
	b.Bytes(entry.Digest, digest[:])
	if reads {
		var m Message
		_ = m.Read(raw)
		m.Append(&b)
	}
	f.log(host, b.Raw())
}

// bytes frames a body; one that begins with ! stays as it is.
func (f *floor) bytes(body string) []byte {
	if rest, ok := strings.CutPrefix(body, "!"); ok {
		return []byte(rest)
	}
	return wire("FIX.4.4", body)
}

func (f *floor) gap(host string, w flow, count uint64) {
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Gap, Time: morning + f.now})
	b.Str(entry.Flow, w.id)
	b.Uint(entry.Count, count)
	f.log(host, b.Raw())
}

func (f *floor) log(host string, raw []byte) {
	v, err := entry.Parse(raw)
	if err != nil {
		f.t.Fatal(err)
	}
	origin := "eu.floor/audit/" + host
	f.all = append(f.all, Found{Origin: origin, Index: f.logs[origin], View: v})
	f.logs[origin]++
}

func (f *floor) query(clOrdID string) Query {
	return Query{ClOrdID: clOrdID, From: morning - int64(9*time.Hour), To: morning + int64(15*time.Hour)}
}

// trace asks the index of all logs until nothing new is found.
func (f *floor) trace(q Query) Result {
	f.t.Helper()
	r, err := Trace(q, func(keys []Key) (found []Found, _ error) {
		for _, k := range keys {
			for _, e := range f.all {
				if answersTo(k, e.View) {
					found = append(found, e)
				}
			}
		}
		return found, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// order is the one order that trace finds.
func (f *floor) order(clOrdID string) Story {
	f.t.Helper()
	r := f.trace(f.query(clOrdID))
	if len(r.Orders) != 1 || len(r.Conflicts) != 0 || r.Incomplete {
		f.t.Fatalf("%d orders, %d conflicts", len(r.Orders), len(r.Conflicts))
	}
	return r.Orders[0]
}

// answersTo is what an index does.
func answersTo(k Key, v entry.View) bool {
	if at := v.Head().Time; at < k.From || at >= k.To {
		return false
	}
	marks := v.Uint(entry.Marks)
	switch k.By {
	case ByDigest:
		return v.Str(entry.Digest) == k.Value || v.Str(entry.DigestOut) == k.Value
	case BySession:
		a, b := v.Str(entry.Sender), v.Str(entry.Target)
		return min(a, b) == k.Value && max(a, b) == k.Other && marks&(entry.MarkReset|entry.MarkGapFill) != 0
	case ByNumber:
		return v.Str(entry.Sender) == k.Value && v.Str(entry.Target) == k.Other && v.Uint(entry.SeqNum) == k.Seq
	case ByFlow:
		return v.Str(entry.Flow) == k.Value && (v.Kind() == entry.Gap || marks&(entry.MarkReset|entry.MarkGapFill|entry.MarkGarbled) != 0)
	}
	tag, ok := entry.TagOf(string(k.By))
	return ok && v.Str(tag) == k.Value
}

// newOrder and report are bodies of the desk's session; at counts milliseconds.
func newOrder(seq int, clOrdID string) string {
	return fmt.Sprintf("35=D|34=%d|49=DESK|56=GW|52=20261008-09:00:00.%03d|11=%s|55=VOD.L|54=1|38=100|44=72.5|", seq, seq, clOrdID)
}

func execution(seq int, clOrdID, orderID, execID, execType, status, more string) string {
	return fmt.Sprintf("35=8|34=%d|49=GW|56=DESK|52=20261008-09:00:00.%03d|37=%s|17=%s|11=%s|55=VOD.L|150=%s|39=%s|%s", seq, seq, orderID, execID, clOrdID, execType, status, more)
}

func swap(old, fresh string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, fresh, 1) }
}

const unknownBound = math.MaxUint32

// lines are a story for comparing: position, type, number, verdict, sentence.
func lines(s Story) string {
	var b strings.Builder
	for _, m := range s.Steps {
		fmt.Fprintf(&b, "%d %s %s->%s #%d.%d %s: %s", m.Position, m.MsgType, m.Sender, m.Target, m.Epoch, m.SeqNum, m.Verdict, m.Sentence)
		if len(m.UncertainWith) > 0 {
			fmt.Fprintf(&b, " (after %v uncertain)", m.UncertainWith)
		}
		if len(m.FilledBy) > 0 {
			fmt.Fprintf(&b, " (filled by %v)", m.FilledBy)
		}
		for _, n := range m.Notes {
			fmt.Fprintf(&b, " [%s]", n)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
