// Package twin owns the live model of the mesh: one graph of hosts, services and
// the traffic between them, fed by the nodes' reports and control's inventory.
//
//	node ──Report (deltas, 4/s)──►┌──────────────┐         ┌──────────┐
//	node ──Report────────────────►│ bounded queue│──► Run ─┤ Snapshot │──► twin/web, `fire edges`
//	control ──Note(Event)────────►└──────────────┘    ▲    └──────────┘     (atomic pointer)
//	control ──SetInventory──► mailbox of one ─────────┘
//
// It refuses to store history beyond a minute, to act, to guess causes, and to
// believe a report: names must parse, counts must be possible, and the caller has
// already made sure that Report.Node is the peer that sent it.
//
// # Invariants
//
//   - One writer: only Run's goroutine touches graph. A Snapshot is immutable and
//     its lists are sorted, so equal floors give equal snapshots.
//   - Time is the model's own (clock.go): it starts at 0 and never goes back, so
//     neither a node's clock nor a step of ours reopens or freezes a bucket. A
//     node's time is used for one thing, to show its offset.
//   - Deltas count by the second in which they arrive. A report is counted once
//     (replay window over Seq); an out-of-order one adds its counts but not its
//     gauges; a restarted node begins a new window.
//   - Sums saturate, ratios lie in [0, 1], and no figure is NaN or negative.
//   - The client's figures stand for an edge, since they are what the caller feels;
//     the server's are shown beside them, and the colour is judged by the side
//     that saw it worse (verdict.go).
//
// # Limits and what happens at them
//
//	queue       Config.QueueReports   report dropped, Intake.Dropped
//	edge sides  Config.EdgesMax       delta refused, Intake.OverEdges, event once a minute
//	nodes       Config.NodesMax       report refused, Intake.OverNodes, event once a minute
//	report      8192 edges, 4096 sessions, 2^40 per count: the rest refused, Intake.Refused
//	events      newest 200; a node's own (Happening): 20 at once, then one a second, the rest counted in the next
//	memory      about 8 KB an edge that is busy, 2 KB more for each pair of nodes
//
// Rates cover the last 5 s, quantiles and reasons the last 10 s, history 60 s. A
// silent node is shown as such after Config.StaleAfter; an edge without traffic is
// removed after Config.ForgetAfter.
//
// Locks: Twin.mu guards the subscribers only; nothing is called under it.
//
// Decision: buckets by arrival, not by the node's time stamp. A stamp would put a
// late report where it belongs, but would let a wrong clock write into any second.
// At four reports a second the error is below 250 ms.
//
// Decision: fixed error shares decide the colour, latency does not. A fixed latency
// bound is wrong on every floor but one; learned baselines belong to twin/detect.
//
// Test: go test ./twin runs in virtual time; FuzzReport feeds the intake.
package twin
