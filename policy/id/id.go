package id

import (
	"fmt"
	"strings"
)

// NameMaxBytes is the longest mesh, region, node or service name. It is a DNS
// label's limit (RFC 1035 section 2.3.4), so every name can also be a host name.
const NameMaxBytes = 63

// ParseName returns s when it is a legal mesh, region, node or service name:
// lower-case letters, digits and inner hyphens, at most NameMaxBytes.
func ParseName(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("name is empty")
	}
	if len(s) > NameMaxBytes {
		return "", fmt.Errorf("name is %d bytes long, the limit is %d", len(s), NameMaxBytes)
	}
	for i := range len(s) {
		c := s[i]
		inner := i > 0 && i < len(s)-1
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && inner {
			continue
		}
		return "", fmt.Errorf("name %q: only a-z, 0-9 and inner '-' are allowed", s)
	}
	return s, nil
}

// Domain is a trust domain: one region of one mesh.
type Domain struct {
	Region string
	Mesh   string
}

// ParseDomain parses "region.mesh".
func ParseDomain(s string) (Domain, error) {
	region, mesh, ok := strings.Cut(s, ".")
	if !ok {
		return Domain{}, fmt.Errorf("trust domain %q: want region.mesh", s)
	}
	if _, err := ParseName(region); err != nil {
		return Domain{}, fmt.Errorf("trust domain %q: region: %w", s, err)
	}
	if _, err := ParseName(mesh); err != nil {
		return Domain{}, fmt.Errorf("trust domain %q: mesh: %w", s, err)
	}
	return Domain{Region: region, Mesh: mesh}, nil
}

// String is "region.mesh", or "" for the zero value.
func (d Domain) String() string {
	if d == (Domain{}) {
		return ""
	}
	return d.Region + "." + d.Mesh
}

// MarshalText and UnmarshalText make a Domain a JSON or TOML string.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDomain; the empty text is the zero Domain.
func (d *Domain) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Domain{}
		return nil
	}
	v, err := ParseDomain(string(b))
	if err == nil {
		*d = v
	}
	return err
}

// Node, Service and Control build principals of this domain. The name must have
// passed ParseName.
func (d Domain) Node(name string) Principal    { return Principal{d, KindNode, name} }
func (d Domain) Service(name string) Principal { return Principal{d, KindService, name} }
func (d Domain) Control(name string) Principal { return Principal{d, KindControl, name} }
