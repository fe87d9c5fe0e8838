// Package reason owns the one vocabulary for why a flow was refused or broken.
// The same code stands in a log line, a metric label, a frame on the wire, the
// twin, the map and the answer of `fire why`.
//
//	proxy refuses ──► reason.Code ──► frame (uint16) ──► peer
//	                      ├──► log "reason", metric label reason=, twin edge
//	                      └──► `fire explain CODE`: title, cause, what to do
//
// It refuses free text: a new way to fail is a new row of the table.
//
// Invariants: a code's number and name never change once released, since peers of
// other versions send and print them; every code has a cause and a fix; names are
// lower_snake and unique. Standard library only, no state, no I/O.
//
// Decision: numbers are stated, not iota, so that a row can move or go without
// renumbering its neighbours. An unknown number from a newer peer stays readable
// as "unknown_N" instead of being an error.
package reason
