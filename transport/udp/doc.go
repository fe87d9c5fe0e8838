// Package udp owns one stream of messages from one host to others over encrypted
// datagrams: sealed, in order, repaired, or lost with an exact gap.
//
//	Offer ► packet ► slots (kept for repair) ► seal ─► UDP, lines A and B ─► open ► replay
//	           ▲                                 ▲                             │     window
//	      one slow reader?                  once more                          ▼
//	      max: go on                            │               next? hand over : hold
//	      min, tagged: Full ◄── status ─────────┴── NAK ◄─────── a hole? wait, then ask
//
// It refuses to open a socket, to read a clock, to start a goroutine, and to agree on keys:
// whoever uses it hands over datagrams and the time, and a Secret for each direction from a
// session that is mutually authenticated. So all of it is tested in virtual time through a
// network that loses, repeats and reorders as a seed says.
//
// # Datagrams, version 1
//
// All numbers are little-endian. The header is authenticated and not encrypted:
//
//	 0      1            2      4       8         16            16+n   32+n
//	+------+------------+------+-------+---------+-------------+------+
//	| type | generation | zero | index | counter | sealed body | tag  |
//	| u8   | u8 of key  | u16  | u32   | u64     | n bytes     | 16   |
//	+------+------------+------+-------+---------+-------------+------+
//
// AES-128-GCM; nonce = iv XOR (index, counter). index is chosen by whoever receives, for
// its table of flows; in a group it is the sender's number there. Bodies:
//
//	1 data        packet u64, first message u64, time u64, then frames, each
//	              length u16 (bit 15 begins, bit 14 ends a message), type u16, bytes
//	2 heartbeat   next packet u64, next message u64 (0: not known), oldest kept packet u64, time u64, padding
//	3 status      next packet u64, window u32, zero u32, time of the last heartbeat u64, age of it u64, lost u64
//	4 nak         1 to 32 of: first packet u64, count u32
//	5 checkpoint  as a heartbeat, then counter u64, over u64, chain of hashes 32, length of the
//	              signature u16, signature, padding (proof.go)
//	6 bye         of the sender: as a heartbeat, the last; of a receiver: empty
//
// 1, 2, 5 and 6 go from the sender, 3, 4 and 6 to it. testdata/datagrams.hex has one each.
//
// # Keys
//
// key and iv are HKDF-Expand(Secret, "fire udp key" and "fire udp iv"); each direction has
// its own Secret. After RekeyAfter or RekeyPackets the sealer goes on with HKDF-Expand(Secret,
// "fire udp next") and forgets the last: who steals a key reads nothing of before. The
// header's generation tells; the opener follows when the tag of the next key fits, and opens
// with the last for keysOverlap. Counters never go back, so a nonce is used once; a
// process that starts anew has new sessions, so new Secrets.
//
// A group is sealed with an epoch's Secret that its sender makes and gives to each member.
// When a member leaves, the rest get a new one; it knows nothing of that. Members could
// forge each other's sender, and are found out by the signed checkpoints (proof.go): in a group
// only what is signed moves a receiver beyond the packets that it has, tells messages to be
// lost, ends the stream, and shows that the way is good; and proofAhead packets are all
// that is handed over without a signature. A packet that says of messages to be lost waits for
// the checkpoint that says so, too. Counters mean nothing there, since any member can use them up:
// repeats are told by their packet and by what is signed. Of packets between a gap and the next
// signed place none can be proved. A member can always end the stream for others, by being found out.
// A group's key is asked for when half of its datagrams are left (Stale). Receivers may hold the
// next one for as long as it takes to give it to all: the last one ends keysOverlap after the
// next was used.
//
// # Repair and flow
//
// A hole is asked for after 200 us, since packets overtake each other; with two lines when
// both are beyond it, or after 1 ms; in a group after a random wait by RFC 5401, so that one
// NAK of many is enough. The sender repeats what it still has, each packet to each receiver once per
// 0.3 to 0.6 ms (2 to 4 ms to a group) and 256 for one NAK at most. A heartbeat comes 1 ms after the last data, then ever later
// up to 50 ms: it shows that the tail is lost. A packet that the sender keeps no more, or
// that a lossy receiver has waited 40 ms for, is given up, and the messages in it are a gap.
//
// Flow control: max waits for nobody, min for all, tagged for those that are marked. A
// snapshot is a message that says all that a newcomer needs; who joins begins at the
// newest one that is kept, and is sent what followed.
//
// # Invariants
//
//   - Messages are handed over in the order of their offers, each once; between two stands
//     nothing, or the exact gap.
//   - Nothing that is not opened moves anything, also not the replay window; nothing that was
//     overtaken sets anything back.
//   - What a peer makes this end do is bounded: slots of Window packets, NAKs of 32 spans,
//     256 repairs and a look at each slot for one NAK, 16 derived keys for generations that nobody seals, badProofsMax
//     signatures that are none; and no receiver's NAKs cost another one its repairs.
//   - Offer, Flush, Input and Tick allocate nothing, but for a new key and a signature.
//   - A peer gets nothing but heartbeats until it has echoed the time of one: who names another's
//     address floods nobody.
//   - A heartbeat until then is as long as data: a path that swallows long
//     datagrams never looks healthy.
//
// No locks: an end belongs to one goroutine.
//
// Limits: messages of MessageBytesMax, datagrams of DatagramBytesMin to Max, windows of 8 to
// 65,536 packets. There is no congestion control but the window: the path is a floor's own
// network. Latency between hosts is the difference of two clocks.
//
// Decisions: packets and not bytes are what is repaired, so a slot is a copy and a gap in
// messages is exact. Keys follow from each other without a message, since a handshake
// under loss is where protocols stall (QUIC's key update, RFC 9001 section 6). No
// WireGuard-like cookie: no datagram starts anything here. Flows are told by an index and
// not by addresses, so both lines and every sender share a socket.
package udp
