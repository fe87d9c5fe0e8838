package id

import (
	"fmt"
	"strings"
)

// Kind says what a principal is. The zero Kind is invalid.
type Kind uint8

const (
	KindNode    Kind = 1 // a host's proxy or direct role
	KindService Kind = 2 // a service, whatever host it runs on
	KindControl Kind = 3 // a control role; a plain node can never pass for one
)

// String is the first path segment of the principal's id.
func (k Kind) String() string {
	switch k {
	case KindNode:
		return "node"
	case KindService:
		return "svc"
	case KindControl:
		return "control"
	}
	return "invalid"
}

// Principal is who somebody is, as read from a verified certificate.
type Principal struct {
	Domain Domain
	Kind   Kind
	Name   string
}

// URIMaxBytes is SPIFFE's limit for an id (SPIFFE-ID.md section 2.3).
const URIMaxBytes = 2048

// ParsePrincipal parses "spiffe://region.mesh/kind/name" and nothing else.
func ParsePrincipal(uri string) (Principal, error) {
	if len(uri) > URIMaxBytes {
		return Principal{}, fmt.Errorf("id is %d bytes long, the limit is %d", len(uri), URIMaxBytes)
	}
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return Principal{}, fmt.Errorf("id %q: want spiffe://region.mesh/kind/name", uri)
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok {
		return Principal{}, fmt.Errorf("id %q: no path after the trust domain", uri)
	}
	d, err := ParseDomain(domain)
	if err != nil {
		return Principal{}, fmt.Errorf("id %q: %w", uri, err)
	}
	kind, name, ok := strings.Cut(path, "/")
	if !ok {
		return Principal{}, fmt.Errorf("id %q: want kind/name after the trust domain", uri)
	}
	if _, err := ParseName(name); err != nil {
		return Principal{}, fmt.Errorf("id %q: %w", uri, err)
	}
	switch kind {
	case "node":
		return d.Node(name), nil
	case "svc":
		return d.Service(name), nil
	case "control":
		return d.Control(name), nil
	}
	return Principal{}, fmt.Errorf("id %q: kind %q is none of node, svc, control", uri, kind)
}

// String is the SPIFFE id, or "" for the zero value.
func (p Principal) String() string {
	if p == (Principal{}) {
		return ""
	}
	return "spiffe://" + p.Domain.String() + "/" + p.Kind.String() + "/" + p.Name
}

// Short is "kind/name", for tables of one region.
func (p Principal) Short() string { return p.Kind.String() + "/" + p.Name }

// MarshalText and UnmarshalText make a Principal a JSON or TOML string.
func (p Principal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePrincipal; the empty text is the zero Principal.
func (p *Principal) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*p = Principal{}
		return nil
	}
	v, err := ParsePrincipal(string(b))
	if err == nil {
		*p = v
	}
	return err
}
