// Package audit owns a node's audit log: one ordered, contiguous sequence of entries that nobody
// can change, cut or reorder without its being found. It captures what the data path carries,
// makes it durable and signed, reads it back, and verifies it.
//
//	data path ─ Source.Message ─► ring ─┐                         ┌─► segments ── .tree files
//	                                    ├─► writer ─► committer ──┤      one fdatasync a group
//	whoever waits ─ Append ─► queue ────┘   encode     write,     ├─► head ─► Head, Entry, Range, Kept
//	                                        hash, sign sync       └─► head that lies away
//
// It refuses to hash, lock or wait in the data path (but for a closed source, which is told how long
// it may), to acknowledge before the disk has, to sync a file a second time after an error, to
// delete what is not behind a signed minimum, and to start on a log that is not what it has signed.
//
// # Three states of an entry
//
// Captured: it is in a ring. Durable: its group is on the disk. Covered: a signed head includes
// it. Here the last two come together: a group and its head are one write and one fdatasync, so
// readers and proofs see neither without the other.
//
// # A segment
//
//	<first index, 16 digits>-<number, 8 digits>.seg, made ahead, all zero
//
//	0     first block, 4096 bytes: magic "fireaud\x01", format u32, bytes u32, number u64,
//	      created i64, first index u64, root of the tree before it, name of the log, public
//	      keys in use, the tree's right edge (one hash for each bit of the index), zeros, crc32c u32
//	4096  frames: kind u8, zero u8, length u16, crc32c u32 over these 4 bytes and the body, body
//	        kind 1  an entry (audit/entry)
//	        kind 2  the end of a group: magic, count u32, bytes of its frames u32, first index u64,
//	                time i64, zero u64, and the checkpoint of the tree up to here (C2SP, signed)
//	      zeros to the end; a sealed segment ends behind its last group
//
// Integers are little-endian. The .tree file of a sealed segment holds its leaves' hashes, the
// offsets of its entries and the hashes of every eighth level that its entries complete: 36.1
// bytes an entry. It is made of the segment and can be made again. A segment is enough to verify
// itself and to prove its entries: what of the tree lies before it is in its first block.
//
// # After a crash
//
// The log goes on behind its last group. Bytes behind that can only be of one group, since none is
// written before the one before it is on the disk; nobody was told of it, and it is cut. If a group
// that was signed later follows a broken place, or the log is shorter than the head that lies
// away, or a segment is missing, or does not follow the one before, the log does not start.
//
// # When the disk fails
//
// An error of a write or a sync ends the segment. Its group goes to a new one, with the same
// entries, until that succeeds; what the failed segment holds of it is cut. So a full disk is
// waited out; the segment that is made ahead keeps the one before it from being cut short.
// Meanwhile the rings fill. Then a source that is open lets messages go on: they are counted, each
// with its digest in a chain, and the log says how many, from which number to which, as soon as
// it takes something again. A closed one waits for its budget and refuses.
//
// # Invariants
//
//   - An index never changes its entry; a signed head never shrinks.
//   - Of one source, entries come in the order of its calls, and its numbers have no hole: what is
//     missing is in a gap, or the log was cut.
//   - What Append has returned, or a reader has seen, no crash of the process or the machine takes
//     back (crash_test.go: every state of recorded traces).
//   - The file of a segment that failed is never written again, only shortened.
//   - No proof is given out that was not checked.
//
// Lock order: none nests. inbox.mu, Source.mu, Capture.mu, spare.mu, awayHead.mu and store.mu are
// each taken alone and held over no I/O, but awayHead's, over a write of one block to the page cache.
//
// # Limits
//
// Rings: rings × ring_bytes, a message of at most a quarter of one. Two groups of 2 MiB on their
// way. 4 MiB of entries that wait in the queue; who comes then waits. 2^20 sources. An entry of
// 65,535 bytes: longer content follows in Part entries. Of segments that wait for their .tree
// file 16 are in memory, some 10 MiB each. Heads are 4 KiB at most.
//
// The head that lies away is synced within 100 ms: a machine that loses power within them, and whose
// disk at the same time damages the last group, loses that group without anybody's noticing here;
// witnesses and mirrors do.
//
// # Decisions
//
// One file format of our own instead of Tessera's or tlog-tiles' on disk: those write a bundle, tiles
// and a checkpoint for each batch, several files and flushes where this has one; export makes their
// layout. Entries and head in one write instead of two, so that there is no moment at which the one
// is durable and not the other. Segments are made ahead by fallocate and not written full of
// zeros, which made syncs of small groups 1.3 times as fast and doubles what is written. Natural
// batching (a group is what has come while the one before was on its way) and no timer: on an idle
// disk an entry is durable in a quarter of a millisecond, under load groups grow by themselves.
// Rings of 64-byte slots with marks apart, instead of length words in the ring itself, which must be
// wiped after reading since a message could look like one. One writer, since it is the disk that
// bounds: hashing and signing take 0.5 µs an entry.
package audit
