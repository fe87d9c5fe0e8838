package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/feed"
)

// tape follows a market-data feed: it resumes where it was cut, counts what came
// and knows each instrument's last traded price.
type tape struct {
	log  *slog.Logger
	pass func(payload []byte) // gets each message, too; nil: nobody
	hold sync.Mutex           // held while pass is called

	messages, gaps, connects atomic.Uint64

	session string // of the feed; what follows is the reading goroutine's
	next    uint64 // number of the next message, 0 before the first login
	orders  map[uint64]tapeOrder
	last    [64]int64 // by locate, ten-thousandths
}

type tapeOrder struct {
	price uint32
	left  uint32
}

// tapeOrdersMax bounds what a tape remembers; beyond it new orders are not followed.
const tapeOrdersMax = 100_000

// follow reads until ctx ends, with back-off between connections.
func (t *tape) follow(ctx context.Context, d door) {
	wait := backoffMin
	for ctx.Err() == nil {
		began := time.Now()
		err := t.once(ctx, d)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 5*time.Second {
			wait = backoffMin
		}
		t.log.Info("market data down", "peer", d.addr, "err", err)
		wait = pause(ctx, wait)
	}
}

// once reads until the connection, or the direct path, ends.
func (t *tape) once(ctx context.Context, d door) error {
	if name, ok := d.channel(); ok {
		return t.subscribe(ctx, d.options(name))
	}
	conn, err := d.dial(ctx)
	if err != nil {
		return err
	}
	return t.read(ctx, conn)
}

// subscribe reads ITCH messages from a direct path. Who comes late knows the orders that
// come from then on.
func (t *tape) subscribe(ctx context.Context, o channel.Options) error {
	s, err := channel.OpenSubscriber(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	t.orders = map[uint64]tapeOrder{}
	t.connects.Add(1)
	h := channel.Handler{
		Message: func(_ *channel.Source, _ uint16, p []byte) {
			t.messages.Add(1)
			err = errors.Join(err, t.take(p))
		},
		Gap: func(_ *channel.Source, first, last uint64) {
			t.gaps.Add(1)
			t.log.Warn("market data lost: this program reads too slowly", "first", first, "last", last)
		},
		Ended: func(from *channel.Source, why *reason.Error) {
			t.log.Info("market data lane ended", "peer", from.Service, "reason", why.Code.String())
		},
	}
	for ctx.Err() == nil && err == nil {
		if _, over := s.Poll(1000, &h); over != nil {
			return over
		}
		s.Wait()
	}
	return err
}

// read runs one connection: login, then sequenced messages.
func (t *tape) read(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	login, err := feed.AppendLogin(nil, feed.LoginRequest{User: "desk", Session: t.session, Sequence: t.next})
	if err != nil {
		return err
	}
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := conn.Write(login); err != nil {
		return err
	}
	in := soupReader{conn: conn, bytesMax: 4 << 10}
	conn.SetReadDeadline(time.Now().Add(logonTimeout))
	var p feed.Packet
	if err := in.next(&p); err != nil {
		return err
	}
	switch p.Type {
	case feed.LoginRejected: // what we were to resume is gone: begin with the newest
		t.session, t.next = "", 0
		return fmt.Errorf("login rejected, reason %q", p.Payload)
	case feed.LoginAccepted:
	default:
		return fmt.Errorf("packet %q instead of a login answer", p.Type)
	}
	session, next, err := feed.ParseAccepted(p.Payload)
	if err != nil {
		return err
	}
	if t.next != 0 && next != t.next || session != t.session && t.session != "" {
		t.gaps.Add(1)
	}
	if session != t.session || t.orders == nil {
		t.orders = map[uint64]tapeOrder{}
	}
	t.session, t.next = session, next
	t.connects.Add(1)
	return t.sequenced(ctx, conn, &in)
}

func (t *tape) sequenced(ctx context.Context, conn net.Conn, in *soupReader) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	gone := make(chan struct{})
	defer close(gone)
	wg.Go(func() { beat(ctx, conn, gone) })
	var p feed.Packet
	for {
		if !in.buffered() {
			conn.SetReadDeadline(time.Now().Add(feed.SilenceMax))
		}
		if err := in.next(&p); err != nil {
			return err
		}
		switch p.Type {
		case feed.Sequenced:
			t.next++
			t.messages.Add(1)
			if err := t.take(p.Payload); err != nil {
				return err
			}
			if t.pass != nil {
				t.hold.Lock()
				t.pass(p.Payload)
				t.hold.Unlock()
			}
		case feed.EndOfSession:
			return errors.New("end of session")
		}
	}
}

// beat writes client heartbeats, and a logout when ctx ends.
func beat(ctx context.Context, conn net.Conn, gone <-chan struct{}) {
	tick := time.NewTicker(feed.HeartbeatInterval)
	defer tick.Stop()
	for {
		kind := feed.ClientHeartbeat
		select {
		case <-gone:
			return
		case <-ctx.Done():
			kind = feed.Logout
		case <-tick.C:
		}
		b, _ := feed.AppendPacket(nil, kind, nil)
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := conn.Write(b); err != nil || kind == feed.Logout {
			conn.Close()
			return
		}
	}
}

// take keeps the last prices.
func (t *tape) take(payload []byte) error {
	var m feed.Message
	if err := feed.ParseMessage(payload, &m); err != nil {
		return err
	}
	switch m.Kind {
	case feed.AddOrder:
		if len(t.orders) < tapeOrdersMax {
			t.orders[m.Order] = tapeOrder{m.Price, m.Shares}
		}
	case feed.OrderDelete:
		delete(t.orders, m.Order)
	case feed.OrderCancel, feed.OrderExecuted:
		o, ok := t.orders[m.Order]
		if !ok {
			return nil
		}
		if m.Kind == feed.OrderExecuted {
			t.last[m.Locate%64] = int64(o.price)
		}
		if m.Shares >= o.left {
			delete(t.orders, m.Order)
			return nil
		}
		o.left -= m.Shares
		t.orders[m.Order] = o
	}
	return nil
}
