package demo

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/fix"
)

// GatewayConfig is the order gateway's.
type GatewayConfig struct {
	Listen      string   // host:port of its FIX socket
	Engine      string   // where it dials the engine
	Risk        string   // where it dials risk
	Blotter     string   // where it posts fills; "" posts none
	Clients     []string // CompIDs that may log on; empty: StrategyCompID of the strategies and QUICKFIX; "*" as the only one: any
	StateDir    string   // where sequence numbers and sent messages are kept; "" in memory
	Channel     string   // "channel:NAME", where clients of this host come in, too; "" is none
	Attach      string   // socket of the direct node; "" is the host's
	RiskWorkers int      // calls to risk at once; 0: 4
}

// Gateway is the FIX 4.4 order gateway: clients log on here, risk passes their
// orders, the engine gets them, and its reports go back.
type Gateway struct {
	cfg    GatewayConfig
	acc    *acceptor
	engine *peer
	lines  *riskLines
	book   *booking
	log    *slog.Logger
	ids    atomic.Uint64

	mu      sync.Mutex
	perPeer map[*peer]*line // guarded by mu

	orders, cancels, replaces, fills, refused atomic.Uint64
}

// NewGateway binds the gateway's socket.
func NewGateway(cfg GatewayConfig, log *slog.Logger) (*Gateway, error) {
	g := &Gateway{cfg: cfg, log: log.With("svc", "gateway"), perPeer: map[*peer]*line{}}
	g.ids.Store(uint64(time.Now().UnixMilli()))
	switch {
	case len(cfg.Clients) == 0:
		cfg.Clients = []string{StrategyCompID("strategy-a"), StrategyCompID("strategy-b"), StrategyCompID("strategy-c"), "QUICKFIX"}
	case len(cfg.Clients) == 1 && cfg.Clients[0] == "*":
		cfg.Clients = nil
	}
	memory, err := remember(cfg.StateDir, compGateway, compEngine)
	if err != nil {
		return nil, err
	}
	g.engine = newPeer(session{ours: compGateway, theirs: compEngine, initiator: true, heartbeat: heartbeatDefault, memory: memory}, g.log)
	workers := cfg.RiskWorkers
	if workers <= 0 {
		workers = 4
	}
	g.lines = newRiskLines(cfg.Risk, workers, g.release, g.engine.flush)
	g.book = newBooking(cfg.Blotter, g.log)
	g.acc, err = newAcceptor(compGateway, cfg.Clients, cfg.StateDir, cfg.Listen, clientSide{g}, g.log)
	return g, err
}

// Addr is the bound socket.
func (g *Gateway) Addr() string { return g.acc.ln.Addr().String() }

// Run serves until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	// Clients are logged out first, so that their last orders still find an engine.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	var dialErr error
	wg.Go(func() { dialErr = g.engine.dial(inner, door{addr: g.cfg.Engine}, engineSide{g}) })
	wg.Go(func() { g.lines.run(inner) })
	wg.Go(func() { g.book.run(inner) })
	wg.Go(func() { g.acc.serveChannel(ctx, door{g.cfg.Channel, g.cfg.Attach, "gateway"}) })
	err := g.acc.run(ctx)
	cancel()
	wg.Wait()
	if err == nil {
		err = dialErr
	}
	return err
}

// Counters tells what it did.
func (g *Gateway) Counters() []Counter {
	return []Counter{{"orders", g.orders.Load()}, {"cancels", g.cancels.Load()}, {"replaces", g.replaces.Load()}, {"fills", g.fills.Load()},
		{"refused", g.refused.Load()}, {"risk_calls", g.lines.calls.Load()}, {"risk_failures", g.lines.failures.Load()},
		{"fills_booked", g.book.posted.Load()}, {"fills_not_booked", g.book.dropped.Load()},
		{"logons_refused", g.acc.refused.Load()}, {"duplicate_sessions", g.acc.duplicates.Load()}}
}

// Summary is one line for people.
func (g *Gateway) Summary() string { return summary("gateway", g.Counters()) }

// clientSide is the gateway towards those who log on to it.
type clientSide struct{ g *Gateway }

func (c clientSide) status(p *peer, up bool) {
	c.g.log.Info("fix session", "session", p.theirs, "up", up)
}

func (c clientSide) batch(p *peer) {
	c.g.lines.dispatch(c.g.line(p))
	c.g.engine.flush()
}

func (c clientSide) message(p *peer, m *fix.Message, h *header) {
	g := c.g
	kind := m.Type[0]
	if len(m.Type) != 1 || kind != 'D' && kind != 'F' && kind != 'G' {
		p.unsupported(h)
		return
	}
	r, tag, why := parseRequest(m)
	if why >= 0 {
		p.reject(h, tag, why)
		return
	}
	ln := g.line(p)
	var ask *riskOrder
	switch kind {
	case 'D':
		g.orders.Add(1)
	case 'F':
		g.cancels.Add(1)
	case 'G':
		g.replaces.Add(1)
	}
	if !g.engine.up.Load() {
		g.refuse(p, kind, &r, "the engine cannot be reached")
		return
	}
	if kind != 'F' {
		ask = &riskOrder{Client: p.theirs, ClOrdID: string(r.clOrdID), Symbol: string(r.symbol), Side: "buy", Qty: r.qty}
		if r.side == sell {
			ask.Side = "sell"
		}
		if r.ordType != '1' {
			ask.Cents = r.price
		}
	}
	if !g.lines.put(ln, m, ask) {
		g.refuse(p, kind, &r, "too many orders wait for risk")
	}
}

func (g *Gateway) line(p *peer) *line {
	g.mu.Lock()
	defer g.mu.Unlock()
	ln := g.perPeer[p]
	if ln == nil {
		ln = g.lines.line(p.theirs)
		g.perPeer[p] = ln
	}
	return ln
}

// release sends a message that risk has passed to the engine, or refuses it.
func (g *Gateway) release(w *pending, text string) {
	var m fix.Message
	if _, err := fix.Next(w.raw, &m, fixMessageBytesMax); err != nil {
		return // it was a whole message when it was put
	}
	if text == "" {
		b := g.engine.begin(string(m.Type))
		b.String(115, w.line.client)
		copyBody(b, &m)
		g.engine.end()
		return
	}
	p, err := g.acc.peer(w.line.client)
	if err != nil {
		return
	}
	r, _, _ := parseRequest(&m)
	g.refuse(p, m.Type[0], &r, text)
	p.flush()
}

// refuse answers a client's request without the engine.
func (g *Gateway) refuse(p *peer, kind byte, r *request, text string) {
	g.refused.Add(1)
	if kind != 'D' {
		b := p.begin("9")
		b.String(37, "NONE")
		b.Bytes(11, r.clOrdID)
		b.Bytes(41, r.origClOrdID)
		b.Char(39, '0')
		b.Char(434, map[byte]byte{'F': '1', 'G': '2'}[kind])
		b.Int(102, 99)
		b.String(58, text)
		p.end()
		return
	}
	b := p.begin("8")
	b.String(37, "NONE")
	b.Int(17, int64(g.ids.Add(1)))
	b.Char(150, '8')
	b.Char(39, '8')
	b.Bytes(11, r.clOrdID)
	b.Bytes(55, r.symbol)
	b.Char(54, byte(r.side))
	b.Int(38, r.qty)
	b.Int(151, 0)
	b.Int(14, 0)
	b.Int(6, 0)
	b.Time(60, time.Now())
	b.Int(103, 99)
	b.String(58, text)
	p.end()
}

// engineSide is the gateway towards the engine.
type engineSide struct{ g *Gateway }

func (e engineSide) status(p *peer, up bool) {
	e.g.log.Info("fix session", "session", p.theirs, "up", up)
}

// batch lets reports leave: every client's session may have some.
func (e engineSide) batch(*peer) {
	e.g.acc.mu.Lock()
	defer e.g.acc.mu.Unlock()
	for _, p := range e.g.acc.peers {
		p.flush()
	}
}

func (e engineSide) message(p *peer, m *fix.Message, h *header) {
	kind := m.Type[0]
	if len(m.Type) != 1 || kind != '8' && kind != '9' {
		if kind != 'j' {
			p.unsupported(h)
		}
		return
	}
	if h.deliverTo == nil {
		p.reject(h, 128, rejectTagMissing)
		return
	}
	to := e.g.acc.find(h.deliverTo)
	if to == nil { // after a restart: a client that has not logged on again yet
		var err error
		if to, err = e.g.acc.peer(string(h.deliverTo)); err != nil {
			return
		}
	}
	b := to.begin(string(m.Type))
	copyBody(b, m)
	to.end()
	if kind == '8' && string(field(m, 150)) == "F" {
		e.g.fills.Add(1)
		e.g.book.add(m, to.theirs)
	}
}

// copyBody copies all fields that are not the session's own.
func copyBody(b *fix.Builder, m *fix.Message) {
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		switch tag {
		case 34, 43, 49, 50, 52, 56, 57, 97, 115, 116, 122, 128, 129, 142, 143, 144, 145, 369:
			continue
		}
		b.Bytes(tag, v)
	}
}
