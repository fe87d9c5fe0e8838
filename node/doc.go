// Package node wires the parts of one process together. It is the only place that
// knows how a control, an agent and a proxy meet.
//
//	config ─► check ─► identity ─► bind every socket ─► build parts ─► start in order ─► READY
//	                                                                        │
//	stop in reverse, each with its deadline ◄── Ctrl-C, SIGTERM, or a part's death
//
//	control ◄─ QUIC ─► agent ─ View ─► proxy ◄─ QUIC ─► other proxies
//	   └─ twin, web        └─ identities ─┘
//	admin socket and /metrics read all of them
//
// It owns start and stop order, the dev floor, and the backends of the admin API. It
// refuses logic: what a part does is the part's business.
//
// A host has an audit log, and control one of its own: they are written before whoever records to
// them starts and after it has ended. Control is the witness of its nodes' logs.
//
// Invariants: constructors start nothing; every socket is bound before any part
// runs, so that a port in use fails the start and not the first flow; what was built
// is closed again when a later step fails; every goroutine belongs to a part, and a
// part ends only when told to or as a failure that stops the process.
//
// Lock order: none; parts share immutable snapshots and channels.
//
// Limits: a part that overruns its stop deadline is named and left behind.
//
// Decision: an explicit list of parts, stopped in reverse with a deadline each. The
// roads not taken: a group whose first exit cancels all at once (oklog/run), which
// has no order, and a bag of components with late setters, which hides it.
package node
