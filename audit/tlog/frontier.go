package tlog

import (
	"fmt"
	"math/bits"
)

// Frontier is the right edge of a tree: all that is needed to add leaves and to know the root.
// The zero value is the empty tree. It is copied by assignment.
type Frontier struct {
	size   int64
	hashes [62]Hash // hashes[l] is of the full subtree of 2^l leaves, if bit l of size is set
}

// Size is how many leaves the tree has.
func (f *Frontier) Size() int64 { return f.size }

// Add adds a leaf. done is called for each subtree that it completes, the leaf itself included,
// lowest first: level l, and the number n of the subtree among those of its level.
func (f *Frontier) Add(leaf Hash, done func(level int, n int64, h Hash)) {
	h, l := leaf, 0
	if done != nil {
		done(0, f.size, h)
	}
	for ; f.size>>l&1 == 1; l++ {
		h = Node(f.hashes[l], h)
		if done != nil {
			done(l+1, f.size>>(l+1), h)
		}
	}
	f.hashes[l] = h
	f.size++
}

// Root is the tree's hash.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		return Empty()
	}
	l := bits.TrailingZeros64(uint64(f.size))
	h := f.hashes[l]
	for l++; f.size>>l != 0; l++ {
		if f.size>>l&1 == 1 {
			h = Node(f.hashes[l], h)
		}
	}
	return h
}

// Append writes the hashes, largest subtree first.
func (f *Frontier) Append(b []byte) []byte {
	for l := 61; l >= 0; l-- {
		if f.size>>l&1 == 1 {
			b = append(b, f.hashes[l][:]...)
		}
	}
	return b
}

// FrontierOf is the frontier that Append has written of a tree of size leaves.
func FrontierOf(size int64, b []byte) (Frontier, error) {
	var f Frontier
	if size < 0 || size>>61 != 0 || len(b) != bits.OnesCount64(uint64(size))*HashBytes {
		return f, fmt.Errorf("tlog: %d bytes are no frontier of %d leaves", len(b), size)
	}
	f.size = size
	for l := 61; l >= 0; l-- {
		if size>>l&1 == 1 {
			b = b[copy(f.hashes[l][:], b):]
		}
	}
	return f, nil
}

// Subtree is the hash of number n of level l, if it is one of the frontier.
func (f *Frontier) Subtree(level int, n int64) (Hash, bool) {
	if level > 61 || f.size>>level&1 == 0 || f.size>>level-1 != n {
		return Hash{}, false
	}
	return f.hashes[level], true
}
