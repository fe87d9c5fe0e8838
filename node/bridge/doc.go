// Package bridge carries channels between hosts: what is published on one comes out of a
// ring on another, with the same API for the programs at both ends.
//
//	host A                                         host B
//	publisher ═ ring ═► export ─ udp.Sender ──UDP──► udp.Receiver ─ pull ═ ring ═► subscribers
//	            (far subscriber)      ▲              │            (far publisher)
//	                                  └ status, NAK ─┘
//	            session, node to node: want ◄──────── who reads, decides again
//	                                   lane, keys' salt, epochs ──► (or the datagrams themselves)
//
// It refuses to decide who may attach (node/direct does, at both ends, by the rules for the
// far services) and to keep what a ring has not taken.
//
// # How a channel comes over
//
// When a program of host B reads a channel, B asks every host that has a direct node and on
// which the floor places one of its publishers, on a stream of a session in which both have
// proved to be those nodes (want). A answers with each publisher that at least one of B's
// services may read (lane); from then on sealed datagrams go straight between the two. Keys
// are derived from the session (transport.Export), a salt of each side and the lane's number, so
// none is ever used for two streams; a group's key goes over the session. When nobody
// reads on B any more it ends the stream. wire.go has the frames.
//
// orders: A's publisher is told Full when B's reader is behind, through both rings and the
// window between. broadcast: nobody waits; what is lost on the way is told to B's readers
// as a gap in its place (channel.TypeLost). A host with a tagged subscriber is waited for: it
// gets every message that A has read of the publisher's ring, and while it takes none, A reads
// none, so the others wait, too, until the ring is overrun or silentCut ends it. On B the
// program reads a broadcast ring, whose writer waits for nobody.
//
// rpc: B's server is asked for as a reader is. A stands for the server where the callers are,
// B for each caller, and every pair of lanes is two streams without loss (calls.go). A
// server of the callers' own host goes before one of another; of several other hosts the
// one that has come first serves.
//
// When no datagram comes, B says blocked and the session carries the same sealed datagrams:
// slower, marked quic in PathState and in the trail, and nothing is lost by the change. When
// only what B says is lost, A says it. Copies go on by UDP now and then; when they come at
// both ends again, the lane goes back (detour.go).
//
// With groups in the floor's channel the datagrams go to all hosts at once (multicast),
// sealed with an epoch's key, and the sender signs what it has sent. When a host leaves,
// the others get a new key, which is used when all hold it or after epochWithin. Who leaves
// meanwhile has that one as well, so a further one follows at once.
//
// # Invariants
//
//   - A lane is published here only if the floor places its service on the host that sends
//     it, and that host has proved who it is.
//   - What came from one host is never sent on to another.
//   - Every goroutine ends before Run returns; each export, pull and host whose calls are
//     served has one that owns its rings, sockets and streams.
//   - No message waits here: it is in the ring it came from, in the window, or in the ring it
//     goes to. A publisher whose stream is full holds back no other.
//   - What a host can cost is bounded whatever it says: streams and memory (share.go), and
//     lines in the trail (facts.go), where what is not told one by one is counted.
//
// Lock order: Bridge.mu, links.mu, facts.mu, export.ringMu, each alone.
//
// Limits: peers_max channels times hosts each way, of which a quarter is kept for hosts that
// have none; host_bytes_max for what is on its way from one host; pullersMax hosts and outsMax publishers
// of one exported channel, crossingsMax callers of one stream, framesMax frames to a host that reads none, noteBytesMax.
//
// When a session ends without a goodbye, what orders had sent and the other host had not
// confirmed is kept for the channel's keep, and the publisher is held back. The host says over
// its next session how far each stream had come, and it goes on there: none is lost, none
// comes twice (orphan.go). A direct node that is stopped says the same as its goodbye, so its
// next one goes on, too. Calls end with their session, as connections do.
//
// What is weaker than it should be: a direct node that was killed knows no more how far it had
// come, so what it had not confirmed is lost, and told as packets (path_lost); one that
// dies on the publisher's side takes with it what it had read and the other had not got. Two
// hosts that read the same channel get it twice unless it has groups.
//
// Decisions: the other host's direct node receives and not the program itself, so keys
// stay out of programs, every language has the path, and what it read is audited there; it costs
// one hop through a ring, some hundred nanoseconds, beside the microseconds of the network. Who
// reads asks, since only there it is known that somebody reads. A socket for each
// channel and peer, so that one goroutine has everything and takes no lock.
package bridge
