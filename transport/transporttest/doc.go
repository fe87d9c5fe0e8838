// Package transporttest owns the one conformance suite of transport.Session: what
// the package comment of transport promises, as tests that every implementation runs.
//
//	transporttest.Run(t, func(t testing.TB) (a, b transport.Session) { ... })
//
// It refuses to know a mechanism: the pair comes from the caller, who also closes it
// (t.Cleanup). A pair must admit at most StreamsMax streams that nobody finishes.
//
// Invariants: a test passes for every implementation that keeps the promises, however
// it buffers; what only one mechanism does is tested beside that mechanism.
//
// Limits: every wait ends after Patience; that is a guard against hanging, no
// test depends on how long anything takes.
//
// Decision: one suite that is handed a pair, not one interface to build worlds with;
// each implementation makes its own sockets and keys, and hands over the result.
package transporttest
