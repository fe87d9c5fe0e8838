package demo

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/fix"
)

// Bounds of a FIX connection.
const (
	fixMessageBytesMax = 32 << 10
	garbledBytesMax    = 64 << 10 // in a row, then the connection is cut
	writeTimeout       = 5 * time.Second
	tickInterval       = 200 * time.Millisecond
)

// application handles what a session delivers: in order, on the connection's
// reading goroutine, with no lock held.
type application interface {
	message(p *peer, m *fix.Message, h *header)
	batch(p *peer)           // everything that one read brought has been handled
	status(p *peer, up bool) // logged on or gone
}

// peer is a session that many goroutines may send on. It outlives connections.
type peer struct {
	theirs string
	log    *slog.Logger
	wake   chan struct{}

	up       atomic.Bool // logged on
	received atomic.Uint64
	sent     atomic.Uint64

	mu sync.Mutex
	s  session // guarded by mu

	busy atomic.Bool // a connection runs

	head header // of the message in hand; the reading goroutine's
}

func newPeer(s session, log *slog.Logger) *peer {
	return &peer{theirs: s.theirs, log: log.With("session", s.ours+"-"+s.theirs), wake: make(chan struct{}, 1), s: s}
}

// begin starts an application message and holds the peer until end.
func (p *peer) begin(msgType string) *fix.Builder {
	p.mu.Lock()
	return p.s.begin(msgType, time.Now())
}

// end finishes the message. It leaves with the next flush.
func (p *peer) end() {
	p.s.end()
	p.mu.Unlock()
	p.sent.Add(1)
}

// flush lets the writer send what has gathered.
func (p *peer) flush() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// reject answers a delivered message with a session-level Reject.
func (p *peer) reject(h *header, tag, why int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.now = time.Now()
	if p.s.state == active {
		p.s.reject(h, tag, why, rejectText(why))
	}
}

// unsupported answers a message type that this program does not take
// (BusinessMessageReject, reason 3).
func (p *peer) unsupported(h *header) {
	b := p.begin("j")
	b.Int(45, int64(h.seq))
	b.Bytes(372, h.msgType)
	b.Int(380, 3)
	b.String(58, "Unsupported Message Type")
	p.end()
}

// run drives one connection to its end. front is what was read from it already.
// When ctx ends it logs out. The caller must have won p.busy.
func (p *peer) run(ctx context.Context, conn net.Conn, front []byte, app application) error {
	p.mu.Lock()
	p.s.connect(time.Now())
	p.mu.Unlock()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() { p.write(ctx, conn, done) })
	err := p.read(conn, front, app)
	close(done)
	wg.Wait()
	conn.Close()
	p.mu.Lock()
	if p.s.state == closed && p.s.why != "" {
		err = errors.New(p.s.why)
	}
	p.s.disconnect()
	serr := p.s.memory.sync()
	p.mu.Unlock()
	if p.up.Swap(false) {
		app.status(p, false)
	}
	return errors.Join(err, serr)
}

// write sends what the session has to say, until the session closes or done.
func (p *peer) write(ctx context.Context, conn net.Conn, done <-chan struct{}) {
	var spare fix.Builder
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	stop := ctx.Done()
	for last := false; !last; {
		select {
		case <-p.wake:
		case <-tick.C:
		case <-done:
			last = true
		case <-stop:
			stop = nil
			p.mu.Lock()
			p.s.leave("", time.Now())
			p.mu.Unlock()
		}
		p.mu.Lock()
		p.s.tick(time.Now())
		err := p.s.memory.sync()
		p.s.out, spare = spare, p.s.out
		ends := p.s.state == closed
		p.mu.Unlock()
		if err == nil && spare.Len() > 0 {
			conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			_, err = conn.Write(spare.Raw())
		}
		spare.Reset()
		if err != nil || ends {
			if err != nil && !last {
				p.log.Debug("fix write failed", "err", err)
			}
			conn.Close() // wakes the reader
			return
		}
	}
}

// read hands messages to the session and the program.
func (p *peer) read(conn net.Conn, front []byte, app application) error {
	buf := make([]byte, 2*fixMessageBytesMax)
	start, end := 0, copy(buf, front)
	garbled := 0
	var m fix.Message
	for {
		now := time.Now()
		for {
			n, err := fix.Next(buf[start:end], &m, fixMessageBytesMax)
			if err == fix.ErrShort {
				break
			}
			start += n
			if err != nil {
				if garbled += n; garbled > garbledBytesMax {
					return errors.New("nothing but garbled messages")
				}
				p.garbled()
				continue
			}
			garbled = 0
			if !p.take(&m, now, app) {
				p.flush()
				p.drain(conn)
				return nil
			}
		}
		end = copy(buf, buf[start:end])
		start = 0
		app.batch(p)
		p.flush()
		n, err := conn.Read(buf[end:])
		if end += n; err != nil && n == 0 {
			return err
		}
	}
}

// take gives one message to the session and, if it is next, to the program. It is
// false when the session has closed.
func (p *peer) take(m *fix.Message, now time.Time, app application) bool {
	p.received.Add(1)
	p.mu.Lock()
	h, deliver := p.s.receive(m, now)
	p.head = h
	state := p.s.state
	p.mu.Unlock()
	if state == active && !p.up.Load() {
		p.up.Store(true)
		app.status(p, true)
	}
	if deliver {
		app.message(p, m, &p.head)
	}
	return state != closed
}

// drain waits for the writer to cut the connection, so that the last words leave.
func (p *peer) drain(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(writeTimeout))
	var b [512]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
	}
}

func (p *peer) garbled() {
	p.mu.Lock()
	p.s.garbledIn++
	p.mu.Unlock()
}

// dial keeps an initiator's session connected until ctx ends, with back-off.
func (p *peer) dial(ctx context.Context, d door, app application) error {
	wait := backoffMin
	for ctx.Err() == nil {
		began := time.Now()
		conn, err := d.dial(ctx)
		if err == nil {
			err = p.run(ctx, conn, nil, app)
		}
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > 5*time.Second {
			wait = backoffMin
		}
		p.log.Info("fix session down", "peer", d.addr, "err", err)
		wait = pause(ctx, wait)
	}
	return p.stop()
}

// stop writes the last of the journal.
func (p *peer) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j := p.s.memory.journal; j != nil {
		return errors.Join(p.s.memory.sync(), j.close())
	}
	return nil
}

// Back-off of everything that dials.
const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second
)

// pause sleeps for wait, give or take a quarter, and returns the next wait.
func pause(ctx context.Context, wait time.Duration) time.Duration {
	t := time.NewTimer(wait*3/4 + rand.N(wait/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return min(2*wait, backoffMax)
}
