package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSealedMemoryCannotBeWrittenOrResized(t *testing.T) {
	c := newChannel(t, Broadcast, linesMin)
	c.reader(0)
	for _, way := range []string{"the descriptor", "a new one by /proc"} {
		f := c.data
		if way != "the descriptor" {
			var err error
			if f, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", c.data.Fd()), os.O_RDWR, 0); err != nil {
				t.Fatal(err) // same user: the kernel lets it be opened, the seals must hold
			}
			defer f.Close()
		}
		fd := int(f.Fd())
		for what, try := range map[string]func() error{
			"a writable map": func() error {
				_, err := unix.Mmap(fd, 0, dataHeadBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
				return err
			},
			"write":     func() error { _, err := unix.Pwrite(fd, []byte("x"), dataHeadBytes); return err },
			"shrinking": func() error { return unix.Ftruncate(fd, dataHeadBytes) },
			"growing":   func() error { return unix.Ftruncate(fd, 1<<20) },
			"a hole": func() error {
				return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, dataHeadBytes)
			},
			"more seals or fewer": func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); return err },
		} {
			if err := try(); err != unix.EPERM {
				t.Errorf("%s through %s: %v, want EPERM", what, way, err)
			}
		}
		b, err := unix.Mmap(fd, 0, dataHeadBytes, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); err == nil {
			t.Errorf("a read-only map through %s became writable", way)
		}
		unix.Munmap(b)
	}
	if res := c.w.Offer(1, []byte("still")); res != Sent {
		t.Fatal("the writer's own map must go on", res)
	}
}

// scribbler writes what a hostile peer may write: any byte of its memory, mostly near
// the words that matter.
type scribbler struct {
	b   []byte
	rng *rand.Rand
}

func (s *scribbler) scribble(near ...int) {
	off := near[s.rng.IntN(len(near))] + s.rng.IntN(64)
	if s.rng.IntN(4) == 0 {
		off = s.rng.IntN(len(s.b))
	}
	off &^= 7
	if off+8 > len(s.b) {
		return
	}
	old := binary.LittleEndian.Uint64(s.b[off:])
	v := [...]uint64{0, ^uint64(0), old + 1, old - 1, old ^ 1<<s.rng.IntN(64), s.rng.Uint64(), 1 << 63, 0xffffffff, 0x10000ffff}[s.rng.IntN(9)]
	binary.LittleEndian.PutUint64(s.b[off:], v)
}

// hostileWriter lets a writer write, scribble and write on; the reader must end each
// Poll, hand over nothing but the ring's own bytes, and say so when it gives up.
func hostileWriter(t *testing.T, d Discipline, seed uint64, steps int) {
	c := newChannel(t, d, linesMin)
	r, _ := c.reader(0)
	s := &scribbler{c.w.ring.b, rand.New(rand.NewPCG(seed, uint64(d)))}
	for range steps {
		for range s.rng.IntN(4) {
			c.w.Offer(uint16(s.rng.Uint32()), make([]byte, s.rng.IntN(900)))
		}
		at := dataHeadBytes + int(r.pos&r.ring.mask)*lineBytes
		s.scribble(at, at, at, offMark, offIntent, offSampled, offMagic, offLines)
		n, _, err := r.Poll(100, func(_ uint16, p []byte) {
			if len(p) > MessageMax || len(p) > linesMin*lineBytes {
				t.Fatalf("a message of %d bytes from a ring of %d", len(p), linesMin*lineBytes)
			}
			for _, x := range p { // every byte must be there
				_ = x
			}
		})
		if n > 100 {
			t.Fatalf("%d messages where 100 were asked for", n)
		}
		r.Ready()
		if errors.Is(err, ErrCorrupt) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestHostileWriterCannotHarmItsReader(t *testing.T) {
	for seed := range uint64(300) {
		hostileWriter(t, Lane, seed, 50)
		hostileWriter(t, Broadcast, seed, 50)
	}
}

func FuzzReaderOfAnyMemory(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}, uint16(0), true)
	f.Add([]byte{1, 2, 3}, uint16(offMark), false)
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x01\x00"), uint16(dataHeadBytes+offLength), true)
	f.Fuzz(func(t *testing.T, junk []byte, at uint16, lane bool) {
		d := Broadcast
		if lane {
			d = Lane
		}
		c := newChannel(t, d, linesMin)
		r, _ := c.reader(0)
		for range 5 {
			c.w.Offer(3, []byte("a message of an honest time"))
		}
		if int(at) < len(c.w.ring.b) {
			copy(c.w.ring.b[at:], junk)
		}
		for range 10 {
			if _, _, err := r.Poll(50, func(_ uint16, p []byte) { _ = string(p) }); err != nil {
				return
			}
		}
	})
}

func TestHostileReaderCannotHarmItsWriter(t *testing.T) {
	for _, d := range []Discipline{Lane, Broadcast} {
		c := newChannel(t, d, linesMin)
		bad, _ := c.reader(0)
		good, _ := c.reader(0)
		s := &scribbler{bad.own.b, rand.New(rand.NewPCG(1, uint64(d)))}
		sent, got := 0, 0
		for range 20_000 {
			s.scribble(offPosition, offPosition, offAsleep, offMagic, offRead)
			if c.w.Offer(1, []byte("x")) == Sent {
				sent++
			}
			_, gap, err := good.Poll(10, func(uint16, []byte) { got++ })
			if err != nil || gap != (Gap{}) {
				t.Fatal(gap, err)
			}
		}
		if d == Broadcast && sent != 20_000 {
			t.Errorf("a hostile reader held up a broadcast: %d sent", sent)
		}
		if got != sent {
			t.Errorf("discipline %d: the other reader got %d of %d", d, got, sent)
		}
	}
}

// TestReaderOfAHostileWriterAtOnce is the same with a writer in full flight: it scribbles
// between the reader's look at a number and its use.
func TestReaderOfAHostileWriterAtOnce(t *testing.T) {
	if raceDetector {
		t.Skip("the race is the point")
	}
	for _, d := range []Discipline{Lane, Broadcast} {
		c := newChannel(t, d, linesMin)
		var readers []*Reader // a scribbled head is refused, so they are opened before
		for range 30 {
			r, _ := c.reader(0)
			readers = append(readers, r)
		}
		end := time.Now().Add(300 * time.Millisecond)
		var writer sync.WaitGroup
		writer.Go(func() {
			s := &scribbler{c.w.ring.b, rand.New(rand.NewPCG(3, uint64(d)))}
			for time.Now().Before(end) {
				c.w.Offer(1, make([]byte, s.rng.IntN(200)))
				s.scribble(dataHeadBytes+s.rng.IntN(linesMin)*lineBytes, offMark, offIntent)
			}
		})
		for time.Now().Before(end) {
			for _, r := range readers {
				if _, _, err := r.Poll(10, func(_ uint16, p []byte) { _ = string(p) }); err != nil {
					r.err = nil // go on regardless
					r.pos = c.w.ring.load(offWritten + 8*countPosition)
				}
			}
		}
		writer.Wait()
	}
}
