// Package channel owns how a program attaches to a direct path of its host, and the ends
// that it then holds: Publisher, Subscriber, Caller, Server.
//
//	program                            direct node of the host (node/direct)
//	 attach ──── unix socket ─────────► who are you? may you? ── audit
//	        ◄─── welcome, lane + fds ──
//	 maps   ──── mapped ──────────────► seals, tells the other ends
//	        ◄─── reader + fd ──────────
//	 Offer ═══ shared memory ═══ Poll     (nobody in between)
//
// It refuses to decide who may attach, to keep a message that no ring took, to wait
// where the caller did not ask for it, and to believe a peer's number.
//
// # Attach protocol, version 1
//
// A SOCK_SEQPACKET unix socket; one packet is one message of at most PacketBytesMax. All
// numbers are little-endian. Memory travels as file descriptors (SCM_RIGHTS) beside the
// packet. Whoever receives a type, a version or a length that it does not know ends the
// connection. Every message begins
//
//	 0      2         4      8       16
//	+------+---------+------+-------+
//	| type | version | body | id    | body
//	| u16  | u16     | u32  | u64   |
//	+------+---------+------+-------+
//
// "str" is a byte of length and that many bytes of UTF-8. From the program:
//
//	1 attach   -           layout hash u64, side u8 (1 publish, 2 subscribe), zero u8,
//	                       held u16, channel str, service str (may be empty: the only one)
//	2 held     old link    one per memory kept from before, right after attach
//	                       fds: of a writer data, and cursors of those that it respects, the
//	                       same memory again when they are more; of a reader data, cursor
//	                       and the button of its doorbell, if it has one
//	3 mapped   link        the lane's memory is mapped; it may be sealed now
//	                       fds: of a reader the button of its doorbell, if it has one
//	4 added    link        the writer respects the reader: position u64 at which it may start
//	5 detach   -           the end, on purpose
//
// From the direct node:
//
//	16 welcome  -           kind u8 (1 orders, 2 broadcast, 3 rpc), wait u8 (1 spin,
//	                        2 spin-yield, 3 adaptive, 4 poll), zero u16, service str
//	17 lane     link        epoch u64, pair u64, way u8 (1 you write, 2 you read), other str
//	                        fds: to write data, gate; to read data, cursor, gate
//	18 reader   link        lane u64, service str; fds: cursor and, of a reader that has a
//	                        doorbell, its button. Answered by added
//	19 start    link        position u64: the reader begins there
//	20 gone     link        a writer forgets this reader; a reader drops the lane when it is read
//	21 refused  -           reason u16, text str16 (u16 of length); then the end
//	22 adopted  old link    link u64; fds: gate. A held memory is governed again
//	23 settled  link        a writer forgets the readers that were not named again
//
// A link is one end's hold on one lane. A lane's pair is, for rpc, the link of the lane that
// goes the other way, else 0; all ones says that the lane's publisher is on another host, and
// that a message of type 0xffff in it is TypeLost.
//
// # Doorbells
//
// A subscriber that waits in a poll loop has one doorbell for all its lanes: a pair of unix
// datagram sockets. Its button goes with mapped to the direct node, which checks what it is
// and hands it on to each writer. Of an end the first button counts. Whoever writes rings it
// after a message when that reader's cursor says asleep; the direct node, when it sets a gate
// of that reader; the subscriber itself, for a new lane and the end. Ringing is one byte,
// never waited for: sent with MSG_DONTWAIT and MSG_NOSIGNAL, and errors are nothing, since a
// full socket is readable. The same button for who is adopted: its writers have it still.
//
// # When the direct node dies
//
// The rings go on. The ends ask again at once and then each retryEvery, holding up what
// they have (held); a new direct node decides anew, adopts what it allows and gives it a
// new gate. What it refuses is shut at this end.
//
// # Invariants
//
//   - A reader starts only where its writer has promised not to write over: no message is
//     lost between attach and the first Poll, and none is seen twice.
//   - Offer, Claim, Commit and Poll make no system call, take no lock and allocate nothing;
//     lanes come and go behind an atomic pointer.
//   - One goroutine per end talks to the direct node; Close waits for it.
//   - Every descriptor is closed exactly once, also those of a packet that is refused.
//
// Lock order: end.mu alone.
//
// Limits: PacketBytesMax, fdsMax descriptors per packet, lanesMax lanes per end, heldMax
// memories held up. An end that lacks descriptors or memory for what comes is over and says
// so (RingUnavailable): asking again would bring it no more.
//
// Decisions: packets of a unix socket and not a stream, since descriptors belong to one
// message. Own bytes and not JSON, since the C binding reads them without a library. The
// program's end keeps the descriptors of what it has mapped: without them nothing can be
// adopted. Pinning is a call (Pin) and no option: a goroutine is pinned and no end, and the
// zero value of an option would be a processor. Not in node: applications link this room, and it stays small.
package channel
