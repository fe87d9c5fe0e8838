// Package shm owns rings in shared memory: messages between two processes of one host
// with no system call, no copy but the writer's and the reader's own, and nobody
// between them.
//
//	writer's process                                          reader's process
//	 Writer.Offer ──► lines ═══════ data (memfd, sealed) ═══════► Reader.Poll
//	       ▲                                                          │
//	       └────────── cursor (memfd, one per reader) ◄───────────────┘
//	                         gate (memfd): open, revoked, closed
//	                                  ▲
//	                           broker (node/direct)
//
// It refuses to decide who may attach (node/direct does), to grow, to block a writer,
// to guess a layout that it does not know, and to believe a number in memory that
// another process can write.
//
// # Layout, version 1
//
// All numbers are little-endian, all offsets bytes. Words named hot lie 128 bytes apart:
// processors fetch lines of 64 bytes in pairs. A channel has three kinds of memory.
//
// data: one per writer. The writer maps it writable, everybody else read-only; it is
// sealed SHRINK, GROW, FUTURE_WRITE and SEAL before anybody else sees it.
//
//	   0  u64  magic "FIRERING"
//	   8  u32  layout version, 1
//	  12  u32  discipline: 1 lane (the writer respects its readers' cursors)
//	                       2 broadcast (the writer never waits, readers are lapped)
//	  16  u64  layout hash: the first 8 bytes of the SHA-256 of LayoutText
//	  24  u64  lines: capacity in lines of 64 bytes, a power of two, 64 to 2^26
//	  32  u64  key: random, see sequence
//	  40  u64  epoch: the incarnation of the channel; a higher one replaces it
//	  48  u64  time of creation, ns since 1970
//	  56  u32  bytes of the name, at most 63
//	  64  63 B name of the channel
//	 128  u64  hot: the number of the newest mark; mark m lies at 136 + 16*(m mod 2):
//	           u64 a position where a message begins, u64 the messages before it.
//	           A mark is made with each intent, once per lines/8
//	 256  u64  hot: intent, the line up to which the writer may have begun to write
//	 384  u32  hot: bell, a futex word; incremented when a sleeping reader is woken
//	 512  u64  hot: position + 1 of the last sampled message, 0 for none yet
//	 520  u64  when it was published, CLOCK_MONOTONIC ns; written before 512
//	 640  u64  hot: counters of the writer, 8 bytes each: messages, bytes, refusals for lack
//	           of room, bells rung, padding lines, position
//	4096       lines
//
// A message of n bytes, 0 to 65536, takes ceil((16+n)/64) lines that are contiguous:
//
//	 0        8        12     14      16                                  64
//	+--------+--------+------+-------+-----------------------------------+
//	| seq    | length | type | flags | payload, up to 48 bytes here      |  and on
//	+--------+--------+------+-------+-----------------------------------+
//
// seq is written last, with release order: position + 1 + key, modulo 2^64, where
// position counts lines since the ring's start and never wraps. So what an
// earlier lap has left never looks published, nothing is zeroed, and payload that lies
// where a header will be cannot be taken for one without knowing the key. A message
// that does not fit before the end of the memory is preceded by padding: a header with
// flag 1, whose length is that of its payload up to the end. Flag 2 marks a message whose
// time of publication is at 520.
//
// cursor: one per reader. The reader maps it writable, the writer read-only; sealed
// likewise.
//
//	  0  u64  magic "FIRECURS"
//	  8  u32  layout version, 1
//	 16  u64  layout hash
//	 40  u64  epoch of the ring that it reads
//	128  u64  hot: position of the next line that the reader wants
//	256  u32  hot: asleep, 1 while the reader is about to wait for the bell
//	384  u64  hot: counters of the reader, 8 bytes each: messages, bytes, laps, messages
//	          lost, waits
//	512  u64  latency: histogram of sampled messages, 64 buckets of 8 bytes by powers
//	          of two nanoseconds
//
// gate: one per channel, written by the broker alone, read-only to all others.
//
//	  0  u64  magic "FIREGATE"
//	  8  u32  layout version, 1
//	 16  u64  layout hash
//	 40  u64  epoch
//	128  u32  hot: state: 1 open, 2 revoked, 3 closed, 4 the writer has died
//	132  u32  reason, a number of policy/reason
//
// # Lane and broadcast
//
// A lane's writer may write up to the smallest cursor + lines. It keeps that limit and
// looks at the cursors again only when it seems to be reached. Full is an answer, not a
// wait. Orders from several producers are several lanes, which one reader merges.
//
// A broadcast's writer passes everybody. Every writer raises intent in steps of lines/8
// before it writes there, a lane's for those who only look on (Tail).
// A reader copies, then looks at intent: if the copied lines are
// within lines of it they were whole. Otherwise it has been lapped: it goes on at the mark
// and reports the messages lost, first to last. Since intent moves seldom, looking costs a
// load from the reader's own cache. A new reader begins at the mark, too.
//
// A reader that is stopped, by a signal or a debugger, is one that is slow. Its lane's writer
// is told Full, which takes no longer than any Offer, and counts it; nobody sets the lane
// free but the reader, or who governs it. When it goes on it reads what is there, all of it.
// Other lanes and other readers know nothing of it; a broadcast passes it and it hears its gap.
//
// # Pages
//
// All pages of a ring exist before its writer has it (fallocate), and are swapped out no more
// once somebody has locked them (Pin, mlock(2)): the broker does that for all, as long as its
// process lives.
//
// # Sleeping
//
// The reader sets asleep, runs membarrier(GLOBAL_EXPEDITED), looks once more and waits on
// the bell by futex, with a limit. The writer looks at asleep after it has published, with
// no fence: the reader's membarrier is the fence of both. A writer so pays one load
// per reader and message and makes no system call while its readers are awake.
//
// A reader that sleeps waits for its gate's state, too, which the broker wakes (another
// futex word), and for a word of its own process (Nudge). Who reads several rings sleeps
// for all of them at once: futex_waitv(2). Where the kernel has none (before 5.16), it looks
// again after a millisecond, and for one ring after ten at most.
//
// A reader in a poll loop gives its writers the button of its Doorbell beside the cursor. The
// writer rings it, too, when that reader's asleep is set: the same word, and no system call
// either while the reader is awake. Who shuts the gate rings it, after the gate.
//
// # Calls
//
// A request and its response are messages of two lanes, one each way, whose payload begins
// with a u64: the id that the client gave and the server returns (Calls, Served). Answers
// come in any order. A call whose deadline passes, or whose pair ends, may have been served:
// it is handed over as such and never sent again; what comes later is dropped and counted.
//
// # Invariants
//
//   - A reader sees whole messages only, in order, once; or the exact numbers of those lost.
//   - No number from memory that a peer can write is used twice: it is read once into a
//     local, checked, used.
//   - A hostile writer can waste its readers' time and hand them wrong bytes of its own
//     ring, nothing else; a hostile reader can stall its lane and nothing else.
//   - For a message no index is checked but by this package: a length that cannot be is an
//     answer (ErrCorrupt, TooLong) and no panic. A test asks the compiler.
//   - Nothing here allocates after attach, or makes a system call but to sleep or to wake.
//
// # Limits
//
// 64 to 2^26 lines; 64 KiB messages; readersMax readers of one ring; linux on amd64 and
// arm64, kernel 5.1 or newer (F_SEAL_FUTURE_WRITE).
//
// The folder bindings has this layout in C, Python and Java; testdata/golden the memories that
// every one of them reads and writes alike.
//
// Pages exist from the start (fallocate). Whoever wants them never swapped out locks them (Pin), for
// all that have mapped them; rings need it not.
//
// Decisions: the gate is memory of its own, since a writer could unrevoke itself in
// memory that it may write. A keyed sequence and no zeroing: zeroing the line behind
// the reader costs a second transfer of each line. One lane per producer and no claim by
// compare-and-swap: a producer that dies in the middle must stop nobody else. So nothing is
// ever unblocked, and there is no counter of that: what a writer had begun when it died lies
// behind its last published message, is seen by nobody and goes with the lane; who made the
// gate sets it to 4 and counts the lane. Publication
// by a plain store in assembly on amd64: Go's atomic store is XCHG there, which waits
// until all earlier stores have left the core, and halves the throughput; the language
// promises nothing for other processes either way, the instruction sets do. A doorbell is
// a socket and no eventfd: a hostile reader could make its writer block in an eventfd.
package shm
