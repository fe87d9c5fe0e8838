package demo

import "math/rand/v2"

// intent is one thing that a strategy means to do.
type intent struct {
	kind   byte   // 'D' new, 'F' cancel, 'G' replace
	n      uint64 // of the order, from 1
	symbol int    // index into instruments
	side   side
	qty    int64
	cents  int64 // 0: market order
	now    bool  // immediate or cancel
}

// Distances in orders between an order and what is done about it later.
const (
	replaceAfter = 24
	cancelAfter  = 48
	plansMax     = 64
)

// flow makes a strategy's intents: a pure function of the seed and the strategy's
// number. Both strategies walk the same prices, so that their orders meet.
//
//	45 % takers: cross the price, immediate or cancel (one in twenty at market)
//	55 % makers: rest near the price; one in eight is replaced 24 orders later,
//	             all are cancelled 48 orders later if they are still there
//	one in 256 is larger than risk allows
type flow struct {
	own, walk *rand.Rand
	listed    []instrument
	mid       []int64
	n         uint64
	plans     [plansMax]intent // of makers, by order number
}

func newFlow(seed uint64, strategy uint64) *flow {
	f := &flow{own: rand.New(rand.NewPCG(seed, 1+strategy)), walk: rand.New(rand.NewPCG(seed, 0)), listed: instruments()}
	for _, in := range f.listed {
		f.mid = append(f.mid, in.open)
	}
	return f
}

// next returns the intents of the next order: itself, then a replace and a cancel
// of older ones where they are due. The slice is out, extended.
func (f *flow) next(out []intent) []intent {
	f.n++
	f.step()
	r := f.own
	o := intent{kind: 'D', n: f.n, symbol: r.IntN(len(f.listed)), side: buy, qty: 100 * (1 + r.Int64N(5))}
	sign := int64(1)
	if r.IntN(2) == 0 {
		o.side, sign = sell, -1
	}
	mid := f.mid[o.symbol]
	plan := &f.plans[f.n%plansMax]
	*plan = intent{}
	if r.IntN(100) < 45 {
		o.now, o.cents = true, mid+sign*3
		if r.IntN(20) == 0 {
			o.cents, o.now = 0, false
		}
	} else {
		o.cents = mid - sign*(1+r.Int64N(4))
		*plan = o
		if r.IntN(8) == 0 {
			plan.kind = 'G'
		}
	}
	if r.IntN(256) == 0 {
		o.qty, *plan = 1_000_000, intent{}
	}
	out = append(out, o)
	if f.n > replaceAfter {
		if p := f.plans[(f.n-replaceAfter)%plansMax]; p.kind == 'G' {
			p.qty += 100
			out = append(out, p)
		}
	}
	if f.n > cancelAfter {
		if p := f.plans[(f.n-cancelAfter)%plansMax]; p.kind != 0 {
			p.kind = 'F'
			out = append(out, p)
		}
	}
	return out
}

// step moves one instrument's price by at most a hundredth every fourth order, and
// keeps it within two percent of its open.
func (f *flow) step() {
	if f.n%4 != 0 {
		return
	}
	i := f.walk.IntN(len(f.mid))
	d := f.walk.Int64N(3) - 1
	if open := f.listed[i].open; (f.mid[i]+d-open)*50 < open && (open-f.mid[i]-d)*50 < open {
		f.mid[i] += d
	}
}
