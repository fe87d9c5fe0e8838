// Package meter owns the numbers of a running process: one file of counters and
// latency histograms that the process writes through a mapping and anybody who
// may read the file can look at, also when the process hangs or is stopped.
//
//	proxy goroutines ──atomic add──► mapping (MAP_SHARED) ──► page cache
//	                                                             │ pread
//	                        `fire stat`, `fire check` ◄── Reader ┘ (no request, no signal)
//
// It refuses names as keys on the hot path (Page.Edge is looked up once, the *Edge
// is kept), clocks (the caller says what time it is), export formats, and any
// package beyond the standard library.
//
// # Layout
//
// All words are 64 bits in the byte order of the machine; the file never leaves
// the host, and a foreign order fails the hash. Offsets are bytes.
//
//	page                                  cell (28 672 bytes; cell 0 is "overflow")
//	    0  magic "FIREMETR"                   0  src   1 length byte, 63 bytes of text
//	    8  layout hash                       64  dst   1 length byte, 63 bytes of text
//	   16  layout version                   128  side  1 length byte, 63 bytes of text
//	   24  cells in the file                256  opened
//	   32  bytes per cell                   264  closed
//	   40  pid                              272  refused
//	   48  start, unix nanoseconds          280  active (signed)
//	   56  cells in use (published last)    384  requests
//	   64  edges sent to overflow           392  errors
//	  128  role  1 length byte, 63 bytes    400  bytes out
//	  192  node  1 length byte, 63 bytes    408  bytes in
//	  256  version  1 + 63 bytes            416  last use, unix nanoseconds
//	 4096  cell 0                           512  32 reasons: code + 1, count
//	       cell 1 ...                      1024  latency: under, over, over sum (ns),
//	                                             unused, 1703 buckets
//	                                     14720  connect: the same
//
// The hash is FNV-1a of the text of the layout (layout.go), so a program with any
// other layout refuses the file instead of misreading it. Cells and the groups in
// a cell start on 128-byte lines: two edges on two cores never share a line or the
// line its prefetcher pairs with it.
//
// # Histogram
//
// Log-linear buckets: the power of two gives the octave, the next six bits one of
// 64 buckets in it. From 100 ns to 10 s a bucket is at most 1/64 of its value
// wide and stands for its middle, so an estimate is within 1/128 = 0.79 % of the
// sample. Below and above are counted apart. Sum is the sum of the middles, so it
// has the same bound; keeping an exact sum would be a second atomic add per
// Record, which would double its cost.
//
// # Invariants
//
//   - A word has one meaning for ever; counters only grow, Active aside.
//   - A cell's key is written before "cells in use" counts it, and never changes.
//   - A snapshot reads each word whole, but not all words at one instant: what is
//     in flight while it reads may be in Requests and not yet in Latency, or the
//     other way round. Nothing is ever lost, so a later snapshot minus an earlier
//     one is never negative and catches up.
//   - Reader copies with pread and parses its own copy: a shorter, changing or
//     hostile file gives an error or odd numbers, never a fault. A mapping would
//     turn a truncation into SIGBUS, so it was not taken.
//   - Blocks of a cell are reserved (fallocate) before its first use: a full disk
//     sends new edges to the overflow cell instead of a SIGBUS to the proxy.
//
// Locks: Page.mu guards the key map only and is taken by Edge and Snapshot, never
// by counters. No lock is held across I/O but the reservation of a new cell.
//
// Limits: CellsMax cells; 31 distinct reason codes per edge, the rest are counted as
// ReasonOther; names of 63 bytes (policy/id's limit), longer ones are cut.
//
// Linux only: other systems get an error that says so.
//
// Decision: buckets of 64 bits. At 32 bits a busy edge would wrap in half a day.
// Decision: the mapping is never taken away: *Edge values are held by connections
// that may outlive the page's owner, and a late Record must not fault.
//
// Test: go test; the fuzz targets FuzzReader and FuzzHistJSON have seeds in code.
package meter
