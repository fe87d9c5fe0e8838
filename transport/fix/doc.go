// Package fix owns the FIX tag=value wire form, versions 4.0 to 5.0SP2 (FIXT.1.1):
// cutting a byte stream into messages, walking a message's fields without
// copying, and building messages.
//
//	stream ──► Next ──► Message (a view of the stream) ──► Fields ──► tag, value
//	              └──► an error and how many garbled bytes to pass over
//	Builder: Begin ─ String/Int/Decimal... ─ End ──► bytes, ready to write
//
// One message on the wire, | standing for SOH (0x01):
//
//	8=FIX.4.4|9=65|35=A|34=1|49=A|...|10=062|
//	└───┬────┘└─┬─┘└────────┬────────┘└──┬──┘
//	BeginString │    BodyLength bytes  CheckSum: sum of all bytes before it,
//	       BodyLength                  modulo 256, three digits
//
// It refuses to know sessions, sequence numbers or dictionaries; node/demo has a
// session layer on top. It never re-serialises what it read: Message.Raw is the
// exact bytes, so a tap can forward them as they came.
//
// Garbled messages (FIX 4.4 volume 2, "Garbled message"; FIX session layer 4.3):
// a message is garbled when it does not start with BeginString, BodyLength and
// MsgType in that order, when BodyLength does not lead to a CheckSum field, or
// when the CheckSum is wrong. It is passed over, without using up a sequence
// number, to the next "8=FIX". A BodyLength above the caller's bound is garbled
// too: the bound keeps a hostile length from making the reader wait or buffer.
// A BodyLength that is too long but within the bound can only be seen when that
// many bytes have come; on a live session the next heartbeat brings them.
//
// Data fields (RawData and 23 others) may hold SOH and "8=FIX"; Fields takes them
// by the length field that stands before them.
//
// Invariants: Next never reads past the front message and never returns n == 0
// with an error other than ErrShort; no function here allocates except a Builder
// that grows; a built message passes Next and gives the fields back.
//
// Limits: BodyLength at most 9 digits and the caller's bytesMax; a tag is at most
// 9 digits.
//
// Decisions: CheckSum adds 8 bytes at a time in 16-bit lanes (about 5 times the
// byte loop) and SOH is found in 8-byte words, since values are short: a call of
// bytes.IndexByte per field costs more than the search. The Builder guesses a
// three-digit BodyLength and moves the body by a byte when it was wrong, which is
// rare, instead of building apart and copying always.
package fix
