package demo

import "fire/transport/fix"

// entriesMax is how many changes one market-data message carries; a message with
// that many stays below replayBytesMax.
const entriesMax = 64

// subscribe answers a MarketDataRequest for everything: the books as they are,
// then every change.
func (e *Engine) subscribe(p *peer, m *fix.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if string(field(m, 263)) != "1" {
		b := p.begin("Y")
		b.Bytes(262, field(m, 262))
		b.Char(281, '4') // unsupported SubscriptionRequestType
		p.end()
		return
	}
	e.data = p
	e.events = e.events[:0]
	for _, row := range instruments() {
		in := e.listed[row.name]
		b := p.begin("W") // an empty book; what rests follows as changes
		b.String(55, in.name)
		b.Int(268, 0)
		p.end()
		for _, levels := range [2][]*level{e.books[in].bids, e.books[in].asks} {
			for _, l := range levels {
				for o := l.first; o != nil; o = o.next {
					e.event(bookEvent{action: '0', kind: entry(o), id: o.id, on: in, price: o.price, qty: o.left()})
				}
			}
		}
	}
	e.publish()
}

// event queues a change for the subscriber.
func (e *Engine) event(ev bookEvent) {
	if e.data == nil {
		return
	}
	e.events = append(e.events, ev)
	if len(e.events) == entriesMax {
		e.publish()
	}
}

// publish writes the queued changes as one MarketDataIncrementalRefresh.
func (e *Engine) publish() {
	if e.data == nil || len(e.events) == 0 {
		return
	}
	b := e.data.begin("X")
	b.Int(268, int64(len(e.events)))
	for i := range e.events {
		ev := &e.events[i]
		b.Char(279, ev.action)
		b.Char(269, ev.kind)
		b.Int(278, int64(ev.id))
		b.String(55, ev.on.name)
		if ev.action != '2' {
			b.Decimal(270, ev.price, priceScale)
			b.Int(271, ev.qty)
		}
		if ev.kind == '2' {
			b.Int(37, int64(ev.maker))
		}
	}
	e.data.end()
	e.data.flush()
	e.events = e.events[:0]
}
