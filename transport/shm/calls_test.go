package shm

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// pair is a client and a server over two lanes.
type pair struct {
	to, back *channel
	calls    *Calls
	served   *Served
}

func newPair(t testing.TB, lines uint64, most int) *pair {
	t.Helper()
	x := &pair{to: newChannel(t, Lane, lines), back: newChannel(t, Lane, lines)}
	toReader, _ := x.to.reader(0)
	backReader, _ := x.back.reader(0)
	var err1, err2 error
	x.calls, err1 = NewCalls(x.to.w, backReader, most)
	x.served, err2 = NewServed(toReader, x.back.w)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestAnswersFindTheirCallsInAnyOrder(t *testing.T) {
	x := newPair(t, 256, 32)
	var server sync.WaitGroup
	stop := make(chan struct{})
	server.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		type held struct {
			id   uint64
			body []byte
		}
		var have []held
		for {
			select {
			case <-stop:
				return
			default:
			}
			x.served.Poll(8, func(id uint64, typ uint16, b []byte) { have = append(have, held{id, slices.Clone(b)}) })
			if len(have) > 0 {
				i := rng.IntN(len(have))
				if x.served.Answer(have[i].id, 2, have[i].body) == Sent {
					have = slices.Delete(have, i, i+1)
				}
			}
			x.served.Wait(SpinYield())
		}
	})
	const total = 20_000
	answered := make([]bool, total)
	got := 0
	limit := time.Now().Add(20 * time.Second)
	for next := uint64(0); got < total; {
		if next < total {
			var b [16]byte
			binary.LittleEndian.PutUint64(b[:], next*3)
			switch res := x.calls.Call(1, b[:], time.Minute, next); res {
			case Sent:
				next++
			case Busy, Full:
			default:
				t.Fatal(res)
			}
		}
		n, err := x.calls.Poll(8, func(o Outcome) {
			if o.Kind != Answered || o.Type != 2 || len(o.Body) != 16 || binary.LittleEndian.Uint64(o.Body) != o.Tag*3 || answered[o.Tag] {
				t.Fatalf("%+v", o)
			}
			answered[o.Tag] = true
		})
		got += n
		if err != nil || time.Now().After(limit) {
			t.Fatal(got, err)
		}
	}
	close(stop)
	server.Wait()
	if x.calls.InFlight() != 0 || x.calls.Late() != 0 {
		t.Error(x.calls.InFlight(), x.calls.Late())
	}
}

func TestCallsInFlightAreBounded(t *testing.T) {
	x := newPair(t, 64, 3)
	for range 3 {
		if res := x.calls.Call(1, nil, time.Minute, 0); res != Sent {
			t.Fatal(res)
		}
	}
	if res := x.calls.Call(1, nil, time.Minute, 0); res != Busy || res.String() != "busy" {
		t.Error(res)
	}
	big := newPair(t, 64, 100)
	for res := Sent; res != Full; {
		if res = big.calls.Call(1, nil, time.Minute, 0); res != Sent && res != Full {
			t.Fatal(res)
		}
	}
	if big.calls.InFlight() != 64 {
		t.Errorf("%d calls in 64 lines; one that was refused may not count", big.calls.InFlight())
	}
	for _, most := range []int{0, -1, CallsMax + 1} {
		if _, err := NewCalls(x.to.w, x.calls.in, most); err == nil {
			t.Errorf("%d calls in flight are allowed", most)
		}
	}
	if res := x.calls.Call(1, make([]byte, CallBytesMax+1), 0, 0); res != Busy {
		t.Error(res)
	}
}

func TestCallExpiresOnceAndItsLateAnswerIsDropped(t *testing.T) {
	x := newPair(t, 64, 4)
	x.calls.Call(1, []byte("slow"), time.Millisecond, 1)
	x.calls.Call(1, []byte("patient"), 1<<63-1, 2)
	var ids []uint64
	x.served.Poll(9, func(id uint64, _ uint16, _ []byte) { ids = append(ids, id) })
	var got []Outcome
	each := func(o Outcome) { o.Body = nil; got = append(got, o) }
	begun := time.Now()
	for len(got) == 0 && time.Since(begun) < 10*time.Second {
		x.calls.Wait(Strategy{Sleep: 20 * time.Second}) // ends by the deadline
		if _, err := x.calls.Poll(9, each); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.EqualFunc(got, []Outcome{{Tag: 1, Kind: Expired}}, same) {
		t.Fatalf("%+v", got)
	}
	x.calls.Call(1, []byte("next"), time.Hour, 3) // takes the slot of the first
	for _, id := range []uint64{ids[0], ids[1], ids[1], 0, ^uint64(0), 1 << callSlots} {
		x.served.Answer(id, 7, nil)
	}
	x.back.w.Offer(7, []byte("short"))
	got = nil
	if n, err := x.calls.Poll(99, each); n != 1 || err != nil || !slices.EqualFunc(got, []Outcome{{Tag: 2, Type: 7}}, same) {
		t.Errorf("%d, %v, %+v", n, err, got)
	}
	if x.calls.Late() != 6 || x.calls.InFlight() != 1 {
		t.Errorf("%d late, %d in flight", x.calls.Late(), x.calls.InFlight())
	}
	if n := x.calls.out.Position(); n != 3 {
		t.Errorf("%d messages on the lane: a call is never sent again", n)
	}
}

func same(a, b Outcome) bool { return a.Tag == b.Tag && a.Kind == b.Kind && a.Type == b.Type }

func TestEndOfThePairSeversEveryCallOnce(t *testing.T) {
	x := newPair(t, 64, 4)
	for tag := range uint64(3) {
		x.calls.Call(1, nil, time.Hour, tag)
	}
	x.served.Poll(1, func(id uint64, _ uint16, _ []byte) { x.served.Answer(id, 1, nil) })
	x.back.gate.Set(Orphaned, 9)
	var answered, severed int
	var err error
	for range 3 {
		if _, err = x.calls.Poll(9, func(o Outcome) {
			switch o.Kind {
			case Answered:
				answered++
			case Severed:
				severed++
				if res := x.calls.Call(1, nil, time.Hour, 9); res != Shut {
					t.Errorf("a call on a pair that is over: %v", res)
				}
			}
		}); err != nil {
			break
		}
	}
	var shut *ShutError
	if !errors.As(err, &shut) || answered != 1 || severed != 2 || x.calls.InFlight() != 0 {
		t.Errorf("%v, %d answered, %d severed", err, answered, severed)
	}
	if n, again := x.calls.Poll(9, func(Outcome) { t.Error("an outcome after the end") }); n != 0 || again != err {
		t.Error(n, again)
	}
}

func TestCallMadeByAnOutcomeIsNotExpiredWithIt(t *testing.T) {
	x := newPair(t, 64, 2)
	x.calls.Call(1, nil, -time.Second, 1)
	made := 0
	n, err := x.calls.Poll(9, func(o Outcome) {
		if made++; made > 5 {
			t.Fatal("calls of the function end in the same Poll")
		}
		if res := x.calls.Call(1, nil, 0, o.Tag+1); res != Sent {
			t.Fatal(res)
		}
	})
	if n != 1 || err != nil || x.calls.InFlight() != 1 {
		t.Error(n, err, x.calls.InFlight())
	}
}

func TestMalformedCallsAreDroppedAndCounted(t *testing.T) {
	x := newPair(t, 64, 2)
	x.to.w.Offer(1, []byte("seven b"))
	x.calls.Call(5, []byte("good"), time.Hour, 0)
	n, err := x.served.Poll(9, func(_ uint64, typ uint16, b []byte) {
		if typ != 5 || string(b) != "good" {
			t.Errorf("%d %q", typ, b)
		}
	})
	if n != 1 || err != nil || x.served.Malformed() != 1 {
		t.Error(n, err, x.served.Malformed())
	}
	feed := newChannel(t, Broadcast, 64)
	r, _ := feed.reader(0)
	if _, err := NewCalls(feed.w, x.calls.in, 1); err == nil {
		t.Error("a broadcast carries calls")
	}
	if _, err := NewServed(r, x.back.w); err == nil {
		t.Error("a broadcast carries calls")
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	x := newPair(t, 64, 8)
	body := make([]byte, 40)
	answer := func(id uint64, typ uint16, b []byte) { x.served.Answer(id, typ, b) }
	outcome := func(Outcome) {}
	if n := testing.AllocsPerRun(1000, func() {
		x.calls.Call(1, body, time.Hour, 1)
		x.served.Poll(9, answer)
		x.calls.Poll(9, outcome)
		x.calls.Call(1, body, -1, 1)
		x.calls.Poll(9, outcome)
		x.served.Poll(9, answer)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAnswersOfAnybody(f *testing.F) {
	f.Add([]byte{}, uint8(3))
	f.Add([]byte{0, 0, 1, 0, 0, 0, 0, 0, 9}, uint8(1))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255}, uint8(200))
	f.Fuzz(func(t *testing.T, answer []byte, calls uint8) {
		x := newPair(t, 256, 4)
		for tag := range uint64(calls % 8) {
			x.calls.Call(1, nil, time.Hour, tag)
		}
		before := x.calls.InFlight()
		x.back.w.Offer(1, answer)
		x.back.w.Offer(1, answer)
		n, err := x.calls.Poll(9, func(o Outcome) {
			if o.Tag >= uint64(calls%8) {
				t.Fatalf("%+v", o)
			}
		})
		if err != nil || n > 1 || uint64(n)+x.calls.Late() != 2 && len(answer) <= 4000 || x.calls.InFlight() != before-n {
			t.Fatal(n, err, x.calls.Late())
		}
	})
}

func BenchmarkCall(b *testing.B) {
	x := newPair(b, 4096, 64)
	body := make([]byte, 40)
	answer := func(id uint64, typ uint16, p []byte) { x.served.Answer(id, typ, p) }
	outcome := func(Outcome) {}
	b.ReportAllocs()
	for b.Loop() {
		x.calls.Call(1, body, time.Hour, 1)
		x.served.Poll(9, answer)
		x.calls.Poll(9, outcome)
	}
}
