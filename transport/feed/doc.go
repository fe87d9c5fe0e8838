// Package feed owns the framing of market-data feeds: SoupBinTCP 3.00 (Nasdaq,
// 2009), and the ITCH 5.0 messages that the demonstration floor publishes in it.
//
// One SoupBinTCP packet, integers big-endian, text padded with spaces:
//
//	0        2      3                 2+length
//	┌────────┬──────┬─────────────────┐
//	│ length │ type │ payload         │   length counts type and payload
//	└────────┴──────┴─────────────────┘
//
//	from both    '+' debug              payload is text for people
//	             'U' unsequenced data
//	from client  'L' login request      user 6, password 10, session 10, sequence 20
//	             'R' client heartbeat   'O' logout request
//	from server  'A' login accepted     session 10, sequence 20
//	             'J' login rejected     reason 1: 'A' not authorised, 'S' no such session
//	             'S' sequenced data     'H' server heartbeat     'Z' end of session
//
// A sequenced packet carries no number: the login answer tells the number of the
// next one and both ends count. Text is padded on the right, numbers on the left.
//
// It refuses everything else: Next names an unknown type, a zero length, a length
// above the caller's bound and a payload of the wrong size for its type as
// *reason.Error; after one the stream cannot be trusted and is to be closed.
//
// ITCH messages here: S system event, R stock directory, A add order, E order
// executed, X order cancel, D order delete, U order replace, P trade. Every
// field of the specification is written; Message holds those that a book needs.
//
// Invariants: views, no copies, no allocation in steady state; what Append writes,
// Next and ParseMessage read back.
//
// Decision: only what the floor uses is here. MoldUDP64 waits for governed UDP,
// the other ITCH types for a feed that sends them.
package feed
