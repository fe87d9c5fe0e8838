// Package lines owns the UDP sockets of one stream's end: one, or two for lines A and B,
// and the groups that it has joined.
//
//	Send ► batch of a line ► Flush ─ sendmmsg, runs of one length as one (GSO) ─► network
//	Receive ◄ one by one ◄── split (GRO) ◄── recvmmsg ◄──────────────────────────
//	Wait: sockets, a bell, one file of the caller's; or not at all: Receive never waits
//
// It refuses to know what is in a datagram, who may send one, and to keep any: what the
// kernel does not take is lost, as any may be on its way, and counted.
//
// Calls that cannot block go past Go's scheduler (RawSyscall), which would wake its monitor
// thread for each (see transport/quic's socket). On loopback a round trip that waits by
// ppoll takes about as long as one through Go's poller; one that looks for a moment
// before it waits takes a third (`fire bench udp` has both in one run).
//
// # Offload
//
// GSO (UDP_SEGMENT) and GRO are used where the kernel has them. Kernels 7.0 to 7.1.4 send
// mangled headers with GSO under some drivers, so there it is off; it is switched off for
// good, too, when a send says EIO (a card without checksums). Why is in Stats.
//
// # Invariants
//
//   - A length from the kernel is held against the buffer before it is used.
//   - Send, Flush, Receive and Wait allocate nothing.
//   - Ring may be called from anywhere at any time, Stats and Offload too; everything else
//     belongs to one goroutine.
//   - An address that a line's family cannot be given is not sent to: no datagram leaves for
//     another place than was said.
//
// Locks: Port.ringMu, alone. Limits: batchMax datagrams per call; gsoBytesMax and gsoSegmentsMax per run.
//
// A Wait may be for less than a millisecond (a repair is asked for after some 50 to 200 us):
// that is the deadline of a wait for sockets, in the kernel's high-resolution timers, and
// not a sleep between two looks; nothing here looks again and again with sleeps between.
//
// Groups are IPv4 only, and their datagrams stay in the line's own network unless Hops says
// more, since a feed that leaves its network by mistake is a leak.
//
// Decisions: own system calls and not net.UDPConn's, which cost two context switches more
// per message on a small machine, and have no batches. Not io_uring: many floors forbid it.
package lines
