// Package balance decides which endpoint of a service takes the next connection or
// request. Pick is arithmetic over its arguments: no clock, no socket, no lock, no
// allocation.
//
//	catalogue snapshot ──► []Candidate ─┐
//	Group (ejections, load) ────────────┼─► Pick(policy, cs, group, now, rnd) ─► Ticket
//	now, rnd ───────────────────────────┘                                         │
//	          Group ◄── Ticket.Succeeded / Failed (outcome), Ticket.Release (load) ┘
//
// It refuses health checks (the catalogue says Ready), retries (the caller knows
// whether a byte left), stickiness, and names.
//
// # How an endpoint is chosen
//
// Locality first: of the distances same node, zone, region, elsewhere the nearest
// that has an admissible endpoint is used; the next one takes over only when the
// nearer has none. Inside it:
//
//	round_robin    each in turn; a weight of 3 gets three turns of a round, in a row
//	least_request  the fewest open tickets per weight, over all; ties at random
//	peak_ewma      two drawn by weight, the one with the smaller latency x (open + 1)
//
// Two choices for peak_ewma and not the best of all: every proxy sees a latency fall
// at about the same moment, and the best of all would send them there together
// (Mitzenmacher, "The power of two choices"). Open tickets are this proxy's own, so
// least_request has no such herd.
//
// # Ejection
//
//	     n failures in a row, or too low a success ratio
//	in ──────────────────────────────────────────────────► out until T
//	▲                                                          │ now >= T: the next
//	│ probe succeeded                                          ▼ Pick takes it
//	└───────────────────────────────────────────────────── probing (ONE ticket)
//	                  probe failed: out again, twice as long ──┘
//
// The way back is one real request, never a timer: until it has succeeded nothing
// else is sent there. It goes ahead of the balancing policy, so that a service that
// never fails over still finds its endpoint again. The back-off doubles from
// BackoffMin to BackoffMax and is spread by Jitter so that proxies do not probe in
// step; it starts anew when the endpoint has been in for BackoffMax. When the
// catalogue says that an endpoint recovered, its probe is due at once: a restarted
// application must not be kept out for the sins of the one before, least of all when
// it is the last.
//
// A low success ratio is soft evidence, so it never ejects the last admissible
// endpoint: half an answer is better than none. Failures in a row are hard evidence
// and do. Then every Pick says AllEjected until the next probe is due; it never
// sends blindly to an endpoint known to be broken.
//
// # Invariants
//
//   - An ejected endpoint is never picked before its time, or before it Recovered.
//   - Of one endpoint at most one probe is in flight.
//   - Outcomes of tickets from before an ejection change nothing while it lasts.
//   - Every ticket is released exactly once; a probe released without an outcome
//     goes back to "due" and another request may take it.
//
// State is in Group and Endpoint, all words atomic. Locks: Group.mu guards the map
// of endpoints (slow path) and orders ejections; Pick, Succeeded and Release take none.
//
// Limits: EndpointsMax endpoints per group. Success windows tumble, they do not
// slide: a ratio is judged over at most Window and at least MinRequests outcomes.
//
// Decision: a ticket, not a callback per outcome, so that a connection's open time
// (load) and its first outcome (health) can end at different moments.
//
// Test: go test; the properties of the text above are rapid tests.
package balance
