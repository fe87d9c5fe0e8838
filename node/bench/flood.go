package bench

import (
	"context"
	"runtime"
	"time"

	"fire/transport/meter"
)

// flood is one fixed-rate measurement in progress. Message k is due at
// start + k*interval and goes over lane k modulo the lanes. One thread does all of it.
type flood struct {
	lanes    []*lane
	wait     *waiter
	start    time.Time
	interval time.Duration
	total    int // messages
	warm     int // the first of them are not counted

	due      int // messages that have fallen due
	answered int
	in       []byte

	x             sample
	latency, late *meter.Histogram
}

// lane is one connection of a flood. Messages of it are numbered lane, lane + lanes, ...
type lane struct {
	wire    *wire
	out     []byte // the message that is being written
	written int    // bytes of it
	next    int    // its number
	full    bool   // the socket takes no more; the waiter tells when it does

	back   []byte // the answer that is being read
	read   int    // bytes of it
	expect int    // its number
}

func fixedRate(ctx context.Context, address string, size int, cfg Config) (sample, error) {
	f := &flood{interval: time.Second / time.Duration(cfg.RatePerSecond), in: make([]byte, max(size, 64<<10)),
		latency: new(meter.Histogram), late: new(meter.Histogram)}
	f.warm = int(cfg.Warmup / f.interval)
	f.total = f.warm + max(int(cfg.RoundTime/f.interval), 1)
	defer f.close()
	var err error
	if f.wait, err = newWaiter(); err != nil {
		return sample{}, err
	}
	for n := range min(cfg.Connections, f.total) {
		w, err := dial(ctx, address)
		if err != nil {
			return sample{}, err
		}
		f.lanes = append(f.lanes, &lane{wire: w, out: newMessage(size), next: n, back: make([]byte, size), expect: n})
		if err := f.wait.add(w, n); err != nil {
			return sample{}, err
		}
	}
	defer context.AfterFunc(ctx, f.wait.stop)()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread's timer is changed
		sharpenTimer()
		done <- f.run()
	}()
	if err := <-done; err != nil {
		return sample{}, err
	}
	if ctx.Err() != nil {
		return sample{}, ctx.Err()
	}
	f.x.latency, f.x.late = f.latency.Snapshot(), f.late.Snapshot()
	f.x.counted, f.x.all = uint64(f.total-f.warm), uint64(f.total)
	return f.x, nil
}

func (f *flood) close() {
	for _, l := range f.lanes {
		l.wire.close()
	}
	if f.wait != nil {
		f.wait.close()
	}
}

// run returns when all messages are answered, or AnswerTimeout after the last one was
// due, or when it is stopped, or with the first error.
func (f *flood) run() error {
	f.start = time.Now().Add(time.Millisecond)
	end := f.dueAt(f.total-1) + AnswerTimeout
	for f.answered < f.total {
		now := time.Since(f.start)
		if now >= end {
			f.giveUp()
			return nil
		}
		if f.due < f.total && f.dueAt(f.due) <= now {
			if err := f.sendDue(now); err != nil {
				return err
			}
			continue
		}
		until := end
		if f.due < f.total {
			until = f.dueAt(f.due)
		}
		stopped, err := f.wait.ready(until-now, f.serve)
		if stopped || err != nil {
			return err
		}
	}
	return nil
}

// dueAt is counted from start.
func (f *flood) dueAt(k int) time.Duration { return time.Duration(k) * f.interval }

// sendDue writes the next message that is due. One whose connection is still full
// waits there, and its time runs.
func (f *flood) sendDue(now time.Duration) error {
	k := f.due
	f.due++
	if k >= f.warm {
		f.late.Record(now - f.dueAt(k))
	}
	l := f.lanes[k%len(f.lanes)]
	if l.full {
		return nil
	}
	return f.send(k%len(f.lanes), l)
}

// serve is told by the waiter what lane n can do.
func (f *flood) serve(n int, readable, writable bool) error {
	l := f.lanes[n]
	if writable && l.full {
		l.full = false
		if err := f.wait.want(l.wire, n, false); err != nil {
			return err
		}
		if err := f.send(n, l); err != nil {
			return err
		}
	}
	if readable {
		return f.receive(l)
	}
	return nil
}

// send writes what is due on l, as far as the socket takes it.
func (f *flood) send(n int, l *lane) error {
	for l.next < f.due {
		if l.written == 0 {
			number(l.out, uint64(l.next))
		}
		took, err := l.wire.offer(l.out[l.written:])
		if err != nil {
			return err
		}
		if l.written += took; l.written < len(l.out) {
			l.full = true
			return f.wait.want(l.wire, n, true)
		}
		l.written = 0
		l.next += len(f.lanes)
	}
	return nil
}

// receive takes what has come and counts each answer that is whole.
func (f *flood) receive(l *lane) error {
	n, err := l.wire.take(f.in)
	if err != nil {
		return err
	}
	now := time.Since(f.start)
	for in := f.in[:n]; len(in) > 0; {
		took := copy(l.back[l.read:], in)
		in = in[took:]
		if l.read += took; l.read < len(l.back) {
			break
		}
		l.read = 0
		if err := check(l.back, uint64(l.expect)); err != nil {
			return err
		}
		f.record(l.expect, now)
		f.answered++
		f.x.elapsed = now - f.dueAt(f.warm)
		l.expect += len(f.lanes)
	}
	return nil
}

func (f *flood) record(k int, now time.Duration) {
	if k < f.warm {
		return
	}
	d := now - f.dueAt(k)
	f.latency.Record(d)
	f.x.max = max(f.x.max, d)
}

// giveUp enters every answer that did not come as long as it was waited for.
func (f *flood) giveUp() {
	now := time.Since(f.start)
	for _, l := range f.lanes {
		for ; l.expect < f.total; l.expect += len(f.lanes) {
			if f.record(l.expect, now); l.expect >= f.warm {
				f.x.unanswered++
			}
		}
	}
}
