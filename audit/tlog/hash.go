package tlog

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is of a leaf or of a subtree.
type Hash = tlog.Hash

// HashBytes is the length of a Hash.
const HashBytes = tlog.HashSize

// Hasher hashes without allocating. The zero value works; it is for one goroutine.
type Hasher struct{ buf []byte }

// Leaf is the hash of an entry: SHA-256(0x00 || data), RFC 6962 section 2.1.
func (h *Hasher) Leaf(data []byte) Hash {
	h.buf = append(append(h.buf[:0], 0), data...)
	return sha256.Sum256(h.buf)
}

// Leaf is Hasher.Leaf for once.
func Leaf(data []byte) Hash { return tlog.RecordHash(data) }

// Node is the hash of two subtrees: SHA-256(0x01 || left || right).
func Node(left, right Hash) Hash {
	var buf [1 + 2*HashBytes]byte
	buf[0] = 1
	copy(buf[1:], left[:])
	copy(buf[1+HashBytes:], right[:])
	return sha256.Sum256(buf[:])
}

// Empty is the root of a tree without leaves.
func Empty() Hash { return sha256.Sum256(nil) }

// Fold is the root of a full subtree, whose count of leaves is a power of two. It overwrites hs.
func Fold(hs []Hash) Hash {
	for n := len(hs); n > 1; n /= 2 {
		for i := range n / 2 {
			hs[i] = Node(hs[2*i], hs[2*i+1])
		}
	}
	return hs[0]
}
