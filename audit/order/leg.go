package order

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// leg is an order in one session: what its identifiers tie together there.
type leg struct {
	sides
	all      []*transmission
	ids      map[id]bool
	upstream *leg   // the same order in the session that it came from
	by       []By   // the kinds of identifiers that say so
	unclear  []*leg // those that it may come from, if there are several
	crowd    int    // or how many, if they are more than upstreamMax
}

// legsOf sorts transmissions by their orders. all is in order of time.
func legsOf(all []*transmission, dayBegins time.Duration) []*leg {
	groups, bearer := newSets(len(all)), map[id]int{}
	for i, t := range all {
		for _, s := range t.seen {
			for _, c := range s.ids(dayBegins) {
				if j, ok := bearer[c]; ok {
					groups.join(i, j)
				} else {
					bearer[c] = i
				}
			}
		}
	}
	made := map[int]*leg{}
	var legs []*leg
	for i, t := range all {
		l := made[groups.of(i)]
		if l == nil {
			l = &leg{ids: map[id]bool{}}
			made[groups.of(i)] = l
			legs = append(legs, l)
		}
		l.take(t, dayBegins)
	}
	by := sellers(legs)
	for _, l := range legs {
		l.findUpstream(by)
	}
	return legs
}

func (l *leg) take(t *transmission, dayBegins time.Duration) {
	l.all = append(l.all, t)
	for _, s := range t.seen {
		for _, c := range s.ids(dayBegins) {
			c.buyer, c.seller = "", ""
			l.ids[c] = true
		}
	}
	w := t.first().sides()
	l.buyer, l.seller = first(l.buyer, w.buyer), first(l.seller, w.seller)
	l.buyerService, l.sellerService = first(l.buyerService, w.buyerService), first(l.sellerService, w.sellerService)
}

// junction is an identifier and who takes orders in the session where it is used.
type junction struct {
	id
	service bool
	name    string
}

// upstreamMax is among how many orders with its identifiers a leg's origin is looked for.
const upstreamMax = 64

// sellers sorts legs by what another leg can find them with.
func sellers(legs []*leg) map[junction][]*leg {
	out := map[junction][]*leg{}
	for _, l := range legs {
		for c := range l.ids {
			for service, name := range [...]string{l.seller, l.sellerService} {
				if name != "" {
					j := junction{c, service == 1, name}
					out[j] = append(out[j], l)
				}
			}
		}
	}
	return out
}

// findUpstream looks for the leg that this one carries on: its seller buys here, identifiers are
// the same, nothing contradicts. Identifiers are unique in a session alone, so of several the one
// with more kinds of them is it, and if none has more nobody can tell.
func (l *leg) findUpstream(by map[junction][]*leg) {
	var candidates []*leg
	for c := range l.ids {
		for service, name := range [...]string{l.buyer, l.buyerService} {
			at := by[junction{c, service == 1, name}]
			if len(at) > upstreamMax {
				l.crowd = max(l.crowd, len(at))
				continue
			}
			for _, u := range at {
				if name != "" && !slices.Contains(candidates, u) {
					candidates = append(candidates, u)
				}
			}
		}
	}
	slices.SortFunc(candidates, func(a, b *leg) int { return a.all[0].before(b.all[0]) })
	best := 0
	var found []*leg
	for _, u := range candidates {
		if !touches(u.sides, l.sides) || l.contradicts(u) {
			continue
		}
		switch n := len(l.shared(u)); {
		case n < best:
		case n > best:
			best, found = n, []*leg{u}
		default:
			found = append(found, u)
		}
	}
	switch {
	case l.crowd > 0:
	case len(found) == 1:
		l.upstream, l.by = found[0], l.shared(found[0])
	default:
		l.unclear = found
	}
}

// shared are the kinds of identifiers that two legs have in common.
func (l *leg) shared(u *leg) []By {
	var out []By
	for c := range l.ids {
		if u.ids[c] && !slices.Contains(out, c.by) {
			out = append(out, c.by)
		}
	}
	slices.Sort(out)
	return out
}

// contradicts says whether l cannot come from u: of another instrument, or begun before it.
func (l *leg) contradicts(u *leg) bool {
	a, b := l.symbol(), u.symbol()
	if a != "" && b != "" && a != b {
		return true
	}
	mine, theirs := l.all[0].first(), u.all[0].first()
	return !answers(mine.fix.msgType) && !answers(theirs.fix.msgType) && mine.span().certainlyBefore(theirs.span())
}

func (l *leg) symbol() string {
	for _, t := range l.all {
		if s := t.first().fix.symbol; s != "" {
			return s
		}
	}
	return ""
}

func (l *leg) name() string {
	if l.buyer == "" && l.seller == "" {
		return l.buyerService + "/" + l.sellerService
	}
	return l.buyer + "/" + l.seller
}

// bears says whether the order has that ClOrdID.
func (l *leg) bears(clOrdID string) bool {
	for c := range l.ids {
		if c.by == ByClOrdID && c.value == clOrdID {
			return true
		}
	}
	return false
}

// depth is 0 of a leg that comes from nowhere.
func (l *leg) depth() int {
	if l.upstream == nil {
		return 0
	}
	return 1
}

// doubt says why a leg that may come from another one is not joined to it.
func (l *leg) doubt() string {
	const named = 8
	names := make([]string, 0, named)
	for _, u := range l.unclear[:min(len(l.unclear), named)] {
		names = append(names, u.name())
	}
	who := strings.Join(names, " or ")
	switch more := len(l.unclear) - named; {
	case l.crowd > 0:
		who = fmt.Sprintf("one of %d others", l.crowd)
	case len(names) == 0:
		return ""
	case more > 0:
		who += fmt.Sprintf(" or %d more", more)
	}
	return fmt.Sprintf("the order in %s may come from %s: all have its identifiers, so none is joined", l.name(), who)
}

// families are the legs that hang together: those that come from nowhere first, else in order of
// time.
func families(legs []*leg) [][]*leg {
	at := map[*leg]int{}
	for i, l := range legs {
		at[l] = i
	}
	groups := newSets(len(legs))
	for i, l := range legs {
		if l.upstream != nil {
			groups.join(i, at[l.upstream])
		}
	}
	var out [][]*leg
	slot := map[int]int{}
	for i, l := range legs {
		g := groups.of(i)
		n, ok := slot[g]
		if !ok {
			n = len(out)
			slot[g] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], l)
	}
	for _, f := range out {
		slices.SortStableFunc(f, func(a, b *leg) int { return cmp.Compare(a.depth(), b.depth()) })
	}
	return out
}
