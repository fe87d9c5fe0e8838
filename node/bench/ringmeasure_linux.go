//go:build amd64 || arm64

package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"fire/transport/shm"
)

const (
	pathRaw       = "raw"
	pathLane      = "fire lane"
	pathBroadcast = "fire broadcast"
	// pathCollecting is the messages of the gc row that a collection has overlapped, at either end.
	pathCollecting = "fire lane, collecting"
)

// measureRing is one round with a peer of its own.
func measureRing(ctx context.Context, cfg RingConfig, peer []string, rows *ringRows, t turn) (err error) {
	w, err := startRingWorld(ctx, cfg, peer)
	if err != nil {
		if ctx.Err() != nil { // the peer was killed before it could say anything
			return ctx.Err()
		}
		return err
	}
	defer func() {
		cerr := w.close()
		if ctx.Err() != nil { // the peer was killed, and what it was asked for is missing
			err = ctx.Err()
			return
		}
		err = errors.Join(err, cerr)
	}()
	m := &ringMeasure{w: w, cfg: cfg, ctx: ctx, rows: rows, turn: t, tickNS: tickRate()}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		m.stopped.Store(true)
		w.gate.Set(shm.Closed, 0) // ends what waits for the ring
		close(cut)
	})
	done := make(chan error, 1)
	go func() { done <- m.all() }()
	err = <-done
	if !stop() {
		<-cut // the gate must not be unmapped under it
	}
	return err
}

// ringMeasure is this side of one round. It belongs to one pinned thread.
type ringMeasure struct {
	w      *ringWorld
	cfg    RingConfig
	ctx    context.Context
	rows   *ringRows
	turn   turn
	tickNS float64
	hist   nanos
	calls  *callCounter

	stopped atomic.Bool
}

func (m *ringMeasure) all() error {
	if err := pin(m.cfg.Cores[0]); err != nil {
		return err
	}
	percent := -1
	if m.cfg.collectorOn {
		percent = collectorPercent
		if err := m.w.tell("collector on"); err != nil {
			return err
		}
		if _, err := m.w.answer(); err != nil {
			return err
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(percent))
	m.calls = newCallCounter(m.cfg.own)
	defer m.calls.close()
	lane := func(size int) error { return m.throughput(pathLane, size) }
	for _, s := range []struct {
		table string
		size  int
		own   func(size int) error
	}{
		{RowHiccup, 0, m.hiccup},
		{RowBounce, 0, m.bounce},
		{RowPingPong, 48, m.pingPong},
		{RowPingPong, 64, m.pingPong},
		{RowPingPong, 1024, m.pingPong},
		{RowFixedRate, 48, m.fixedRate},
		{RowFixedRate, 64, m.fixedRate},
		{RowFixedRate, 1024, m.fixedRate},
		{RowThroughput, 32, lane},
		{RowThroughput, 64, lane},
		{RowThroughput, 1024, lane},
		{"", 64, func(size int) error { return m.throughput(pathBroadcast, size) }}, // no rival has one
		{"", 48, m.collected},
	} {
		if m.cfg.only != nil && !m.cfg.only(s.table, s.size) {
			continue
		}
		own := func() error {
			m.hist = nanos{}
			runtime.GC()
			return s.own(s.size)
		}
		if err := m.turn.take(m.ctx, m.cfg, s.table, s.size, m.rows, own); err != nil {
			return err
		}
	}
	return nil
}

func (m *ringMeasure) ns(t uint64) int64 { return int64(float64(t) * m.tickNS) }

// end is the tick at which a measurement that begins now is over.
func (m *ringMeasure) end() uint64 { return ticks() + uint64(float64(m.cfg.RoundTime)/m.tickNS) }

// warm is the tick from which on a measurement that begins now counts, however little has gone to
// and fro: on a machine that others keep busy that may be a handful.
func (m *ringMeasure) warm() uint64 { return ticks() + uint64(float64(m.cfg.RoundTime)/10/m.tickNS) }

func (m *ringMeasure) hiccup(int) error {
	end := m.end()
	for last := ticks(); last < end && !m.stopped.Load(); {
		now := ticks()
		m.hist.record(m.ns(now - last))
		last = now
	}
	m.rows.add(RingRow{Table: RowHiccup, Path: pathRaw, Messages: m.hist.count, latency: m.hist})
	return nil
}

func (m *ringMeasure) bounce(int) error {
	if err := m.w.tell("bounce"); err != nil {
		return err
	}
	word, end, warm := m.w.word, m.end(), m.warm()
	v := uint64(0)
	for t0 := ticks(); t0 < end; {
		word.Store(v + 1)
		for spins := 1; word.Load() != v+2; spins++ {
			if spins&0xffff == 0 && m.stopped.Load() { // the peer may be gone
				return m.ctx.Err()
			}
		}
		v += 2
		t1 := ticks()
		if v > 2*bounceWarm || t1 > warm {
			m.hist.record(m.ns(t1-t0) / 2)
		}
		t0 = t1
	}
	word.Store(bounceStop)
	if _, err := m.w.answer(); err != nil {
		return err
	}
	word.Store(0)
	m.rows.add(RingRow{Table: RowBounce, Path: pathRaw, Messages: m.hist.count, latency: m.hist})
	return nil
}

const (
	bounceWarm = 1000
	bounceStop = 1 << 63
)

// wordPage is the peer's mapping of the bounced word.
type wordPage struct{ word *atomic.Uint64 }

func openWord(f *os.File) (*wordPage, error) {
	_, word, err := mapWord(f)
	return &wordPage{word}, err
}

func (p *wordPage) bounce(gone *atomic.Bool) {
	for v := uint64(1); ; v += 2 {
		for spins := 1; ; spins++ {
			if got := p.word.Load(); got == v {
				break
			} else if got == bounceStop || spins&0xffff == 0 && gone.Load() {
				return
			}
		}
		p.word.Store(v + 1)
	}
}

func (m *ringMeasure) pingPong(size int) error {
	if err := m.w.tell("lane"); err != nil {
		return err
	}
	p, end, warm := make([]byte, size), m.end(), m.warm()
	answered := false
	each := func(uint16, []byte) { answered = true }
	before := m.calls.begin()
	i := 0
	for t0 := ticks(); t0 < end; i++ {
		if res := m.w.there.Offer(msgEcho, p); res != shm.Sent {
			return m.refused(res)
		}
		for answered = false; !answered; {
			if _, _, err := m.w.back.Poll(1, each); err != nil {
				return err
			}
		}
		t1 := ticks()
		if i > bounceWarm || t1 > warm {
			m.hist.record(m.ns(t1-t0) / 2)
		}
		t0 = t1
	}
	count, own, err := m.stop(m.w.there, before)
	if err == nil {
		row := RingRow{Table: RowPingPong, Path: pathLane, SizeBytes: size, RingBytes: m.cfg.Lines * 64, Messages: m.hist.count, latency: m.hist}
		row.counts(uint64(i), own, count.threadCounts)
		m.rows.add(row)
	}
	return err
}

// stop ends the peer's serving and returns what each has counted.
func (m *ringMeasure) stop(w *shm.Writer, before threadCounts) (count peerCount, own threadCounts, err error) {
	own = m.calls.since(before)
	for {
		if res := w.Offer(msgStop, nil); res == shm.Sent {
			break
		} else if res != shm.Full {
			return count, own, m.refused(res)
		}
	}
	count, err = m.w.answer()
	return count, own, err
}

func (m *ringMeasure) refused(res shm.Result) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("the ring says %v", res)
}

// fixedRate sends each message when it is due; the peer takes the time since then.
func (m *ringMeasure) fixedRate(size int) error {
	if err := m.w.tell("lane"); err != nil {
		return err
	}
	count, own, err := m.timed(size, nil)
	if err == nil {
		row := RingRow{Table: RowFixedRate, Path: pathLane, SizeBytes: size, RingBytes: m.cfg.Lines * 64, Messages: count.Messages, latency: histogram(count.Latency)}
		row.counts(count.Messages, own, count.threadCounts)
		m.rows.add(row)
	}
	return err
}

// collected is fixedRate while both processes have the collector on and collections forced.
func (m *ringMeasure) collected(size int) error {
	if m.cfg.GCEvery == 0 {
		return nil
	}
	if err := m.w.tell("gc " + m.cfg.GCEvery.String()); err != nil {
		return err
	}
	c := startCollector(m.cfg.GCEvery)
	count, own, err := m.timed(size, c)
	took, worst := c.end(m.tickNS)
	if err != nil {
		return err
	}
	row := RingRow{Table: RowGC, Path: pathLane, SizeBytes: size, RingBytes: m.cfg.Lines * 64, Messages: count.Messages, latency: histogram(count.Latency)}
	row.counts(count.Messages, own, count.threadCounts)
	m.rows.add(row)
	during := histogram(count.During)
	m.rows.add(RingRow{Table: RowGC, Path: pathCollecting, SizeBytes: size, RingBytes: m.cfg.Lines * 64, Messages: during.count, latency: during})
	if m.rows.gc == nil {
		m.rows.gc = &GCEffect{EveryNS: int64(m.cfg.GCEvery)}
	}
	m.rows.gc.add(append(took, count.Took...), append(worst, count.Worst...), *row.Mallocs)
	return nil
}

// timed sends messages when they are due, and marks those that a collection here has overlapped.
func (m *ringMeasure) timed(size int, c *collector) (count peerCount, own threadCounts, err error) {
	p := make([]byte, size)
	step := uint64(float64(time.Second) / float64(m.cfg.Rate) / m.tickNS)
	before := m.calls.begin()
	for due, end := ticks()+step, m.end(); due < end; due += step {
		for ticks() < due {
		}
		binary.LittleEndian.PutUint64(p, due)
		if c != nil {
			p[8] = 0
			if c.overlaps(m.ns(ticks() - due)) {
				p[8] = 1
			}
		}
		for {
			if res := m.w.there.Offer(msgTimed, p); res == shm.Sent {
				break
			} else if res != shm.Full { // the message waits, and its time runs
				return count, own, m.refused(res)
			}
		}
	}
	return m.stop(m.w.there, before)
}

func (m *ringMeasure) throughput(path string, size int) error {
	w, command := m.w.bulk, "bulk"
	if path == pathBroadcast {
		w, command = m.w.feed, "feed"
	}
	if err := m.w.tell(command); err != nil {
		return err
	}
	p, sent := make([]byte, size), uint64(0)
	before := m.calls.begin()
	start, end := ticks(), m.end()
	for ticks() < end {
		for range 256 {
			if res := w.Offer(msgTake, p); res == shm.Sent {
				sent++
			} else if res != shm.Full {
				return m.refused(res)
			}
		}
	}
	took := m.ns(ticks() - start)
	count, own, err := m.stop(w, before)
	if err == nil && path == pathLane && count.Messages != sent {
		err = fmt.Errorf("the lane carried %d of %d messages", count.Messages, sent)
	}
	if err == nil {
		row := RingRow{Table: RowThroughput, Path: path, SizeBytes: size, RingBytes: m.cfg.BulkLines * 64, Messages: count.Messages,
			PerSecond: float64(count.Messages) / float64(took) * 1e9}
		row.counts(sent, own, count.threadCounts)
		m.rows.add(row)
	}
	return err
}

func leUint64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}
