// Package control owns the control role of one region: it keeps the catalogue, runs
// the authority and the join tokens, feeds the live model, and tells every node what
// changed.
//
//	listener ──Sessions──► accept ─┬─ fire-join/1 ──► join: token, member, leaf
//	                               └─ fire-control/1, one per node
//	                                    ├─ watch stream ─► listen ──┐      ┌── sender ──► node
//	                                    └─ requests: Issue, Inspect │      │   outbox, bounded
//	                                                                ▼      ▲
//	  node/admin: Apply, Revoke, Drain ... ───── commands ───► ┌──────────────┐
//	                                                           │  event loop  │── publication ─► twin
//	  disk ◄── writer ◄── record of a clone ───────────────────│  Directory   │── View, atomic
//	    └───── written ──► change live, publish, then answer ─►└──────────────┘
//
// It refuses: nodes that are not members or are revoked; certificates for anything
// but the asking node and the services placed on it; a node name that is taken,
// unless the token names it; every change that comes over a node's link; messages
// beyond their bound; the words of a node's older session. What an honest node never
// does is an alarm in the log and on the map.
//
// # Invariants
//
//   - One goroutine, the loop, owns the Directory. Nothing in it waits for a disk or a
//     peer: writes go to the writer, messages to bounded outboxes.
//   - A durable change is tried on a clone, the clone's record written and synced, then
//     the change is made live, published, and only then acknowledged. A write that
//     fails changes nothing, and its caller gets the one error.
//   - Changes that wait while a write is under way share the next one.
//   - Leases are in memory; the record keeps endpoints as a hint for a restart.
//     Nothing is published after a restart before all members are back, for one lease
//     at most: until then nodes hold better catalogues than control could make.
//   - What takes traffic away (a session's death, bad health, a drain, a revocation)
//     bypasses the debounce. Publications leave the loop half of its time.
//   - A node too slow for deltasMax deltas gets one snapshot; one that takes nothing for
//     sendTimeout is cut.
//   - A session's death unlinks its node at once; transport/quic sees it in four missed
//     heartbeats of 200 ms. The lease removes its endpoints later.
//
// # Locks
//
// Control.mu guards the table of sessions; outbox.mu one node's queue. Neither is held
// across I/O, and they are never nested.
//
// # Limits
//
// sessionsMax, sessionsPerNodeMax, sessionsUnnamedMax, streamsPerNodeMax, joinsMax,
// messagesPerNode, requestsPerNode, batchMax; those of node/catalog and policy/pki.
//
// # Decisions
//
//   - One control per region now; the Directory is pure so that a replicated log can feed
//     it later. The road not taken, an embedded database, would put fsync on the path of
//     registrations.
//   - Each change is a function that runs twice, not a command type with a codec: the
//     record of the whole Directory is small (a few MB at 5,000 endpoints) and whole-file
//     replacement needs no log, no replay and no compaction.
//   - Control takes sessions from a channel: the socket is shared with the proxy, and
//     whoever owns it decides by ALPN.
//   - A node's Inspect is node/admin's own Answer, so a host without control prints what
//     the control host prints.
package control
