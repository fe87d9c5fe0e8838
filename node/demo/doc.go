// Package demo owns the demonstration floor: real programs over real sockets that
// trade with each other, directly or through the mesh. Every later test and
// picture uses it, so it keeps to the protocols and counts honestly.
//
//	host-a              host-b                 host-c
//	strategy-a ──FIX──► gateway ──FIX──────►   engine
//	strategy-b ──FIX──►  │ ▲ └─HTTP─► risk ×2     ▲ FIX (35=V, W, X)
//	    ▲                │ ║ FIX                 market-data
//	    │                │ strategy-c              │ │
//	    │                │ ▲                       │ │
//	    │                │ ║ ITCH                  │ │
//	screen ◄═ITCH, UDP════ feed ◄─SoupBinTCP/ITCH──┘ │
//	    └────────────────────────SoupBinTCP/ITCH─────┘
//	desk ──HTTP─────────────────────────────►  blotter ◄─HTTP─ gateway
//
// ═ and ║ are direct paths, over shared memory and encrypted datagrams; the rest goes where
// Wiring says.
//
// Files: session.go (FIX 4.4 session as a pure state machine), replay.go (what a
// session can send again), journal.go (the same on disk), peer.go (a session on a
// socket), acceptor.go, book.go (the pure order book), engine.go, gateway.go,
// riskline.go (risk calls in order), risk.go, marketdata.go, flow.go (the seeded
// order flow), strategy.go, feed.go, screen.go, door.go (sockets and direct paths alike), blotter.go, desk.go, floor.go and floor.toml (who is
// where and may call whom), verbs.go (each program as a command).
//
// It refuses to know the mesh: a program listens and dials where Wiring says.
//
// FIX session: FIX 4.4, both roles. Sequence numbers outlive a connection, in
// memory or in a journal file. A gap is asked for once to infinity, and again if
// the resend does not come; messages above the gap are dropped, since the resend
// brings them. Of our own past, administrative messages and what has left the
// bounded replay ring are gap filled. A second logon of a live session is cut
// without an answer, which would use up a number of the live one (FIX 4.4 volume
// 2, Logon). Garbled messages are passed over as transport/fix says.
//
// Order flow: a pure function of the seed. Pacing is open loop: order n is due at
// start + n/rate whatever happened to the ones before it. A strategy that falls
// behind sends at most a hundredth of a second's orders per wake-up above its
// rate; what is more than a second late is skipped, counted as missed, logged and
// named in the summary. Which orders fill depends on timing; which are sent does not.
//
// Invariants (tests): no crossed book, quantity conserved, time priority; no hole
// in any sequence; an order leaves the gateway only after risk has passed it, and
// orders of one client leave in the order in which they came; when risk does not
// answer, the order is rejected, never passed and never asked twice.
//
// Lock order: riskline.mu, engine.mu and marketData.mu before peer.mu, which is a
// leaf; none is held across I/O.
//
// Limits: 64 sessions and connections per acceptor, messages of 32 KiB, 8,192
// messages to replay per session, 4 MiB of unsent bytes per connection (then it
// is cut; the peer asks again after reconnecting), 4,096 orders waiting for risk per
// client (then rejected), 1,024 open orders per strategy (then it does not send
// and says so), 200,000 orders in the
// engine, 20,000 in the blotter, 65,536 market-data messages to replay.
//
// Decisions: the gateway keeps no order state: it routes by OnBehalfOfCompID (115)
// and DeliverToCompID (128), so that a restart loses none. Market data reaches its
// publisher as FIX from the engine's one port instead of a second private protocol.
// Risk calls carry all orders that came in one read: 400 calls/s for 2,000 orders/s.
package demo
