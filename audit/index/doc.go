// Package index owns a disposable index over audit logs: which entries have a value, in which
// log, when. A node indexes its own log, control the mirrored logs of all nodes.
//
//	logs ─ Range ─► follower ─ batch ─► Badger: ids, lists, times, position (one transaction)
//	 ▲                  └─► view ──┐        │
//	 └── Entry ◄── candidates ◄── walk ◄────┘ ◄── plan ◄── Query ◄── ParseQuery("cl_ord_id=A1 ...")
//	         └── holds? ──► queue of each log ──► merged by time ──► Answer, cursor, how far it goes
//
// It refuses to be the truth: every hit was read from its log and holds there, by the query, not
// by the index. It refuses to write to a log, to hold one up, to keep a value in clear (keys have
// 40 bits of a hash), and to call an answer complete that is not.
//
// # What is kept
//
// A block is 4,096 entries in a row, a shard 256 blocks, a million entries; all keys of a shard lie
// together, so new entries touch new tables, and pruned shards go as a range. A search looks into
// each shard that its window leaves, some 10 µs for each field. In a shard:
//
//   - an id (cl_ord_id, orig_cl_ord_id, order_id, exec_id, trace_id, digest, digest_out): one key
//     of 16 bytes for each entry that has it, with nothing in it;
//   - a field of few values (service, peer, principal, symbol, sender, target, reason, rule, flow,
//     channel, actor, subject, and the kind): one key for each value and block, with the list of
//     its entries there, as distances or as bits, whichever is shorter: half a byte an entry
//     where one of 16 has it, an eighth where every second has;
//   - of each block the first and last time, in memory too (16 bytes), so that a window of time
//     passes over blocks without a look, and needs no day in the keys.
//
// The lists of the block that is being filled are in memory and written again with each batch;
// after a start its entries are read again.
//
// # How it searches
//
// Chunk of blocks by chunk, in the order asked for, the fields' bits are ANDed, an id first; when
// few candidates are left the rest is decided by the entries. Fields that are not indexed are, too.
// What is durable and not yet indexed is read as it is, up to 8,192 entries; an index further
// behind says so (Answer.Covered). One call reads Query.Reads entries at most and gives a cursor
// where it ended, with or without hits. Within a log the order is by index, between logs by the
// time of what is next in each: clocks differ, and one log's times may step back.
// A cursor has a place in each log, so what is appended later changes no page: newest first it is
// not in the pages that follow, oldest first it comes at their end.
//
// # Invariants
//
//   - The index points to every entry that is indexed and has a field, or it is thrown away. So a
//     folder is verified before Badger opens it (verify.go: why), and one table after the other
//     while it is open; positions are in the transaction of their entries.
//   - Covered counts entries that were looked at or that the index vouches for, no others.
//   - Whatever becomes of the folder, the index is made again from the logs: newer format,
//     changed bytes, missing files, deleted while in use, of a log that is another by now (the leaf
//     before the position is kept). It is said once and counted (Stats.Rebuilds).
//   - Badger's files are in DIR/db and nothing else there is ever removed.
//   - To index an entry twice changes nothing.
//
// Lock order: none; Index.mu and store.mu are held for a few words at a time, and never across I/O.
// A search holds its store open by a count, Run closes it when the count is 0.
//
// # Limits
//
// 4,096 logs, 2^44 entries each; what was known of a log that is gone stays until the folder is
// deleted. A query has 32 fields, 512 alternatives, an answer 10,000 entries or 32 MiB. Memory
// is 15 to 50 MiB while a log is followed (up to three memtables of 10 MiB, cache 8 MiB, 16 bytes
// for 4,096 entries), and up to 350 MiB of heap while much is indexed at full speed, most of it
// tables that Badger merges; with a limit for the process (GOMEMLIMIT) of 200 MiB it is 190.
// A lag of one log is worked off a block at a time in turn
// with the others. An entry of a form that this version does not know is found by nothing.
//
// Badger writes through mapped memory: on a full disk the kernel would end the process (SIGBUS), so
// nothing is begun while less than 256 MiB are free, and it goes on when there is room. Who fills
// those within the one batch or merge that is under way ends the process all the same; where that
// can be, the folder wants a file system of its own. The same goes for a table that is cut short
// while it is mapped. A byte that rots on the disk under an open table is found when its turn to be
// verified comes (one table each 2 s), or never if Badger has merged the table before.
//
// Decisions: Badger and not files of our own: sorted tables, merging and concurrent readers are
// what it does well, and what it does badly (recovery, see verify.go) is not asked of it: no value
// log to collect, since all values are short; no log of the memtable, which is thrown away; no
// bloom filter, since every look-up is by prefix. Managed transactions with one version: a
// reader wants the newest lists and masks what is beyond its view, and waits for no writer. A
// list for each block and not a key for each entry: a key costs 15 to 20 bytes on disk, and an entry
// has 12 such fields. Not roaring bitmaps: a block is one of their containers. xxhash and not
// SHA-256 of values: whoever makes two values meet costs a search one more reading. The index is
// in the process and not beside it: a second process would be a second thing to look after.
package index
