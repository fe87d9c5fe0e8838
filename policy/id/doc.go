// Package id owns the names of the mesh as small comparable values: the trust
// domain, nodes, services and the principal that a verified certificate speaks for.
//
//	spiffe://eu.floor/svc/orders
//	         └┬┘└─┬─┘ └┬┘ └──┬─┘
//	      region mesh kind  name
//
// It refuses everything that is not exactly that: upper case, ports, userinfo,
// queries, percent signs, empty or dotted segments, deeper paths. There is one
// parser per name and each is fuzzed; policy/pki also holds it against go-spiffe.
//
// Invariants: a non-zero value that came from a parser prints and parses back to
// itself; values are comparable and may key a map; nothing here does I/O, reads
// a clock or starts a goroutine.
//
// Decision: one trust domain per region (region.mesh), so that bundles of two
// regions are never merged and an X.509 name constraint can bind an intermediate.
// The road not taken, a region in the path, would need a path constraint, which
// X.509 does not have.
package id
