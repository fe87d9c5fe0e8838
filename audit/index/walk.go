package index

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"fire/audit/entry"

	"github.com/dgraph-io/badger/v4"
)

const (
	chunkBlocks = 64  // that are looked up at once, where no id leads
	readAhead   = 256 // entries that are read at once
	fewEnough   = 64  // candidates that are read sooner than other fields are looked up
)

// walk goes through one log in the order of the query: chunk of blocks by chunk, in each the
// candidates, of them the hits.
//
//	window, spans ─► chunk ─ clauses ─► bits of blocks ─► candidates ─ entry ─► queue
type walk struct {
	p     *plan
	store *store // nil: all entries are candidates
	view
	lo, hi int64 // entries [lo, hi)
	at     int64 // Oldest: the next to look at; else the one behind it

	clauses []clause
	chunk   int64             // blocks in one look
	from    int64             // [from, to) are the blocks of bits
	to      int64             //
	bits    map[int64]*bitmap // candidates; a block that has none is not there
	queue   []found
}

// clause is values of which an entry has one.
type clause struct {
	id    bool
	tests []test
}

type found struct {
	index, time int64
	raw         []byte
}

// newWalk walks [v's minimum, to) of a log.
func newWalk(p *plan, v view, to int64) *walk {
	w := &walk{p: p, view: v, lo: v.log.Minimum(), hi: to, chunk: chunkBlocks}
	w.hi = max(w.lo, w.hi)
	at, seen := p.places[originHash(v.log.Origin())]
	switch {
	case !p.q.Oldest && p.places != nil && !seen: // a log that came later is no part of what is paged
		w.at = w.lo
	case !seen && p.q.Oldest:
		w.at = w.lo
	case !seen:
		w.at = w.hi
	default:
		w.at = min(max(at, w.lo), w.hi)
	}
	for _, t := range p.match {
		if t.place != inNone {
			w.clauses = append(w.clauses, clause{t.place == inIDs, []test{t}})
		}
	}
	if len(p.any) > 0 {
		c := clause{true, p.any}
		for _, t := range p.any {
			c.id = c.id && t.place == inIDs
		}
		w.clauses = append(w.clauses, c)
	}
	if p.kinds != [4]uint64{} {
		c := clause{}
		for _, k := range p.q.Kinds {
			c.tests = append(c.tests, test{tag: tagKind, hash: uint64(k), place: inLists})
		}
		w.clauses = append(w.clauses, c)
	}
	for i, c := range w.clauses { // an id first
		if c.id {
			w.clauses[0], w.clauses[i] = w.clauses[i], w.clauses[0]
			w.chunk = shardWords
			break
		}
	}
	return w
}

func (w *walk) done() bool {
	if w.p.q.Oldest {
		return w.at >= w.hi
	}
	return w.at <= w.lo
}

// place is where a cursor goes on: at the first hit that was not given out.
func (w *walk) place() int64 {
	switch {
	case len(w.queue) == 0:
		return w.at
	case w.p.q.Oldest:
		return w.queue[0].index
	}
	return w.queue[0].index + 1
}

// fill goes on by some candidates and queues the hits among them.
func (w *walk) fill(ctx context.Context, budget *int, want int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.store != nil && w.store.closing.Load() {
		return errClosing
	}
	if minimum := w.log.Minimum(); minimum > w.lo { // pruned meanwhile
		w.lo = min(minimum, w.hi)
		if w.p.q.Oldest {
			w.at = max(w.at, w.lo)
		}
		if w.done() {
			return nil
		}
	}
	block := w.at >> blockBits
	if !w.p.q.Oldest {
		block = (w.at - 1) >> blockBits
	}
	if block < w.from || block >= w.to {
		if err := w.look(block); err != nil {
			return err
		}
	}
	m, ok := w.bits[block]
	if !ok {
		w.pass()
		return nil
	}
	from, to := int64(0), int64(blockSpan)
	if w.p.q.Oldest {
		from = w.at & (blockSpan - 1)
	} else {
		to = w.at - block<<blockBits
	}
	return w.read(ctx, block, from, to, m, budget, want)
}

// pass goes on behind a block without candidates, to the next that has some, or out of the chunk.
func (w *walk) pass() {
	if w.p.q.Oldest {
		b := w.at>>blockBits + 1
		for ; b < w.to && w.bits[b] == nil; b++ {
		}
		w.at = min(b<<blockBits, w.hi)
		return
	}
	b := (w.at-1)>>blockBits - 1
	for ; b >= w.from && w.bits[b] == nil; b-- {
	}
	w.at = max((b+1)<<blockBits, w.lo)
}

// read reads candidates of a block in [from, to), some at once, and moves at behind them.
func (w *walk) read(ctx context.Context, block, from, to int64, m *bitmap, budget *int, want int) error {
	var some [readAhead]int64
	base, n := block<<blockBits, 0
	most := min(*budget, readAhead)
	if w.p.q.Oldest {
		for i := m.from(int(from)); i >= 0 && int64(i) < to && n < most; i = m.from(i + 1) {
			some[n], n = base+int64(i), n+1
		}
	} else {
		for i := m.upTo(int(to)); i >= 0 && n < most; i = m.upTo(i) {
			some[n], n = base+int64(i), n+1
		}
	}
	if n == 0 {
		w.pass()
		return nil
	}
	if n >= 16 && some[n-1]-some[0] == int64(n-1)*w.step() { // all in a row
		return w.readRow(ctx, some[:n], budget)
	}
	for _, index := range some[:n] {
		*budget--
		raw, err := w.log.Entry(index)
		switch {
		case err != nil && index < w.log.Minimum():
		case err != nil:
			return fmt.Errorf("entry %d: %w", index, err)
		default:
			w.offer(index, raw, false)
		}
		w.moveTo(index)
		if len(w.queue) >= min(want, 16) {
			break
		}
	}
	return nil
}

func (w *walk) step() int64 {
	if w.p.q.Oldest {
		return 1
	}
	return -1
}

// moveTo passes an entry that was looked at.
func (w *walk) moveTo(index int64) {
	if w.p.q.Oldest {
		index++
	}
	w.at = index
}

// readRow reads candidates without gaps in one go.
func (w *walk) readRow(ctx context.Context, some []int64, budget *int) error {
	first, last := some[0], some[len(some)-1]
	err := w.log.Range(ctx, min(first, last), max(first, last)+1, func(index int64, raw []byte) error {
		w.offer(index, raw, true)
		return nil
	})
	if err != nil {
		w.queue = nil
		if w.log.Minimum() > min(first, last) && ctx.Err() == nil { // pruned under the reading
			return nil
		}
		return fmt.Errorf("entries from %d: %w", min(first, last), err)
	}
	*budget -= len(some)
	w.moveTo(last)
	if !w.p.q.Oldest {
		for i, j := 0, len(w.queue)-1; i < j; i, j = i+1, j-1 {
			w.queue[i], w.queue[j] = w.queue[j], w.queue[i]
		}
	}
	return nil
}

// offer queues an entry that the query asks for.
func (w *walk) offer(index int64, raw []byte, clone bool) {
	v, err := entry.Parse(raw)
	if err != nil || !w.p.holds(v) {
		return
	}
	if clone {
		raw = bytes.Clone(raw)
	}
	w.queue = append(w.queue, found{index, v.Head().Time, raw})
}

// look finds the candidates of the chunk of a block.
func (w *walk) look(block int64) error {
	shard := block / shardWords * shardWords
	w.from = shard + (block-shard)/w.chunk*w.chunk
	w.to = w.from + w.chunk
	w.bits = map[int64]*bitmap{}
	from, to := max(w.from, w.lo>>blockBits), min(w.to, (w.hi+blockSpan-1)>>blockBits)
	for from < to && !w.inWindow(from) {
		from++
	}
	for from < to && !w.inWindow(to-1) {
		to--
	}
	if from < to && from<<blockBits < w.indexed && w.store != nil {
		if err := w.lookUp(from, to); err != nil {
			return err
		}
	}
	for b := from; b < to; b++ {
		m := w.bits[b]
		if m != nil {
			m.keep(int(max(w.lo-b<<blockBits, 0)), int(min(w.indexed-b<<blockBits, blockSpan)))
		}
		if !w.inWindow(b) {
			delete(w.bits, b)
			continue
		}
		if end := (b + 1) << blockBits; end > w.indexed || w.store == nil { // the rest is read as it is
			if m == nil {
				m = &bitmap{}
				w.bits[b] = m
			}
			first := max(w.indexed, w.lo) - b<<blockBits
			if w.store == nil {
				first = w.lo - b<<blockBits
			}
			m.fill(int(max(first, 0)), int(min(w.hi-b<<blockBits, blockSpan)))
		}
		if m != nil && m.empty() {
			delete(w.bits, b)
		}
	}
	return nil
}

// inWindow says that a block may have entries of the query's time.
func (w *walk) inWindow(block int64) bool {
	if w.store == nil || (block+1)<<blockBits > w.indexed && w.hi > w.indexed {
		return true // of an entry that is not indexed nothing is known
	}
	s := noSpan
	switch i := block - w.firstBlock; {
	case i < 0:
		return true
	case i < int64(len(w.spans)):
		s = w.spans[i]
	default:
		s = w.open
	}
	from, to := w.p.window()
	return s.from <= to && s.to >= from
}

// lookUp asks the index for the blocks [from, to) of one shard.
func (w *walk) lookUp(from, to int64) (err error) {
	defer recovered(&err)
	if len(w.clauses) == 0 {
		for b := from; b < to; b++ {
			m := &bitmap{}
			m.fill(0, blockSpan)
			w.bits[b] = m
		}
		return nil
	}
	txn := w.store.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	for i, c := range w.clauses {
		got := map[int64]*bitmap{}
		for _, t := range c.tests {
			if w.store.closing.Load() {
				return errClosing
			}
			if err := w.collect(txn, t, from, to, got); err != nil {
				return err
			}
		}
		if i > 0 {
			intersect(got, w.bits)
		}
		w.bits = got
		n := 0
		for _, m := range got {
			n += m.count()
		}
		if n == 0 || c.id && n <= fewEnough {
			return nil
		}
	}
	return nil
}

// intersect keeps in got what o has, too.
func intersect(got, o map[int64]*bitmap) {
	for b, m := range got {
		if other := o[b]; other != nil {
			m.and(other)
			if !m.empty() {
				continue
			}
		}
		delete(got, b)
	}
}

// collect adds the entries of one value to got.
func (w *walk) collect(txn *badger.Txn, t test, from, to int64, got map[int64]*bitmap) error {
	prefix := appendPrefix(nil, w.number, from/shardWords, t.tag, t.hash)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var start []byte
	if t.place == inIDs {
		start = appendID(nil, w.number, t.tag, t.hash, from<<blockBits)
	} else {
		start = appendList(nil, w.number, t.tag, t.hash, from)
	}
	base := from / shardWords * shardWords
	for it.Seek(start); it.Valid(); it.Next() {
		item := it.Item()
		rest := item.Key()[len(prefix):]
		block, in := base, 0
		switch {
		case t.place == inIDs && len(rest) == 3:
			at := int64(rest[0])<<16 | int64(rest[1])<<8 | int64(rest[2])
			block, in = base+at>>blockBits, int(at&(blockSpan-1))
		case t.place == inLists && len(rest) == 2:
			block = base + (int64(rest[0])<<8 | int64(rest[1]))
		default:
			return errList
		}
		if block >= to {
			return nil
		}
		m := got[block]
		if m == nil {
			m = &bitmap{}
			got[block] = m
		}
		if t.place == inIDs {
			m.set(in)
			continue
		}
		if err := item.Value(func(v []byte) error { return readEntries(v, m) }); err != nil {
			return err
		}
	}
	return nil
}
