package shm

import (
	"sync/atomic"
	"testing"
)

// The writing goroutine may be looking at a reader that is being removed. What it looks at is
// closed only behind two more messages; the race detector holds that against the code.
func TestReaderMayBeForgottenWhileTheWriterWakesIt(t *testing.T) {
	c := newChannel(t, Broadcast, linesMin)
	d, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var stop atomic.Bool
	var published atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			c.w.Offer(1, []byte("x"))
			published.Add(1)
		}
	}()
	defer func() { stop.Store(true); <-done }()
	for range 200 {
		f, err := CreateCursor(c.spec.Name, c.spec.Epoch, 0)
		if err != nil {
			t.Fatal(err)
		}
		m, err := openCursor(f, true, c.spec.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		atomic.StoreUint32(m.half(offAsleep), 1) // for good: it is woken after each message
		if err := Seal(f); err != nil {
			t.Fatal(err)
		}
		p, err := c.w.AddReaderWithDoorbell(f, d.Button())
		if err != nil {
			t.Fatal(err)
		}
		for from := published.Load(); published.Load() < from+3; {
		}
		c.w.RemoveReader(p)
		m.unmap()
		f.Close()
		d.quiet()
	}
	if n := c.w.Readers(); n != 0 {
		t.Errorf("%d readers are left", n)
	}
	if c.w.ring.load(offWritten+8*countBells) == 0 {
		t.Error("nobody was woken")
	}
}
