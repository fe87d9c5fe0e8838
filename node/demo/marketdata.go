package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/feed"
	"fire/transport/fix"
)

// MarketDataConfig is the publisher's.
type MarketDataConfig struct {
	Listen string // host:port of its SoupBinTCP socket
	Engine string // where it dials the engine
}

// MarketData subscribes to the engine and publishes ITCH 5.0 over SoupBinTCP.
//
//	engine ─FIX 35=X─► one sequence of ITCH messages (ring) ─► a cursor per subscriber
//
// A subscriber costs a cursor, not a queue; one whose cursor falls out of the ring
// is told that the session ends, and cut.
type MarketData struct {
	cfg     MarketDataConfig
	ln      net.Listener
	engine  *peer
	log     *slog.Logger
	session string
	born    time.Time
	listed  map[string]*instrument

	mu          sync.Mutex
	ring        [][]byte // guarded by mu; message n is at n%historyMax, reused
	last        uint64   // number of the newest message
	resting     map[uint64]*shown
	subscribers map[chan struct{}]bool

	subscribed                   atomic.Bool
	accepted, refused, cut, sent atomic.Uint64
}

// shown is a resting order that subscribers know.
type shown struct {
	on   *instrument
	left int64
}

const (
	historyMax      = 65536
	subscribersMax  = 32
	soupBurstBytes  = 64 << 10
	soupPacketBytes = 512 // of what clients may send
)

// NewMarketData binds the publisher's socket.
func NewMarketData(cfg MarketDataConfig, log *slog.Logger) (*MarketData, error) {
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("market-data: %w", err)
	}
	now := time.Now()
	d := &MarketData{cfg: cfg, ln: ln, log: log.With("svc", "market-data"), born: now,
		session: "F" + strconv.FormatInt(now.Unix()%1e9, 10), listed: map[string]*instrument{},
		ring: make([][]byte, historyMax), resting: map[uint64]*shown{}, subscribers: map[chan struct{}]bool{}}
	memory, err := newReplay(nil)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	// A missed change is not worth having late: every Logon starts over and asks for
	// the books as they are.
	d.engine = newPeer(session{ours: compData, theirs: compEngine, initiator: true, resetAtLogon: true, heartbeat: heartbeatDefault, memory: memory}, d.log)
	d.add(&feed.Message{Kind: feed.SystemEvent, Event: 'O'})
	for _, in := range instruments() {
		d.listed[in.name] = &in
		d.add(&feed.Message{Kind: feed.StockDirectory, Locate: in.locate, Stock: stock(in.name)})
	}
	return d, nil
}

// Addr is the bound socket.
func (d *MarketData) Addr() string { return d.ln.Addr().String() }

// Run serves until ctx ends.
func (d *MarketData) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var dialErr error
	wg.Go(func() { dialErr = d.engine.dial(ctx, door{addr: d.cfg.Engine}, d) })
	stop := context.AfterFunc(ctx, func() { d.ln.Close() })
	defer stop()
	slots := make(chan struct{}, subscribersMax)
	for {
		conn, err := d.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				err = nil
			}
			wg.Wait()
			return errors.Join(err, dialErr)
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				d.serve(ctx, conn)
				<-slots
			})
		default:
			d.refused.Add(1)
			conn.Close()
		}
	}
}

// Counters tells what it did.
func (d *MarketData) Counters() []Counter {
	d.mu.Lock()
	defer d.mu.Unlock()
	return []Counter{{"messages", d.last}, {"messages_sent", d.sent.Load()}, {"subscribers", d.accepted.Load()},
		{"subscribers_refused", d.refused.Load()}, {"subscribers_cut", d.cut.Load()}}
}

// Summary is one line for people.
func (d *MarketData) Summary() string { return summary("market-data", d.Counters()) }

func (d *MarketData) status(p *peer, up bool) {
	d.log.Info("fix session", "session", p.theirs, "up", up)
	if !up {
		d.subscribed.Store(false)
		return
	}
	b := p.begin("V")
	b.String(262, "all")
	b.Char(263, '1')
	b.Int(264, 0)
	b.Int(267, 3)
	b.Char(269, '0')
	b.Char(269, '1')
	b.Char(269, '2')
	b.Int(146, int64(len(d.listed)))
	for _, in := range instruments() {
		b.String(55, in.name)
	}
	p.end()
	p.flush()
}

func (d *MarketData) batch(*peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for wake := range d.subscribers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func (d *MarketData) message(p *peer, m *fix.Message, h *header) {
	switch string(m.Type) {
	case "W":
		d.forget(string(field(m, 55)))
		d.subscribed.Store(true)
	case "X":
		if d.subscribed.Load() {
			d.changes(m)
		}
	default:
		p.unsupported(h)
	}
}

// forget deletes what subscribers know of an instrument: its book comes anew.
func (d *MarketData) forget(symbol string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, s := range d.resting {
		if s.on.name == symbol {
			d.add(&feed.Message{Kind: feed.OrderDelete, Locate: s.on.locate, At: d.clock(), Order: id})
			delete(d.resting, id)
		}
	}
}

// changes publishes the entries of one MarketDataIncrementalRefresh.
func (d *MarketData) changes(m *fix.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var e bookEvent
	some := false
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		switch tag {
		case 279:
			if some {
				d.change(&e)
			}
			e, some = bookEvent{action: v[0]}, true
		case 269:
			e.kind = v[0]
		case 278:
			e.id, _ = fix.Uint(v)
		case 37:
			e.maker, _ = fix.Uint(v)
		case 55:
			e.on = d.listed[string(v)]
		case 270:
			e.price, _ = fix.Decimal(v, priceScale)
		case 271:
			e.qty, _ = fix.Int(v)
		}
	}
	if some {
		d.change(&e)
	}
}

func (d *MarketData) change(e *bookEvent) {
	if e.on == nil {
		return
	}
	m := feed.Message{Locate: e.on.locate, At: d.clock(), Order: e.id, Shares: uint32(e.qty)}
	known := d.resting[e.id]
	switch {
	case e.kind == '2':
		maker := d.resting[e.maker]
		if maker == nil {
			return
		}
		if maker.left -= e.qty; maker.left <= 0 {
			delete(d.resting, e.maker)
		}
		m.Kind, m.Order, m.Match = feed.OrderExecuted, e.maker, e.id
	case e.action == '0' && known == nil:
		d.resting[e.id] = &shown{on: e.on, left: e.qty}
		m.Kind, m.Stock, m.Side = feed.AddOrder, stock(e.on.name), 'B'
		m.Price = uint32(e.price * 100) // hundredths to ITCH's ten-thousandths
		if e.kind == '1' {
			m.Side = 'S'
		}
	case e.action == '1' && known != nil && e.qty < known.left:
		m.Kind, m.Shares = feed.OrderCancel, uint32(known.left-e.qty)
		known.left = e.qty
	case e.action == '2' && known != nil:
		delete(d.resting, e.id)
		m.Kind = feed.OrderDelete
	default:
		return
	}
	d.add(&m)
}

// add gives a message the next number. mu is held, or nobody else is there yet.
func (d *MarketData) add(m *feed.Message) {
	d.last++
	at := d.last % historyMax
	d.ring[at] = feed.AppendMessage(d.ring[at][:0], m)
}

func (d *MarketData) clock() time.Duration {
	now := time.Now()
	h, m, s := now.Clock()
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second + time.Duration(now.Nanosecond())
}

func stock(name string) (s [8]byte) {
	copy(s[:], "        ")
	copy(s[:], name)
	return s
}
