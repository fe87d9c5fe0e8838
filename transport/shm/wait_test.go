package shm

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// lanes are n rings with one reader each.
func lanes(t *testing.T, n int) (channels []*channel, readers []*Reader) {
	t.Helper()
	for range n {
		c := newChannel(t, Lane, linesMin)
		r, _ := c.reader(0)
		channels, readers = append(channels, c), append(readers, r)
	}
	return channels, readers
}

// waiting is a Wait of many seconds on a goroutine of its own: it ends by what is said to
// it, or the test fails.
func waiting(t *testing.T, wait func(Strategy) bool, asleep func() bool, say func()) bool {
	t.Helper()
	done := make(chan bool, 1)
	go func() { done <- wait(Strategy{Sleep: 30 * time.Second}) }()
	late := time.After(15 * time.Second)
	for !asleep() {
		select {
		case <-late:
			t.Fatal("it does not fall asleep")
		case <-time.After(100 * time.Microsecond):
		}
	}
	say()
	select {
	case ready := <-done:
		return ready
	case <-late:
		t.Fatal("nothing wakes it")
		return false
	}
}

func asleepOf(readers ...*Reader) func() bool {
	return func() bool {
		return !slices.ContainsFunc(readers, func(r *Reader) bool { return atomic.LoadUint32(r.own.half(offAsleep)) == 0 })
	}
}

func TestSleeperOfManyRingsIsWokenByAnyOfThem(t *testing.T) {
	channels, readers := lanes(t, 5)
	w := NewWaiter()
	for i := range 50 {
		c, r := channels[i%5], readers[i%5]
		wait := func(s Strategy) bool { return w.Wait(readers, s) }
		if !waiting(t, wait, asleepOf(readers...), func() { c.w.Offer(1, []byte("x")) }) {
			t.Fatalf("round %d: woken without being ready", i)
		}
		if n, _, err := r.Poll(9, func(uint16, []byte) {}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if asleepOf(readers...)() {
			t.Fatal("awake, and still said to be asleep")
		}
	}
	if w.single {
		t.Log("this kernel has no futex_waitv: each wait was one of a millisecond")
	}
}

func TestShutGateWakesWhoSleeps(t *testing.T) {
	for _, s := range []State{Revoked, Closed, Orphaned} {
		channels, readers := lanes(t, 3)
		many := func(s Strategy) bool { return NewWaiter().Wait(readers[1:], s) }
		if !waiting(t, readers[0].Wait, asleepOf(readers[0]), func() { channels[0].gate.Set(s, 1) }) {
			t.Errorf("state %d: one reader is woken and not ready", s)
		}
		if !waiting(t, many, asleepOf(readers[1:]...), func() { channels[2].gate.Set(s, 1) }) {
			t.Errorf("state %d: several are woken and not ready", s)
		}
	}
}

func TestOwnShutAndReplacedGateWakeWhoSleeps(t *testing.T) {
	channels, readers := lanes(t, 2)
	if !waiting(t, readers[0].Wait, asleepOf(readers[0]), func() { readers[0].Shut(Closed, 1) }) {
		t.Error("not ready after its own end")
	}
	shut, err := CreateGate("next", channels[1].spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	defer shut.Close()
	shut.Set(Revoked, 3)
	if !waiting(t, readers[1].Wait, asleepOf(readers[1]), func() { readers[1].ReplaceGate(shut.File()) }) {
		t.Error("not ready behind a gate that is shut")
	}
}

func TestNudgeEndsAWaitAndIsNotLostBeforeOne(t *testing.T) {
	_, readers := lanes(t, 2)
	w := NewWaiter()
	wait := func(s Strategy) bool { return w.Wait(readers, s) }
	if waiting(t, wait, asleepOf(readers...), w.Nudge) || waiting(t, readers[0].Wait, asleepOf(readers[0]), readers[0].Nudge) {
		t.Error("ready, and nothing is there")
	}
	w.Nudge()
	begun := time.Now()
	if wait(Strategy{Sleep: 20 * time.Second}) || time.Since(begun) > 10*time.Second {
		t.Errorf("a nudge before the wait is lost: %v", time.Since(begun))
	}
	none := func(s Strategy) bool { return w.Wait(nil, s) }
	begun = time.Now()
	if none(Strategy{Spins: 10, Yields: 1, Sleep: 2 * time.Millisecond}) || time.Since(begun) > 10*time.Second {
		t.Error("nothing to wait for is ready, or waited for without end")
	}
}

// TestWaitWithoutFutexWaitvStillHearsEverything takes the way of a kernel before 5.16.
func TestWaitWithoutFutexWaitvStillHearsEverything(t *testing.T) {
	channels, readers := lanes(t, 3)
	w := NewWaiter()
	w.single, readers[2].waiter.single = true, true
	until := func(wait func(Strategy) bool) func(Strategy) bool {
		return func(s Strategy) bool {
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				if wait(s) {
					return true
				}
			}
			return false
		}
	}
	many := until(func(s Strategy) bool { return w.Wait(readers[:2], s) })
	if !waiting(t, many, asleepOf(readers[:2]...), func() { channels[1].w.Offer(1, nil) }) {
		t.Error("the second of two is not heard")
	}
	if !waiting(t, until(readers[2].Wait), asleepOf(readers[2]), func() { channels[2].gate.Set(Closed, 1) }) {
		t.Error("a shut gate is not heard")
	}
}

func TestMoreReadersThanTheKernelWaitsForAreAllHeard(t *testing.T) {
	channels, readers := lanes(t, WaiterReadersMax+3)
	w := NewWaiter()
	got := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(10 * time.Second); !got && time.Now().Before(end); {
			got = w.Wait(readers, Strategy{Sleep: 20 * time.Second})
		}
	}()
	time.Sleep(3 * time.Millisecond)
	channels[len(channels)-1].w.Offer(1, nil)
	<-done
	if !got {
		t.Error("the last one is not heard")
	}
}

func TestSleepingAllocatesNothing(t *testing.T) {
	_, readers := lanes(t, 3)
	w := NewWaiter()
	for _, single := range []bool{false, true} {
		w.single, readers[0].waiter.single = single, single
		if n := testing.AllocsPerRun(5, func() {
			w.Wait(readers, Strategy{Sleep: time.Millisecond})
			readers[0].Wait(Strategy{Sleep: time.Millisecond})
		}); n != 0 {
			t.Errorf("single %v: %v allocations", single, n)
		}
	}
}
