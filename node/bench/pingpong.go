package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
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
	// A locked thread that is never unlocked ends with its goroutine.
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
