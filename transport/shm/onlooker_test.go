package shm

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// hostileTail is hostileWriter for those who only look on: a tail reads a lane, too, as a
// broadcast's reader does, and a view asks for its counters.
func hostileTail(t *testing.T, d Discipline, seed uint64, steps int) {
	c := newChannel(t, d, linesMin)
	tail, err := OpenTail(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	v, err := OpenView(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s := &scribbler{c.w.ring.b, rand.New(rand.NewPCG(seed, uint64(d)))}
	last := tail.Next()
	for range steps {
		for range s.rng.IntN(4) {
			c.w.Offer(uint16(s.rng.Uint32()), make([]byte, s.rng.IntN(900)))
		}
		at := dataHeadBytes + int(tail.reader.pos&tail.reader.ring.mask)*lineBytes
		s.scribble(at, at, at, offMark, offMarks, offIntent, offSampled, offMagic, offLines, offWritten)
		n, gap, err := tail.Poll(100, func(k uint64, _ uint16, p []byte) {
			if len(p) > MessageMax || len(p) > linesMin*lineBytes {
				t.Fatalf("a message of %d bytes from a ring of %d", len(p), linesMin*lineBytes)
			}
			if k < last {
				t.Fatalf("message %d after %d", k, last)
			}
			last = k
		})
		if n > 100 || gap.Last < gap.First {
			t.Fatalf("%d messages where 100 were asked for, gap %+v", n, gap)
		}
		tail.LagLines()
		v.Stat()
		if n := v.Unread(s.rng.Uint64() & s.rng.Uint64()); n > linesMin {
			t.Fatalf("%d messages in %d lines", n, linesMin)
		}
		if errors.Is(err, ErrCorrupt) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestHostileWriterCannotHarmThoseWhoLookOn(t *testing.T) {
	for seed := range uint64(200) {
		hostileTail(t, Lane, seed, 50)
		hostileTail(t, Broadcast, seed, 50)
	}
}

func FuzzTailOfAnyMemory(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x01\x00"), uint16(dataHeadBytes+offLength), true)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), uint16(offMarks), false)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"), uint16(offIntent), true)
	f.Fuzz(func(t *testing.T, junk []byte, at uint16, lane bool) {
		d := Broadcast
		if lane {
			d = Lane
		}
		c := newChannel(t, d, linesMin)
		tail, err := OpenTail(c.data)
		if err != nil {
			t.Fatal(err)
		}
		defer tail.Close()
		for range 5 {
			c.w.Offer(3, []byte("a message of an honest time"))
		}
		if int(at) < len(c.w.ring.b) {
			copy(c.w.ring.b[at:], junk)
		}
		for range 10 {
			if _, gap, err := tail.Poll(50, func(_ uint64, _ uint16, p []byte) { _ = string(p) }); err != nil || gap.Last < gap.First {
				return
			}
		}
	})
}

// TestTurningMarksThatLeadNowhereEndTheTail forges a lap, and turns the marks while the tail
// looks for where to go on: a Poll ends, and says so.
func TestTurningMarksThatLeadNowhereEndTheTail(t *testing.T) {
	if raceDetector {
		t.Skip("the race is the point")
	}
	c := newChannel(t, Lane, linesMin)
	tail, err := OpenTail(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for !stop.Load() {
			c.w.ring.store(offMark, c.w.ring.load(offMark)+1)
			c.w.ring.store(offIntent, ^uint64(0)>>1)
		}
	})
	for limit := time.Now().Add(20 * time.Second); err == nil; {
		if time.Now().After(limit) {
			t.Error("the tail goes on for ever")
			break
		}
		_, _, err = tail.Poll(10, func(uint64, uint16, []byte) {})
	}
	stop.Store(true)
	writer.Wait()
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

// TestUnreadEndsBesideAWriterThatRespectsNoCursor counts just behind a writer that goes on
// regardless: nobody who counts may be led on round after round.
func TestUnreadEndsBesideAWriterThatRespectsNoCursor(t *testing.T) {
	if raceDetector {
		t.Skip("the race is the point")
	}
	c := newChannel(t, Lane, linesMin)
	v, err := OpenView(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var at atomic.Uint64
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		ring := c.w.ring
		for pos := uint64(0); !stop.Load(); pos++ {
			line := ring.line(pos)
			atomic.StoreUint64((*uint64)(unsafe.Add(line, offLength)), 1)
			atomic.StoreUint64((*uint64)(line), pos+ring.key1)
			at.Store(pos)
		}
	})
	most, tries := uint64(0), 0
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); tries++ {
		p := at.Load()
		most = max(most, v.Unread(p-min(p, linesMin/2)))
	}
	stop.Store(true)
	writer.Wait()
	t.Logf("at most %d messages counted in %d tries", most, tries)
	if most > linesMin {
		t.Errorf("%d messages, the ring holds %d", most, linesMin)
	}
}
