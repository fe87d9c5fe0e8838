// Package cli owns the command line: the verbs, their flags and help, tables and
// JSON, exit codes, completions and the manual page.
//
//	argv ─► sortLine ─► urfave/cli ─► verb.run ─► admin.Client ─► envelope or table ─► stdout
//	          │ flags anywhere   typed flags │                                 errors ─► stderr
//	          └ wrong verbs, counts: exit 2  ├─► files: mesh.toml, floor.toml, meter pages
//	                                         └─► node: run and dev
//
//	tree() ─► help, `fire completion`, `fire man`: the same tree, so that they agree
//
// It refuses logic: a verb asks, prints and returns an error. It never calls
// os.Exit; main.go does, with what Run returns.
//
// Invariants: data goes to stdout and talk to stderr; every error is one line that
// names the thing and the next step; exit codes are 0 done, 1 failed, 2 usage, 3
// found something wrong; flags may stand before or after arguments and are never
// dropped; surplus arguments and unknown words are refused; what other hosts chose
// is printed without control characters; a JSON document has a schema name, which
// counts up when a reader could break.
//
// Limits: a floor file of 3 MiB; an answer of 64 MiB.
//
// Decisions. A tree of plain values is the source of everything, and urfave/cli
// only converts flags: its own dispatch and help have the traps that urfave.go
// names. JSON is {"schema": ..., "data": ...} for every verb, so that one reader
// fits all; the road not taken, a field per verb, saves four letters in jq. `fire
// top` prints once when nobody can see it, rather than failing in a pipe.
package cli
