// Package inquiry owns the answers to what people ask of audit logs, over all the logs that this
// process holds: one order's way, what happened when and to whom, and the proof of any entry.
//
//	trace CLORDID ─► order.Start ─► keys ─► each log ─► entries ─► order.Add ─► ... ─► order.Result
//	prove INDEX   ─► Entry ─ ProveEntry(head) ─► tlog.Proof, cosigned as far as it is
//	tail, search  ─► Range ─► entries with index and log
//
// It refuses to write, and to say of an entry what its log does not say.
//
// # Invariants
//
//   - An answer that had to end early says so, and where to go on.
//   - A proof is checked before it is given out.
//   - Only durable, signed entries are seen.
//
// Limits: stated with each question. A log without an index is read from end to end for each round
// of a trace.
//
// Decisions: logs are a list that is asked for with each question, since mirrors come and go. An
// index only points: what is answered is read from the log.
package inquiry
