// Package house owns the rules of the source tree, as tests: which room may
// import which, that every room explains itself, what code may not call, and how
// large things may grow. It has no code of its own.
//
//	floors table ──► every import of every file ──► upward, sideways, unlisted: fail
//	              └► the map of rooms in README.md ──► must be equal
//
// It refuses exceptions without a reason: each is a row with its why.
//
// Invariants: the tests read the sources themselves, never `go list`, whose result
// the test cache can hide; every rule is itself tested on a tree in testdata/house
// that breaks it.
//
// Limits: it judges text and syntax, not behaviour.
//
// Decision: checks are Go tests, as in pebble and tigerbeetle, so that a newcomer
// meets them in `go test ./...` and not in a script. The road not taken is a linter
// configuration, which cannot be tested with a bad fixture so simply.
package house
