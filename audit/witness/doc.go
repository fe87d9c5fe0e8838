// Package witness owns what makes a log's past binding: hosts that remember each other's heads.
// A witness cosigns a head only when it is what it has cosigned before, and more; a submitter has
// its own log's heads cosigned; VerifyAgainst says how a log stands to a head that was remembered.
//
//	 host with the log                                   k of n other hosts
//	┌────────────────────────────────┐                 ┌──────────────────────────────────┐
//	│ log ─ head ─► Submitter ───────┼─ old N, proof,  │ Witness: known log? signed? grown │
//	│                  ▲             │  checkpoint ───►│   │ yes: sign, store, sync        │
//	│ cosigned head ◄──┴─────────────┼──── signature ◄─┼───┴─► heads/  (then the answer)  │
//	│   file: the second place       │                 │   no: ► evidence/ ► Report       │
//	└────────────────────────────────┘                 └──────────────────────────────────┘
//
// The wire is C2SP tlog-witness v1.0.0, POST add-checkpoint and GET HASH/checkpoint, cosignatures
// are C2SP tlog-cosignature (Ed25519 with a time), so each end works with anybody else's other.
// A Witness is an http.Handler; Add is the same request from a stream of the mesh.
//
// It refuses to be asked without bounds, to believe who is asking (only signatures count, but
// From is kept), to forget a log, and to know what entries say.
//
// # Answers of a witness
//
//	200  one signature line                       422  the proof does not verify; another root of
//	400  malformed, or old > size                      the same size; a root of size 0 that is none
//	403  not signed by a key of the log           409  old is not what is held; the body is (text/x.tlog.size)
//	404  no such log in the catalogue             413  more than 64 KiB
//	500  it could not be stored: not cosigned     503  busy, full, or the log waits for Reread
//
// # Evidence
//
//   - fork: two roots of one size, both signed by the log. That is a proof, whoever brings it
//     (Evidence.Check). It is kept at any old size of the request.
//   - unproven: a larger head whose proof does not verify. Anybody can put a wrong proof to a true
//     head, so this is no proof against the log; a growth proof between the two heads refutes it.
//   - shrunk: a smaller head. To see one is legal: heads are public, and a late or repeated request
//     carries one; it gets 409 and nothing is kept. It is evidence only where it is claimed to be
//     the newest: the request names the held size as old (so its sender knows the larger head) and
//     carries a smaller checkpoint, or Observe is told so. A Submitter whose log is behind its
//     witness sends exactly that once. The claim is its sender's word: look at From.
//
// Both checkpoints and the proof are one JSON file in evidence/; the same two heads are kept and
// reported once. Of each log 8 of a kind are kept, the first ones, and only forks may use the
// second half of the folder, so nobody can crowd a proof out by repeating old heads.
//
// # Invariants
//
//   - A cosignature leaves this process only after its head's file was written anew, synced, renamed,
//     and the folder synced. After a failure of any of these nothing is cosigned for that log until
//     Reread or a new start; an answer never depends on pages that a failed fsync left behind,
//     since each answer writes its own file.
//   - Check and store of one log are one step: who does them has the log's turn. So what is held of
//     a log never gets smaller, in this process or after a crash.
//   - One damaged file costs one log its witness, no other.
//   - Cosigned never goes back, and never to another root, also across restarts.
//   - Each witness of a Submitter has a goroutine, a time-out and a back-off of its own.
//
// Lock order: a log's turn, then Witness.mu. The keeper's turn, then its mutex. Submitter.mu alone.
// Turns are channels and are held across a store; mutexes never across I/O.
//
// # Limits
//
// 64 KiB and 63 hashes a request, 64 requests at a time (the next gets 503), 5 s for a body over
// HTTP, 1024 logs, 128 files of evidence (Config); 32 heads on offer, 16 KiB an answer (Submitter).
// A log's key is trusted as long as the catalogue names it. A witness that is set back by its own
// operator signs what it has forgotten: PeerStatus.Forgot shows it to the log, and k of n bounds it.
//
// VerifyAgainst cannot tell an older copy from a log whose tail was removed together with its
// head: both are Replaced. What was pruned cannot be compared any more (ErrPruned).
//
// # Decisions
//
// One file per log and head, replaced, and not an append-only file with checksums: what counts is
// the last head alone, any text tool reads it, it is what the monitoring prefix serves, and two logs
// never wait for one another's sync. It costs two fsyncs a head, which come at the Submitter's
// pace of one a second. Signing before storing, since the file has the signature for monitors; a
// crash between the two gives the head away to nobody.
//
// Heads are offered as they are picked (Submitter.pick) and not in rounds that end when all have
// answered: a round makes each witness wait for the slowest. A proof that does not verify might
// convict a log if the old root that it leads to were computed; that would be a Merkle proof by
// hand, and a log that has both heads finds it with VerifyAgainst. Client: http.Client without
// redirects, since a witness has one place.
package witness
