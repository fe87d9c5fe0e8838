package demo

import "slices"

// Prices are hundredths, quantities are shares.
const priceScale = 2

// side is FIX's Side (54).
type side byte

const (
	buy  side = '1'
	sell side = '2'
)

// order is one order of one client, live or done.
type order struct {
	id      uint64 // OrderID
	client  string // CompID of who sent it to the gateway
	clOrdID string
	symbol  *instrument
	side    side
	price   int64 // limit; of a market order the worst price there is
	qty     int64 // OrderQty
	done    int64 // CumQty
	value   int64 // sum of price times quantity done
	status  byte  // OrdStatus (39)

	level      *level // where it rests, nil when it does not
	prev, next *order // in time order
}

func (o *order) left() int64 { return o.qty - o.done }
func (o *order) live() bool  { return o.status == '0' || o.status == '1' }

// level is the orders at one price, oldest first.
type level struct {
	price       int64
	first, last *order
}

// book is one instrument's resting orders. It is pure: no clock, no I/O.
//
//	bids: levels by price, best LAST     asks: levels by price, best LAST
//
// Best last makes taking and adding at the touch cheap: no level moves.
type book struct {
	bids, asks []*level
	spare      []*level // empty levels to use again
}

// trade is one match: qty of a resting order at its price.
type trade struct {
	maker *order
	price int64
	qty   int64
}

// enter matches o and lets the rest of it rest if it may. Trades are appended to
// out in the order in which they happened; the orders' done and value are updated.
func (b *book) enter(o *order, mayRest bool, out []trade) []trade {
	against := &b.asks
	if o.side == sell {
		against = &b.bids
	}
	for o.left() > 0 && len(*against) > 0 {
		best := (*against)[len(*against)-1]
		if o.side == buy && best.price > o.price || o.side == sell && best.price < o.price {
			break
		}
		maker := best.first
		qty := min(o.left(), maker.left())
		for _, x := range [2]*order{o, maker} {
			x.done += qty
			x.value += qty * best.price
		}
		out = append(out, trade{maker: maker, price: best.price, qty: qty})
		if maker.left() == 0 {
			b.remove(maker)
		}
	}
	if o.left() > 0 && mayRest {
		b.rest(o)
	}
	return out
}

// amend changes a resting order's price and total quantity. It keeps its place in
// time only when the price stays and the quantity does not grow; otherwise it
// leaves the book and is entered again.
func (b *book) amend(o *order, price, qty int64, out []trade) (trades []trade, kept bool) {
	if price == o.price && qty <= o.qty {
		o.qty = qty
		return out, true
	}
	b.remove(o)
	o.price, o.qty = price, qty
	return b.enter(o, true, out), false
}

// rest puts o behind the others of its price.
func (b *book) rest(o *order) {
	levels := b.side(o.side)
	at, found := slices.BinarySearchFunc(*levels, o, func(l *level, o *order) int {
		if o.side == buy {
			return int(l.price - o.price)
		}
		return int(o.price - l.price)
	})
	if !found {
		*levels = slices.Insert(*levels, at, b.empty(o.price))
	}
	l := (*levels)[at]
	o.level, o.prev, o.next = l, l.last, nil
	if l.last != nil {
		l.last.next = o
	} else {
		l.first = o
	}
	l.last = o
}

// remove takes a resting order out.
func (b *book) remove(o *order) {
	l := o.level
	if l == nil {
		return
	}
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		l.first = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		l.last = o.prev
	}
	o.level, o.prev, o.next = nil, nil, nil
	if l.first == nil {
		levels := b.side(o.side)
		at := slices.Index(*levels, l)
		*levels = slices.Delete(*levels, at, at+1)
		b.spare = append(b.spare, l)
	}
}

func (b *book) side(s side) *[]*level {
	if s == buy {
		return &b.bids
	}
	return &b.asks
}

func (b *book) empty(price int64) *level {
	if n := len(b.spare); n > 0 {
		l := b.spare[n-1]
		b.spare = b.spare[:n-1]
		l.price = price
		return l
	}
	return &level{price: price}
}

// instrument is a listed stock.
type instrument struct {
	name   string
	locate uint16 // its number in the feed
	open   int64  // price at which its day begins
}

// instruments are what the floor trades.
func instruments() []instrument {
	rows := []instrument{{"ACME", 0, 10000}, {"BOLT", 0, 4250}, {"CRUX", 0, 23100}, {"DUSK", 0, 1875},
		{"ECHO", 0, 6600}, {"FLUX", 0, 15320}, {"GALE", 0, 8040}, {"HELM", 0, 31275}}
	for i := range rows {
		rows[i].locate = uint16(i + 1)
	}
	return rows
}
