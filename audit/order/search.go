package order

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"fire/audit/entry"
)

// EntriesMax is how many entries a search takes, if the query does not say.
const EntriesMax = 20_000

// ErrTooMany is of a search that leads to more entries than it may take.
var ErrTooMany = errors.New("too many entries")

// Query asks for one order.
type Query struct {
	ClOrdID    string
	From, To   int64         // nanoseconds since 1970: entries from From on, before To
	DayBegins  time.Duration // when a trading day begins, after midnight UTC
	Party      string        // a CompID or service that takes part in the order's own session; empty: any
	EntriesMax int           // 0: EntriesMax
	Searched   []string      // nodes whose logs are looked at; nil: every node's, so what is not found is missing
}

// By is what a key is looked up by.
type By string

// The kinds of keys. An index that cannot answer the last three finds all messages that bear the
// order's identifiers, but no session that began anew, gap fill, gap or garbled bytes, and none
// whose identifiers were changed on its way.
const (
	ByClOrdID     By = "cl_ord_id"
	ByOrigClOrdID By = "orig_cl_ord_id"
	ByOrderID     By = "order_id"
	ByExecID      By = "exec_id"
	ByDigest      By = "digest"  // raw, of what came in or went out
	BySession     By = "session" // messages between Value and Other, whoever sent, with MarkReset or MarkGapFill
	ByNumber      By = "number"  // messages with number Seq from Value to Other
	ByFlow        By = "flow"    // raw: messages of the flow with any of these or MarkGarbled, and its gaps
)

// Key is one question to the index of each log.
type Key struct {
	By           By
	Value, Other string
	Seq          uint64
	From, To     int64
}

// Search finds all entries of an order, step by step. It is for one goroutine.
type Search struct {
	query   Query
	kept    map[spot]*sighting
	asked   map[Key]bool
	fresh   []Key
	wanted  map[link]bool
	waiting map[link][]*sighting
	full    bool
}

// spot is where an entry lies, and the entry: a log that shows two at one index is shown with both.
type spot struct {
	origin string
	index  int64
	hash   [sha256.Size]byte
}

// link is what two sightings of one order have in common. One enters the search when it has
// what one that is in it wants.
type link struct {
	what        By
	value, a, b string
	day         int64
}

// Trace searches with look, which finds what the logs hold for keys, until nothing new is found.
// The result is there with ErrTooMany, too.
func Trace(q Query, look func([]Key) ([]Found, error)) (Result, error) {
	s, keys := Start(q)
	for len(keys) > 0 {
		found, err := look(keys)
		if err != nil {
			return Result{}, err
		}
		if keys, err = s.Add(found); err != nil {
			return s.Result(), err
		}
	}
	return s.Result(), nil
}

// Start gives the first keys to look up.
func Start(q Query) (*Search, []Key) {
	if q.EntriesMax <= 0 {
		q.EntriesMax = EntriesMax
	}
	s := &Search{
		query: q, kept: map[spot]*sighting{}, asked: map[Key]bool{},
		wanted: map[link]bool{{what: seed}: true}, waiting: map[link][]*sighting{},
	}
	s.ask(ByClOrdID, q.ClOrdID, "")
	s.ask(ByOrigClOrdID, q.ClOrdID, "")
	return s, s.take()
}

// Add takes what was found, in any order and as often as it comes, and gives the keys to look up
// next; none: the search is at its end. What belongs to other orders does no harm. With
// ErrTooMany the search takes no more, and its stories say that they are not whole.
func (s *Search) Add(found []Found) ([]Key, error) {
	for _, f := range found {
		if s.full {
			break
		}
		if at := f.View.Head().Time; at < s.query.From || at >= s.query.To {
			continue
		}
		s.add(f)
	}
	if s.full {
		return nil, fmt.Errorf("order: %q leads to more than %d of them from %s to %s, name a party or less time: %w",
			s.query.ClOrdID, s.query.EntriesMax, timeText(s.query.From), timeText(s.query.To), ErrTooMany)
	}
	if len(s.fresh) == 0 {
		s.askForMissing()
	}
	return s.take(), nil
}

func (s *Search) add(f Found) {
	at := spot{f.Origin, f.Index, sha256.Sum256(f.View.Raw())}
	if s.kept[at] != nil {
		return
	}
	x := see(f, at.hash)
	if !x.message() && !x.context() {
		return
	}
	if len(s.kept) == s.query.EntriesMax {
		s.full = true
		return
	}
	s.kept[at] = x
	has, _ := s.links(x)
	for _, l := range has {
		if s.wanted[l] {
			s.enter(x)
			return
		}
	}
	for _, l := range has {
		s.waiting[l] = append(s.waiting[l], x)
	}
}

// enter takes a sighting into the search, and all that waited for what it wants.
func (s *Search) enter(x *sighting) {
	x.inside = true
	for todo := []*sighting{x}; len(todo) > 0; {
		x, todo = todo[len(todo)-1], todo[:len(todo)-1]
		s.askOf(x)
		_, wants := s.links(x)
		for _, l := range wants {
			s.wanted[l] = true
			for _, w := range s.waiting[l] {
				if !w.inside {
					w.inside = true
					todo = append(todo, w)
				}
			}
			delete(s.waiting, l)
		}
	}
}

// kinds of links beside those of keys.
const (
	seed    By = "seed"
	samely  By = "header" // the same numbers in the header
	asBuyer By = "buyer"  // the same identifier, and a party that buys here
	asSell  By = "seller" // or sells
)

func (s *Search) links(x *sighting) (has, wants []link) {
	both := func(l link) { has, wants = append(has, l), append(wants, l) }
	for _, d := range [...]string{x.in, x.out} {
		if d != "" {
			both(link{what: ByDigest, value: d})
		}
	}
	if h, ok := headerOf(x); ok {
		both(link{what: samely, value: fmt.Sprint(h)})
	}
	who := x.sides()
	for _, c := range x.ids(s.query.DayBegins) {
		both(link{c.by, c.value, c.buyer, c.seller, c.day})
		// u's seller may be d's buyer: each side has its own role and wants the other one.
		for _, j := range [...]struct{ role, other By }{{asBuyer, asSell}, {asSell, asBuyer}} {
			comp, service := who.buyer, who.buyerService
			if j.role == asSell {
				comp, service = who.seller, who.sellerService
			}
			for kind, name := range [...]string{comp, service} {
				if name != "" {
					l := link{what: j.role, value: string(c.by) + "=" + c.value, a: name, b: [...]string{"comp", "service"}[kind], day: c.day}
					has = append(has, l)
					l.what = j.other
					wants = append(wants, l)
				}
			}
		}
		if c.by == ByClOrdID && c.value == s.query.ClOrdID && s.party(who) {
			has = append(has, link{what: seed})
		}
	}
	return has, wants
}

func (s *Search) party(who sides) bool {
	p := s.query.Party
	return p == "" || p == who.buyer || p == who.seller || p == who.buyerService || p == who.sellerService
}

// askOf asks for all that a sighting leads to.
func (s *Search) askOf(x *sighting) {
	for _, c := range x.ids(s.query.DayBegins) {
		s.ask(c.by, c.value, "")
		if c.by == ByClOrdID {
			s.ask(ByOrigClOrdID, c.value, "")
		}
	}
	s.ask(ByDigest, x.in, "")
	s.ask(ByDigest, x.out, "")
	s.ask(ByFlow, x.at.flow, "")
	if a, b := x.fix.sender, x.fix.target; a != "" && b != "" {
		s.ask(BySession, min(a, b), max(a, b))
	}
}

// askForMissing asks by number for what one end of a flow has more often than the other.
func (s *Search) askForMissing() {
	type passage struct {
		flow string
		header
	}
	seen := map[passage]map[string]int{}
	for _, x := range s.kept {
		if h, ok := headerOf(x); ok && x.inside && x.at.flow != "" {
			p := passage{x.at.flow, h}
			if seen[p] == nil {
				seen[p] = map[string]int{}
			}
			seen[p][x.at.hop]++
		}
	}
	for p, hops := range seen {
		if hops[clientProxy] != hops[serverProxy] {
			s.askKey(Key{By: ByNumber, Value: p.sender, Other: p.target, Seq: p.seq})
		}
	}
}

func (s *Search) ask(by By, value, other string) { s.askKey(Key{By: by, Value: value, Other: other}) }

func (s *Search) askKey(k Key) {
	k.From, k.To = s.query.From, s.query.To
	if k.Value != "" && !s.asked[k] {
		s.asked[k] = true
		s.fresh = append(s.fresh, k)
	}
}

func (s *Search) take() []Key {
	k := s.fresh
	s.fresh = nil
	return k
}

// found are the order's sightings and those that explain them, in one order whatever the input's.
func (s *Search) found() (own, context []*sighting) {
	for _, x := range s.kept {
		switch {
		case x.inside:
			own = append(own, x)
		case x.context():
			context = append(context, x)
		}
	}
	slices.SortFunc(own, (*sighting).before)
	slices.SortFunc(context, (*sighting).before)
	return own, context
}

// MarksOf are the names of an entry's marks.
func MarksOf(marks uint64) []string {
	var out []string
	for _, m := range [...]struct {
		bit  uint64
		name string
	}{
		{entry.MarkPossDup, "poss_dup"}, {entry.MarkPossResend, "poss_resend"}, {entry.MarkGapFill, "gap_fill"},
		{entry.MarkReset, "reset"}, {entry.MarkGarbled, "garbled"},
	} {
		if marks&m.bit != 0 {
			out = append(out, m.name)
		}
	}
	return out
}
