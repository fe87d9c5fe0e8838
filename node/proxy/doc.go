// Package proxy owns the data path of a node: every byte that one service of this host
// sends to another over the mesh passes through here, at both ends.
//
//	   application                                               application
//	        │ tcp or unix, [upstream.NAME]            [service.NAME] ▲
//	        ▼                                                        │
//	upstream ► admit ► reach ──► session ──► stream ──► admit ► dialApp
//	           policy   pick     (pool, one per         policy again, from
//	                    endpoint  source, node, lane)   the session's leaf
//	        │                                                        │
//	        └───────── relay: pump up, pump down ──── relay ─────────┘
//	                       │
//	   sweep, 4 times a second: counters to the meter page, idle and stuck flows
//	   watch, on each new view: flows and sessions that it forbids are cut
//
// It refuses to read what it carries (HTTP is the one protocol with a relay of its own,
// http_*.go), to retry what may have arrived, to queue, to believe a header about who
// somebody is, and to guess a protocol: it is what the catalogue declares.
//
// # Seams
//
//	serveClient   one accepted connection  ► admitClient ► reach ► carry
//	serveStream   one stream of a peer     ► admitStream ► dialApp ► answer ► carry
//	reach         an open, accepted stream to a picked endpoint; release gives it back
//	add, remove   a *flow in the table: what can be cut, listed and counted
//	edge          the meter's cell of (source, destination, side)
//
// HTTP takes over behind admitClient and admitStream, and uses the same reach, add,
// remove and edges.
//
// # Invariants
//
//   - The source is the session's verified leaf. The server's node is Exactly the one
//     that was picked, and the signed catalogue must place the service there.
//   - Not one byte of a client is read before an endpoint has accepted. So every failed
//     try is proof that nothing left, and the next endpoint may be tried.
//   - A failure is seen as a failure: the application gets a reset, never an end that it
//     could take for a whole answer. Only a half that ended is closed as a half.
//   - A view cuts what it forbids, within the time of one pass over the flow table, and
//     touches nothing else. A flow that was admitted under an older view is judged
//     again when it enters the table.
//   - Each refused or broken flow has one reason, the same in the edge, the ring of
//     refusals, the log and (by reset code or reply) at the other end.
//
// # HTTP
//
//	client ► httpNear ► httpExchange ► httpFar ──► stream ──► httpNear ► httpExchange ► httpFar ► application
//	         head       admit by the   kept or     the head    again, for             one of a bounded
//	                    view, per      opened      parsed      the session's          number of connections
//	                    request                    again       identity
//
// Both ends are the same relay behind another gate (httpOut, httpIn). Each request is
// authorised, balanced and counted alone. A request is sent again only if the write
// took no byte, if the other proxy reset the stream with Draining, which it does only
// between two requests, or if it answered that it reached no application. Whatever
// ends otherwise is an answer with x-fire-reason, or a reset when an answer has begun.
// Per idle connection and side: one goroutine and 6 KiB; per request 72 KiB, lent.
//
// # The audit log
//
// Each flow is recorded at both of its ends (tap.go): its opening with the rule, its end with the
// reason, and between them each message of FIX and SoupBinTCP, each request of HTTP. A message is
// captured before its last byte goes on, by one copy into a ring (package audit); its first bytes do
// not wait for the rest. No byte is changed or framed anew. Where the log takes nothing, a service
// that is "closed" loses the connection, with audit_stalled, and one that is "open" goes on, counted.
// What is refused is recorded by a source of the proxy's own.
//
// # Limits
//
// Per idle flow and side: two goroutines, 4 KiB of buffer, one QUIC stream. Per busy
// direction: 32 KiB, lent. In between: the socket buffers and QUIC's windows
// (transport/quic), nothing else. Receivers that take nothing fill the window of a session
// that others use, so beyond slow_readers_max per peer those that wait longest are ended
// after half a second already. max_connections per upstream, max_connections_per_source
// per identity, sessions_max sessions, 256 refusals remembered, 50 log lines per second.
//
// # Lock order
//
// None nests: flowTable, edgeTable, routeTable, route, pool, servedSessions,
// sourceLimits, httpParts, httpPool and httpAsked each take their own mutex alone and
// hold it over no I/O. Exceptions:
// routeTable.mu before route.mu, and route.mu before balance.Group's. Ends are called
// (flow.end, Session.Close) with none held.
//
// # What the figures mean
//
// Requests are those of HTTP, the messages of both directions of FIX and SoupBinTCP
// (tally.go), and the turns of anything else. The latency of what is not HTTP is the
// turn-around: from the first bytes of the client after an answer, to the first bytes
// that come back. A stream of prices that nobody asked for has messages and no latency.
// Connect is the time from a client's connection to the remote application's acceptance.
//
// # Where the time goes
//
// 256-byte ping-pong through two proxy processes on two shared cores, beside an HAProxy
// mTLS pair in the same run; processor time per round trip of both processes, and p50
// (only ratios mean anything). HAProxy is 1.
//
//	                                                       processor   p50
//	as Go does by default, 2 Ps                            2.4         1.8
//	non-blocking calls that the scheduler is not told of   1.6         1.5
//	the same with GOMAXPROCS=1                             1.15        1.1
//
// What helped: before, two of three context switches were the runtime's: its monitor
// thread, which every system call after an idle moment wakes and which then polls each
// 20 µs (near_linux.go, transport/quic/socket_linux.go; GODEBUG=schedtrace=2147483647
// has the same effect from outside), and the threads that it wakes to look for work
// whenever a goroutine becomes ready and a P is idle. The latter ends with one P; so
// node/processors.go runs a proxy with one until it needs more.
//
// What was left was the waking itself. All on one core, where nobody has to be woken
// on another, a round trip through the pair takes 49 µs and 43 µs of processor time,
// HAProxy's 77 and 50; over two idle cores both take 180 to 280, since each of the four
// hops interrupts a sleeping core, on a virtual machine through the hypervisor. So a
// proxy looks for the next message for a moment before it sleeps (transport/spin):
//
//	                                                       processor   p50         p99
//	GOMAXPROCS=1, asleep between messages                  1.2         1.0 to 1.2  1.0 to 1.3
//	looking for up to 200 µs when messages are that near   1.4 to 1.8  0.5 to 0.8  0.5 to 0.8
//
// What did not: switching ECN or GSO off, a larger GOGC (nothing is allocated), keeping
// a P busy in a sleeping system call (the monitor takes it back); looking in each
// reader instead of in one place, which costs a call per socket and hides what is not
// read from Go's poller; looking without sched_yield (p50 1.2 times that of sleeping);
// huge pages for the program's text, which the file systems here do not have.
//
// HTTP/1.1 by wrk over 32 connections, beside an HAProxy mTLS pair in the same run:
// requests per processor second of both processes. HAProxy is 1; rounds on a shared
// machine differ by a fifth.
//
//	as for any Go program                                  0.65 to 0.9
//	non-blocking calls for HTTP's sockets too              0.93 to 1.1
//	small writes of several streams in one packet          1.2 to 1.4
//	deadlines of mesh streams kept out of quic-go          1.4 to 1.5
//
// Of what is left, a third is the two TCP sockets and a quarter QUIC. The look at a
// kept application connection costs 4 % and stays: it keeps requests from being lost.
// The policy, the heads' parsing and the counters are about 6 % together.
//
// Ping-pong on one connection has nothing to gather and gains nothing of that. A round
// trip costs a proxy 9.7 system calls and HAProxy 13, of which 4 read the clock. Half of
// the 3.7 epoll_wait are the runtime's look before it sleeps, two reads say EAGAIN: Go's
// poller forgets readiness between two calls, so a read cannot be left out after a short
// one without missing an edge, and an end may hide in the last.
//
// Decisions: two pumps per flow and no poller of our own, since the stream side has no
// readiness to poll. Time-outs by a coarse counter that the sweep reads, since a
// deadline per message costs a timer each. A reply before the first byte, a round trip
// per connection, buys the proof that a retry needs; connections here live for hours.
package proxy
