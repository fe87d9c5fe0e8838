// Package tlog owns the mathematics of the audit log: its Merkle tree, the signed heads, and the
// proofs that somebody else's program can check.
//
//	entry ─ Leaf ─► Frontier ─ Root ─► Head ─ Sign ─► checkpoint (C2SP), cosigned by witnesses
//	                                     ▲                 │
//	Prove(index, head, hashes) ──────────┴──► Proof ──► one .tlog-proof file ──► Check(policy)
//
// A skin: hashes and proofs are golang.org/x/mod/sumdb/tlog (RFC 6962), signatures
// golang.org/x/mod/sumdb/note (C2SP signed-note), cosignatures, policies and the file of a proof
// filippo.io/torchwood (C2SP tlog-cosignature, tlog-policy, tlog-proof). What is here is what they
// leave open: a tree that grows without allocating, hashes at tile boundaries alone, and errors
// that say which part of a proof was changed.
//
// It refuses files, clocks and the network, and knows nothing of what an entry says.
//
// # Invariants
//
//   - A head is only as good as its signature: nothing here returns a root that was not verified
//     under the caller's keys.
//   - Check never says yes to an entry whose bytes it has not hashed itself.
//   - A file that Check takes, and a signature of a known key, have one form: each bit of them
//     that is changed is seen, also where base64 would read the same.
//   - No key counts twice: not in a policy, not in Verifiers.
//   - Frontier of n leaves has one hash for each bit that is set in n, largest subtree first.
//
// Limits: indexes and sizes are below 2^62.
//
// Decisions: a log's tree keeps the hashes of its leaves and of every eighth level (the tiles of
// C2SP tlog-tiles), 32.1 bytes an entry; what lies between is computed when a proof is asked for,
// 255 hashes at most for each of its lines, some 30 µs. Keeping all of them, as tlog.StoredHashes
// does, costs 64. torchwood and not transparency-dev/formats: it has all of the formats in one
// small package.
package tlog
