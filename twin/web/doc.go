// Package web serves the live map: a page, its data, and one stream of changes.
//
//	twin.Snapshot ──► publisher ──► frame (JSON in pieces, last 64 kept)
//	                     │             ├─ full ───► first event, /api/v1/snapshot
//	                     ▼             └─ since ──► delta: what differs from the client's own frame
//	               topology ──► layOut ──► coordinates, only when the topology changed
//
//	GET /                    the page            GET /ui/*            its modules, styles, icon
//	GET /api/v1/snapshot     fire.map/v1         GET /api/v1/events   the stream (server-sent events)
//	GET /api/v1/edge?src&dst fire.edge/v1        GET /api/v1/node?name  fire.node/v1
//
// It refuses to change anything: GET and HEAD only, no cookie, no login, no state
// but the frames. Who may look is decided by where it listens; loopback is the
// default, and every request must name an allowed host and come from no other site
// (guard.go says against what).
//
// # Invariants
//
//   - A frame never changes once it is published; only its encodings are added.
//   - A client's state plus the delta sent to it is the frame the delta names.
//   - Equal topologies give equal coordinates, on every run and every machine.
//   - No answer goes out before the guard has let the request in, and each answer
//     carries the guard's headers.
//
// # The stream
//
// First a "snapshot" event, then "delta" events: at most four a second, at least a
// sign of life each second. An event's id is "epoch-version"; a client that comes
// back with it as Last-Event-ID gets one delta over what it missed, or a snapshot
// when that is too long ago or another process's. A client that reads slowly is
// never queued for: its next delta spans from what it was last sent to now.
//
// # The layout
//
// Computed here, a pure function of who runs where and who talks to whom, so all
// browsers show the same picture and nothing moves while that stands (layout.go).
// Hosts never overlap hosts, labels never overlap labels or hosts, names are cut to
// their boxes: TestLayout* hold that on random floors.
//
// # The page
//
// Plain modules in ui/, embedded as they are: no bundler, no npm, no other server.
// All text goes through textContent; the content security policy with trusted types
// forbids everything else. A state is always colour, pattern, sign and word.
// Tests read [data-edge="src>dst"] with data-rate, data-errors, data-p99-ns and
// data-state, and [data-live].
//
// # Limits and what happens at them
//
//	streams       Config.StreamsMax        503 with Retry-After
//	connections   4 x StreamsMax + 64      wait in the kernel's queue
//	slow reader   Config.WriteTimeout      cut; the browser comes back by itself
//	header        16 KiB, 5 s              refused by net/http
//	crowded map   > 300 edges: one delta a second; > 90: figures on selection only;
//	              > 600 curves: drawn straight; > 12 host pairs of an edge: not drawn
//
// Locks: publisher.mu, then frame.mu; neither is held while writing to a client.
// publisher.mu is held while a frame is encoded, so that it is encoded once.
//
// Decision: server-sent events, not a WebSocket: one way, plain HTTP, resumable,
// readable with curl. The browser has one stream per tab; six tabs of one browser
// fill HTTP/1.1's limit per site.
//
// Decision: JSON in pieces compared as bytes, not a diff of structures: equality is
// then exactly "the reader would see no difference".
//
// Test: go test; with FIRE_BROWSER=1 also in Chromium.
package web
