// Package check owns the coded health checks of `fire check`: what is looked at,
// what is wrong, and the cause and fix that `fire explain CODE` prints.
//
//	host (/proc, rlimits, adjtimex) ─┐
//	direct (a root with /proc, /sys; ┤   only when asked for
//	  what the kernel answers)       │
//	mesh.toml ───────────────────────┼─► Facts ─► Checks (pure) ─► Findings ─► table, JSON, exit code
//	admin socket (info, status, ...) ┘                                 └─ a failed one skips what needs it
//
// The direct group tells whether a host suits the direct path. Few of its findings keep it
// from working, so most only warn: sealed memory that cannot be had fails, and a core of
// --cpus that is not there.
//
// It refuses to change anything, to run a program, and to look at the network
// beyond this host: a check reads Facts and nothing else, so every finding of it
// can be told from a table in a test.
//
// Invariants: a code never changes its meaning and is never used again; every code
// has title, cause and fix; a check that lacks its facts is skipped with the reason
// and never passes; warn does not make the exit code 3, fail does.
//
// Limits: a probe takes ProbeTimeout at most; cpusMax CPUs, linesMax interrupts.
//
// Decisions. Codes are FIRE-GROUP-NUMBER, so that one can search for them; the
// road not taken, anchors of a web page as linkerd has, needs a network to be
// explained. Checks are functions over one struct of facts and not objects with
// probes of their own: looking is apart from judging, and all judging is pure. What the
// kernel can do is asked by doing it and not read off its version, but for the GSO fault,
// which shows with some drivers only. A fix of the direct group is one line to paste that
// holds after a boot, too; it names this host's cores. Overcommit is no check: rings are
// fallocated. RemoveIPC is none either: sealed memory has no name, which is looked at.
package check
