package shm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLayoutHashIsThatOfTheText(t *testing.T) {
	sum := sha256.Sum256([]byte(LayoutText))
	if got := binary.LittleEndian.Uint64(sum[:]); got != layoutHash {
		t.Fatalf("the text has %#016x", got)
	}
}

func TestLaneCarriesEveryMessageOnceInOrder(t *testing.T) {
	c := newChannel(t, Lane, 256)
	r, _ := c.reader(0)
	const total, most = 20_000, 700
	var reader sync.WaitGroup
	reader.Go(func() {
		next := uint64(0)
		for next < total {
			_, _, err := r.Poll(64, func(typ uint16, p []byte) {
				if k := number(t, p, most); k != next || typ != uint16(k) {
					t.Errorf("message %d of type %d where %d was due", k, typ, next)
				}
				next++
			})
			if err != nil {
				t.Error(err)
				return
			}
			r.Wait(Adaptive())
		}
	})
	for k := uint64(0); k < total; {
		switch res := c.w.Offer(uint16(k), message(k, most)); res {
		case Sent:
			k++
		case Full:
			time.Sleep(time.Microsecond)
		default:
			t.Fatal(res)
		}
	}
	reader.Wait()
}

func TestFullLaneTakesNothingAndBlocksNobody(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	r, _ := c.reader(0)
	sent := uint64(0)
	for c.w.Offer(1, []byte("order")) == Sent {
		sent++
	}
	if sent != linesMin {
		t.Fatalf("%d messages of one line in %d lines", sent, linesMin)
	}
	if n, _, err := r.Poll(10, func(uint16, []byte) {}); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	for range 10 {
		if res := c.w.Offer(1, []byte("order")); res != Sent {
			t.Fatal(res)
		}
	}
	if res := c.w.Offer(1, []byte("order")); res != Full {
		t.Fatal(res)
	}
}

func TestLappedReaderHearsWhatItLost(t *testing.T) {
	c := newChannel(t, Broadcast, 256)
	r, _ := c.reader(0)
	const most = 300
	next, lost := uint64(0), uint64(0)
	poll := func() (n int) {
		n, gap, err := r.Poll(7, func(_ uint16, p []byte) {
			if k := number(t, p, most); k != next {
				t.Fatalf("message %d where %d was due", k, next)
			}
			next++
		})
		if err != nil {
			t.Fatal(err)
		}
		if gap != (Gap{}) {
			if gap.First != next || gap.Last < gap.First {
				t.Fatalf("gap %+v where %d was due", gap, next)
			}
			lost += gap.Last - gap.First + 1
			next = gap.Last + 1
			n++
		}
		return n
	}
	const total = 10_000
	for k := uint64(0); k < total; k++ {
		if res := c.w.Offer(0, message(k, most)); res != Sent {
			t.Fatal(res)
		}
		if k%50 == 0 {
			poll()
		}
	}
	for poll() > 0 {
	}
	if next != total || lost == 0 || lost > total-total/50*7/2 {
		t.Fatalf("ended at %d, lost %d of %d", next, lost, total)
	}
}

func TestBroadcastReaderSeesWholeMessagesBesideAFastWriter(t *testing.T) {
	c := newChannel(t, Broadcast, 128)
	r, _ := c.reader(0)
	const total, most = 200_000, 500
	messages := make([][]byte, 1000)
	for k := range messages {
		messages[k] = message(uint64(k), most)
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for k := range total {
			c.w.Offer(0, messages[k%len(messages)])
		}
	})
	next, lost := uint64(0), uint64(0)
	for next < total {
		_, gap, err := r.Poll(64, func(_ uint16, p []byte) {
			if k := number(t, p, most); k != next%uint64(len(messages)) {
				t.Errorf("message %d where %d was due", k, next)
			}
			next++
		})
		if err != nil {
			t.Fatal(err)
		}
		if gap != (Gap{}) {
			lost += gap.Last - gap.First + 1
			next = gap.Last + 1
		}
		r.Wait(SpinYield())
	}
	writer.Wait()
	t.Logf("%d of %d lost", lost, total)
}

func TestClaimIsSeenWhenCommittedAndNeverWhenAborted(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	r, _ := c.reader(0)
	got := func() (out []string) {
		if _, _, err := r.Poll(100, func(_ uint16, p []byte) { out = append(out, string(p)) }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	b, res := c.w.Claim(100)
	if res != Sent || len(b) != 100 {
		t.Fatal(res)
	}
	copy(b, "first")
	if n := got(); n != nil {
		t.Fatalf("seen before commit: %q", n)
	}
	c.w.Abort()
	c.w.Commit(1, 5) // nothing to commit
	b, _ = c.w.Claim(100)
	copy(b, "second")
	c.w.Commit(1, 6)
	c.w.Commit(1, 6) // once only
	if n := got(); len(n) != 1 || n[0] != "second" {
		t.Fatalf("%q", n)
	}
}

func TestShutGateEndsBothSides(t *testing.T) {
	for _, c := range []struct {
		state State
		reads int // of what was published before
	}{{Revoked, 0}, {Orphaned, 2}, {Closed, 2}} {
		ch := newChannel(t, Lane, linesMin)
		r, _ := ch.reader(0)
		ch.w.Offer(1, []byte("a"))
		ch.w.Offer(1, []byte("b"))
		ch.gate.Set(c.state, 42)
		if res := ch.w.Offer(1, []byte("c")); res != Shut {
			t.Errorf("state %d: offer says %v", c.state, res)
		}
		read := 0
		var err error
		for err == nil {
			var n int
			n, _, err = r.Poll(1, func(uint16, []byte) {})
			read += n
		}
		shut, ok := errors.AsType[*ShutError](err)
		if !ok || shut.State != c.state || shut.Reason != 42 || read != c.reads {
			t.Errorf("state %d: poll says %v after %d", c.state, err, read)
		}
		if _, _, again := r.Poll(1, func(uint16, []byte) {}); again != err {
			t.Errorf("state %d: then it says %v", c.state, again)
		}
	}
}

func TestOversizedMessagesAreRefused(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	if res := c.w.Offer(1, make([]byte, linesMin/4*lineBytes)); res != TooLong {
		t.Fatal(res)
	}
	big := newChannel(t, Lane, 1<<14)
	r, _ := big.reader(0)
	if res := big.w.Offer(1, make([]byte, MessageMax+1)); res != TooLong {
		t.Fatal(res)
	}
	if res := big.w.Offer(1, make([]byte, MessageMax)); res != Sent {
		t.Fatal(res)
	}
	n, _, err := r.Poll(1, func(_ uint16, p []byte) {
		if len(p) != MessageMax {
			t.Errorf("%d bytes", len(p))
		}
	})
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func TestSleepingReaderIsWoken(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	r, _ := c.reader(0)
	const rounds = 200
	got := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for range rounds {
			for !r.Wait(Strategy{Sleep: 20 * time.Second}) {
			}
			r.Poll(1, func(uint16, []byte) {})
			got <- struct{}{}
		}
	})
	late := time.After(15 * time.Second)
	for i := range rounds {
		if i%2 == 0 {
			time.Sleep(time.Millisecond) // let it fall asleep
		}
		c.w.Offer(1, []byte("x"))
		select {
		case <-got:
		case <-late:
			t.Fatalf("round %d: the reader was not woken", i)
		}
	}
	reader.Wait()
	if c.w.ring.load(offWritten+8*countBells) == 0 {
		t.Fatal("no bell was rung")
	}
}

func TestNothingIsAllocatedPerMessage(t *testing.T) {
	for _, d := range []Discipline{Lane, Broadcast} {
		c := newChannel(t, d, 1024)
		r, _ := c.reader(0)
		p := make([]byte, 64)
		each := func(uint16, []byte) {}
		if n := testing.AllocsPerRun(1000, func() { c.w.Offer(1, p); r.Poll(10, each) }); n != 0 {
			t.Errorf("discipline %d: %v allocations", d, n)
		}
	}
}

func TestSampledMessagesEnterTheLatencyHistogram(t *testing.T) {
	c := newChannel(t, Lane, 1024)
	r, _ := c.reader(0)
	for range 3 * sampleEvery {
		c.w.Offer(1, []byte("x"))
		r.Poll(1, func(uint16, []byte) {})
	}
	total := uint64(0)
	for i := range uintptr(64) {
		total += r.own.load(offLatency + 8*i)
	}
	if total != 3 {
		t.Fatalf("%d samples", total)
	}
}

func TestForeignMemoryIsRefused(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	other, err := CreateCursor("x", c.spec.Epoch+1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, x := range []struct {
		what, want string
		try        func() error
	}{
		{"a ring as a gate", "no such memory has", func() error { _, err := OpenReader(c.data, other, c.data); return err }},
		{"a cursor of another epoch", "the cursor is of epoch 8, the ring of 7", func() error { _, err := OpenReader(c.data, other, c.gate.File()); return err }},
		{"an unsealed cursor", "seals", func() error { _, err := c.w.AddReader(other); return err }},
		{"a gate as a ring", "no such memory has", func() error { _, err := OpenWriter(c.gate.File(), c.gate.File()); return err }},
		{"a sealed ring for a writer", "operation not permitted", func() error { _, err := OpenWriter(c.data, c.gate.File()); return err }},
	} {
		if err := x.try(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.what, err, x.want)
		}
	}
}

func TestReplacedGateCountsAndTheOldOneDoesNot(t *testing.T) {
	c := newChannel(t, Lane, 64)
	r, _ := c.reader(0)
	next, err := CreateGate("next", c.spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	other, err := CreateGate("other", c.spec.Epoch+1)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := errors.Join(c.w.ReplaceGate(next.File()), r.ReplaceGate(next.File())); err != nil {
		t.Fatal(err)
	}
	if c.w.ReplaceGate(other.File()) == nil || r.ReplaceGate(c.data) == nil {
		t.Error("a gate of another epoch, or a ring, is taken for a gate")
	}
	c.gate.Set(Revoked, 1)
	if res := c.w.Offer(1, []byte("x")); res != Sent {
		t.Error(res)
	}
	if n, _, err := r.Poll(9, func(uint16, []byte) {}); n != 1 || err != nil {
		t.Error(n, err)
	}
	next.Set(Revoked, 2)
	if res := c.w.Offer(1, []byte("x")); res != Shut {
		t.Error(res)
	}
	if s, why := r.State(); s != Revoked || why != 2 {
		t.Error(s, why)
	}
}

func TestEitherEndCanShutItself(t *testing.T) {
	c := newChannel(t, Lane, 64)
	r, _ := c.reader(0)
	c.w.Offer(1, []byte("x"))
	r.Shut(Revoked, 7)
	var shut *ShutError
	if n, _, err := r.Poll(9, func(uint16, []byte) {}); n != 0 || !errors.As(err, &shut) || shut.Reason != 7 {
		t.Error(n, err)
	}
	if s, _ := c.w.State(); s != Open {
		t.Errorf("the writer is %v", s)
	}
	c.w.Shut(Closed, 8)
	if res := c.w.Offer(1, []byte("x")); res != Shut {
		t.Error(res)
	}
}

// Readers that come and go while the writer writes nothing leave nothing behind, and the
// writer respects the one that is there.
func TestReadersOfAnIdleWriterTakeEachOthersPlace(t *testing.T) {
	c := newChannel(t, Lane, 64)
	for k := range 1000 {
		f, err := CreateCursor(c.spec.Name, c.spec.Epoch, uint64(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := Seal(f); err != nil {
			t.Fatal(err)
		}
		p, err := c.w.AddReader(f)
		f.Close()
		if err != nil {
			t.Fatalf("reader %d: %v", k, err)
		}
		c.w.RemoveReader(p)
	}
	if n := len(c.w.retired); n != 1 {
		t.Errorf("%d cursors are kept", n)
	}
	r, _ := c.reader(0)
	for range 10 {
		sent := 0
		for c.w.Offer(1, []byte("x")) == Sent {
			sent++
		}
		got, _, err := r.Poll(1000, func(uint16, []byte) {})
		if sent != 64 || got != 64 || err != nil {
			t.Fatal(sent, got, err)
		}
	}
}
