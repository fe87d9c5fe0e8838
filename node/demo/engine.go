package demo

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"fire/transport/fix"
)

// CompIDs of the floor's own programs.
const (
	compGateway = "GATEWAY"
	compEngine  = "ENGINE"
	compData    = "MARKETDATA"
)

// EngineConfig is the matching engine's.
type EngineConfig struct {
	Listen   string // host:port of its FIX socket
	StateDir string // where sequence numbers are kept; "" in memory. The book itself is always in memory
}

// Engine matches orders by price, then time, behind one FIX acceptor: GATEWAY
// trades, MARKETDATA subscribes.
type Engine struct {
	acc *acceptor
	log *slog.Logger

	mu      sync.Mutex
	listed  map[string]*instrument
	books   map[*instrument]*book
	orders  map[string]*order // by client NUL ClOrdID, live ones and the newest done ones
	done    []string          // ring of keys of done orders, to forget the oldest
	doneAt  int
	key     []byte // scratch
	trades  []trade
	events  []bookEvent // not told to market data yet
	ids     uint64      // last OrderID, ExecID or match number given
	data    *peer       // the subscriber, nil when there is none
	entered uint64
	matched uint64
	cancels uint64
	amends  uint64
	refused uint64
}

// doneMax is how many finished orders the engine remembers, to tell "too late" from
// "unknown" and to refuse a ClOrdID that comes again.
const doneMax = 16384

// ordersMax bounds the orders that the engine knows, live and done.
const ordersMax = 200_000

// bookEvent is one change of the book for market data.
type bookEvent struct {
	action byte // MDUpdateAction (279): 0 new, 1 change, 2 delete
	kind   byte // MDEntryType (269): 0 bid, 1 offer, 2 trade
	id     uint64
	maker  uint64 // of a trade
	on     *instrument
	price  int64
	qty    int64
}

// NewEngine binds the engine's socket.
func NewEngine(cfg EngineConfig, log *slog.Logger) (*Engine, error) {
	e := &Engine{log: log.With("svc", "engine"), listed: map[string]*instrument{}, books: map[*instrument]*book{},
		orders: map[string]*order{}, done: make([]string, doneMax), ids: uint64(time.Now().Unix()) * 1e6}
	for _, in := range instruments() {
		e.listed[in.name] = &in
		e.books[&in] = &book{}
	}
	var err error
	e.acc, err = newAcceptor(compEngine, []string{compGateway, compData}, cfg.StateDir, cfg.Listen, e, e.log)
	return e, err
}

// Addr is the bound socket.
func (e *Engine) Addr() string { return e.acc.ln.Addr().String() }

// Run serves until ctx ends.
func (e *Engine) Run(ctx context.Context) error { return e.acc.run(ctx) }

// Counters tells what it did.
func (e *Engine) Counters() []Counter {
	e.mu.Lock()
	defer e.mu.Unlock()
	return []Counter{{"orders", e.entered}, {"trades", e.matched}, {"cancels", e.cancels}, {"replaces", e.amends}, {"refused", e.refused}}
}

// Summary is one line for people.
func (e *Engine) Summary() string { return summary("engine", e.Counters()) }

func (e *Engine) status(p *peer, up bool) {
	e.log.Info("fix session", "session", p.theirs, "up", up)
	if !up && p.theirs == compData {
		e.mu.Lock()
		e.data = nil
		e.events = e.events[:0]
		e.mu.Unlock()
	}
}

// message handles one application message of GATEWAY or MARKETDATA.
func (e *Engine) message(p *peer, m *fix.Message, h *header) {
	kind := m.Type[0]
	if len(m.Type) == 1 && p.theirs == compData && kind == 'V' {
		e.subscribe(p, m)
		return
	}
	if len(m.Type) != 1 || p.theirs != compGateway || kind != 'D' && kind != 'F' && kind != 'G' {
		p.unsupported(h)
		return
	}
	r, tag, why := parseRequest(m)
	if why < 0 && h.onBehalfOf == nil {
		tag, why = 115, rejectTagMissing
	}
	if why >= 0 {
		p.reject(h, tag, why)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch kind {
	case 'D':
		e.enter(p, h.onBehalfOf, &r)
	case 'F':
		e.cancel(p, h.onBehalfOf, &r)
	case 'G':
		e.amend(p, h.onBehalfOf, &r)
	}
}

// batch tells market data what one read of orders has changed.
func (e *Engine) batch(p *peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.publish()
}

func (e *Engine) lookup(client, clOrdID []byte) *order {
	e.key = append(append(append(e.key[:0], client...), 0), clOrdID...)
	return e.orders[string(e.key)]
}

func (e *Engine) nextID() uint64 { e.ids++; return e.ids }

func (e *Engine) enter(p *peer, client []byte, r *request) {
	in := e.listed[string(r.symbol)]
	o := &order{client: string(client), clOrdID: string(r.clOrdID), symbol: in, side: r.side, price: r.price, qty: r.qty, status: '0'}
	why, text := -1, ""
	switch {
	case in == nil:
		o.symbol = &instrument{name: string(r.symbol)}
		why, text = 1, "unknown symbol"
	case e.lookup(client, r.clOrdID) != nil:
		why, text = 6, "duplicate order"
	case len(e.orders) >= ordersMax:
		why, text = 99, "the engine holds as many orders as it may"
	case r.qty <= 0:
		why, text = 13, "incorrect quantity"
	case r.ordType != '1' && r.ordType != '2', r.tif != 0 && r.tif != '0' && r.tif != '3':
		why, text = 11, "unsupported order characteristic"
	case r.ordType == '2' && r.price <= 0:
		why, text = 99, "price is not above zero"
	}
	o.id = e.nextID()
	if why >= 0 {
		e.refused++
		o.status = '8'
		e.report(p, o, '8', nil, nil, why, text)
		return
	}
	e.entered++
	e.orders[string(e.key)] = o
	if r.ordType == '1' {
		o.price = math.MaxInt32
		if o.side == sell {
			o.price = 1
		}
	}
	e.report(p, o, '0', nil, nil, -1, "")
	book := e.books[in]
	e.trades = book.enter(o, r.ordType == '2' && r.tif != '3', e.trades[:0])
	e.settle(p, o)
	switch {
	case o.level != nil:
		e.event(bookEvent{action: '0', kind: entry(o), id: o.id, on: in, price: o.price, qty: o.left()})
	case o.left() > 0: // immediate or cancel, or market
		e.cancels++
		o.status = '4'
		e.report(p, o, '4', nil, nil, -1, "nothing more to match")
		e.finish(o)
	}
}

// settle reports e.trades to both sides.
func (e *Engine) settle(p *peer, taker *order) {
	cum, value := taker.done, taker.value
	for _, t := range e.trades {
		cum, value = cum-t.qty, value-t.qty*t.price
	}
	total, totalValue := taker.done, taker.value
	taker.done, taker.value = cum, value // the reports count up trade by trade
	for i := range e.trades {
		t := &e.trades[i]
		e.matched++
		e.event(bookEvent{action: '0', kind: '2', id: e.nextID(), maker: t.maker.id, on: taker.symbol, price: t.price, qty: t.qty})
		taker.done, taker.value = taker.done+t.qty, taker.value+t.qty*t.price
		for _, o := range [2]*order{taker, t.maker} {
			o.status = '1'
			if o.left() == 0 {
				o.status = '2'
			}
			e.report(p, o, 'F', t, nil, -1, "")
		}
		if t.maker.left() == 0 {
			e.finish(t.maker)
		}
	}
	taker.done, taker.value = total, totalValue
	if taker.left() == 0 {
		e.finish(taker)
	}
}

func (e *Engine) cancel(p *peer, client []byte, r *request) {
	o := e.lookup(client, r.origClOrdID)
	if o == nil || !o.live() {
		e.refuse(p, client, r, o, '1')
		return
	}
	e.cancels++
	e.event(bookEvent{action: '2', kind: entry(o), id: o.id, on: o.symbol})
	e.books[o.symbol].remove(o)
	o.status = '4'
	e.report(p, o, '4', nil, r.clOrdID, -1, "")
	e.finish(o)
}

func (e *Engine) amend(p *peer, client []byte, r *request) {
	o := e.lookup(client, r.origClOrdID)
	if o == nil || !o.live() || r.qty <= o.done || r.price <= 0 || e.lookup(client, r.clOrdID) != nil {
		e.refuse(p, client, r, o, '2')
		return
	}
	e.amends++
	old := *o
	oldKey := string(append(append(append([]byte(nil), client...), 0), r.origClOrdID...))
	e.key = append(append(append(e.key[:0], client...), 0), r.clOrdID...)
	e.orders[string(e.key)] = o
	gone := old
	gone.status, gone.level, gone.prev, gone.next = '5', nil, nil, nil
	e.orders[oldKey] = &gone
	e.forget(oldKey)
	o.clOrdID = string(r.clOrdID)
	// The report shows the order as replaced, before it may trade at its new price.
	o.qty, o.price = r.qty, r.price
	e.report(p, o, '5', nil, r.origClOrdID, -1, "")
	o.qty, o.price = old.qty, old.price
	var kept bool
	e.trades, kept = e.books[o.symbol].amend(o, r.price, r.qty, e.trades[:0])
	if kept {
		e.event(bookEvent{action: '1', kind: entry(o), id: o.id, on: o.symbol, price: o.price, qty: o.left()})
		return
	}
	e.event(bookEvent{action: '2', kind: entry(o), id: o.id, on: o.symbol})
	o.id = e.nextID() // a new reference in the feed: it has lost its place in time
	e.settle(p, o)
	if o.level != nil {
		e.event(bookEvent{action: '0', kind: entry(o), id: o.id, on: o.symbol, price: o.price, qty: o.left()})
	}
}

// finish remembers a done order for a while.
func (e *Engine) finish(o *order) {
	e.forget(o.client + "\x00" + o.clOrdID)
}

func (e *Engine) forget(key string) {
	if old := e.done[e.doneAt]; old != "" {
		delete(e.orders, old)
	}
	e.done[e.doneAt] = key
	e.doneAt = (e.doneAt + 1) % doneMax
}

// report writes an ExecutionReport.
func (e *Engine) report(p *peer, o *order, execType byte, t *trade, request []byte, why int, text string) {
	b := p.begin("8")
	b.String(128, o.client)
	b.Int(37, int64(o.id))
	b.Int(17, int64(e.nextID()))
	b.Char(150, execType)
	b.Char(39, o.status)
	switch {
	case execType == '4' && request != nil:
		b.Bytes(11, request)
		b.String(41, o.clOrdID)
	case execType == '5':
		b.String(11, o.clOrdID)
		b.Bytes(41, request)
	default:
		b.String(11, o.clOrdID)
	}
	b.String(55, o.symbol.name)
	b.Char(54, byte(o.side))
	b.Int(38, o.qty)
	if o.price > 0 && o.price < math.MaxInt32 {
		b.Decimal(44, o.price, priceScale)
	}
	if t != nil {
		b.Int(32, t.qty)
		b.Decimal(31, t.price, priceScale)
	}
	left := o.left()
	if !o.live() {
		left = 0
	}
	b.Int(151, left)
	b.Int(14, o.done)
	average := int64(0)
	if o.done > 0 {
		average = o.value * 100 / o.done
	}
	b.Decimal(6, average, priceScale+2)
	b.Time(60, time.Now())
	if why >= 0 {
		b.Int(103, int64(why))
	}
	if text != "" {
		b.String(58, text)
	}
	p.end()
}

// refuse writes an OrderCancelReject to a cancel ('1') or replace ('2').
func (e *Engine) refuse(p *peer, client []byte, r *request, o *order, to byte) {
	e.refused++
	why, text, id, status := 1, "unknown order", "NONE", byte('8')
	if o != nil {
		why, text, id, status = 0, "too late to cancel", fmt.Sprint(o.id), o.status
		if o.live() {
			why, text = 99, "quantity, price or ClOrdID cannot be taken"
		}
	}
	b := p.begin("9")
	b.Bytes(128, client)
	b.String(37, id)
	b.Bytes(11, r.clOrdID)
	b.Bytes(41, r.origClOrdID)
	b.Char(39, status)
	b.Char(434, to)
	b.Int(102, int64(why))
	b.String(58, text)
	p.end()
}

func entry(o *order) byte {
	if o.side == buy {
		return '0'
	}
	return '1'
}
