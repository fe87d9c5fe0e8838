package demo

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive is the book as a child would write it: one list, searched each time.
type naive struct {
	resting []*plain // in order of time
}

type plain struct {
	id    int
	side  side
	price int64
	left  int64
}

// enter matches against the best price, oldest first, and tells the trades.
func (n *naive) enter(o *plain, rest bool) (trades []string) {
	for o.left > 0 {
		var best *plain
		for _, r := range n.resting {
			if r.side == o.side || o.side == buy && r.price > o.price || o.side == sell && r.price < o.price {
				continue
			}
			if best == nil || o.side == buy && r.price < best.price || o.side == sell && r.price > best.price {
				best = r
			}
		}
		if best == nil {
			break
		}
		qty := min(o.left, best.left)
		o.left -= qty
		best.left -= qty
		trades = append(trades, fmt.Sprintf("%d@%d with %d", qty, best.price, best.id))
		if best.left == 0 {
			n.remove(best)
		}
	}
	if rest && o.left > 0 {
		n.resting = append(n.resting, o)
	}
	return trades
}

func (n *naive) remove(o *plain) {
	n.resting = slices.DeleteFunc(n.resting, func(r *plain) bool { return r == o })
}

// side is what rests on one side, best first, oldest first within a price.
func (n *naive) lines(s side) (out []string) {
	rows := slices.DeleteFunc(slices.Clone(n.resting), func(r *plain) bool { return r.side != s })
	slices.SortStableFunc(rows, func(a, b *plain) int {
		if s == buy {
			return int(b.price - a.price)
		}
		return int(a.price - b.price)
	})
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d %d@%d", r.id, r.left, r.price))
	}
	return out
}

func bookLines(levels []*level) (out []string) {
	for i := range levels {
		for o := levels[len(levels)-1-i].first; o != nil; o = o.next {
			out = append(out, fmt.Sprintf("%d %d@%d", o.id, o.left(), o.price))
		}
	}
	return out
}

func TestBookDoesWhatTheNaiveBookDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b book
		var n naive
		var orders []*order
		var plains []*plain
		entered, traded, gone := int64(0), int64(0), int64(0)
		for i := range rapid.IntRange(1, 150).Draw(t, "steps") {
			var got, want []string
			tell := func(trades []trade) {
				for _, tr := range trades {
					got = append(got, fmt.Sprintf("%d@%d with %d", tr.qty, tr.price, tr.maker.id))
					traded += tr.qty
				}
			}
			price, qty := rapid.Int64Range(95, 105).Draw(t, "price"), rapid.Int64Range(1, 9).Draw(t, "qty")
			pick := rapid.IntRange(0, max(len(orders)-1, 0)).Draw(t, "which")
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step < 6 || len(orders) == 0:
				s := rapid.SampledFrom([]side{buy, sell}).Draw(t, "side")
				rest := rapid.IntRange(0, 4).Draw(t, "ioc") > 0
				o, p := &order{id: uint64(i), side: s, price: price, qty: qty, status: '0'}, &plain{i, s, price, qty}
				entered += qty
				tell(b.enter(o, rest, nil))
				want = n.enter(p, rest)
				if rest {
					orders, plains = append(orders, o), append(plains, p)
				} else {
					gone += o.left()
				}
			case step < 8: // cancel
				o, p := orders[pick], plains[pick]
				if o.level != nil {
					gone += o.left()
				}
				b.remove(o)
				n.remove(p)
			default: // amend
				o, p := orders[pick], plains[pick]
				if o.level == nil || qty+o.done <= o.done {
					break
				}
				total := o.done + qty
				entered += total - o.qty
				keeps := price == o.price && total <= o.qty
				trades, kept := b.amend(o, price, total, nil)
				tell(trades)
				if kept != keeps {
					t.Fatalf("kept %v, want %v", kept, keeps)
				}
				p.left = qty
				if !keeps {
					n.remove(p)
					p.price = price
					want = n.enter(p, true)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("step %d: trades %v, want %v", i, got, want)
			}
			if x, y := bookLines(b.bids), n.lines(buy); fmt.Sprint(x) != fmt.Sprint(y) {
				t.Fatalf("step %d: bids %v, want %v", i, x, y)
			}
			if x, y := bookLines(b.asks), n.lines(sell); fmt.Sprint(x) != fmt.Sprint(y) {
				t.Fatalf("step %d: asks %v, want %v", i, x, y)
			}
			verifyBook(t, &b)
		}
		resting := int64(0)
		for _, p := range n.resting {
			resting += p.left
		}
		if entered != 2*traded+gone+resting {
			t.Fatalf("entered %d, traded %d twice, gone %d, resting %d", entered, traded, gone, resting)
		}
	})
}

// verifyBook checks what must always hold.
func verifyBook(t interface{ Fatalf(string, ...any) }, b *book) {
	if len(b.bids) > 0 && len(b.asks) > 0 && b.bids[len(b.bids)-1].price >= b.asks[len(b.asks)-1].price {
		t.Fatalf("crossed: bid %d, ask %d", b.bids[len(b.bids)-1].price, b.asks[len(b.asks)-1].price)
	}
	for _, levels := range [2][]*level{b.bids, b.asks} {
		for _, l := range levels {
			if l.first == nil {
				t.Fatalf("an empty level at %d", l.price)
			}
			for o := l.first; o != nil; o = o.next {
				if o.level != l || o.left() <= 0 || o.price != l.price {
					t.Fatalf("order %d is misplaced", o.id)
				}
			}
		}
	}
}

func TestFlowIsAPureFunctionOfTheSeed(t *testing.T) {
	take := func(seed, strategy uint64) (out []intent) {
		f := newFlow(seed, strategy)
		for range 20_000 {
			out = f.next(out)
		}
		return out
	}
	a, again, other, b := take(1, 0), take(1, 0), take(2, 0), take(1, 1)
	if !slices.Equal(a, again) {
		t.Fatal("the same seed gives another flow")
	}
	if slices.Equal(a, other) || slices.Equal(a, b) {
		t.Fatal("another seed or strategy gives the same flow")
	}
	kinds := map[byte]int{}
	large := 0
	for _, in := range a {
		kinds[in.kind]++
		if in.qty > 10_000 {
			large++
		}
		if open := instruments()[in.symbol].open; in.cents != 0 && (in.cents-open)*10 > open {
			t.Fatalf("a price that risk refuses: %+v", in)
		}
	}
	if kinds['D'] != 20_000 || kinds['F'] < 5_000 || kinds['G'] < 500 || large < 20 {
		t.Fatalf("%v, %d large", kinds, large)
	}
}
