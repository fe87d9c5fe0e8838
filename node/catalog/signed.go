package catalog

import (
	"fmt"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
)

// Signed is a State, or the Delta to it, under the head key of control. The
// signature covers the domain, the version, the digest of the whole resulting
// state and the time, so a delta and a snapshot of one version carry the same one.
type Signed struct {
	State    *State    `json:"state,omitempty"`
	Delta    *Delta    `json:"delta,omitempty"`
	Domain   id.Domain `json:"domain"`
	Version  uint64    `json:"version"`
	Digest   Digest    `json:"digest"`
	SignedAt time.Time `json:"signed_at"`
	Sig      []byte    `json:"sig"`
}

// Sign makes the snapshot of s. sign is pki.Authority.SignHead.
func Sign(s *State, at time.Time, sign func(msg []byte) []byte) *Signed {
	out := &Signed{State: s, Domain: s.Domain, Version: s.Version, Digest: s.Digest(), SignedAt: at.UTC().Round(0)}
	out.Sig = sign(out.head())
	return out
}

// AsDelta is the same signed version in the form of a delta from an older state.
func (s *Signed) AsDelta(from *State) *Signed { return s.asDelta(Diff(from, s.State)) }

// DeltaFrom is AsDelta from an older snapshot, whose digest is known.
func (s *Signed) DeltaFrom(old *Signed) *Signed {
	return s.asDelta(diff(old.State, s.State, old.Digest))
}

func (s *Signed) asDelta(d Delta) *Signed {
	out := *s
	out.State, out.Delta = nil, &d
	return &out
}

// Head names the version.
func (s *Signed) Head() Head { return Head{Version: s.Version, Digest: s.Digest} }

// head is the signed text: one fact per line, so that it reads in a hex dump and
// no field can run into the next (no field holds a newline).
func (s *Signed) head() []byte {
	return fmt.Appendf(nil, "fire catalogue head v1\n%s\n%d\n%s\n%s\n",
		s.Domain, s.Version, s.Digest, s.SignedAt.UTC().Format(time.RFC3339Nano))
}

// Open verifies s against the bundle that the reader already trusts and returns
// the state it stands for. prev is the reader's state, needed for a delta and
// for the rule that a reader never goes back; nil means none.
func (s *Signed) Open(prev *State, trusted pki.Bundle) (*State, error) {
	if s.Domain != trusted.Domain {
		return nil, reason.New(reason.SnapshotBadSignature, "catalogue of %q, we belong to %q", s.Domain, trusted.Domain)
	}
	if err := trusted.VerifyHead(s.head(), s.Sig); err != nil {
		return nil, reason.New(reason.SnapshotBadSignature, "version %d: %w", s.Version, err)
	}
	if prev != nil && s.Version < prev.Version {
		return nil, reason.New(reason.ConfigRejected, "version %d is older than our %d", s.Version, prev.Version)
	}
	state, err := s.resolve(prev)
	if err != nil {
		return nil, err
	}
	if state.Domain != s.Domain || state.Version != s.Version || state.Digest() != s.Digest {
		return nil, reason.New(reason.SnapshotBadSignature, "version %d does not have the signed digest", s.Version)
	}
	return state, nil
}

func (s *Signed) resolve(prev *State) (*State, error) {
	switch {
	case s.State != nil && s.Delta == nil:
		return s.State.clone(), nil
	case s.Delta != nil && s.State == nil && prev != nil:
		return s.Delta.Apply(prev)
	case s.Delta != nil && s.State == nil:
		return nil, reason.New(reason.ConfigRejected, "a delta from version %d, and we hold nothing", s.Delta.From)
	}
	return nil, reason.New(reason.FrameMalformed, "want either a state or a delta")
}
