//go:build amd64 || arm64

package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"runtime/debug"
	"time"
)

// udpMeasured is one path's part of a round.
type udpMeasured struct {
	rows  []RingRow
	fire  bool
	gso   bool
	noGSO string
}

// udpCount is what the peer says at its end.
type udpCount struct {
	threadCounts
	Messages uint64 `json:"messages"`
}

// The first byte of a message says what the peer does with it. Its size may be any.
const (
	udpEcho = 'e' // it comes back
	udpTake = 't' // is counted; the last of a burst is an echo
)

const udpWarmup = 50 * time.Millisecond

// measureUDP runs one path: round trips of each size, and the rate of the first.
func measureUDP(ctx context.Context, cfg UDPConfig, peer []string, path string) (m udpMeasured, err error) {
	plan, err := newUDPPlan(path, &cfg)
	if err != nil {
		return m, err
	}
	tick := tickRate()
	for _, size := range cfg.Sizes {
		row := RingRow{Table: RowRoundTrip, Path: path, SizeBytes: size}
		if err := withUDPPeer(ctx, cfg, peer, plan, size, func(e udpEnd, stop time.Time) error { return roundTrips(e, size, tick, stop, &row) }, &row); err != nil {
			return m, err
		}
		m.rows = append(m.rows, row)
	}
	row := RingRow{Table: RowFixedRate, Path: path, SizeBytes: cfg.Sizes[0]}
	if err := withUDPPeer(ctx, cfg, peer, plan, cfg.Sizes[0], func(e udpEnd, stop time.Time) error {
		return atRate(e, cfg.Sizes[0], cfg.Rate, tick, stop, &row)
	}, &row); err != nil {
		return m, err
	}
	m.rows = append(m.rows, row)
	if path == PathGoUDP || path == PathRawSpin {
		return m, nil // they lose what the other end does not take: a rate would say nothing
	}
	row = RingRow{Table: RowOneWay, Path: path, SizeBytes: cfg.Sizes[0]}
	err = withUDPPeer(ctx, cfg, peer, plan, cfg.Sizes[0], func(e udpEnd, stop time.Time) error {
		if f, ok := e.(*fireEnd); ok {
			m.fire = true
			m.gso, m.noGSO = f.port.Offload()
		}
		return oneWay(e, cfg.Sizes[0], stop, &row)
	}, &row)
	m.rows = append(m.rows, row)
	return m, err
}

// withUDPPeer runs a measurement on a thread of its own, against a new peer.
func withUDPPeer(ctx context.Context, cfg UDPConfig, peer []string, plan *udpPlan, size int, measure func(udpEnd, time.Time) error, row *RingRow) error {
	ctx, cancel := context.WithTimeout(ctx, 10*cfg.RoundTime+childStop)
	defer cancel()
	e, err := newUDPEnd(plan)
	if err != nil {
		return err
	}
	defer e.close()
	there := *plan
	there.To = e.at()
	c, err := startUDPPeer(ctx, peer, &there, size)
	if err != nil {
		return err
	}
	here := *plan
	here.To = c.at
	done := make(chan error, 1)
	var own threadCounts
	go func() { // a locked thread that is never unlocked ends with its goroutine
		done <- func() error {
			if err := pin(cfg.Cores[0]); err != nil {
				return err
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			if err := joinUDP(ctx, e, &here, true, size); err != nil {
				return err
			}
			calls := newCallCounter(nil)
			defer calls.close()
			before := calls.begin()
			err := measure(e, time.Now().Add(cfg.RoundTime+udpWarmup))
			own = calls.since(before)
			return err
		}()
	}()
	stop := context.AfterFunc(ctx, e.interrupt)
	err = <-done
	stop()
	count, cerr := c.end()
	if err = errors.Join(err, cerr); err == nil {
		row.counts(row.Counted, own, count.threadCounts)
	}
	return err
}

func joinUDP(ctx context.Context, e udpEnd, p *udpPlan, first bool, size int) error {
	switch e := e.(type) {
	case *goEnd:
		e.to = p.To
	case *rawEnd:
		e.to = p.To
	case *fireEnd:
		return e.join(p, first)
	case *quicEnd:
		e.size = size
		if first {
			return e.dial(ctx, p)
		}
		return e.serve(ctx, p)
	}
	return nil
}

// roundTrips sends a message when the last is back.
func roundTrips(e udpEnd, size int, tick float64, stop time.Time, row *RingRow) error {
	msg := make([]byte, size)
	msg[0] = udpEcho
	back := false
	var k uint64
	each := func(b []byte) {
		back = len(b) == size && (size < 16 || binary.LittleEndian.Uint64(b[8:]) == k)
	}
	warm := time.Now().Add(udpWarmup)
	measuring := false
	for {
		now := time.Now()
		if now.After(stop) {
			return nil
		}
		if !measuring && now.After(warm) {
			measuring = true
		}
		k++
		row.Counted++
		if size >= 16 {
			binary.LittleEndian.PutUint64(msg[8:], k)
		}
		began := ticks()
		back = false
		for !e.send(msg) {
			if err := e.turn(each); err != nil {
				return err
			}
		}
		e.flush()
		for looks := 0; !back; looks++ {
			if err := e.turn(each); err != nil {
				return err
			}
			if looks&0xfff == 0xfff && time.Now().After(stop.Add(childStop)) {
				return fmt.Errorf("message %d of %d bytes does not come back", k, size)
			}
		}
		if measuring || time.Now().After(warm) { // the latter: one that took all the time there was
			row.latency.record(int64(float64(ticks()-began) * tick))
			row.Messages++
		}
	}
}

// atRate sends each message when it is due, whatever became of those before it, or as soon
// after as the last is back: its time counts from when it was due (no coordinated omission).
// What was due before stop is sent after it, too; what even as long again is not enough for
// enters as long as it was waited for.
func atRate(e udpEnd, size, rate int, tick float64, stop time.Time, row *RingRow) error {
	msg := make([]byte, size)
	msg[0] = udpEcho
	back := false
	each := func(b []byte) { back = true }
	period := time.Second / time.Duration(rate)
	warm := time.Now().Add(udpWarmup)
	t0, c0 := time.Now(), ticks()
	for k := 0; ; k++ {
		due := time.Duration(k) * period
		if late := time.Now(); late.After(stop.Add(stop.Sub(t0))) {
			for ; !t0.Add(due).After(stop); due += period {
				row.latency.record(int64(late.Sub(t0) - due))
				row.Messages++
			}
			return nil
		}
		for time.Since(t0) < due { // nobody sleeps: how late a timer wakes is no part of the path
		}
		if t0.Add(due).After(stop) {
			return nil
		}
		back = false
		row.Counted++
		for !e.send(msg) {
			if err := e.turn(each); err != nil {
				return err
			}
		}
		e.flush()
		for looks := 0; !back; looks++ {
			if err := e.turn(each); err != nil {
				return err
			}
			if looks&0xfff == 0xfff && time.Now().After(stop.Add(childStop)) {
				return fmt.Errorf("message %d of %d bytes does not come back", k, size)
			}
		}
		if time.Now().After(warm) {
			row.latency.record(int64(float64(ticks()-c0)*tick) - int64(due))
			row.Messages++
		}
	}
}

// oneWay sends as fast as is taken, and ends with an echo of the last.
func oneWay(e udpEnd, size int, stop time.Time, row *RingRow) error {
	msg := make([]byte, size)
	msg[0] = udpTake
	each := func([]byte) {}
	began := time.Now()
	n := uint64(0)
	for time.Now().Before(stop) {
		for range 64 {
			for !e.send(msg) {
				e.flush()
				if err := e.turn(each); err != nil {
					return err
				}
			}
			n++
		}
		e.flush()
		if _, quic := e.(*quicEnd); quic {
			continue // its flow control waits in flush
		}
		if err := e.turn(each); err != nil {
			return err
		}
	}
	msg[0] = udpEcho
	back := false
	for !e.send(msg) {
		if err := e.turn(each); err != nil {
			return err
		}
	}
	e.flush()
	for !back {
		if err := e.turn(func([]byte) { back = true }); err != nil {
			return err
		}
		if time.Now().After(stop.Add(childStop)) {
			return errors.New("the last message does not come back")
		}
	}
	row.Messages, row.Counted = n, n+1 // the echo is the last
	row.PerSecond = float64(n) / time.Since(began).Seconds()
	return nil
}

// udpChild is the other process.
type udpChild struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	at      netip.AddrPort
	errText *tail
}

func startUDPPeer(ctx context.Context, peer []string, p *udpPlan, size int) (*udpChild, error) {
	c := &udpChild{errText: &tail{}}
	c.cmd = exec.CommandContext(ctx, peer[0], append(peer[1:], fmt.Sprint(size))...)
	c.cmd.Stderr, c.cmd.WaitDelay = c.errText, childStop
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	err = json.NewEncoder(c.in).Encode(p)
	if err == nil {
		err = json.NewDecoder(c.out).Decode(&c.at)
	}
	if err != nil {
		_, eerr := c.end()
		return nil, errors.Join(fmt.Errorf("the other process: %w", err), eerr)
	}
	return c, nil
}

// end stops the process by its standard input, and takes what it has counted.
func (c *udpChild) end() (n udpCount, err error) {
	c.in.Close()
	err = json.NewDecoder(c.out).Decode(&n)
	if werr := c.cmd.Wait(); werr != nil {
		return n, fmt.Errorf("the other process: %w: %s", werr, c.errText.text())
	}
	return n, err
}

// UDPPeer is the other process of RunUDP: it takes a plan from in, says where it listens,
// and answers until in ends.
func UDPPeer(ctx context.Context, in io.Reader, out io.Writer, size int) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no plan came; `fire bench udp` starts this with one: %w", err)
	}
	var p udpPlan
	if err := json.Unmarshal(line, &p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	for _, s := range p.Secrets {
		if len(s) != 32 {
			return errors.New("plan: a secret of another length")
		}
	}
	e, err := newUDPEnd(&p)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(e.at()); err != nil {
		return errors.Join(err, e.close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _, _ = io.Copy(io.Discard, lines); cancel(); e.interrupt() }()
	done := make(chan udpCount, 1)
	fail := make(chan error, 1)
	go func() {
		n, err := answerUDP(ctx, e, &p, size)
		fail <- err
		done <- n
	}()
	err = <-fail
	count := <-done
	if cerr := e.close(); err == nil && !errors.Is(cerr, net.ErrClosed) {
		err = cerr
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(count)
}

// answerUDP echoes until ctx ends.
func answerUDP(ctx context.Context, e udpEnd, p *udpPlan, size int) (n udpCount, err error) {
	if err := pin(p.Core); err != nil {
		return n, err
	}
	debug.SetGCPercent(-1)
	if err := joinUDP(ctx, e, p, false, size); err != nil {
		return n, err
	}
	calls := newCallCounter(nil)
	defer calls.close()
	before := calls.begin()
	each := func(b []byte) {
		n.Messages++
		if b[0] == udpEcho {
			for !e.send(b) {
				e.flush()
			}
			e.flush()
		}
	}
	for ctx.Err() == nil {
		if err := e.turn(each); err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) {
				return n, err
			}
			break
		}
	}
	n.threadCounts = calls.since(before)
	return n, nil
}
