// Package admin owns the API by which people and tools inspect and change a
// running fire: its types, its server on a unix socket, its client and how the
// client finds the socket. All in one room, so that they cannot drift.
//
//	fire status ──► Client ──unix socket, HTTP+JSON──► Server ──► Reader / Changer / Local
//	                  ▲                                   │
//	               Discover                        peer's uid (SO_PEERCRED)
//
//	on a host without control:  Server ──► Remote (a Reader) ──link──► control ──► Answer
//
// It refuses TCP, callers whose uid may not do the verb, bodies above
// BodyBytesMax and unknown paths. It holds no logic: the backends do the work.
//
// Invariants: reads are GET and change nothing; changes are POST and need the
// process's own uid or root; every error is an Error with a reason code, what
// failed and the next command. JSON fields are snake_case with the unit last.
//
// Limits: ConnectionsMax connections of readers and as many of the owner and root,
// RequestTimeout for each request, headers 16 KiB. The socket's folder must be the
// process's own or root's, and not everybody's to write.
//
// Decision: HTTP over a unix socket, so that curl can ask and the kernel vouches
// for the caller. The road not taken, a TCP port with tokens, is how admin planes
// leak (Caddy CVE-2026-27589, NATS CVE-2026-33247).
package admin
