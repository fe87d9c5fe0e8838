package tlog

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// TileHeight is how many levels of the tree lie between two that are kept (C2SP tlog-tiles).
const TileHeight = 8

// Reader gives the hashes that a log keeps.
type Reader interface {
	// Kept is the hash of subtree n of a level that is a multiple of TileHeight; level 0 is
	// the leaves. ok is false for one that was pruned.
	Kept(level int, n int64) (h Hash, ok bool, err error)
	// Edge is the frontier at the log's minimum index: the roots of what was pruned.
	Edge() *Frontier
}

// subtree is any full subtree's hash.
func subtree(r Reader, level int, n int64) (Hash, error) {
	if h, ok := r.Edge().Subtree(level, n); ok {
		return h, nil
	}
	if level%TileHeight == 0 {
		h, ok, err := r.Kept(level, n)
		if err != nil {
			return Hash{}, err
		}
		if ok {
			return h, nil
		}
		if level == 0 {
			return Hash{}, fmt.Errorf("tlog: entry %d was pruned: the log begins at %d", n, r.Edge().Size())
		}
	}
	if base := level - level%TileHeight; base < level && n<<level >= r.Edge().Size() { // in one go
		hs := make([]Hash, 1<<(level-base))
		whole := true
		for i := range hs {
			h, ok, err := r.Kept(base, n<<(level-base)+int64(i))
			if err != nil {
				return Hash{}, err
			}
			hs[i] = h
			if !ok {
				whole = false
				break
			}
		}
		if whole {
			return Fold(hs), nil
		}
	}
	left, err := subtree(r, level-1, 2*n)
	if err != nil {
		return Hash{}, err
	}
	right, err := subtree(r, level-1, 2*n+1)
	if err != nil {
		return Hash{}, err
	}
	return Node(left, right), nil
}

// reading is a Reader as the proven module wants it: by the numbers of tlog.StoredHashes.
func reading(r Reader) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			h, err := subtree(r, hashLevel(at), hashNumber(at))
			if err != nil {
				return nil, err
			}
			out[i] = h
		}
		return out, nil
	})
}

func hashLevel(at int64) int    { l, _ := tlog.SplitStoredHashIndex(at); return l }
func hashNumber(at int64) int64 { _, n := tlog.SplitStoredHashIndex(at); return n }

// RootAt is the root that the tree had at an earlier size.
func RootAt(r Reader, size int64) (Hash, error) { return tlog.TreeHash(size, reading(r)) }

// ProveEntry makes the path from leaf index to the root of head, and checks it.
func ProveEntry(r Reader, head Head, index int64) ([]Hash, error) {
	p, err := tlog.ProveRecord(head.Size, index, reading(r))
	if err != nil {
		return nil, err
	}
	leaf, err := subtree(r, 0, index)
	if err != nil {
		return nil, err
	}
	if tlog.CheckRecord(p, head.Size, head.Root, index, leaf) != nil {
		return nil, fmt.Errorf("tlog: the hashes that are kept for entry %d do not lead to the root of size %d: they were changed", index, head.Size)
	}
	return p, nil
}

// ProveGrowth proves that the tree of head begins with the tree of size from.
func ProveGrowth(r Reader, head Head, from int64) ([]Hash, error) {
	switch {
	case from < 0 || from > head.Size:
		return nil, fmt.Errorf("tlog: no growth from %d to %d", from, head.Size)
	case from == 0 || from == head.Size:
		return nil, nil
	}
	return tlog.ProveTree(head.Size, from, reading(r))
}

// CheckGrowth checks that a log has only grown from old to head.
func CheckGrowth(proof []Hash, head, old Head) error {
	switch {
	case old.Size < 0 || old.Size == 0 && old.Root != Empty() || head.Size == 0 && head.Root != Empty():
		return fmt.Errorf("tlog: no tree of size 0 has a root other than %v", Empty())
	case old.Size > head.Size:
		return fmt.Errorf("tlog: the log shrank from %d to %d", old.Size, head.Size)
	case old.Size == head.Size && old.Root != head.Root:
		return fmt.Errorf("tlog: two roots of size %d: %v and %v", head.Size, old.Root, head.Root)
	case (old.Size == 0 || old.Size == head.Size) && len(proof) != 0:
		return fmt.Errorf("tlog: a proof of %d hashes where none is due", len(proof))
	case old.Size == 0 || old.Size == head.Size:
		return nil
	}
	return tlog.CheckTree(proof, head.Size, head.Root, old.Size, old.Root)
}
