package quic

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"fire/policy/reason"

	quicgo "github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// gate bounds what strangers cost. quic-go has no limit of half-open handshakes, and
// a limit alone would let forged addresses lock everybody out; so:
//
//	Initial ──► under the rate, and less than half of the slots taken? ──► handshake
//	                 │ no                                                      ▲
//	                 ▼                                                         │ a slot is free
//	            Retry: 1 packet back, no state ──► the address echoes it ──────┘ else refused
type gate struct {
	limiter  *rate.Limiter
	max      int64
	halfOpen atomic.Int64
	count    *counters
	log      *slog.Logger
	talk     *rate.Limiter // a flood must not flood the log
}

func newGate(cfg Config, log *slog.Logger, count *counters) *gate {
	return &gate{
		limiter: rate.NewLimiter(rate.Limit(cfg.HandshakesPerSecond), max(1, cfg.HandshakesPerSecond/2)),
		max:     int64(cfg.HalfOpenMax), count: count, log: log,
		talk: rate.NewLimiter(rate.Every(time.Second), 5),
	}
}

// mustProveAddress is asked for each Initial without a token. The address is not
// verified yet, so nothing may be remembered about it.
func (g *gate) mustProveAddress(net.Addr) bool {
	if g.halfOpen.Load() < g.max/2 && g.limiter.Allow() {
		return false
	}
	g.count.retried.Add(1)
	return true
}

type slotKey struct{}

// slot is one place among the half-open. It is given back once: when the session
// stands, or when its connection ends.
type slot struct {
	gate *gate
	from net.Addr
	back atomic.Bool
}

// admit takes a slot for a new connection, or refuses it.
func (g *gate) admit(ctx context.Context, info *quicgo.ClientInfo) (context.Context, error) {
	if g.halfOpen.Add(1) > g.max {
		g.halfOpen.Add(-1)
		g.count.refused.Add(1)
		err := reason.New(reason.HandshakeFlood, "%d handshakes are under way", g.max)
		g.say(slog.LevelWarn, "handshake refused", info.RemoteAddr, err)
		return nil, err
	}
	s := &slot{gate: g, from: info.RemoteAddr}
	context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	return context.WithValue(ctx, slotKey{}, s), nil
}

// free gives the slot of an established session back.
func (s *slot) free() bool {
	if s == nil || s.back.Swap(true) {
		return false
	}
	s.gate.halfOpen.Add(-1)
	return true
}

// end gives the slot of a handshake back that came to nothing.
func (s *slot) end(cause error) {
	if s.free() {
		s.gate.count.failed.Add(1)
		s.gate.say(slog.LevelInfo, "handshake failed", s.from, sessionError(cause))
	}
}

func (g *gate) say(level slog.Level, msg string, from net.Addr, err *reason.Error) {
	if g.talk.Allow() {
		g.log.Log(context.Background(), level, msg, "peer", from.String(), "reason", err.Code.String(), "err", err.Detail)
	}
}
