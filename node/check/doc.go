// Package check owns the coded health checks of `fire check`: what is looked at,
// what is wrong, and the cause and fix that `fire explain CODE` prints.
//
//	host (/proc, rlimits, adjtimex) ─┐
//	mesh.toml ───────────────────────┼─► Facts ─► Checks (pure) ─► Findings ─► table, JSON, exit code
//	admin socket (info, status, ...) ┘                                 └─ a failed one skips what needs it
//
// It refuses to change anything, to run a program, and to look at the network
// beyond this host: a check reads Facts and nothing else, so every finding of it
// can be told from a table in a test.
//
// Invariants: a code never changes its meaning and is never used again; every code
// has title, cause and fix; a check that lacks its facts is skipped with the reason
// and never passes; warn does not make the exit code 3, fail does.
//
// Limits: a probe takes ProbeTimeout at most.
//
// Decisions. Codes are FIRE-GROUP-NUMBER, so that one can search for them; the
// road not taken, anchors of a web page as linkerd has, needs a network to be
// explained. Checks are functions over one struct of facts and not objects with
// probes of their own: all looking is in two files, all judging is pure.
package check
