// Package e2e runs whole meshes through the real program and holds them against
// real peers. It has tests only.
//
//	go test ./node/e2e            the program itself, re-executed: no tool needed
//	FIRE_REAL=1 go test ...       also curl, wrk, PostgreSQL, QuickFIX, HAProxy,
//	                              and two hosts as network namespaces (root)
//
// It owns the harness that starts processes, waits for what they print or answer,
// and ends exactly those it started. It refuses sleeping as a way to wait: every
// wait polls a condition and is bounded.
//
// Invariants: a test ends every process that it started, by id; it binds loopback or
// a namespace that it made; a peer that is absent is a skip with its reason.
//
// Limits: no absolute time is asserted but the bounds of the design (a lease, one
// second of a cut), and those with room for a busy machine.
//
// Decision: the test binary re-executes itself as the program, so that a clean clone
// needs no build step and the race detector sees the program too. The road not
// taken, calling Run in process, cannot be killed.
package e2e
