// Package catalog owns the mesh as one value: which nodes, services, endpoints,
// rules and revocations there are, the pure state machine that control runs over
// it, the floor file that people write, and the messages between node and control.
//
//	floor.toml ──ParseFloor──► Floor ──ApplyFloor──┐
//	NodeMessage: Hello, Renew, Register, Health ───┤
//	`fire drain`, `fire revoke`, joins ────────────┴─► Directory ──State()──► *State
//	                                                     │Encode                │Sign
//	                                               control's disk            Signed ── snapshot, or AsDelta
//	                                                                            │
//	   proxy's atomic pointer ◄── *View ◄──Compile── *State ◄──Open(prev, bundle)
//
// It refuses floors with any problem (all told at once, with line and caret),
// messages beyond their bound, states whose signature or digest is wrong, and the
// words of whoever is not the current holder.
//
// Invariants
//   - Directory, Diff, Apply, Compile and ParseFloor are pure: no clock, no I/O,
//     no goroutine. Two directories fed the same calls are equal.
//   - A published State or View never changes. Versions strictly grow, also over
//     restarts of control; so do epochs and link numbers, from the same sequence.
//     Reserve raises a durable mark in blocks, so no registration waits for a disk.
//   - Diff(a, b) applied to a has b's digest; a reader that finds another digest
//     asks for a snapshot.
//   - An older epoch never overwrites a newer one, and an older session of a node
//     never speaks for it: links are numbered.
//   - LINKED and HEALTHY are separate facts. A node that loses control is unlinked
//     at once; its endpoints stay until their lease ends, behind every ready one.
//   - Leases live in memory only. The durable record holds them as a hint, so that
//     a restarted control does not empty the routing of every node.
//   - A rule that names a service which does not exist refuses the floor.
//
// Limits: FloorBytesMax, FloorServicesMax, FloorPoliciesMax, FloorNodesMax, policy.ChannelsMax; Limits
// of a Directory; ToControlBytesMax, ToNodeBytesMax, JoinBytesMax, ClaimsMax.
//
// There are no locks: node/control's event loop owns the Directory, everything
// else is a value.
//
// Decisions
//   - JSON, not protobuf: a few messages per second and node, readable in a
//     capture, one struct for wire, disk and command line. The length is checked
//     before a byte is decoded.
//   - The digest is over the whole state, not a tree: 750 KB of 5,000 endpoints
//     cost about 10 ms per published version, and one rule is easy to check.
//   - The floor decodes by hand from the TOML library's tree: the library stops
//     at the first mismatch, ignores case and takes bare integers as nanoseconds.
package catalog
