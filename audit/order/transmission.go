package order

import (
	"slices"
	"strings"

	"fire/audit/entry"
)

// transmission is one message on its way: sent once, seen at one hop or several. A message that
// is sent again is a transmission of its own.
type transmission struct {
	seen   []*sighting   // in the order of its way
	twin   *transmission // the first of the same bytes, if this is a later one
	epoch  int
	copyOf *transmission // what this one is sent again of
}

// header is what a message keeps on its way, however its body is changed, and no other message
// of its session has.
type header struct {
	sender, target, msgType, sentAt string
	seq                             uint64
	dup                             bool
}

func headerOf(s *sighting) (header, bool) {
	f := &s.fix
	h := header{f.sender, f.target, f.msgType, f.sentAt, f.seq, s.marked(entry.MarkPossDup)}
	return h, f.msgType != "" && f.sentAt != "" && f.seq != 0
}

// transmissions sorts sightings out: the same bytes are the same message, at most once at each
// place; then those that share a header and no place; then those that the two ends of one flow
// saw with half of the header changed. seen is sorted by before.
func transmissions(seen []*sighting) []*transmission {
	all := passages(seen)
	apart := func(a, b *transmission) bool { return !sharePlace(a, b) }
	all = merge(all, digests, apart)
	all = merge(all, headers, apart)
	all = merge(all, halfHeaders, bothEnds)
	for _, t := range all {
		t.order()
	}
	slices.SortFunc(all, (*transmission).before)
	bytes := map[any]*transmission{}
	for _, t := range all {
		for _, s := range t.seen {
			for _, d := range digests(s) {
				switch old := bytes[d]; {
				case old == nil:
					bytes[d] = t
				case old != t && t.twin == nil:
					t.twin = old
				}
			}
		}
	}
	return all
}

func (t *transmission) first() *sighting { return t.seen[0] }

func (t *transmission) before(o *transmission) int { return byTime(t.first(), o.first()) }

func (t *transmission) marked(bit uint64) bool { return t.first().marked(bit) }

// passages are messages in one flow, or channel: the n-th of the same bytes at one hop is the n-th
// at the others.
func passages(seen []*sighting) []*transmission {
	type key struct {
		digest, flow, channel string
		at                    place
		n                     int
	}
	times, made := map[key]int{}, map[key]*transmission{}
	var all []*transmission
	for _, s := range seen {
		k := key{digest: s.in, flow: s.at.flow, channel: s.at.channel, at: s.place()}
		n := times[k]
		times[k]++
		k.at, k.n = place{}, n
		t := made[k]
		if t == nil || s.in == "" {
			t = &transmission{}
			made[k] = t
			all = append(all, t)
		}
		t.seen = append(t.seen, s)
	}
	for _, t := range all {
		slices.SortFunc(t.seen, byTime)
	}
	slices.SortFunc(all, (*transmission).before)
	return all
}

// digests are of what came in and what went out.
func digests(s *sighting) []any {
	switch {
	case s.in == "":
		return nil
	case s.in == s.out:
		return []any{s.in}
	}
	return []any{s.in, s.out}
}

func headers(s *sighting) []any {
	if h, ok := headerOf(s); ok {
		return []any{h}
	}
	return nil
}

// mergeMax is with how many of one key another one is compared: beyond it stands a flood of the
// same bytes, of which each then is told by itself.
const mergeMax = 256

// merge joins each with the first before it that has a key in common and fits.
func merge(all []*transmission, keys func(*sighting) []any, fit func(a, b *transmission) bool) []*transmission {
	by := map[any][]*transmission{}
	var out []*transmission
	for _, t := range all {
		into := t
	search:
		for _, s := range t.seen {
			for _, k := range keys(s) {
				for _, u := range by[k] {
					if fit(u, t) {
						into = u
						break search
					}
				}
			}
		}
		seen := t.seen
		if into == t {
			out = append(out, t)
		} else {
			into.seen = append(into.seen, seen...)
		}
		for _, s := range seen {
			for _, k := range keys(s) {
				if of := by[k]; len(of) < mergeMax && !slices.Contains(of, into) {
					by[k] = append(of, into)
				}
			}
		}
	}
	return out
}

func sharePlace(a, b *transmission) bool {
	for _, s := range a.seen {
		for _, o := range b.seen {
			if s.place() == o.place() {
				return true
			}
		}
	}
	return false
}

// half is a part of the header, within one flow and direction.
type half struct {
	flow, direction, msgType, sentAt string
	seq, marks                       uint64
}

func halfHeaders(s *sighting) []any {
	if s.at.flow == "" || s.fix.msgType == "" {
		return nil
	}
	h := half{flow: s.at.flow, direction: s.at.direction, msgType: s.fix.msgType, marks: s.fix.marks}
	var out []any
	if s.fix.seq != 0 {
		h.seq = s.fix.seq
		out = append(out, h)
		h.seq = 0
	}
	if s.fix.sentAt != "" {
		h.sentAt = s.fix.sentAt
		out = append(out, h)
	}
	return out
}

// bothEnds says whether each was seen at the end of a flow where the other was not, with the same
// identifiers.
func bothEnds(a, b *transmission) bool {
	x, y := a.first(), b.first()
	if x.fix.clOrdID != y.fix.clOrdID || x.fix.origID != y.fix.origID || x.fix.execID != y.fix.execID {
		return false
	}
	met := false
	for _, s := range a.seen {
		for _, o := range b.seen {
			if s.at.flow == o.at.flow {
				if s.at.hop == o.at.hop {
					return false
				}
				met = true
			}
		}
	}
	return met
}

// order puts the hops in the order of the way: flow after flow, as one's receiver is the next
// one's sender and else by time; in a flow from the sender's proxy to the receiver's.
func (t *transmission) order() {
	slices.SortFunc(t.seen, byTime)
	legs := map[string][]*sighting{}
	var flows []string
	for _, s := range t.seen {
		name := s.at.flow
		if name == "" {
			name = "\x00" + s.at.channel
		}
		if legs[name] == nil {
			flows = append(flows, name)
		}
		legs[name] = append(legs[name], s)
	}
	t.seen = t.seen[:0:0]
	for len(flows) > 0 {
		next := 0
		for i := range flows {
			if !slices.ContainsFunc(flows, func(o string) bool { return o != flows[i] && feeds(legs[o][0], legs[flows[i]][0]) }) {
				next = i
				break
			}
		}
		leg := legs[flows[next]]
		slices.SortStableFunc(leg, func(a, b *sighting) int { return a.rank() - b.rank() })
		t.seen = append(t.seen, leg...)
		flows = slices.Delete(flows, next, next+1)
	}
}

// feeds says whether a's receiver is b's sender, and not the other way round.
func feeds(a, b *sighting) bool {
	ends := func(s *sighting) (from, to string) {
		if s.at.direction == "down" {
			return s.at.peer, s.at.service
		}
		return s.at.service, s.at.peer
	}
	aFrom, aTo := ends(a)
	bFrom, bTo := ends(b)
	return aTo != "" && aTo == bFrom && !(bTo != "" && bTo == aFrom)
}

const (
	clientProxy = "client-proxy"
	serverProxy = "server-proxy"
)

// rank is where in its flow a hop lies, 1 where only the time tells.
func (s *sighting) rank() int {
	up := 1
	switch s.at.hop {
	case clientProxy:
		up = 0
	case serverProxy:
		up = 2
	}
	if s.at.direction == "down" {
		return 2 - up
	}
	return up
}

// ends are the two that exchange a message, in the direction of the message.
type ends struct{ sender, target string }

func (t *transmission) ends() ends { return ends{t.first().fix.sender, t.first().fix.target} }

func (e ends) reverse() ends { return ends{e.target, e.sender} }

// pair names a session whoever sends.
func (e ends) pair() ends { return ends{min(e.sender, e.target), max(e.sender, e.target)} }

// after says whether t passed after o: by the index of a log that saw both, else by time.
func (t *transmission) after(o *transmission) bool {
	for _, a := range t.seen {
		for _, b := range o.seen {
			if a.origin == b.origin && a.index != b.index {
				return a.index > b.index
			}
		}
	}
	return byTime(t.first(), o.first()) > 0
}

func (t *transmission) hops() string {
	names := make([]string, len(t.seen))
	for i, s := range t.seen {
		names[i] = s.label()
	}
	return strings.Join(names, " -> ")
}
