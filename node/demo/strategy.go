package demo

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/fix"
	"fire/transport/meter"
)

// StrategyConfig is a trading strategy's.
type StrategyConfig struct {
	Name       string  // service name; its CompID is StrategyCompID(Name)
	Number     uint64  // which one of the floor, from 0: picks its own part of the seed
	Gateway    string  // where it dials the gateway; "channel:NAME" is a direct path
	MarketData string  // where it dials market data, or "channel:NAME"; "" subscribes to none
	Attach     string  // socket of the direct node; "" is the host's
	Seed       uint64  // of the order flow
	Rate       float64 // new orders per second; replaces and cancels come on top (about 0.6 per order)
	StateDir   string  // where sequence numbers are kept; "" in memory
}

// StrategyCompID is the CompID of a strategy: its name in capitals.
func StrategyCompID(name string) string { return strings.ToUpper(name) }

// Strategy sends a seeded flow of orders at a fixed rate, whatever becomes of
// them, and keeps count of what the gateway answers.
type Strategy struct {
	cfg    StrategyConfig
	log    *slog.Logger
	peer   *peer
	tape   tape
	listed []instrument
	run    string // prefix of this run's ClOrdIDs

	mu    sync.Mutex
	open  [openMax]openOrder // guarded by mu; order n is at n%openMax
	stamp []byte             // scratch of the sender

	ack meter.Histogram // from an order's leaving to its first report

	orders, fills, cancels, replaces        atomic.Uint64
	done, rejects, cancelRejects, unhandled atomic.Uint64
	missed                                  atomic.Uint64
}

// openMax is how many orders a strategy may have open, and how far it looks back.
const openMax = 1024

type openOrder struct {
	n       uint64
	state   openState
	amended bool // its ClOrdID is the replacing one
	pending bool // a replace is not answered: which ClOrdID it has is not known
	due     bool // a cancel waits for that answer
	probed  bool
	symbol  int
	side    side
	sent    time.Time
}

type openState uint8

const (
	shut  openState = iota // nothing is open
	asked                  // sent, no report yet
	live                   // the engine has it
)

const (
	paceInterval = 5 * time.Millisecond
	lateMax      = time.Second
	probeAfter   = 5 * time.Second
)

// NewStrategy makes a strategy; it binds nothing.
func NewStrategy(cfg StrategyConfig, log *slog.Logger) (*Strategy, error) {
	if !(cfg.Rate > 0 && cfg.Rate <= 1e6) {
		return nil, fmt.Errorf("%s: rate %v: want orders per second above 0, at most 1,000,000", cfg.Name, cfg.Rate)
	}
	s := &Strategy{cfg: cfg, listed: instruments(), log: log.With("svc", cfg.Name), run: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	s.tape.log = s.log
	memory, err := remember(cfg.StateDir, StrategyCompID(cfg.Name), compGateway)
	if err != nil {
		return nil, err
	}
	s.peer = newPeer(session{ours: StrategyCompID(cfg.Name), theirs: compGateway, initiator: true, heartbeat: heartbeatDefault, memory: memory}, s.log)
	return s, nil
}

// Addr is "": a strategy only calls.
func (s *Strategy) Addr() string { return "" }

// Run trades until ctx ends, then logs out.
func (s *Strategy) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if s.cfg.MarketData != "" {
		wg.Go(func() { s.tape.follow(ctx, s.door(s.cfg.MarketData)) })
	}
	wg.Go(func() { s.trade(ctx) })
	err := s.peer.dial(ctx, s.door(s.cfg.Gateway), s)
	wg.Wait()
	return err
}

func (s *Strategy) door(addr string) door { return door{addr, s.cfg.Attach, s.cfg.Name} }

// Counters tells what it did.
func (s *Strategy) Counters() []Counter {
	return []Counter{{"orders", s.orders.Load()}, {"fills", s.fills.Load()}, {"cancels", s.cancels.Load()}, {"replaces", s.replaces.Load()},
		{"orders_done", s.done.Load()}, {"rejects", s.rejects.Load()}, {"cancel_rejects", s.cancelRejects.Load()},
		{"missed", s.missed.Load()}, {"ticks", s.tape.messages.Load()}, {"tick_gaps", s.tape.gaps.Load()}}
}

// Summary is one line for people.
func (s *Strategy) Summary() string {
	line := summary(s.cfg.Name, s.Counters())
	if h := s.ack.Snapshot(); h.Count() > 0 {
		line += fmt.Sprintf(", acknowledged in p50 %v p99 %v", h.Quantile(0.5).Round(time.Microsecond), h.Quantile(0.99).Round(time.Microsecond))
	}
	if s.missed.Load() > 0 {
		line += " (could not keep up: missed orders were never sent)"
	}
	return line
}

// trade paces the flow. Order n is due at start + n/rate; the clock starts with
// the first Logon and does not stop.
func (s *Strategy) trade(ctx context.Context) {
	tick := time.NewTicker(paceInterval)
	defer tick.Stop()
	f := newFlow(s.cfg.Seed, s.cfg.Number)
	var start, told time.Time
	var given, toldMissed uint64 // orders due so far that were sent or missed
	burst := uint64(s.cfg.Rate*(paceInterval.Seconds()+0.01)) + 1
	var intents []intent
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		up := s.peer.up.Load()
		if start.IsZero() {
			if !up {
				continue
			}
			start = now
		}
		due := uint64(now.Sub(start).Seconds() * s.cfg.Rate)
		if late := uint64(lateMax.Seconds()*s.cfg.Rate) + 1; due > given+late {
			s.missed.Add(due - given - late)
			given = due - late
		}
		if up && due > given {
			n := min(due-given, burst)
			given += n
			for range n {
				intents = f.next(intents[:0])
				s.act(intents, now)
			}
			s.peer.flush()
		}
		if m := s.missed.Load(); m > toldMissed && now.Sub(told) > 10*time.Second {
			s.log.Warn("orders missed: cannot keep up with the rate", "missed", m, "rate", s.cfg.Rate)
			toldMissed, told = m, now
		}
	}
}

// act sends intents. A cancel or replace of an order that is known to be done is
// left out; an order whose place is still taken by one a thousand older is missed.
func (s *Strategy) act(intents []intent, now time.Time) {
	for i := range intents {
		in := &intents[i]
		s.mu.Lock()
		o := &s.open[in.n%openMax]
		old := *o
		amended := o.amended
		skip := o.n != in.n || o.state == shut || in.kind == 'G' && o.state != live
		if in.kind == 'D' {
			if skip = o.state != shut; !skip {
				*o = openOrder{n: in.n, state: asked, symbol: in.symbol, side: in.side, sent: now}
			} else if o.n != in.n && !o.probed && now.Sub(o.sent) > probeAfter {
				o.probed = true
			}
		}
		if !skip && in.kind == 'G' {
			o.pending = true
		}
		if !skip && in.kind == 'F' && o.pending {
			o.due, skip = true, true
		}
		s.mu.Unlock()
		switch {
		case in.kind == 'D' && skip:
			s.missed.Add(1)
			if !old.probed && now.Sub(old.sent) > probeAfter {
				probe := intent{kind: 'F', n: old.n, symbol: old.symbol, side: old.side}
				s.send(&probe, old.amended, now)
				if old.pending { // by its other ClOrdID too: one of the two is right
					s.send(&probe, !old.amended, now)
				}
			}
		case !skip:
			s.send(in, amended, now)
		}
	}
}

// send writes one intent as a FIX message.
func (s *Strategy) send(in *intent, amended bool, now time.Time) {
	s.peer.mu.Lock()
	b := s.peer.s.begin(string(rune(in.kind)), now)
	suffix := byte(0)
	switch in.kind {
	case 'D':
		s.orders.Add(1)
	case 'F':
		s.cancels.Add(1)
		suffix = 'C'
	case 'G':
		s.replaces.Add(1)
		suffix = 'R'
	}
	s.id(b, 11, in.n, suffix)
	if in.kind != 'D' {
		suffix = 0
		if amended {
			suffix = 'R'
		}
		s.id(b, 41, in.n, suffix)
	}
	b.String(55, s.listed[in.symbol].name)
	b.Char(54, byte(in.side))
	b.Time(60, now)
	if in.kind != 'F' {
		b.Int(38, in.qty)
		if in.cents == 0 {
			b.Char(40, '1')
		} else {
			b.Char(40, '2')
			b.Decimal(44, in.cents, priceScale)
		}
		if in.now {
			b.Char(59, '3')
		}
	}
	s.peer.end()
}

// id writes RUN-N, RUN-NR (replaced) or RUN-NC (the cancel itself).
func (s *Strategy) id(b *fix.Builder, tag int, n uint64, suffix byte) {
	s.stamp = append(append(s.stamp[:0], s.run...), '-')
	s.stamp = strconv.AppendUint(s.stamp, n, 10)
	if suffix != 0 {
		s.stamp = append(s.stamp, suffix)
	}
	b.Bytes(tag, s.stamp)
}

// number reads the order's number out of a ClOrdID of this run.
func (s *Strategy) number(id []byte) (n uint64, ok bool) {
	if len(id) <= len(s.run)+1 || string(id[:len(s.run)]) != s.run || id[len(s.run)] != '-' {
		return 0, false
	}
	id = id[len(s.run)+1:]
	if c := id[len(id)-1]; c == 'R' || c == 'C' {
		id = id[:len(id)-1]
	}
	return fix.Uint(id)
}

func (s *Strategy) status(p *peer, up bool) {
	s.log.Info("fix session", "session", p.theirs, "up", up)
}

func (s *Strategy) batch(*peer) {}

// message takes the gateway's answers.
func (s *Strategy) message(p *peer, m *fix.Message, h *header) {
	if len(m.Type) != 1 || m.Type[0] != '8' && m.Type[0] != '9' {
		s.unhandled.Add(1)
		if m.Type[0] != 'j' {
			p.unsupported(h)
		}
		return
	}
	var id []byte
	var execType, status, why, to byte
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		switch tag {
		case 11:
			id = v
		case 150:
			execType = v[0]
		case 39:
			status = v[0]
		case 102:
			why = v[0]
		case 434:
			to = v[0]
		}
	}
	n, ok := s.number(id)
	if !ok {
		s.unhandled.Add(1) // of an earlier run
		return
	}
	s.mu.Lock()
	o := &s.open[n%openMax]
	cancel := false
	if o.n == n {
		if m.Type[0] == '9' {
			s.refused(o, to, why)
		} else {
			s.reported(o, execType, status)
		}
		if cancel = o.due && !o.pending && o.state == live; cancel {
			o.due = false
		}
	}
	late := intent{kind: 'F', n: n, symbol: o.symbol, side: o.side}
	amended := o.amended
	s.mu.Unlock()
	if cancel {
		s.send(&late, amended, time.Now())
		s.peer.flush()
	}
}

// refused takes an OrderCancelReject to a cancel ('1') or a replace ('2'). mu is held.
func (s *Strategy) refused(o *openOrder, to, why byte) {
	s.cancelRejects.Add(1)
	if to == '2' {
		o.pending = false
	}
	if why == '0' || why == '1' {
		s.shut(o)
	}
}

// reported takes an ExecutionReport. mu is held.
func (s *Strategy) reported(o *openOrder, execType, status byte) {
	if o.state == asked {
		s.ack.Record(time.Since(o.sent))
		o.state = live
	}
	switch execType {
	case 'F':
		s.fills.Add(1)
	case '5':
		o.amended, o.pending = true, false
	case '8':
		s.rejects.Add(1)
	}
	if status == '2' || status == '4' || status == '8' {
		s.shut(o)
	}
}

func (s *Strategy) shut(o *openOrder) {
	if o.state != shut {
		o.state = shut
		s.done.Add(1)
	}
}
