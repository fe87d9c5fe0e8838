package audit

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"

	"fire/audit/tlog"
)

// store is a log as it is read: its parts, and the newest head that is durable. A Log and a
// Mirror have one that grows; a Copy has one that does not. All methods may be called by many.
type store struct {
	disk   Disk
	origin string

	mu    sync.RWMutex
	parts []part // oldest first; the last one grows
	edge  tlog.Frontier
	head  tlog.Head
	note  []byte // the head's checkpoint
}

// Origin is the log's name.
func (s *store) Origin() string { return s.origin }

// Head is the newest durable signed head, and its checkpoint.
func (s *store) Head() (tlog.Head, []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head, s.note
}

// Minimum is the first index that was not pruned.
func (s *store) Minimum() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.edge.Size()
}

// Edge is the tree at the minimum (tlog.Reader). It is not to be changed.
func (s *store) Edge() *tlog.Frontier {
	s.mu.RLock()
	defer s.mu.RUnlock()
	edge := s.edge
	return &edge
}

// Kept is a hash of the tree (tlog.Reader).
func (s *store) Kept(level int, n int64) (h tlog.Hash, ok bool, err error) {
	p, err := s.hold((n+1)<<level - 1) // the entry that completes it
	switch {
	case errors.Is(err, ErrPruned):
		return h, false, nil
	case err != nil:
		return h, false, err
	}
	defer p.drop()
	if level == 0 {
		h, err = p.leaf(n)
	} else {
		h, err = p.upper(level, n)
	}
	return h, err == nil, err
}

// ErrPruned is of an entry whose time to be kept is over.
var ErrPruned = errors.New("audit: that entry was pruned")

// ErrNoEntry is of an index that the log does not have yet.
var ErrNoEntry = errors.New("audit: the log has no such entry")

// Entry is the bytes of one durable entry, the caller's own.
func (s *store) Entry(index int64) ([]byte, error) {
	p, err := s.hold(index)
	if err != nil {
		return nil, err
	}
	defer p.drop()
	return p.entry(index, nil)
}

// hold is the part that has an entry, which the caller drops. No lock is held over a read.
func (s *store) hold(index int64) (part, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if index < s.edge.Size() {
		return part{}, fmt.Errorf("%w: %d; the log begins at %d", ErrPruned, index, s.edge.Size())
	}
	i := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].first() > index }) - 1
	if i < 0 || index >= s.head.Size {
		return part{}, fmt.Errorf("%w: %d; it has %d", ErrNoEntry, index, s.head.Size)
	}
	s.parts[i].users.Add(1)
	return s.parts[i], nil
}

// rangeChunk is how many entries Range reads while it keeps a part from being closed.
const rangeChunk = 256

// Range calls f with each durable entry of [from, to) in order, those that were pruned left
// out. e is valid during f.
func (s *store) Range(ctx context.Context, from, to int64, f func(index int64, e []byte) error) error {
	head, _ := s.Head()
	from, to = max(from, s.Minimum()), min(to, head.Size)
	var buf []byte
	var run [rangeChunk][]byte
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 0
		p, err := s.hold(from)
		if errors.Is(err, ErrPruned) { // meanwhile
			from = s.Minimum()
			continue
		}
		if err != nil {
			return err
		}
		buf, n, err = p.entries(from, min(to, p.next(), from+rangeChunk), buf[:0], &run)
		p.drop()
		if err != nil {
			return err
		}
		for i := range n {
			if err := f(from+int64(i), run[i]); err != nil {
				return err
			}
		}
		from += int64(n)
	}
	return nil
}

// entries reads [from, to) in as few reads as it can, into buf.
func (p *part) entries(from, to int64, buf []byte, run *[rangeChunk][]byte) ([]byte, int, error) {
	start, err := p.offset(from)
	if err != nil {
		return buf, 0, err
	}
	last, err := p.offset(to - 1)
	if err != nil {
		return buf, 0, err
	}
	most := min(last+frameBytesMax, p.end) - start
	if most > rangeBytesMax { // few and large: one after another
		e, err := p.entry(from, buf[:cap(buf)])
		run[0] = e
		return buf, 1, err
	}
	if int64(cap(buf)) < most {
		buf = make([]byte, most)
	}
	buf = buf[:most]
	if _, err := p.file.ReadAt(buf, start); err != nil {
		return buf, 0, fmt.Errorf("audit: entries from %d in %s: %w", from, p.name, err)
	}
	fr := frames{from: p.file, size: start + most, at: start, buf: buf, base: start}
	n := 0
	for n < int(to-from) {
		at := fr.at
		kind, body, err := fr.next()
		if err != nil {
			return buf, 0, &Fault{File: p.name, Offset: at, Index: from + int64(n), Kind: Tampered, Why: err.Error()}
		}
		if kind == frameEntry {
			run[n] = body
			n++
		}
	}
	return buf, n, nil
}

// rangeBytesMax is what one read of Range takes at most.
const rangeBytesMax = 4 << 20
