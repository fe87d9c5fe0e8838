package shm

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"time"
	"unsafe"
)

// Spec is what a ring is made from.
type Spec struct {
	Name       string // of the channel, at most 63 bytes
	Discipline Discipline
	Lines      uint64 // capacity, a power of two from 64 to 2^26
	Epoch      uint64
	Key        uint64    // 0 draws one
	Created    time.Time // zero is now
}

func (s *Spec) check() error {
	switch {
	case len(s.Name) == 0 || len(s.Name) > nameBytesMax:
		return fmt.Errorf("ring name %q has %d bytes, 1 to %d are allowed", s.Name, len(s.Name), nameBytesMax)
	case s.Discipline != Lane && s.Discipline != Broadcast:
		return fmt.Errorf("ring %s: discipline %d is neither lane (1) nor broadcast (2)", s.Name, s.Discipline)
	case !validLines(s.Lines):
		return fmt.Errorf("ring %s: %d lines; a power of two from %d to %d is wanted", s.Name, s.Lines, linesMin, linesMax)
	}
	return nil
}

// LinesFor is the smallest capacity that holds so many bytes.
func LinesFor(bytes int) uint64 {
	n := max(uint64(max(bytes, 1)-1)/lineBytes+1, linesMin)
	if n&(n-1) != 0 {
		n = 1 << bits.Len64(n)
	}
	return min(n, linesMax)
}

// CreateData makes the memory of a ring, unsealed: its writer maps it, then it is
// sealed, then readers get it.
func CreateData(s Spec) (*os.File, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	f, err := PrepareData(s.Name, s.Lines)
	if err != nil {
		return nil, err
	}
	if err := FillData(f, s); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// PrepareData makes the memory for a ring of so many lines, which is what takes long.
func PrepareData(name string, lines uint64) (*os.File, error) {
	return createMemory("fire-ring-"+name, dataHeadBytes+int(lines)*lineBytes)
}

// FillData makes prepared memory of the same lines a ring.
func FillData(f *os.File, s Spec) error {
	if err := s.check(); err != nil {
		return err
	}
	if s.Key == 0 {
		var b [8]byte
		rand.Read(b[:])
		s.Key = binary.LittleEndian.Uint64(b[:])
	}
	if s.Created.IsZero() {
		s.Created = time.Now()
	}
	return fill(f, magicData, s.Epoch, func(m memory) {
		m.storeHalf(offDiscipline, uint32(s.Discipline))
		m.store(offLines, s.Lines)
		m.store(offKey, s.Key)
		m.store(offCreated, uint64(s.Created.UnixNano()))
		m.storeHalf(offNameLen, uint32(len(s.Name)))
		copy(m.b[offName:], s.Name)
	})
}

// CreateCursor makes the memory of one reader of a ring, unsealed. position is where a
// lane's reader goes on; a broadcast's reader looks for itself.
func CreateCursor(name string, epoch, position uint64) (*os.File, error) {
	return created("fire-cursor-"+name, cursorBytes, magicCursor, epoch, func(m memory) { m.store(offPosition, position) })
}

// created makes memory and lets write fill its head.
func created(name string, size int, magic, epoch uint64, write func(memory)) (*os.File, error) {
	f, err := createMemory(name, size)
	if err != nil {
		return nil, err
	}
	if err := fill(f, magic, epoch, write); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fill maps the head of memory, lets write do its part and unmaps it. The magic comes last:
// what has it is whole.
func fill(f *os.File, magic, epoch uint64, write func(memory)) error {
	m, err := mapHead(f)
	if err != nil {
		return err
	}
	m.storeHalf(offVersion, Version)
	m.store(offHash, layoutHash)
	m.store(offEpoch, epoch)
	write(m)
	m.store(offMagic, magic)
	return m.unmap()
}

// ring is what both ends know of a mapped ring. Its numbers were read once, when it was
// opened, and checked against the size of the memory.
type ring struct {
	memory
	lines unsafe.Pointer // the first
	mask  uint64
	size  uint64 // lines
	key1  uint64 // key + 1: what position 0 is published with
	info  Info
}

// Info is what a ring says of itself.
type Info struct {
	Name       string
	Discipline Discipline
	Lines      uint64
	Epoch      uint64
	Created    time.Time
}

func openRing(f *os.File, writable bool) (*ring, error) {
	m, err := mapMemory(f, writable, func(n int64) bool {
		return n > dataHeadBytes && (n-dataHeadBytes)%lineBytes == 0 && validLines(uint64(n-dataHeadBytes)/lineBytes)
	})
	if err != nil {
		return nil, err
	}
	r := &ring{memory: m, lines: unsafe.Add(m.base, dataHeadBytes), size: uint64(len(m.b)-dataHeadBytes) / lineBytes}
	r.mask = r.size - 1
	if err := r.read(); err != nil {
		m.unmap()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, nil
}

func (r *ring) read() error {
	if err := r.checkHead(magicData, "data"); err != nil {
		return err
	}
	if n := r.load(offLines); n != r.size {
		return fmt.Errorf("its head says %d lines, its size %d", n, r.size)
	}
	name := r.loadHalf(offNameLen)
	if name == 0 || name > nameBytesMax {
		return fmt.Errorf("its name has %d bytes", name)
	}
	i := Info{Name: string(r.b[offName : offName+name]), Discipline: Discipline(r.loadHalf(offDiscipline)), Lines: r.size,
		Epoch: r.load(offEpoch), Created: time.Unix(0, int64(r.load(offCreated)))}
	if i.Discipline != Lane && i.Discipline != Broadcast {
		return fmt.Errorf("discipline %d is neither lane (1) nor broadcast (2)", i.Discipline)
	}
	r.info, r.key1 = i, r.load(offKey)+1
	return nil
}

// line is where position pos lies.
func (r *ring) line(pos uint64) unsafe.Pointer {
	return unsafe.Add(r.lines, (pos&r.mask)*lineBytes)
}

// linesOf is how many lines a message of n bytes takes.
func linesOf(n uint64) uint64 { return (n + headerBytes + lineBytes - 1) / lineBytes }
