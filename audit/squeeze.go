package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A squeezed segment is a sealed one that nobody has written to for a while, compressed in blocks
// so that an entry is read without the rest:
//
//	block ... block   each a zstd frame (RFC 8878) of squeezeBlock bytes of the segment, the last of fewer
//	index             end of each block, u64
//	foot              blocks u64, bytes of the segment u64, magic, crc32c of index and foot up to here
//
// What it holds is the segment, byte for byte: it is verified like one.
const (
	squeezedSuffix = "z" // behind .seg
	squeezeBlock   = 256 << 10
	squeezeMagic   = "firezst\x01"
	squeezeFoot    = 8 + 8 + 8 + 4
	squeezedMax    = 1 << 31 // bytes of a segment
)

// squeezed reads one. Several may; they take turns with the block that was read last.
type squeezed struct {
	file File
	ends []uint64
	size int64
	zstd *zstd.Decoder

	mu    sync.Mutex
	block int // that is in buf
	buf   []byte
	raw   []byte
}

// openSegment opens a segment, squeezed or not.
func openSegment(d Disk, name string) (File, error) {
	f, err := d.Open(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	z, err := d.Open(name + squeezedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return d.Open(name) // for its error
	}
	if err != nil {
		return nil, err
	}
	s, err := newSqueezed(z)
	if err != nil {
		_ = z.Close()
		return nil, fmt.Errorf("%s%s: %w", name, squeezedSuffix, err)
	}
	return s, nil
}

var errSqueezed = errors.New("it is no squeezed segment, or was changed")

func newSqueezed(f File) (*squeezed, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	var foot [squeezeFoot]byte
	if size < squeezeFoot {
		return nil, errSqueezed
	}
	if _, err := f.ReadAt(foot[:], size-squeezeFoot); err != nil {
		return nil, err
	}
	blocks, bytes := binary.LittleEndian.Uint64(foot[:]), binary.LittleEndian.Uint64(foot[8:])
	if string(foot[16:24]) != squeezeMagic || bytes > squeezedMax || blocks != (bytes+squeezeBlock-1)/squeezeBlock || int64(blocks*8)+squeezeFoot > size {
		return nil, errSqueezed
	}
	index := make([]byte, blocks*8, blocks*8+squeezeFoot)
	if _, err := f.ReadAt(index, size-squeezeFoot-int64(blocks*8)); err != nil {
		return nil, err
	}
	if crc32.Checksum(append(index, foot[:24]...), castagnoli) != binary.LittleEndian.Uint32(foot[24:]) {
		return nil, errSqueezed
	}
	s := &squeezed{file: f, size: int64(bytes), block: -1}
	last := uint64(0)
	for i := range blocks {
		end := binary.LittleEndian.Uint64(index[i*8:])
		if end <= last || int64(end) > size {
			return nil, errSqueezed
		}
		s.ends = append(s.ends, end)
		last = end
	}
	if int64(last)+int64(blocks*8)+squeezeFoot != size {
		return nil, errSqueezed
	}
	s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*squeezeBlock))
	return s, err
}

func (s *squeezed) ReadAt(b []byte, at int64) (n int, err error) {
	s.mu.Lock() // over the read of a block: the buffer is what it guards
	defer s.mu.Unlock()
	for n < len(b) && at < s.size {
		block := int(at / squeezeBlock)
		if err := s.load(block); err != nil {
			return n, err
		}
		m := copy(b[n:], s.buf[at-int64(block)*squeezeBlock:])
		n, at = n+m, at+int64(m)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (s *squeezed) load(block int) error {
	if s.block == block {
		return nil
	}
	from := uint64(0)
	if block > 0 {
		from = s.ends[block-1]
	}
	if need := int(s.ends[block] - from); cap(s.raw) < need {
		s.raw = make([]byte, need)
	} else {
		s.raw = s.raw[:need]
	}
	s.block = -1
	if _, err := s.file.ReadAt(s.raw, int64(from)); err != nil {
		return err
	}
	var err error
	if s.buf, err = s.zstd.DecodeAll(s.raw, s.buf[:0]); err != nil {
		return fmt.Errorf("block %d: %w: %w", block, errSqueezed, err)
	}
	if want := min(squeezeBlock, s.size-int64(block)*squeezeBlock); int64(len(s.buf)) != want {
		return fmt.Errorf("block %d: %w", block, errSqueezed)
	}
	s.block = block
	return nil
}

var errSealed = errors.New("a squeezed segment is never written")

func (s *squeezed) WriteAt([]byte, int64) (int, error) { return 0, errSealed }
func (s *squeezed) Truncate(int64) error               { return errSealed }
func (s *squeezed) Sync() error                        { return nil }
func (s *squeezed) Size() (int64, error)               { return s.size, nil }

func (s *squeezed) Close() error {
	s.zstd.Close()
	return s.file.Close()
}

// squeeze makes the squeezed form of a segment of size bytes.
func squeeze(f File, size int64) ([]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	var out, index []byte
	buf := make([]byte, squeezeBlock)
	for at := int64(0); at < size; at += squeezeBlock {
		b := buf[:min(squeezeBlock, size-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return nil, err
		}
		out = enc.EncodeAll(b, out)
		index = binary.LittleEndian.AppendUint64(index, uint64(len(out)))
	}
	tail := binary.LittleEndian.AppendUint64(index, uint64(len(index)/8))
	tail = binary.LittleEndian.AppendUint64(tail, uint64(size))
	tail = append(tail, squeezeMagic...)
	tail = binary.LittleEndian.AppendUint32(tail, crc32.Checksum(tail, castagnoli))
	return append(out, tail...), nil
}

// Squeeze compresses sealed segments whose newest entry is older than the time, one after another,
// and tells how many it has. Each is there in its new form, read back and compared, before the
// old one goes.
func (l *Log) Squeeze(before func(Held) bool, stop func() bool) (n int, err error) {
	l.pruning.Lock() // over I/O: see Prune
	defer l.pruning.Unlock()
	for i, h := range l.Segments() {
		if stop() || !before(h) {
			return n, nil
		}
		l.mu.RLock()
		p := l.parts[i]
		l.mu.RUnlock()
		if _, is := p.file.(*squeezed); is || p.tree == nil {
			continue
		}
		if err := l.squeezeOne(i, p); err != nil {
			return n, fmt.Errorf("audit: %s cannot be compressed, and stays: %w", p.name, err)
		}
		n++
	}
	return n, nil
}

func (l *Log) squeezeOne(i int, p part) error {
	b, err := squeeze(p.file, p.end)
	if err != nil {
		return err
	}
	if err := l.deps.Disk.Replace(p.name+squeezedSuffix, b); err != nil {
		return err
	}
	f, err := l.deps.Disk.Open(p.name + squeezedSuffix)
	if err != nil {
		return err
	}
	z, err := newSqueezed(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := sameBytes(p.file, z, p.end); err != nil {
		return errors.Join(err, z.Close(), l.deps.Disk.Remove(p.name+squeezedSuffix))
	}
	s := &segment{name: p.name, number: p.number, before: p.before, file: z}
	s.users.Store(1)
	t, err := l.deps.Disk.Open(treeName(p.name)) // its own: the old one is closed with who still reads it
	if err != nil {
		return errors.Join(err, z.Close())
	}
	hashes := &tree{t, p.tree.treeLayout}
	s.hashes.Store(hashes)
	l.mu.Lock()
	l.parts[i].segment, l.parts[i].tree = s, hashes
	l.mu.Unlock()
	p.segment.drop()
	return l.deps.Disk.Remove(p.name)
}

func sameBytes(a, b File, size int64) error {
	x, y := make([]byte, squeezeBlock), make([]byte, squeezeBlock)
	for at := int64(0); at < size; at += squeezeBlock {
		n := min(squeezeBlock, size-at)
		if _, err := a.ReadAt(x[:n], at); err != nil {
			return err
		}
		if _, err := b.ReadAt(y[:n], at); err != nil {
			return err
		}
		if string(x[:n]) != string(y[:n]) {
			return fmt.Errorf("it reads back otherwise at offset %d", at)
		}
	}
	return nil
}
