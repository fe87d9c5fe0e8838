package policy

import (
	"encoding/hex"
	"fmt"

	"fire/policy/reason"
)

// Op is what the source asks of the destination.
type Op struct {
	Port   uint16 // the destination service's port; 0 = not known
	Method string // empty: the connection is being decided, not a request
	Path   string // canonical, without the query; empty = not known
	Opaque bool   // the connection carries no requests that anybody will decide (tcp, fix)
}

// Verdict is the answer of a table.
type Verdict struct {
	Allowed bool
	Code    reason.Code // OK, DeniedByDefault or DeniedByRule
	Rule    string      // the deciding rule; empty = default deny
	Bundle  Hash        // the rule set that decided
}

// Hash names a rule set: SHA-256 of its canonical JSON.
type Hash [32]byte

// String is the whole hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short is the first eight hex digits, for tables and log lines.
func (h Hash) Short() string { return hex.EncodeToString(h[:4]) }

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hex digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("policy hash has %d digits, want %d", len(b), hex.EncodedLen(len(h)))
	}
	var v Hash
	if _, err := hex.Decode(v[:], b); err != nil {
		return fmt.Errorf("policy hash: %w", err)
	}
	*h = v
	return nil
}
