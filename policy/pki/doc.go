// Package pki owns who may be believed: the authority of a region, join tokens, the
// keys of each principal and the one check of every peer. Others get a *tls.Config.
//
//	control                                     node
//	┌─────────────────────┐   token: pin+secret  ┌──────────────────────────┐
//	│ Authority  TokenBook │◄──── fire-join/1 ────│ JoinClientConfig         │
//	│  root ► leaf (24 h)  │───── leaf, bundle ──►│ Identity (key made here) │
//	│  head key ► SignHead │                      │ Verifier ◄ Bundle        │
//	└─────────────────────┘                      └────────────┬─────────────┘
//	                                 ServerConfig, ClientConfig │ VerifyConnection
//	      peer's leaf ──► shape ► id ► roots of ITS domain ► chain ► revoked ► wanted
//
// It refuses: TLS below 1.3, resumed sessions, a peer without a certificate, more
// certificates than the path needs, a CA as leaf, no or two URI names, ids that
// go-spiffe and policy/id read differently, usage other than digitalSignature with
// serverAuth and clientAuth, roots of another trust domain, keys that others may
// read, secrets written into configuration. Each refusal is a *reason.Error.
//
// # Invariants
//
//   - Identity comes from the verified leaf only; the subject of a leaf names the node
//     that holds its key and serves revocation alone (a revoked node takes the service
//     leaves on it along).
//   - No bundle, no certificate, a Want that names nobody: everything is refused.
//   - Roots of two trust domains never stand in one pool.
//   - A key never leaves its host; each renewal has a new key.
//   - A token is redeemed by exactly one caller, and durably before that caller knows.
//   - What a crash may interrupt is one file: whole old or whole new.
//
// # Rotation of the root
//
//	      root 1 signs                 root 2 signs
//	──────┬───────────────┬────────────┬─────────────────┬──────►
//	      prepare 2       all nodes    activate          retire 1, refused while a
//	      bundle = 2,1    acknowledged bundle = 1,2      holder's newest leaf needs it
//
// The active root is last in the bundle; a node whose leaf it did not sign renews
// early. Nothing that runs is cut: TLS checks a chain when a connection starts. The
// head key that signs the catalogue changes with its root.
//
// # Files of the authority (folder 0700, files 0600)
//
//	authority.json   roots with their keys and stages; replaced whole, so a change of
//	                 stage is one rename
//	leaves.journal   one line per issued leaf, durable before it is signed: who needs
//	                 which root, also after a restart
//
// # Locks
//
// None is held across I/O. Writers of a file queue for its turn (a channel of one);
// TokenBook.mu, Verifier.mu, Identity.mu and ledger.mu guard maps and are never nested.
//
// # Limits
//
// Leaf 24 h, back-dated 5 min; root 10 years; RootsMax 4; 4 certificates behind a leaf;
// request 8 KiB; token 4 KiB, 16 addresses, 30 days; TokensMax 10,000; LeavesMax 65,536;
// journal of leaves 64 MiB, rewritten when it holds four dead lines per live one.
//
// # Decisions
//
//   - VerifyConnection, not VerifyPeerCertificate: the latter is skipped on resumption,
//     also in go-spiffe's own hooks, so only its id parser is used here.
//   - Key exchange is Go's default order, X25519MLKEM768 first (about 0.25 ms and 44 KB
//     more per handshake than X25519, nothing after); a list of our own would go stale.
//   - The root signs leaves itself. An intermediate per control would let the root rest
//     offline, but one control per region holds both anyway, and one certificate on the
//     wire makes every extra one visible as hostile.
//   - An older leaf of a holder that has a newer one does not keep a root alive: the
//     holder uses the newest for new connections. The road not taken, waiting for its
//     end, makes every rotation last a day.
//   - The book of tokens is hashed by plain SHA-256: the secret is 256 random bits.
//   - The URI constraint on the root binds the host of ids to the trust domain, which is
//     all that Go enforces of a URI; the kind and name are for Verify.
package pki
