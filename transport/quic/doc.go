// Package quic owns the mesh's links: transport.Session over QUIC with mutual TLS.
//
//	        one UDP socket (Endpoint)
//	   ┌───────────────┴───────────────┐
//	Listen                           Dial(addr, tls, class)
//	gate: rate ► Retry, cap          hello ► on stream 0
//	   │                                ◄ welcome: certificate accepted
//	   └──────► Session: heart in datagrams, streams 4, 8, ... both ways ◄─────┘
//
// It refuses: 0-RTT and tickets (a resumed session would skip the identity check),
// version negotiation, unidirectional streams, datagrams for anything but the heart (queues
// of 32 and 128 that drop without a word), and to decide who may connect: that is in the tls.Config.
//
// # Heartbeats
//
// Messages of 16 bytes, little-endian; hello and welcome on the dialler's first stream,
// the others in datagrams, which no full window holds up:
//
//	 0      2         3      4       5          8         16
//	+------+---------+------+-------+----------+---------+
//	| "FB" | version | kind | class | reserved | value   |
//	+------+---------+------+-------+----------+---------+
//	kind 1 hello (value: interval in ns)   3 ping (sequence)
//	     2 welcome                         4 pong (the same)
//
// HeartbeatMisses intervals of silence end the session as PeerLost on both sides:
// after 0.8 s by default. While QUIC packets of the peer still arrive the heart waits
// four times as long, so a full link or processor is not taken for a dead host.
// quic-go's own idle timeout cannot do this: it lifts anything below 5 s to 5 s.
//
// # Limits
//
//   - Half-open handshakes: HalfOpenMax, each at most 4 goroutines and 64 KiB
//     (defaults: 1,024 and 16 MiB). Above HandshakesPerSecond, or when half of the slots
//     are taken, an address must first echo a Retry, which costs no state; so forged
//     addresses can take half of the slots and never the other half. A slot is held until
//     the hello has been read.
//   - Received and unread: StreamWindowMaxBytes per stream, SessionWindowMaxBytes per
//     session, whole from the start. A session whose window is full stands still for all
//     its streams, so node/proxy cuts readers that take nothing long before. Sent and unacknowledged: the peer's windows.
//   - StreamsMax streams per session; 256 sessions that nobody accepts.
//
// # Invariants
//
//   - A session's Peer is the leaf that VerifyConnection passed in a full handshake.
//   - Accept and Dial return a session only after both sides have accepted each other.
//   - A slot of the gate is given back exactly once.
//   - Close of an Endpoint returns when nothing of it runs.
//
// # Errors
//
// Everything is a *reason.Error. Stream resets and CONNECTION_CLOSE carry the reason's
// number. A TLS refusal carries an alert and no text, so the refused dialler says
// PeerClosed and the side that refused logs the reason ("handshake failed").
//
// Lock order: Endpoint.mu, gather.mu and alarm.mu, each alone; nothing is called under them
// that waits. Under alarm.mu quic-go is told of a deadline.
//
// Small writes of several streams leave together (gather.go): as one
// packet instead of one each. Under HTTP on 32 connections a pair of proxies carries 17
// to 50 % more requests per processor second. A stream that writes alone is not held
// up. gatherQueueMax bounds what a stream adds to quic-go's queue before a write waits
// for the packer.
//
// Deadlines of streams are kept here, not by quic-go (alarm.go), which makes a timer for
// each read that waits under one. Under HTTP that was about 6 % of the processor time
// together with the calls that set them.
//
// Decisions: one socket for both directions, so that the peers' firewalls see one
// port. Dial waits for the welcome, one round trip more than TLS needs, since a client
// has finished its handshake before the server has looked at its certificate. Packets
// stay below 1,453 bytes even on loopback: quic-go's buffers hold no more.
//
// Test: go test; the suite of transporttest runs over loopback, losses of peers in
// virtual time over simnet, and the flood of half-open handshakes by raw Initials.
package quic
