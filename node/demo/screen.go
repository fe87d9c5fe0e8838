package demo

import (
	"context"
	"log/slog"
)

// ScreenConfig is the price screen's.
type ScreenConfig struct {
	Ticks  string // "channel:NAME", where it reads
	Attach string // socket of the direct node; "" is the host's
}

// Screen is a trader's price screen: it follows the ticks of another host's feed handler,
// which come over encrypted datagrams.
type Screen struct {
	cfg  ScreenConfig
	tape tape
}

// NewScreen makes a screen; it binds nothing.
func NewScreen(cfg ScreenConfig, log *slog.Logger) (*Screen, error) {
	s := &Screen{cfg: cfg}
	s.tape.log = log.With("svc", "screen")
	return s, nil
}

// Addr is "": a screen only reads.
func (s *Screen) Addr() string { return "" }

// Run reads until ctx ends.
func (s *Screen) Run(ctx context.Context) error {
	s.tape.follow(ctx, door{addr: s.cfg.Ticks, attach: s.cfg.Attach, service: "screen"})
	return nil
}

// Counters tells what it did.
func (s *Screen) Counters() []Counter {
	return []Counter{{"ticks", s.tape.messages.Load()}, {"tick_gaps", s.tape.gaps.Load()}}
}

// Summary is one line for people.
func (s *Screen) Summary() string { return summary("screen", s.Counters()) }
