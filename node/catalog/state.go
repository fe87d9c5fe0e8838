package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/pki"
)

// State is the mesh as one value. A published State is immutable: every change
// makes a new one with a higher Version.
type State struct {
	Domain    id.Domain                 `json:"domain"`
	Version   uint64                    `json:"version"`
	Floor     uint64                    `json:"floor"` // version of the floor file in force, 0 before the first
	Services  map[string]Service        `json:"services"`
	Rules     map[string]policy.Rule    `json:"rules"`
	Channels  map[string]policy.Channel `json:"channels,omitempty"`
	Nodes     map[string]Node           `json:"nodes"`
	Endpoints map[string]Endpoint       `json:"endpoints"` // by EndpointKey
	Revoked   map[string]Revocation     `json:"revoked"`   // by SPIFFE id
	Bundle    pki.Bundle                `json:"bundle"`
}

// Service is one [service.NAME] table of the floor file and the same on the wire.
type Service struct {
	Protocol    Transport `toml:"protocol" json:"protocol"`       // default "tcp"
	Port        uint16    `toml:"port" json:"port,omitempty"`     // the port that rules name; 0 for a service that only calls
	Nodes       []string  `toml:"nodes" json:"nodes"`             // placement: who may run it and hold its certificate
	Balance     Balance   `toml:"balance" json:"balance"`         // default "peak_ewma"
	Class       Class     `toml:"class" json:"class"`             // default "order"
	EjectAfter  int       `toml:"eject_after" json:"eject_after"` // failures in a row before an endpoint is ejected; 0 never; default 5
	EjectFor    Duration  `toml:"eject_for" json:"eject_for"`     // first back-off, doubled each time; default 1s
	EjectMax    Duration  `toml:"eject_max" json:"eject_max"`     // longest back-off; default 1m
	Audit       Audit     `toml:"audit" json:"audit,omitempty"`   // default by protocol: see Audit
	Description string    `toml:"description" json:"description,omitempty"`

	AuditWhenFull AuditWhenFull `toml:"audit_when_full" json:"audit_when_full,omitempty"` // default "closed" for fix, else "open"
	AuditBudget   Duration      `toml:"audit_budget" json:"audit_budget,omitempty"`       // how long "closed" waits; default 50ms
}

// Transport is how the bytes of a service are read. It is declared, never sniffed.
type Transport string

const (
	TCP     Transport = "tcp"
	HTTP    Transport = "http"
	FIX     Transport = "fix"
	SoupBin Transport = "soupbin"
)

// Balance is how a source picks among endpoints.
type Balance string

const (
	RoundRobin   Balance = "round_robin"
	LeastRequest Balance = "least_request"
	PeakEWMA     Balance = "peak_ewma"
)

// Class is the connection class that a service's streams travel in.
type Class string

const (
	Order Class = "order"
	Bulk  Class = "bulk"
)

// WeightMax is the largest weight of an endpoint.
const WeightMax = 100

// Node is a joined host.
type Node struct {
	Addr     string   `json:"addr"` // its QUIC socket, "host:port"
	Region   string   `json:"region,omitempty"`
	Zone     string   `json:"zone,omitempty"`
	Release  string   `json:"release,omitempty"`
	Linked   bool     `json:"linked"`
	Draining bool     `json:"draining,omitempty"`
	Roles    []string `json:"roles,omitempty"`
}

// Endpoint is a service on a node. LINKED (its node has a live session to
// control) and HEALTHY (its check passes) are separate facts: a cut to control
// says nothing about the application.
type Endpoint struct {
	Service  string `json:"service"`
	Node     string `json:"node"`
	Epoch    uint64 `json:"epoch"`
	Linked   bool   `json:"linked"`
	Healthy  bool   `json:"healthy"`
	Draining bool   `json:"draining,omitempty"`
	Why      string `json:"why,omitempty"` // of being unhealthy
	Zone     string `json:"zone,omitempty"`
	Weight   int    `json:"weight"`
}

// Revocation says that an identity is not accepted any more.
type Revocation struct {
	At  time.Time `json:"at"`
	By  string    `json:"by,omitempty"`
	Why string    `json:"why,omitempty"`
}

// EndpointKey is the key of State.Endpoints.
func EndpointKey(service, node string) string { return service + "@" + node }

// Placed tells whether the floor places the service on the node.
func (s *State) Placed(service, node string) bool {
	sv, ok := s.Services[service]
	return ok && slices.Contains(sv.Nodes, node)
}

// Digest is SHA-256 over the canonical JSON: encoding/json with sorted map keys,
// no map nil.
func (s *State) Digest() Digest {
	c := *s
	c.whole()
	b, err := json.Marshal(&c)
	if err != nil {
		// Only a time outside the years 0 to 9999 gets here, and Directory makes
		// none; such a state equals no other.
		return sha256.Sum256([]byte("unencodable: " + err.Error()))
	}
	return sha256.Sum256(b)
}

// whole makes nil maps empty, so that a state equals its decoded self.
func (s *State) whole() {
	s.Services, s.Rules, s.Nodes = filled(s.Services), filled(s.Rules), filled(s.Nodes)
	s.Endpoints, s.Revoked, s.Channels = filled(s.Endpoints), filled(s.Revoked), filled(s.Channels)
}

func filled[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// clone copies the maps; their values are treated as immutable.
func (s *State) clone() *State {
	c := *s
	c.Services, c.Rules, c.Nodes = maps.Clone(s.Services), maps.Clone(s.Rules), maps.Clone(s.Nodes)
	c.Endpoints, c.Revoked, c.Channels = maps.Clone(s.Endpoints), maps.Clone(s.Revoked), maps.Clone(s.Channels)
	c.whole()
	return &c
}

// Digest is a SHA-256 sum, hexadecimal in text.
type Digest [sha256.Size]byte

// String is 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText is String, or empty for the zero digest.
func (d Digest) MarshalText() ([]byte, error) {
	if d == (Digest{}) {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText parses MarshalText's form.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	if len(b) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("digest of %d characters, want %d", len(b), hex.EncodedLen(len(d)))
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// Duration is text ("250ms") in TOML and JSON.
type Duration = policy.Duration

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func copied[V any](m map[string]V) map[string]V { return filled(maps.Clone(m)) }
