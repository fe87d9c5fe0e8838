package audit

import (
	"encoding/binary"
	"fmt"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// work is a group of entries on its way to the disk. Two of them take turns: one is filled and
// hashed while the other is written.
type work struct {
	buf     []byte // frames, then the trailer
	offsets []uint32
	leaves  []tlog.Hash
	uppers  []upper
	kinds   uint64
	times   span

	before     tlog.Frontier
	head       tlog.Head
	checkpoint []byte
	at         int64 // where the segment takes it
	trailer    int64 // where in buf its trailer begins
	queued     []*queue
	records    uint64 // of the rings
	gaps       uint64
	signed     int64
}

// upper is a kept hash above the leaves.
type upper struct {
	level int
	hash  tlog.Hash
}

func (g *work) reset(before *tlog.Frontier) {
	*g = work{buf: g.buf[:0], offsets: g.offsets[:0], leaves: g.leaves[:0], uppers: g.uppers[:0], queued: g.queued[:0], before: *before}
}

// fail tells who waits that nothing of the group is durable.
func (g *work) fail(err error) {
	for _, q := range g.queued {
		q.finish(0, err)
	}
}

// begin makes room for the frame of an entry that the caller appends to g.buf.
func (g *work) begin() (from int) {
	from = len(g.buf)
	g.buf = append(g.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	return from
}

// end finishes the frame at from.
func (g *work) end(from int) {
	putFrame(g.buf[from:], frameEntry)
	g.offsets = append(g.offsets, uint32(from))
}

// hash adds the entries to the tree.
func (g *work) hash(tree *tlog.Frontier, h *tlog.Hasher) {
	for _, at := range g.offsets {
		n := int(binary.LittleEndian.Uint16(g.buf[at+2:]))
		e := g.buf[at+frameBytes : int(at)+frameBytes+n]
		leaf := h.Leaf(e)
		g.note(e, leaf)
		tree.Add(leaf, g.upper)
	}
}

// note keeps what is told of an entry.
func (g *work) note(e []byte, leaf tlog.Hash) {
	g.leaves = append(g.leaves, leaf)
	if len(e) >= entryBytesMin {
		g.kinds |= 1 << (e[1] & 63)
		g.times.take(int64(binary.LittleEndian.Uint64(e[8:])))
	}
}

// upper keeps a hash that an entry has completed, if it is of a level that is kept.
func (g *work) upper(level int, _ int64, h tlog.Hash) {
	if level > 0 && level%tlog.TileHeight == 0 {
		g.uppers = append(g.uppers, upper{level, h})
	}
}

// sign ends the group with the head of the tree that it makes.
func (g *work) sign(tree *tlog.Frontier, origin string, keys []*tlog.Key, now int64) error {
	g.head = tlog.Head{Origin: origin, Size: tree.Size(), Root: tree.Root()}
	note, err := tlog.Sign(g.head, keys...)
	if err != nil {
		return fmt.Errorf("audit: the head of %d entries: %w", g.head.Size, err)
	}
	g.checkpoint, g.signed = note, now
	t := trailer{count: uint32(len(g.leaves)), bytes: uint32(len(g.buf)), first: g.before.Size(), time: now, checkpoint: note}
	g.trailer = int64(len(g.buf))
	g.buf = t.append(g.buf)
	return nil
}

// entryBytesMin is the least that an entry can have.
const entryBytesMin = 32

// checkEntry refuses what is no entry: a log that holds one cannot be read.
func checkEntry(e []byte) error {
	_, err := entry.Parse(e)
	return err
}
