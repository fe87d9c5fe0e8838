package index

import (
	"bytes"
	"context"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// sweepKeys is how many keys of pruned entries go in one transaction.
const sweepKeys = 8 << 10

// sweep removes keys of entries that were pruned: of whole shards, and the times of blocks. A
// shard's keys lie together, so nothing else is read.
func (x *Index) sweep(ctx context.Context) error {
	for _, f := range x.followers {
		minimum := f.log.Minimum()
		shard := minimum >> shardBits
		if shard == 0 || f.sweepAt != nil && bytes.Compare(f.sweepAt, shardPrefix(f.number, shard)) >= 0 {
			continue
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = x.sweepSome(ctx, f, shard, minimum>>blockBits); err != nil {
				return err
			}
			if err := x.room(); err != nil { // to remove takes room first
				return err
			}
		}
	}
	return ctx.Err()
}

func (x *Index) sweepSome(ctx context.Context, f *follower, shard, block int64) (more bool, err error) {
	defer recovered(&err)
	keys, err := x.store.keysBetween(f.sweepAt, logKey(keyPosting, f.number), shardPrefix(f.number, shard), sweepKeys)
	if err != nil {
		return false, err
	}
	if more = len(keys) == sweepKeys; !more {
		old, err := x.store.keysBetween(nil, logKey(keySpan, f.number), spanKey(f.number, block), sweepKeys)
		if err != nil {
			return false, err
		}
		f.sweepAt = shardPrefix(f.number, shard)
		keys = append(keys[:len(keys):len(keys)], old[:min(len(old), int(x.store.db.MaxBatchCount())-len(keys)-1)]...)
	} else {
		f.sweepAt = keys[len(keys)-1]
	}
	if len(keys) == 0 {
		return false, nil
	}
	txn := x.store.db.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	for _, k := range keys {
		if err := txn.Delete(k); err != nil {
			return false, err
		}
	}
	done := make(chan error, 1)
	err = txn.CommitAt(x.store.version, func(err error) { done <- err })
	x.store.version++
	if err != nil {
		return false, err
	}
	return more, x.await(ctx, done)
}

// keysBetween are some of the keys with a prefix, from after (inclusive) to end.
func (s *store) keysBetween(after, prefix, end []byte, most int) (keys [][]byte, err error) {
	defer recovered(&err)
	txn := s.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	if after == nil {
		after = prefix
	}
	for it.Seek(after); it.Valid() && len(keys) < most && bytes.Compare(it.Item().Key(), end) < 0; it.Next() {
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	return keys, nil
}
