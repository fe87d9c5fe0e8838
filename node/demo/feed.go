package demo

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// FeedConfig is the feed handler's.
type FeedConfig struct {
	MarketData string // where it dials market data
	Channel    string // "channel:NAME", where it publishes
	Attach     string // socket of the direct node; "" is the host's
}

// Feed is the feed handler of a host: it reads market data once, over the mesh, and hands
// every message to the programs of its host over a direct path.
type Feed struct {
	cfg  FeedConfig
	log  *slog.Logger
	tape tape
	out  atomic.Pointer[channel.Publisher] // nil while it is not attached

	published, dropped, attached atomic.Uint64
}

// NewFeed makes a feed handler; it binds nothing.
func NewFeed(cfg FeedConfig, log *slog.Logger) (*Feed, error) {
	f := &Feed{cfg: cfg, log: log.With("svc", "feed")}
	f.tape.log, f.tape.pass = f.log, f.publish
	return f, nil
}

// Addr is "": a feed handler only calls.
func (f *Feed) Addr() string { return "" }

// Run reads and publishes until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { f.attach(ctx) })
	f.tape.follow(ctx, door{addr: f.cfg.MarketData})
	wg.Wait()
	return nil
}

// attach keeps a publisher until ctx ends.
func (f *Feed) attach(ctx context.Context) {
	d := door{addr: f.cfg.Channel, attach: f.cfg.Attach, service: "feed"}
	name, ok := d.channel()
	if !ok {
		f.log.Warn("no direct path to publish on", "addr", f.cfg.Channel)
		return
	}
	wait := backoffMin
	for ctx.Err() == nil {
		p, err := channel.OpenPublisher(ctx, d.options(name))
		if err == nil {
			wait = backoffMin
			f.attached.Add(1)
			f.out.Store(p)
			select {
			case <-p.Done():
			case <-ctx.Done():
			}
			// The tape's goroutine may be publishing: it holds the publisher by the lock.
			f.tape.hold.Lock()
			f.out.Store(nil)
			f.tape.hold.Unlock()
			err = p.Err()
			p.Close()
		}
		if ctx.Err() != nil {
			return
		}
		f.log.Info("direct path down", "channel", name, "reason", reason.Of(err, reason.DirectUnreachable).String(), "err", err)
		wait = pause(ctx, wait)
	}
}

// publish hands one ITCH message on. Its type is the message's first byte.
func (f *Feed) publish(payload []byte) {
	p := f.out.Load()
	if p == nil || len(payload) == 0 || p.Offer(uint16(payload[0]), payload) != shm.Sent {
		f.dropped.Add(1)
		return
	}
	f.published.Add(1)
}

// Counters tells what it did.
func (f *Feed) Counters() []Counter {
	return []Counter{{"ticks", f.tape.messages.Load()}, {"tick_gaps", f.tape.gaps.Load()}, {"published", f.published.Load()}, {"dropped", f.dropped.Load()}}
}

// Summary is one line for people.
func (f *Feed) Summary() string { return summary("feed", f.Counters()) }
