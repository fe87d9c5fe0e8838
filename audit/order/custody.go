package order

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"fire/audit/entry"
	"fire/policy/reason"
	"fire/transport/fix"
)

// nearby is how far from a message that is missing somewhere an explanation may lie.
const nearby = 10 * time.Second

// custody follows a message from hop to hop.
type custody struct {
	t        *transmission
	context  []*sighting
	hops     []Hop
	verdict  Verdict
	grave    []string // what was changed or is missing, in order of the way
	sealed   bool
	searched []string // nodes whose logs were; nil: all
}

// say keeps the gravest verdict, and what a person is to read of it.
func (c *custody) say(v Verdict, format string, args ...any) {
	if c.verdict == "" || slices.Index(gravity[:], v) < slices.Index(gravity[:], c.verdict) {
		c.verdict = v
	}
	if format != "" {
		c.grave = append(c.grave, fmt.Sprintf(format, args...))
	}
}

// gravity is the order of the verdicts.
var gravity = [...]Verdict{Changed, Missing, Incomparable, Resent, NotSearched, Unchanged, Single}

func follow(t *transmission, context []*sighting, searched []string) custody {
	c := custody{t: t, context: context, searched: searched}
	for i, s := range t.seen {
		h := hopOf(s)
		if i > 0 {
			h.Verdict = c.between(t.seen[i-1], s)
		}
		if s.in != s.out {
			c.say(Changed, "changed at %s: digest %s became %s", s.label(), short(s.in), short(s.out))
			h.Verdict = Changed
		}
		c.sealed = c.sealed || s.sealed
		c.hops = append(c.hops, h)
	}
	c.missing()
	switch {
	case c.verdict != "":
	case len(t.seen) > 1:
		c.verdict = Unchanged
	default:
		c.verdict = Single
	}
	return c
}

// between compares what left one hop with what reached the next one.
func (c *custody) between(a, b *sighting) Verdict {
	switch {
	case a.out == "" || b.in == "":
		c.say(Incomparable, "not comparable between %s and %s: one of them has no digest", a.label(), b.label())
		return Incomparable
	case a.out == b.in:
		return Unchanged
	case a.sealed || b.sealed:
		if a.out == a.in && sameButSealed(a, b) {
			return Unchanged
		}
		if a.sealed != b.sealed && (a.content == "" || b.content == "") {
			c.say(Incomparable, "not comparable between %s and %s: only one of them overwrites personal values", a.label(), b.label())
			return Incomparable
		}
	}
	c.say(Changed, "changed between %s and %s: digest %s became %s%s", a.label(), b.label(), short(a.out), short(b.in), differenceText(a, b))
	return Changed
}

// sameButSealed compares contents where either hop may have overwritten personal values, and so
// the CheckSum.
func sameButSealed(a, b *sighting) bool {
	const trailer = len("ddd\x01")
	if len(a.content) != len(b.content) || len(a.content) <= trailer {
		return false
	}
	for i := range len(a.content) - trailer {
		x, y := a.content[i], b.content[i]
		if x != y && !(x == '*' && a.sealed) && !(y == '*' && b.sealed) {
			return false
		}
	}
	return true
}

func differenceText(a, b *sighting) string {
	if a.out != a.in {
		return "" // a's content is what came in
	}
	d := differences(a.content, b.content, []int{9, 10})
	d = slices.DeleteFunc(d, func(tag int) bool { return a.overwrote(tag) || b.overwrote(tag) })
	if len(d) == 0 {
		return ""
	}
	return ", in " + tagsText(d)
}

// missing looks in each flow for the end that did not see the message. A proxy that refused it
// sent it no further.
func (c *custody) missing() {
	done := map[string]bool{}
	for _, s := range c.t.seen {
		if s.at.flow == "" || done[s.at.flow] || s.at.hop != clientProxy && s.at.hop != serverProxy {
			continue
		}
		done[s.at.flow] = true
		var have []*sighting
		refused := false
		for _, o := range c.t.seen {
			if o.at.flow == s.at.flow && (o.at.hop == clientProxy || o.at.hop == serverProxy) {
				have = append(have, o)
				refused = refused || o.refused()
			}
		}
		if refused || slices.ContainsFunc(have, func(o *sighting) bool { return o.at.hop != s.at.hop }) {
			continue
		}
		c.expect(s)
	}
}

// expect adds the other end of s's flow as a hop that was not found.
func (c *custody) expect(s *sighting) {
	other := clientProxy
	if s.at.hop == clientProxy {
		other = serverProxy
	}
	node := s.at.farNode
	h := Hop{
		Label: labelOf(node, other, ""), Node: node, Hop: other, Direction: s.at.direction, Flow: hex.EncodeToString([]byte(s.at.flow)),
		Service: s.at.service, Peer: s.at.peer, Verdict: Missing,
	}
	if c.searched != nil && !slices.Contains(c.searched, node) {
		h.Verdict = NotSearched
		c.say(NotSearched, "seen at %s, and what became of it at %s is in a log that was not searched: that of %s", s.label(), h.Label, node)
		c.insert(h, s, other)
		return
	}
	c.say(Missing, "missing at %s: %s saw it in the same flow, no log that was searched has it there%s", h.Label, s.label(), c.explanation(s, other))
	c.insert(h, s, other)
}

// insert puts a hop that was not found beside the other end of its flow.
func (c *custody) insert(h Hop, s *sighting, other string) {
	at := slices.IndexFunc(c.hops, func(h Hop) bool { return h.Index != nil && *h.Index == s.index && h.Origin == s.origin })
	if upstream := (other == clientProxy) != (s.at.direction == "down"); !upstream {
		at++
	}
	c.hops = slices.Insert(c.hops, at, h)
}

// explanation is what the other end's log has instead of a message.
func (c *custody) explanation(s *sighting, other string) string {
	for _, x := range c.context {
		far := x.head.Time - s.head.Time
		if x.at.flow != s.at.flow || x.at.hop != other && x.at.hop != "" || max(far, -far) > int64(nearby) {
			continue
		}
		switch {
		case x.head.Kind == entry.Gap:
			return fmt.Sprintf("; %s index %d tells of %d messages that went on without an entry", x.origin, x.index, max(x.fix.count, 1))
		case x.marked(entry.MarkGarbled) && x.at.direction == s.at.direction:
			return fmt.Sprintf("; %s index %d has garbled bytes, digest %s", x.origin, x.index, short(x.in))
		}
	}
	return ""
}

// sentence is the verdict for a person.
func (c *custody) sentence(position map[*transmission]int) string {
	var parts []string
	if again := c.again(position); again != "" {
		parts = append(parts, again)
	}
	parts = append(parts, c.grave...)
	if len(c.grave) == 0 {
		way := "seen at " + c.t.hops() + " only"
		if len(c.t.seen) > 1 {
			way = "unchanged " + c.t.hops()
		}
		parts = append(parts, way)
	}
	for _, s := range c.t.seen {
		if s.refused() {
			parts = append(parts, fmt.Sprintf("refused at %s: %s", s.label(), s.at.reason))
		}
	}
	text := strings.Join(parts, "; ")
	if c.sealed {
		text += " (but for personal values, which the digests leave out)"
	}
	return text
}

func (c *custody) again(position map[*transmission]int) string {
	first := c.t.first()
	why := "the same bytes"
	switch {
	case c.t.marked(entry.MarkPossDup):
		why = fmt.Sprintf("PossDup of number %d", first.fix.seq)
	case c.t.marked(entry.MarkPossResend):
		why = fmt.Sprintf("PossResend under number %d", first.fix.seq)
	case c.t.copyOf == nil:
		return ""
	}
	if c.t.copyOf == nil {
		return "resent, " + why + "; its first sending was not found"
	}
	at, ok := position[c.t.copyOf]
	if !ok {
		return "resent, " + why
	}
	return fmt.Sprintf("resent, %s: a copy of message %d", why, at)
}

// resent settles the verdict of a copy: one that says something else is no copy.
func (c *custody) resent() {
	original := c.t.copyOf
	if original == nil {
		if c.t.marked(entry.MarkPossDup | entry.MarkPossResend) {
			c.say(Resent, "")
		}
		return
	}
	a, b := original.first(), c.t.first()
	d := differences(a.content, b.content, newInCopy)
	if a.fix.clOrdID != b.fix.clOrdID && len(d) == 0 {
		d = []int{11}
	}
	if len(d) > 0 && a.sealed == b.sealed {
		c.say(Changed, "the copy differs from it in %s", tagsText(d))
		return
	}
	c.say(Resent, "")
}

// overwrote says whether a hop kept nothing of a tag's values.
func (s *sighting) overwrote(tag int) bool {
	v := valuesOf(s.content)[tag]
	return s.sealed && strings.HasPrefix(v, "*") && strings.Trim(v, "*\x01") == ""
}

// newInCopy are the fields that a copy has of its own.
var newInCopy = []int{8, 9, 10, 34, 43, 52, 97, 122, 369}

// differences are the tags whose values two messages do not share.
func differences(a, b string, but []int) []int {
	if a == "" || b == "" {
		return nil
	}
	x, y := valuesOf(a), valuesOf(b)
	var out []int
	for tag, v := range x {
		if y[tag] != v {
			out = append(out, tag)
		}
	}
	for tag := range y {
		if _, ok := x[tag]; !ok {
			out = append(out, tag)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(out, func(tag int) bool { return slices.Contains(but, tag) })
}

func valuesOf(content string) map[int]string {
	out := map[int]string{}
	f := fix.FieldsOf([]byte(content))
	for {
		tag, v, ok := f.Next()
		if !ok {
			return out
		}
		out[tag] += string(v) + "\x01"
	}
}

func tagsText(tags []int) string {
	const shown = 8
	var b strings.Builder
	b.WriteString("tag")
	for i, t := range tags {
		if i == shown {
			fmt.Fprintf(&b, " and %d more", len(tags)-shown)
			break
		}
		fmt.Fprintf(&b, " %d", t)
	}
	return b.String()
}

func hopOf(s *sighting) Hop {
	h := s.head
	out := Hop{
		Label: s.label(), Origin: s.origin, Index: &s.index, Node: s.node, Hop: s.at.hop, Direction: s.at.direction, Service: s.at.service, Peer: s.at.peer,
		Principal: s.at.principal, Channel: s.at.channel, Protocol: s.at.protocol, Flow: hex.EncodeToString([]byte(s.at.flow)), Rule: s.at.rule,
		Bundle: s.at.bundle, DigestIn: hex.EncodeToString([]byte(s.in)), DigestOut: hex.EncodeToString([]byte(s.out)), Sealed: s.sealed, Bytes: s.bytes,
		Time: timeText(h.Time), UTCNanos: &s.head.Time, Bound: boundOf(h.Bound), Clock: h.Clock.String(), ClockSync: h.Sync.String(),
		Source: sourceText(h.Source), SourceSeq: h.Seq, Verdict: Single,
	}
	if s.at.reason != reason.OK {
		out.Reason = s.at.reason.String()
	}
	return out
}

// sourceText is a source as entries show it.
func sourceText(source uint64) string {
	return hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, source))
}

// short is as much of a digest as a person compares.
func short(digest string) string {
	return hex.EncodeToString([]byte(digest[:min(len(digest), 8)]))
}

// latencies are the times between the hops that were found.
func latencies(t *transmission) []Latency {
	var out []Latency
	for i := 1; i < len(t.seen); i++ {
		a, b := t.seen[i-1], t.seen[i]
		l := Latency{From: a.label(), To: b.label(), Nanos: b.head.Time - a.head.Time, Bound: sumOfBounds(a.head.Bound, b.head.Bound)}
		if a.origin == b.origin { // one clock, whose error is the same for both
			l.Bound = new(int64)
		}
		l.Certain = l.Bound != nil && *l.Bound < max(l.Nanos, -l.Nanos)
		out = append(out, l)
	}
	return out
}
