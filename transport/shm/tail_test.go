package shm

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// A tail sees what a lane's reader saw, message by message, or says exactly what it missed,
// while the writer goes on and the lane's reader makes room.
func TestTailOfALaneSeesAllOrSaysWhatItMissed(t *testing.T) {
	const messages, most = 200_000, 200
	c := newChannel(t, Lane, 256)
	r, _ := c.reader(0)
	tail, err := OpenTail(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := uint64(0); k < messages; {
			if c.w.Offer(uint16(k), message(k, most)) == Sent {
				k++
			} else {
				r.Poll(1<<20, func(uint16, []byte) {})
			}
		}
	}()
	next, missed, seen := uint64(0), uint64(0), uint64(0)
	rng := rand.New(rand.NewPCG(1, 2))
	for next < messages {
		written := false
		select {
		case <-done:
			written = true
		default:
		}
		n, gap, err := tail.Poll(1+rng.IntN(300), func(k uint64, typ uint16, p []byte) {
			if k != next || number(t, p, most) != k || typ != uint16(k) {
				t.Fatalf("message %d of type %d where %d was next", k, typ, next)
			}
			next++
			seen++
		})
		if err != nil {
			t.Fatal(err)
		}
		if gap != (Gap{}) {
			if gap.First != next || gap.Last < gap.First || gap.Last >= messages {
				t.Fatalf("gap %v where %d was next", gap, next)
			}
			missed += gap.Last - gap.First + 1
			next = gap.Last + 1
		}
		if tail.Next() != next {
			t.Fatalf("the next is %d, and said to be %d", next, tail.Next())
		}
		if written && n == 0 && gap == (Gap{}) {
			t.Fatalf("nothing more after %d", next)
		}
	}
	if seen+missed != messages || seen == 0 {
		t.Errorf("%d seen, %d missed of %d", seen, missed, messages)
	}
	if lag := tail.LagLines(); lag != 0 {
		t.Errorf("%d lines behind at the end", lag)
	}
	t.Logf("%d seen, %d missed", seen, missed)
}

func TestTailOfAFastLaneIsLappedExactly(t *testing.T) {
	c := newChannel(t, Lane, 64)
	r, _ := c.reader(0)
	tail, err := OpenTail(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for k := range uint64(1000) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], k)
		if c.w.Offer(1, b[:]) != Sent {
			t.Fatal(k)
		}
		r.Poll(9, func(uint16, []byte) {})
	}
	_, gap, err := tail.Poll(9, nil)
	if err != nil || gap.First != 0 || gap.Last < 900 {
		t.Fatalf("%v, %v", gap, err)
	}
	late, err := OpenTail(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if late.Next() != gap.Last+1 {
		t.Errorf("a late tail begins at %d, the mark is at %d", late.Next(), gap.Last+1)
	}
	late.FromStart()
	if _, g, err := late.Poll(9, nil); err != nil || g != gap {
		t.Errorf("from the start: %v, %v", g, err)
	}
	next := gap.Last + 1
	for next < 1000 {
		if n, gap, err := tail.Poll(100, func(k uint64, _ uint16, p []byte) {
			if k != next || binary.LittleEndian.Uint64(p) != k {
				t.Fatalf("%d holds %d, want %d", k, binary.LittleEndian.Uint64(p), next)
			}
			next++
		}); n == 0 || gap != (Gap{}) || err != nil {
			t.Fatal(n, gap, err)
		}
	}
}

func TestNobodyWaitsForATail(t *testing.T) {
	c := newChannel(t, Broadcast, 64)
	tail, err := OpenTail(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if got := testing.AllocsPerRun(1000, func() {
		if c.w.Offer(1, []byte("x")) != Sent {
			t.Fatal("refused")
		}
		tail.Poll(1, func(uint64, uint16, []byte) {})
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestViewsReadWhatBothEndsCount(t *testing.T) {
	c := newChannel(t, Lane, 64)
	f, err := CreateCursor("md", c.spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := OpenReader(c.data, f, c.gate.File())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := OpenCursorView(f, c.spec.Epoch); err == nil {
		t.Error("a cursor that is not sealed is looked at")
	}
	if err := Seal(f); err != nil {
		t.Fatal(err)
	}
	if _, err := c.w.AddReader(f); err != nil {
		t.Fatal(err)
	}
	v, err := OpenView(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	cv, err := OpenCursorView(f, c.spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	defer cv.Close()
	for c.w.Offer(1, make([]byte, 100)) == Sent {
	}
	if s := v.Stat(); s != (WriterStat{Messages: 32, Bytes: 3200, Full: 1, Position: 64}) {
		t.Errorf("%+v", s)
	}
	r.Poll(10, func(uint16, []byte) {})
	s := cv.Stat()
	if s.Position != 20 || s.Messages != 10 || s.Bytes != 1000 || s.Latency.Count() != 1 {
		t.Errorf("%+v", s)
	}
	if n := v.Unread(s.Position); n != 22 {
		t.Errorf("%d messages unread, want 22", n)
	}
	if q := s.Latency.Quantile(0.5); q <= 0 || s.Latency.Quantile(0) != q || s.Latency.Quantile(1) != q {
		t.Errorf("one sample has quantile %v", q)
	}
	var none Latency
	if none.Quantile(0.99) != 0 {
		t.Error("no sample has a quantile")
	}
	two := Latency{6: 90, 10: 10}
	if two.Quantile(0.5) != 127 || two.Quantile(0.95) != 2047 {
		t.Error(two.Quantile(0.5), two.Quantile(0.95))
	}
	if i := v.Info(); i.Name != "md-nyse" || i.Epoch != 7 || i.Lines != 64 {
		t.Errorf("%+v", i)
	}
}
