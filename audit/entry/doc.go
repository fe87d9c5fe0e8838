// Package entry owns the form of what the audit log holds: one entry is one fact, in bytes
// that never change, since their hash is a leaf of the log's tree.
//
//	Builder: Begin ─ Str/Bytes/Uint... ─ Raw ──► bytes ──► leaf of the tree
//	                                              └──► Parse ──► View: Head, fields ──► JSON
//
// One entry, integers little-endian:
//
//	 0  version u8   1
//	 1  kind    u8   what happened (kind.go)
//	 2  sync    u8   whether the clock was synchronised
//	 3  clock   u8   what disciplined it
//	 4  bound   u32  nanoseconds that the time may be off; 0xffffffff: nobody knows
//	 8  time    i64  nanoseconds since 1970, UTC, as the host's clock had it
//	16  source  u64  who reported, unique in its log
//	24  seq     u64  the source's own count, from 1; an entry of no counting source has 0
//	32  fields: tag u8, length u16, that many bytes; tags rise, each at most once
//
// It refuses to know where entries lie, who signed them, and what a message means: audit/order
// reads messages, audit keeps entries.
//
// # Invariants
//
//   - One fact has one form: fields in rising order, numbers without leading zeros. So Parse
//     takes nothing that Builder would not have written, but for tags that it does not know,
//     which it keeps: an older reader shows a newer entry.
//   - A number or name in kind.go or tag.go is never given to anything else: entries are read
//     for six years and longer.
//   - No field holds a secret. Personal values are in Sealed alone, under their subject's key.
//   - Nothing here allocates but a Builder that grows, and what makes JSON.
//
// Limits: an entry has at most BytesMax bytes, what a bundle of C2SP tlog-tiles can hold.
//
// Decisions: tag, length, value, and not protobuf, whose encoding of one message is not unique
// (unknown fields, order, non-minimal varints), nor JSON, which needs a canonical form and three
// times the room. The head is fixed so that the time and the source of an entry are read without
// walking it. Tags are one byte: 40 are in use, and what is too special for one is a line of
// Detail.
package entry
