package meter

import (
	"fmt"
	"hash/fnv"
	"math/bits"
)

// LayoutVersion counts the layouts that were ever released.
const LayoutVersion = 1

// CellsMax bounds a page: 16 384 cells are 470 MB of sparse file.
const CellsMax = 16384

const (
	magic = 0x5254454d45524946 // "FIREMETR" on a little-endian machine

	nameBytes = 64 // one length byte and 63 of text
	nameMax   = nameBytes - 1

	offMagic    = 0
	offHash     = 8
	offVersion  = 16
	offCells    = 24
	offCellSize = 32
	offPID      = 40
	offStart    = 48
	offUsed     = 56
	offSpilled  = 64
	offRole     = 128
	offNode     = 192
	offRelease  = 256
	headerBytes = 4096

	cellSrc      = 0
	cellDst      = 64
	cellSide     = 128
	cellOpened   = 256
	cellClosed   = 264
	cellRefused  = 272
	cellActive   = 280
	cellRequests = 384
	cellErrors   = 392
	cellOut      = 400
	cellIn       = 408
	cellLast     = 416
	cellReasons  = 512
	cellLatency  = 1024
	cellConnect  = 14720
	cellBytes    = 28672 // seven pages

	reasonSlots = 32

	histUnder   = 0
	histOver    = 8
	histOverSum = 16
	histBuckets = 32
)

const (
	subBits    = 6
	subBuckets = 1 << subBits // per octave; bucket width <= value/64

	rangeMin = 100            // ns
	rangeMax = 10_000_000_000 // ns

	firstSlot   = rangeMin - subBuckets // slot of 100 ns: octave 0 is 64..127 ns
	lastSlot    = (33-subBits)*subBuckets + int(rangeMax>>(33-subBits)) - subBuckets
	bucketCount = lastSlot - firstSlot + 1
)

// bucketOf returns the bucket of a duration in range.
func bucketOf(ns uint64) int {
	octave := bits.Len64(ns) - 1 - subBits
	return octave*subBuckets + int(ns>>uint(octave)) - subBuckets - firstSlot
}

// bucketBounds returns the lowest and the first-too-high nanosecond of a bucket.
func bucketBounds(bucket int) (lo, hi uint64) {
	slot := uint(bucket + firstSlot)
	octave, sub := slot/subBuckets, uint64(slot%subBuckets)
	return (subBuckets + sub) << octave, (subBuckets + sub + 1) << octave
}

// bucketMiddle is the value that a bucket stands for.
func bucketMiddle(bucket int) uint64 {
	lo, hi := bucketBounds(bucket)
	return lo + (hi-1-lo)/2
}

// layoutHash changes with every offset and bound of the layout.
func layoutHash() uint64 {
	h := fnv.New64a()
	fmt.Fprintln(h, LayoutVersion, nameBytes, offMagic, offHash, offVersion, offCells, offCellSize, offPID, offStart,
		offUsed, offSpilled, offRole, offNode, offRelease, headerBytes)
	fmt.Fprintln(h, cellSrc, cellDst, cellSide, cellOpened, cellClosed, cellRefused, cellActive, cellRequests,
		cellErrors, cellOut, cellIn, cellLast, cellReasons, reasonSlots, cellLatency, cellConnect, cellBytes)
	fmt.Fprintln(h, histUnder, histOver, histOverSum, histBuckets, subBits, rangeMin, int64(rangeMax), bucketCount)
	return h.Sum64()
}
