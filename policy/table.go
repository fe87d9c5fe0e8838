package policy

import (
	"math/bits"

	"fire/policy/id"
	"fire/policy/reason"
)

// Table is a compiled rule set. It never changes; swap the pointer to change rules.
type Table struct {
	mesh    string
	hash    Hash
	names   []string // rule names in compiled order
	denies  int      // rules [0, denies) deny, the rest allow
	sums    int      // summary words per set
	nothing set      // the empty set

	from, to             attribute[string]
	fromRegion, toRegion attribute[string]
	port                 attribute[uint16]
	method               attribute[string]
	path                 paths

	connection set // rules that may decide a connection whose requests are decided later
	opaque     set // rules that may decide a connection without requests
}

// Hash names the rule set.
func (t *Table) Hash() Hash { return t.hash }

// Rules is the number of rules.
func (t *Table) Rules() int { return len(t.names) }

// Authorize decides whether src may do op at dst.
func (t *Table) Authorize(src, dst id.Principal, op Op) Verdict {
	v := Verdict{Code: reason.DeniedByDefault, Bundle: t.hash}
	if src.Kind != id.KindService || dst.Kind != id.KindService ||
		src.Domain.Mesh != t.mesh || dst.Domain.Mesh != t.mesh {
		return v
	}
	var c conjunction
	t.from.narrow(&c, t, src.Name, true)
	t.to.narrow(&c, t, dst.Name, true)
	t.fromRegion.narrow(&c, t, src.Domain.Region, true)
	t.toRegion.narrow(&c, t, dst.Domain.Region, true)
	t.port.narrow(&c, t, op.Port, op.Port != 0)
	switch {
	case op.Opaque:
		c.add(&t.opaque, &t.nothing)
	case op.Method == "":
		c.add(&t.connection, &t.nothing)
	default:
		t.method.narrow(&c, t, op.Method, true)
		t.path.narrow(&c, t, op.Path)
	}
	n := c.lowest(t.sums)
	if n < 0 {
		return v
	}
	v.Rule = t.names[n]
	v.Code = reason.DeniedByRule
	if n >= t.denies {
		v.Allowed, v.Code = true, reason.OK
	}
	return v
}

// attribute holds the rule numbers of one attribute by its literal values.
type attribute[K comparable] struct {
	byValue map[K]*set // rules that name the value
	any     set        // rules that accept every value
	unknown set        // deny rules that name some value: they match when it is not known
}

// narrow adds the attribute's sets for value. An attribute that no rule names does
// not narrow anything and costs nothing.
func (a *attribute[K]) narrow(c *conjunction, t *Table, value K, known bool) {
	if len(a.byValue) == 0 {
		return
	}
	own := &t.nothing
	if !known {
		own = &a.unknown
	} else if s := a.byValue[value]; s != nil {
		own = s
	}
	c.add(own, &a.any)
}

// conjunction is the AND of up to seven terms, each the union of two sets.
type conjunction struct {
	terms [7]struct{ own, any *set }
	n     int
}

func (c *conjunction) add(own, any *set) {
	c.terms[c.n].own, c.terms[c.n].any = own, any
	c.n++
}

// lowest returns the smallest rule number that is in every term, or -1.
func (c *conjunction) lowest(sums int) int {
	terms := c.terms[:c.n]
	for i := range sums {
		sum := ^uint64(0)
		for k := range terms {
			sum &= terms[k].own.sum[i] | terms[k].any.sum[i]
		}
		for ; sum != 0; sum &= sum - 1 {
			w := i<<6 | bits.TrailingZeros64(sum)
			word := ^uint64(0)
			for k := range terms {
				word &= terms[k].own.word(w) | terms[k].any.word(w)
				if word == 0 {
					break
				}
			}
			if word != 0 {
				return w<<6 | bits.TrailingZeros64(word)
			}
		}
	}
	return -1
}
