// Package order owns what the audit log knows of FIX orders: what of a message goes into an
// entry, what does not for a person's sake, and one order's way through the floor, put together
// from the entries of many logs.
//
//	bytes ─ Redact ─► copy ─ Read ─► Message ─ Append ─► entry          a hop, per message
//	          └► values ─► sealed by somebody else ... Restore ─► bytes
//
//	Start ─► keys ─► indexes of logs ─► Found ─ Add ─► more keys ... none ─► Result
//	                                                                          │
//	order ─ legs (a session each) ─ messages, as they were sent ─ hops ◄──────┘
//
// It refuses files, clocks, networks, keys and indexes: who asks looks the keys up and hands the
// entries in. It does not prove entries either; who needs proof proves each index that a Result
// names.
//
// # What a message is, on its way
//
// The same bytes are the same message: digests join hops, also DigestOut of one with Digest of
// the next. What was changed on its way is joined by its header (both CompIDs, type, number,
// SendingTime), and where half of that was changed, too, by the flow whose two ends saw the one
// and the other. The hops of a flow lie in the order of its direction, client-proxy first when
// it goes up; flows as one's receiver is the next one's sender, else by time.
//
// A message of one end of a flow alone is missing at the other, unless it was refused. Gaps and
// garbled bytes in the same flow within 10 s are named beside it, as what may explain it.
//
// PossDup, PossResend and the same bytes once more make a copy: shown as resent, counted
// nowhere; one that says something else than its original is changed.
//
// # What an order is
//
// Identifiers (11 and 41, 37, 17) tie messages together in one session, direction and trading day,
// for there alone they are unique; 37 over days, too. Where an application sends an order on in
// a session of its own (its CompID or service sells here and buys there) the same identifiers join
// the two, if one upstream order alone has most of them; if several have, the story says so and
// joins none. A session that begins anew (ResetSeqNumFlag, SequenceReset) has a new epoch:
// numbers are compared within one. Identifiers go on.
//
// # Which came first
//
// A log that has one message before another was sent there is proof. Else clocks decide, and a
// message lists those before it of which it is not certain that they were, since the bounds overlap.
//
// # Invariants
//
//   - Nothing is invented: garbled bytes have no fields; a value that is too long is left out,
//     never cut, as half an identifier is another one.
//   - A Result depends on the set of entries, not on their order or repetition.
//   - Restore(Redact(x)) is x, for all bytes.
//   - Read, Append and Redact allocate nothing once their memory has grown.
//
// Limits: a text of more than TextBytesMax bytes is in the content alone; of a message with
// several orders (a list) the first one's identifiers count. A search takes Query.EntriesMax
// entries, asks ten keys for each at most, and keeps their texts and 4 KiB of content; longer
// contents are not compared and give no fills. A message is compared with the 16 before it for what
// is uncertain; of the same bytes sent more than 256 times the later ones are not followed from
// flow to flow; among more than 64 orders with its identifiers none is taken for a leg's origin. What
// a search took that had to end early depends on the order after all. Of garbled bytes a
// personal value can only be found behind its tag: where the tag was damaged into another one it
// stays.
//
// Decisions: the CheckSum of redacted bytes is computed anew, since the true one together with the
// rest tells 8 bits of what was overwritten, enough to find an account in a list; so a change of a
// personal value alone is seen only by who can open the sealed digest of the whole, and sentences
// say that. Identifiers are scoped by session instead of being global, which would join orders of
// different clients that both begin their day with 1. No graph library: union-find is 20 lines.
package order
