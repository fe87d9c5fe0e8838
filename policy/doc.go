// Package policy owns the decision whether one service may talk to another: rules
// as an operator writes them, compiled once into an immutable table that answers
// in a fixed small time.
//
//	[policy.orders-in]            Compile            Authorize(src, dst, op)
//	from = ["router"]   ──────►  Table  ──────►  Verdict{allowed, code, rule, bundle}
//	to = ["orders"]               │
//	paths = ["/v1/*"]             └─ Hash: SHA-256 of the canonical rule set
//
// How a table decides. Rules are sorted (deny before allow, then by content, so
// that rules of one source stand side by side) and numbered. Each attribute holds,
// per literal value, the sparse set of rule numbers that name the value, and one
// set of the rules that accept any. A decision interns its attributes, ANDs those
// sets 64 rules at a time (summary words first) and takes the lowest number that
// is left:
//
//	from=router    ·1··1···  |any ···1····  ┐
//	to=orders      ·1······  |any ···11···  ├ AND ─► lowest bit ─► the rule
//	port=8080      ········  |any 11111111  ┘        no bit    ─► default deny
//
// This is the aggregated bit vector of Baboescu and Varghese (SIGCOMM 2001). Memory
// grows with the text of the rules, not with the product of their lists.
//
// Invariants
//   - Default deny; a deny rule overrides every allow rule.
//   - One bad rule refuses the whole set: Compile returns a table or problems.
//   - Literal matching: no pattern language but "*" and a trailing "/*". A name
//     with a dot or a bracket cannot become an expression, since there are none.
//   - Only service identities of this mesh are ever allowed.
//   - An attribute the caller does not know (port 0, a request without a path)
//     matches no allow rule that asks for it and every deny rule that asks for it.
//   - Equal rule sets have equal hashes and give equal verdicts, rule name
//     included, on every node.
//   - Authorize is pure: no clock, no I/O, no allocation, safe for any number of
//     goroutines. There are no locks here.
//
// Levels. A connection is decided first, its requests later:
//
//	connection of an HTTP service  Op{Port}                allowed if some request could be; a deny rule
//	                                                       that names methods or paths waits for the request
//	one request                    Op{Port, Method, Path}  all attributes
//	opaque connection (tcp, fix)   Op{Port, Opaque: true}  rules that name methods or paths do not apply at
//	                                                       all: an HTTP rule never opens a raw connection
//
// Paths are compared byte by byte, so the caller passes the canonical form of
// transport/http1 and forwards that same form. "/a/*" covers "/a/" and all below
// it, not "/a"; "/*" covers every path but the "*" of OPTIONS.
//
// Limits: RulesMax rules, ListMax entries in one list, PathBytesMax per path,
// PathDepthMax segments. Cost: see TestAuthorizeStaysWithinTwelveMapLookUps.
//
// Channels (channel.go) are direct paths past the proxies. Their lists are their allow
// rules (Attach); between two ends that may attach only a deny rule decides (Pair).
//
// Whether the named services exist is not checked here; node/catalog does.
//
// Decisions
//   - A compiled table, not a policy engine: OPA takes 14 to 21 µs, Cedar 1 to 41,
//     a CEL expression 0.2 with three allocations.
//   - Sets of rule numbers, not a map of expanded tuples: one rule with fifty
//     sources, fifty destinations and ten paths would be 25,000 entries.
//   - When several rules match, the first in compiled order is named. Naming all
//     of them would need a list, hence an allocation, in each verdict.
package policy
