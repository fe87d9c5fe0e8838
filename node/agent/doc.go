// Package agent owns a host's side of the link to control: it joins, keeps the
// host's identities and its signed copy of the catalogue, registers the host's
// services as leases, checks their health and ships telemetry.
//
//	                 ┌──────────────── Agent ─────────────────┐
//	token ─► Join ──►│ node key, bundle            (disk)     │
//	                 │ keepLink ──► control ── fire-control/1 │
//	 application ◄───│ checker ─► board ─► Register/Health ──►│ one watch stream
//	   tcp http cmd  │ take ◄──── Snapshot, Delta ◄───────────│
//	                 │  │ verify ► compile ► bundle, revoked  │
//	                 │  └► View ► watchers ► Ack applied      │──► proxy, admin
//	                 │ keepCertificates ──► Issue ───────────►│ one stream each
//	                 └─────────────────────────────────────────┘
//
// It refuses to carry traffic (node/proxy does), to judge peers (policy/pki does),
// and everything that control says without the head key's signature: roots and
// rules reach the proxy only from a verified catalogue or an own mutual TLS session.
//
// # Invariants
//
//   - A View that did not verify and compile is never published; the last good one
//     stays and the refusal is told to control with its reason.
//   - Order of taking a catalogue: roots and revocations, View, watchers, Ack applied.
//     So "applied" means that new handshakes of a revoked identity already fail.
//   - The copy on disk is the signed one and is verified again at each start. With
//     control down the host starts from it and says how old it is.
//   - A key is made here, one per renewal, and written before it is used.
//   - What the node holds for a service ends with the placement of that service.
//   - Messages to control leave from one goroutine; a link that takes no bytes for
//     write_timeout is cut and dialled anew.
//   - Every goroutine is waited for by Run.
//
// # Files in the state folder (0700, each 0600, replaced whole)
//
//	agent.json        name, domain, control addresses, trust bundle: written last in a join
//	catalogue.json    the newest signed catalogue, at most twice a second
//	node-NAME.pem     key and certificate of the host
//	svc-NAME.pem      key and certificate of a service placed here
//
// # Locks
//
// Agent.mu guards watchers, drains and what went wrong; board.mu guards leases. Neither
// is held across I/O, callbacks or the other.
//
// # Limits
//
// 1,024 services; outbox 64 messages; message bounds of node/catalog; output of a health
// command 4 KiB; answers of an HTTP check 4 KiB; one certificate request at a time.
//
// # Decisions
//
//   - All addresses of control are tried before the first wait, and the wait is short
//     (50 ms, doubling to 2 s, spread by half): a restart of control must cost less
//     than a lease. The load of a whole floor returning at once is control's limiter's.
//   - A lost link drops nothing here: View, certificates and flows stay. Only the
//     lease may end, and that is control's to say.
//   - A refused connection is proof that nobody listens, so it needs no second check;
//     a time-out may be a pause, so it does.
//   - Watchers are called, not signalled: "applied" must mean cut, not "told".
//   - A health check over HTTP is one request by hand on transport/http1, the framer
//     that the proxy uses: what passes the check passes the proxy, too.
package agent
