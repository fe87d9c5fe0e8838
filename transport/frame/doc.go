// Package frame owns the header that opens every stream between two proxies, and
// the reply to it. After the reply the stream carries the application's bytes and
// frame has no part in it.
//
//	client proxy                              server proxy
//	   Open ────────────────────────────────► authorise, dial the application
//	        ◄──────────────────────────────── Reply{OK}  or  Reply{code, detail}
//	   bytes ◄──────────────────────────────► bytes
//
// It refuses identities (they come from the verified TLS leaf, never from a
// header), compression, and any field that a proxy would have to trust.
//
// # Bytes
//
// All numbers are little-endian. Both messages start with the same prefix, which
// no version may change:
//
//	 0       4       5       6       8              12
//	+-------+-------+-------+-------+---------------+
//	| magic |version| kind  | total | CRC32C        |
//	| FIRE  | 1     | 1, 2  | bytes | of all others |
//	+-------+-------+-------+-------+---------------+
//
// total counts the whole message with its prefix, at most HeaderBytesMax. The CRC
// (Castagnoli, RFC 3720 B.4) runs over bytes 0 to 8 and 12 to total. It is no
// defence, QUIC's AEAD is; it tells a bug of ours from a peer of another protocol.
//
//	Open (kind 1)                          Reply (kind 2)
//	12   1  protocol                       12  2  reason code, 0 = accepted
//	13   1  class                          14  2  detail length d, at most 512
//	14   1  hops, how many proxies before  16  d  detail, UTF-8, no control characters
//	15   1  minor version, 0               16+d   fields of a newer minor: skipped
//	16  16  message id
//	32   8  start, unix nanoseconds
//	40   1  service length s, 1..63
//	41   1  instance length i, 0..128
//	42   1  traceparent length t, 0..128
//	43   s  service, a policy/id name
//	     i  instance, printable ASCII without blanks
//	     t  traceparent, the same
//	        fields of a newer minor: skipped
//
// A reader checks in this order: magic, version, kind, total, completeness, CRC,
// fields. So a peer of a newer version is told FrameVersion even when the rest of
// its message means nothing here, and its length is never believed before that.
//
// # Invariants
//
//   - What Append writes, Parse reads to an equal value; on any error Parse leaves
//     its target as it was.
//   - A message that is not all there gives ErrShort and nothing else; one byte at a
//     time is as good as all at once.
//   - ReadOpen and ReadReply take exactly the message from the reader, never a byte
//     of the application behind it.
//
// # Allocation
//
// Append never allocates when the buffer has room. ParseOpen allocates a string
// only where it differs from the one already in its target, so a target kept per
// session costs nothing for the same service and instance; a new traceparent costs
// one string of 55 bytes. ParseReply allocates only a non-empty detail that differs.
//
// Decision: fixed offsets, not protobuf or TLV: one bounds check reads the fixed
// part and a Wireshark dissector is twenty lines. Growth goes behind the strings
// (minor, skipped) or to a new version (refused by name).
//
// Test: go test; FuzzParseOpen and FuzzParseReply have their seeds in testdata, and
// so have the golden bytes.
package frame
