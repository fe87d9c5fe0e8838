package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"fire/audit/entry"
	"fire/audit/tlog"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
)

// span is the times that the entries of a block have.
type span struct{ from, to int64 }

var noSpan = span{math.MaxInt64, math.MinInt64}

func (s span) with(t int64) span { return span{min(s.from, t), max(s.to, t)} }

// follower is the index's place in one log. All but the Log is Run's; readers get a view.
type follower struct {
	log    Log
	number uint16
	next   int64 // the first entry that is not indexed

	firstBlock int64
	spans      []span // of whole blocks, from firstBlock; only ever appended to
	open       span   // of the block of next
	lists      map[uint64]*list
	dirty      []*list
	unreadable int64

	keys    [][]byte // of the batch that is built
	arena   []byte
	bytes   int64
	sweepAt []byte // where the removal of pruned keys goes on
}

// list is the entries of the open block that have one value.
type list struct {
	tag   entry.Tag
	hash  uint64
	at    []uint16
	dirty bool
}

// view is what a search sees of a follower. Its entries do not change.
type view struct {
	log        Log
	number     uint16
	indexed    int64
	firstBlock int64
	spans      []span
	open       span
}

func (f *follower) view() view {
	return view{f.log, f.number, f.next, f.firstBlock, f.spans, f.open}
}

// load takes up what the folder says of a log; of a log that it does not know, nothing.
func (f *follower) load(s *store, number uint16) error {
	f.number = number
	at, leaf, err := s.position(number)
	if err != nil {
		return err
	}
	head, _ := f.log.Head()
	minimum := f.log.Minimum()
	if at > head.Size {
		return fmt.Errorf("%w: %d entries of %s are indexed, it has %d", errCorrupt, at, f.log.Origin(), head.Size)
	}
	if at > minimum && at > 0 {
		e, err := f.log.Entry(at - 1)
		if err != nil {
			return fmt.Errorf("entry %d of %s: %w", at-1, f.log.Origin(), err)
		}
		if tlog.Leaf(e) != leaf {
			return fmt.Errorf("%w: entry %d of %s is not the one that was indexed", errCorrupt, at-1, f.log.Origin())
		}
	}
	// The lists of the open block are in memory alone: its entries are read again.
	f.skip(max(at&^(blockSpan-1), minimum))
	if at <= minimum {
		return nil
	}
	f.firstBlock = minimum >> blockBits
	if f.spans, err = s.spans(number, f.firstBlock, f.next>>blockBits); err != nil {
		return err
	}
	return nil
}

// skip goes on at entry at, with nothing known of those before.
func (f *follower) skip(at int64) {
	f.next, f.firstBlock, f.spans, f.open = at, at>>blockBits, nil, noSpan
	f.lists = map[uint64]*list{}
	f.dirty = f.dirty[:0]
}

// batch reads entries from next on, at most to the end of the block and as many as one
// memtable takes at once, and gives the place behind them.
func (f *follower) batch(ctx context.Context, size, keysMax, bytesMax int64, p *places) (next int64, leaf tlog.Hash, err error) {
	f.keys, f.arena, f.bytes = f.keys[:0], f.arena[:0], 0
	next = f.next
	to := min(size, (f.next|(blockSpan-1))+1)
	const keysOfOne = 32 // at least what one entry adds: 7 ids, 13 lists
	const listBytes = blockSpan/8 + 64
	var hasher tlog.Hasher
	err = f.log.Range(ctx, f.next, to, func(index int64, e []byte) error {
		if index != next {
			return fmt.Errorf("index: %s gave entry %d where %d was due", f.log.Origin(), index, next)
		}
		if int64(len(f.keys)+len(f.dirty)) > keysMax-keysOfOne || f.bytes+int64(len(f.dirty)+keysOfOne)*listBytes > bytesMax {
			return errFull
		}
		f.take(index, e, p)
		if next = index + 1; next == to {
			leaf = hasher.Leaf(e)
		}
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	if err == nil && next < to { // the leaf is of the last one that was taken
		last, err := f.log.Entry(next - 1)
		return next, hasher.Leaf(last), err
	}
	return next, leaf, err
}

var errFull = errors.New("the batch is full")

// take adds the keys of one entry.
func (f *follower) take(index int64, raw []byte, p *places) {
	v, err := entry.Parse(raw)
	if err != nil { // of a later version: a search by fields does not find it
		f.unreadable++
		return
	}
	h := v.Head()
	f.open = f.open.with(h.Time)
	f.listed(index, tagKind, uint64(h.Kind))
	for t, value := range v.All() {
		switch p[t] {
		case inIDs:
			from := len(f.arena)
			f.arena = appendID(f.arena, f.number, t, hashOf(value), index)
			f.keys = append(f.keys, f.arena[from:len(f.arena):len(f.arena)])
			f.bytes += idKeyBytes + 32 // of Badger's
		case inLists:
			f.listed(index, t, hashOf(value))
		}
	}
}

func (f *follower) listed(index int64, t entry.Tag, hash uint64) {
	key := uint64(t)<<(8*hashBytes) | hash
	l := f.lists[key]
	if l == nil {
		l = &list{tag: t, hash: hash}
		f.lists[key] = l
	}
	if !l.dirty {
		l.dirty = true
		f.dirty = append(f.dirty, l)
	}
	at := uint16(index & (blockSpan - 1))
	if n := len(l.at); n == 0 || l.at[n-1] < at { // again after a commit that failed
		l.at = append(l.at, at)
	}
}

// pairs are what the batch up to next writes: its keys in order, which Badger's memtable takes up
// faster, and its end last.
func (f *follower) pairs(next int64, leaf tlog.Hash, version uint64) []*pb.KV {
	slices.SortFunc(f.keys, bytes.Compare)
	out := make([]*pb.KV, 0, len(f.keys)+len(f.dirty)+3)
	for _, k := range f.keys {
		out = append(out, &pb.KV{Key: k, Version: version})
	}
	block := f.next >> blockBits
	for _, l := range f.dirty {
		out = append(out, &pb.KV{Key: appendList(nil, f.number, l.tag, l.hash, block), Value: appendEntries(nil, l.at), Version: version})
	}
	times := binary.BigEndian.AppendUint64(nil, uint64(f.open.from))
	times = binary.BigEndian.AppendUint64(times, uint64(f.open.to))
	position := append(binary.BigEndian.AppendUint64(nil, uint64(next)), leaf[:]...)
	return append(out,
		&pb.KV{Key: spanKey(f.number, block), Value: times, Version: version},
		&pb.KV{Key: logKey(keyLog, f.number), Value: []byte(f.log.Origin()), Version: version},
		&pb.KV{Key: logKey(keyPosition, f.number), Value: position, Version: version})
}

// advance goes on behind a batch.
func (f *follower) advance(next int64) {
	for _, l := range f.dirty {
		l.dirty = false
	}
	f.dirty = f.dirty[:0]
	f.next = next
	if next&(blockSpan-1) == 0 {
		f.spans = append(f.spans, f.open)
		f.open = noSpan
		clear(f.lists)
	}
}

// write begins to write a batch, all of it into one memtable, so that a crash leaves all or
// nothing. It does not wait; done has the end.
func (s *store) write(pairs []*pb.KV) (done <-chan error, err error) {
	defer recovered(&err)
	loader := s.db.NewKVLoader(1)
	for _, p := range pairs {
		if err := loader.Set(p); err != nil {
			return nil, err
		}
	}
	end := make(chan error, 1)
	go func() {
		var err error
		defer func() { end <- err }()
		defer recovered(&err)
		err = loader.Finish()
	}()
	return end, nil
}

// logs are the numbers of the logs that the folder knows.
func (s *store) logs() (map[string]uint16, error) {
	out := map[string]uint16{}
	err := s.each([]byte{keyLog}, nil, nil, func(key, value []byte) error {
		if len(key) != 3 {
			return errList
		}
		out[string(value)] = binary.BigEndian.Uint16(key[1:])
		return nil
	})
	return out, err
}

func (s *store) position(number uint16) (at int64, leaf tlog.Hash, err error) {
	err = s.each(logKey(keyPosition, number), nil, nil, func(_, value []byte) error {
		if len(value) != 8+len(leaf) {
			return errList
		}
		at = int64(binary.BigEndian.Uint64(value))
		copy(leaf[:], value[8:])
		return nil
	})
	if err == nil && (at < 0 || at > indexMax) {
		err = fmt.Errorf("%w: a position of %d", errCorrupt, at)
	}
	return at, leaf, err
}

// spans are those of the blocks [from, to), each of which must be there.
func (s *store) spans(number uint16, from, to int64) ([]span, error) {
	out := make([]span, 0, max(0, to-from))
	prefix := logKey(keySpan, number)
	err := s.each(prefix, spanKey(number, from)[len(prefix):], spanKey(number, to)[len(prefix):], func(key, value []byte) error {
		if len(value) != 16 || !bytes.Equal(key, spanKey(number, from+int64(len(out)))) {
			return fmt.Errorf("%w: a block's times are missing", errCorrupt)
		}
		out = append(out, span{int64(binary.BigEndian.Uint64(value)), int64(binary.BigEndian.Uint64(value[8:]))})
		return nil
	})
	if err == nil && int64(len(out)) != to-from {
		err = fmt.Errorf("%w: the times of %d blocks are missing", errCorrupt, to-from-int64(len(out)))
	}
	return slices.Clip(out), err
}

// each walks the keys with a prefix, from prefix+from (inclusive) to prefix+to.
func (s *store) each(prefix, from, to []byte, f func(key, value []byte) error) (err error) {
	defer recovered(&err)
	txn := s.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	end := append(bytes.Clone(prefix), to...)
	for it.Seek(append(bytes.Clone(prefix), from...)); it.Valid(); it.Next() {
		item := it.Item()
		key := item.Key()
		if to != nil && bytes.Compare(key, end) >= 0 {
			return nil
		}
		if err := item.Value(func(v []byte) error { return f(key, v) }); err != nil {
			return err
		}
	}
	return nil
}
