package index

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// bitmap has a bit for each entry of a block.
type bitmap [blockSpan / 64]uint64

func (b *bitmap) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b *bitmap) and(o *bitmap) {
	for i := range b {
		b[i] &= o[i]
	}
}

// fill sets the bits from (inclusive) to to.
func (b *bitmap) fill(from, to int) {
	for i := range b {
		b[i] |= ones(from-i*64, to-i*64)
	}
}

// keep clears all bits but those from (inclusive) to to.
func (b *bitmap) keep(from, to int) {
	for i := range b {
		b[i] &= ones(from-i*64, to-i*64)
	}
}

// ones is the word whose bits from (inclusive) to to are set, both cut to the word.
func ones(from, to int) uint64 {
	from, to = max(from, 0), min(to, 64)
	if from >= to {
		return 0
	}
	return ^uint64(0) >> (64 - (to - from)) << from
}

func (b *bitmap) empty() bool { return *b == bitmap{} }

func (b *bitmap) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// from is the lowest bit that is set at or above i, -1 if none is.
func (b *bitmap) from(i int) int {
	for w := i / 64; w < len(b); w, i = w+1, 0 {
		if word := b[w] & ones(i%64, 64); word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// upTo is the highest bit that is set below i, -1 if none is.
func (b *bitmap) upTo(i int) int {
	for w := (i - 1) / 64; w >= 0 && i > 0; w, i = w-1, w*64 {
		if word := b[w] & ones(0, i-w*64); word != 0 {
			return w*64 + 63 - bits.LeadingZeros64(word)
		}
	}
	return -1
}

// How a list of entries of a block is written: the shorter of two.
const (
	listGaps byte = 0 // uvarint of each distance to the one before, the first from -1
	listBits byte = 1 // the bitmap's bytes, without the zeros at its end
)

var errList = errors.New("index: a list that nobody has written")

// appendEntries writes rising positions within a block.
func appendEntries(b []byte, at []uint16) []byte {
	from := len(b)
	bitBytes := int(at[len(at)-1])/8 + 1
	b = append(b, listGaps)
	last := -1
	for _, i := range at {
		b = binary.AppendUvarint(b, uint64(int(i)-last))
		last = int(i)
		if len(b)-from > 1+bitBytes {
			break
		}
	}
	if len(b)-from <= 1+bitBytes {
		return b
	}
	b = append(b[:from], make([]byte, 1+bitBytes)...)
	b[from] = listBits
	for _, i := range at {
		b[from+1+int(i)/8] |= 1 << (i % 8)
	}
	return b
}

// readEntries sets in m what appendEntries has written.
func readEntries(b []byte, m *bitmap) error {
	if len(b) < 2 {
		return errList
	}
	switch kind, b := b[0], b[1:]; {
	case kind == listBits && len(b) <= blockSpan/8:
		for i, c := range b {
			m[i/8] |= uint64(c) << (i % 8 * 8)
		}
		return nil
	case kind == listGaps:
		for at := -1; len(b) > 0; {
			gap, n := binary.Uvarint(b)
			if n <= 0 || gap == 0 || gap > blockSpan || at+int(gap) >= blockSpan {
				return errList
			}
			at += int(gap)
			m.set(at)
			b = b[n:]
		}
		return nil
	}
	return errList
}
