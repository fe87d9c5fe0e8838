package audit

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"fire/audit/tlog"
)

// segment is one file of entries, open for as long as anybody uses it.
type segment struct {
	name   string
	number uint64
	before tlog.Frontier
	file   File
	hashes atomic.Pointer[tree] // of a sealed one: closed with it
	users  atomic.Int32         // the store is one; the last one closes
}

// drop lets go. What closing a file says that was synced, or only read, is nobody's business.
func (s *segment) drop() {
	if s.users.Add(-1) != 0 {
		return
	}
	_ = s.file.Close()
	if t := s.hashes.Load(); t != nil {
		_ = t.file.Close()
	}
}

// part is one segment's share of the log: its entries, and the hashes that they completed. The
// hashes of the segment being written are in memory; those of a sealed one lie beside it in a
// .tree file, which is made of the segment and can be made again. A part is copied to be read:
// what is added later is behind the ends of the copy's slices.
type part struct {
	*segment
	count int64
	last  int64 // offset of its last whole group's trailer
	end   int64 // behind it
	times span
	kinds uint64 // bit k: it holds an entry of kind k; what a retention class is told by

	leaves  []tlog.Hash // nil in a sealed part; so are the others
	offsets []uint32
	uppers  [levelsMax][]tlog.Hash // of levels 8, 16, ...

	tree *tree // nil in one that is in memory
}

// tree is an open .tree file.
type tree struct {
	file File
	treeLayout
}

// levelsMax is how many kept levels lie above the leaves: 2^62 entries.
const levelsMax = 7

// span is from the earliest to the latest time of some entries.
type span struct{ from, to int64 }

func (s *span) take(t int64) {
	if s.from == 0 || t < s.from {
		s.from = t
	}
	s.to = max(s.to, t)
}

func (p *part) first() int64 { return p.before.Size() }
func (p *part) next() int64  { return p.first() + p.count }

// add takes over one group's hashes.
func (p *part) add(g *work) {
	base := uint32(g.at)
	p.leaves = append(p.leaves, g.leaves...)
	for _, o := range g.offsets {
		p.offsets = append(p.offsets, base+o)
	}
	for _, u := range g.uppers {
		p.uppers[u.level/tlog.TileHeight-1] = append(p.uppers[u.level/tlog.TileHeight-1], u.hash)
	}
	p.count += int64(len(g.leaves))
	p.last, p.end = g.at+g.trailer, g.at+int64(len(g.buf))
	p.kinds |= g.kinds
	p.times.take(g.times.from)
	p.times.take(g.times.to)
}

// leaf is the hash of an entry that is the part's.
func (p *part) leaf(index int64) (h tlog.Hash, err error) {
	if p.tree == nil {
		return p.leaves[index-p.first()], nil
	}
	return h, p.read(h[:], p.tree.leaves+(index-p.first())*tlog.HashBytes)
}

// offset is where an entry's frame begins.
func (p *part) offset(index int64) (int64, error) {
	if p.tree == nil {
		return int64(p.offsets[index-p.first()]), nil
	}
	var b [4]byte
	err := p.read(b[:], p.tree.offsets+(index-p.first())*4)
	return int64(binary.LittleEndian.Uint32(b[:])), err
}

// upper is the hash of subtree n of a kept level above the leaves, which an entry of the part
// has completed.
func (p *part) upper(level int, n int64) (h tlog.Hash, err error) {
	k, at := level/tlog.TileHeight-1, n-p.first()>>level
	if p.tree == nil {
		return p.uppers[k][at], nil
	}
	return h, p.read(h[:], p.tree.uppers[k]+at*tlog.HashBytes)
}

func (p *part) read(b []byte, at int64) error {
	if _, err := p.tree.file.ReadAt(b, at); err != nil {
		return fmt.Errorf("audit: the hashes of %s: %w", p.name, err)
	}
	return nil
}

// entry reads an entry's bytes into buf, which it grows.
func (p *part) entry(index int64, buf []byte) ([]byte, error) {
	at, err := p.offset(index)
	if err != nil {
		return nil, err
	}
	var head [frameBytes]byte
	if _, err := p.file.ReadAt(head[:], at); err != nil {
		return nil, fmt.Errorf("audit: entry %d in %s: %w", index, p.name, err)
	}
	n := frameBytes + int(binary.LittleEndian.Uint16(head[2:]))
	if cap(buf) < n {
		buf = make([]byte, n, max(n, 1024))
	}
	buf = buf[:n]
	if _, err := p.file.ReadAt(buf, at); err != nil {
		return nil, fmt.Errorf("audit: entry %d in %s: %w", index, p.name, err)
	}
	if got, want := frameSum(buf), binary.LittleEndian.Uint32(buf[4:]); got != want || buf[0] != frameEntry {
		return nil, &Fault{File: p.name, Offset: at, Index: index, Kind: Tampered, Why: "an entry is not what was written", Want: fmt.Sprintf("%08x", want), Got: fmt.Sprintf("%08x", got)}
	}
	return buf[frameBytes:], nil
}

// treeLayout is where a .tree file has what.
type treeLayout struct {
	leaves, offsets int64
	uppers          [levelsMax]int64
	sum             int64 // of the checksum, the last four bytes
}

const (
	treeMagic     = "firetree"
	treeFormat    = 1
	treeHeadBytes = 128
	treeSuffix    = ".tree"
)

// uppersOf is how many subtrees of a level the entries [first, first+count) complete.
func uppersOf(level int, first, count int64) int64 { return (first+count)>>level - first>>level }

func layoutOf(first, count int64) (l treeLayout) {
	l.leaves = treeHeadBytes
	l.offsets = l.leaves + count*tlog.HashBytes
	at := l.offsets + count*4
	for k := range l.uppers {
		l.uppers[k] = at
		at += uppersOf((k+1)*tlog.TileHeight, first, count) * tlog.HashBytes
	}
	l.sum = at
	return l
}

// appendTree writes the .tree file of a part that is in memory.
func (p *part) appendTree(b []byte) []byte {
	from := len(b)
	b = append(b, treeMagic...)
	b = binary.LittleEndian.AppendUint32(b, treeFormat)
	b = binary.LittleEndian.AppendUint32(b, uint32(p.count))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.first()))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.end))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.times.from))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.times.to))
	b = binary.LittleEndian.AppendUint64(b, p.kinds)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.last))
	b = append(b, make([]byte, from+treeHeadBytes-len(b))...)
	for i := range p.leaves {
		b = append(b, p.leaves[i][:]...)
	}
	for _, o := range p.offsets {
		b = binary.LittleEndian.AppendUint32(b, o)
	}
	for k := range p.uppers {
		for i := range p.uppers[k] {
			b = append(b, p.uppers[k][i][:]...)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// useTree takes the facts of a part from its .tree file. Its sum is not read here: a whole
// verify does that, and no proof is given out that was not checked.
func (p *part) useTree(f File) error {
	var b [treeHeadBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	count := int64(binary.LittleEndian.Uint32(b[12:]))
	if string(b[:8]) != treeMagic || binary.LittleEndian.Uint32(b[8:]) != treeFormat || int64(binary.LittleEndian.Uint64(b[16:])) != p.first() {
		return fmt.Errorf("it is not the tree of entries from %d", p.first())
	}
	at := layoutOf(p.first(), count)
	if size, err := f.Size(); err != nil || size != at.sum+4 {
		return fmt.Errorf("it has %d bytes; %d entries take %d: %w", size, count, at.sum+4, err)
	}
	p.tree, p.count = &tree{f, at}, count
	p.hashes.Store(p.tree)
	p.end = int64(binary.LittleEndian.Uint64(b[24:]))
	p.times = span{int64(binary.LittleEndian.Uint64(b[32:])), int64(binary.LittleEndian.Uint64(b[40:]))}
	p.kinds = binary.LittleEndian.Uint64(b[48:])
	p.last = int64(binary.LittleEndian.Uint64(b[56:]))
	p.leaves, p.offsets, p.uppers = nil, nil, [levelsMax][]tlog.Hash{}
	return nil
}

// treeName is the .tree file of a segment.
func treeName(segment string) string {
	return segment[:len(segment)-len(segmentSuffix)] + treeSuffix
}
