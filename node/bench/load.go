package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/meter"
)

// pingPong sends one message after the other over one connection.
func pingPong(ctx context.Context, address string, size int, warmup, length time.Duration) (sample, error) {
	w, err := dial(ctx, address)
	if err != nil {
		return sample{}, err
	}
	defer w.close()
	defer context.AfterFunc(ctx, w.shut)()
	// A locked thread that is never unlocked ends with its goroutine, so a blocking
	// read here costs no hand-over between Go's threads.
	type outcome struct {
		x   sample
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread()
		x, err := pingPongLoop(w, size, warmup, length)
		done <- outcome{x, err}
	}()
	o := <-done
	if ctx.Err() != nil {
		return o.x, ctx.Err()
	}
	return o.x, o.err
}

func pingPongLoop(w *wire, size int, warmup, length time.Duration) (sample, error) {
	var x sample
	hist := new(meter.Histogram)
	out, back := newMessage(size), make([]byte, size)
	start := time.Now()
	for {
		t0 := time.Now()
		if t0.Sub(start) >= warmup+length {
			break
		}
		number(out, x.all)
		if err := w.write(out); err != nil {
			return x, err
		}
		if err := w.readFull(back); err != nil {
			return x, err
		}
		if err := check(back, x.all); err != nil {
			return x, err
		}
		d := time.Since(t0)
		x.all++
		if t0.Sub(start) >= warmup {
			hist.Record(d)
			x.max = max(x.max, d)
			x.counted++
		}
	}
	x.elapsed = time.Since(start) - warmup
	x.latency = hist.Snapshot()
	return x, nil
}

// flood is one fixed-rate measurement in progress. Message k is due at
// start + k*interval and goes over connection k modulo the connections.
type flood struct {
	// constant
	wires    []*wire
	size     int
	start    time.Time
	interval time.Duration
	total    int // messages
	warm     int // the first of them are not counted

	// atomic
	max        atomic.Int64 // nanoseconds
	lastAnswer atomic.Int64 // nanoseconds after start
	unanswered atomic.Uint64

	latency meter.Histogram
	late    meter.Histogram
}

func fixedRate(ctx context.Context, address string, size int, cfg Config) (sample, error) {
	f := &flood{size: size, interval: time.Second / time.Duration(cfg.RatePerSecond)}
	f.warm = int(cfg.Warmup / f.interval)
	f.total = f.warm + max(int(cfg.RoundTime/f.interval), 1)
	defer func() {
		for _, w := range f.wires {
			w.close()
		}
	}()
	for range min(cfg.Connections, f.total) {
		w, err := dial(ctx, address)
		if err != nil {
			return sample{}, err
		}
		f.wires = append(f.wires, w)
	}
	if err := f.run(ctx); err != nil {
		return sample{}, err
	}
	return sample{
		latency: f.latency.Snapshot(), late: f.late.Snapshot(), max: time.Duration(f.max.Load()),
		counted: uint64(f.total - f.warm), all: uint64(f.total), unanswered: f.unanswered.Load(),
		elapsed: time.Duration(f.lastAnswer.Load()) - time.Duration(f.warm)*f.interval,
	}, nil
}

// run returns when all messages are answered, or AnswerTimeout after the last one
// was due, or with the first error.
func (f *flood) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	defer context.AfterFunc(ctx, f.shut)()
	f.start = time.Now().Add(2 * time.Millisecond) // every thread is up by then
	var readers sync.WaitGroup
	for c := range f.wires {
		readers.Go(func() {
			runtime.LockOSThread()
			if err := f.receive(c); err != nil {
				cancel(err)
			}
		})
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		runtime.LockOSThread()
		if err := f.send(ctx); err != nil {
			cancel(err)
		}
	})
	last := f.due(f.total - 1)
	patience := time.AfterFunc(time.Until(last)+AnswerTimeout, f.shut)
	defer patience.Stop()
	sender.Wait()
	readers.Wait()
	return context.Cause(ctx)
}

func (f *flood) due(k int) time.Time { return f.start.Add(time.Duration(k) * f.interval) }

func (f *flood) shut() {
	for _, w := range f.wires {
		w.shut()
	}
}

// send writes each message when it is due, or at once when that has passed.
func (f *flood) send(ctx context.Context) error {
	sharpenTimer()
	msg := newMessage(f.size)
	for k := range f.total {
		due := f.due(k)
		sleepUntil(due)
		if ctx.Err() != nil {
			return nil // whoever cancelled has said why
		}
		if k >= f.warm {
			f.late.Record(time.Since(due))
		}
		number(msg, uint64(k))
		if err := f.wires[k%len(f.wires)].write(msg); err != nil {
			if time.Since(f.due(f.total-1)) >= AnswerTimeout {
				return nil // the readers count what is missing
			}
			return err
		}
	}
	return nil
}

// receive reads every answer of connection c. An answer that does not come until the
// connection is shut enters as long as it was waited for.
func (f *flood) receive(c int) error {
	buf := make([]byte, f.size)
	for k := c; k < f.total; k += len(f.wires) {
		if err := f.wires[c].readFull(buf); err != nil {
			if time.Since(f.due(f.total-1)) < AnswerTimeout {
				return err
			}
			f.giveUp(c, k)
			return nil
		}
		if err := check(buf, uint64(k)); err != nil {
			return err
		}
		now := time.Now()
		f.record(k, now.Sub(f.due(k)))
		raise(&f.lastAnswer, int64(now.Sub(f.start)))
	}
	return nil
}

func (f *flood) giveUp(c, from int) {
	for k := from; k < f.total; k += len(f.wires) {
		f.record(k, time.Since(f.due(k)))
		if k >= f.warm {
			f.unanswered.Add(1)
		}
	}
}

func (f *flood) record(k int, d time.Duration) {
	if k < f.warm {
		return
	}
	f.latency.Record(d)
	raise(&f.max, int64(d))
}

// raise makes v at least n.
func raise(v *atomic.Int64, n int64) {
	for {
		old := v.Load()
		if n <= old || v.CompareAndSwap(old, n) {
			return
		}
	}
}

// newMessage makes a message of a pattern that no number hides in.
func newMessage(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + 13)
	}
	return b
}

func number(msg []byte, n uint64) {
	binary.LittleEndian.PutUint64(msg, n)
	binary.LittleEndian.PutUint64(msg[len(msg)-8:], ^n)
}

func check(msg []byte, want uint64) error {
	head, tail := binary.LittleEndian.Uint64(msg), ^binary.LittleEndian.Uint64(msg[len(msg)-8:])
	if head != want || tail != want {
		return fmt.Errorf("the echo of message %d came back as %d to %d: the path changes bytes or their order", want, head, tail)
	}
	return nil
}
