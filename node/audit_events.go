package node

import (
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"fire/audit"
	"fire/audit/entry"
	"fire/node/catalog"
	"fire/node/config"
	"fire/node/direct"
	"fire/policy/pki"
	"fire/policy/reason"
)

// auditEvents are the facts of a host that belong to no connection. Its source is open: what finds
// no room is in its gap.
type auditEvents struct {
	mu     sync.Mutex
	source *audit.Source
}

func newAuditEvents(c *audit.Capture) (*auditEvents, error) {
	s, err := c.Source(audit.Options{Full: audit.FullOpen})
	return &auditEvents{source: s}, err
}

// add records one; fill writes its fields. A nil receiver records nothing.
func (a *auditEvents) add(k entry.Kind, fill func(*entry.Builder)) {
	if a == nil {
		return
	}
	var b entry.Builder
	b.BeginFields(nil)
	fill(&b)
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.source.Event(k, b.Raw()) // of an open source it is none
}

// direct records what the trail of the direct node has taken.
func (a *auditEvents) direct(e direct.Event) {
	a.add(kindOf(e.Kind), func(b *entry.Builder) {
		b.Str(entry.Hop, "ring")
		b.Str(entry.Direction, e.Side)
		b.Str(entry.Service, e.Service)
		b.Str(entry.Peer, e.Peer)
		b.Str(entry.Node, e.Node)
		b.Str(entry.Channel, e.Channel)
		b.Str(entry.Rule, e.Rule)
		if hash, err := hex.DecodeString(e.Bundle); err == nil {
			b.Bytes(entry.Bundle, hash)
		}
		if e.Reason != reason.OK {
			b.Uint(entry.Reason, uint64(e.Reason))
		}
		b.Uint(entry.First, e.First)
		b.Uint(entry.Last, e.Last)
		b.Uint(entry.Count, e.Messages)
		if chain, err := hex.DecodeString(e.Chain); err == nil {
			b.Bytes(entry.Chain, chain)
		}
		b.Uint(entry.Elapsed, uint64(max(0, e.Elapsed)))
		b.Str(entry.Actor, e.User)
		b.Str(entry.Verb, string(e.Kind))
		b.Str(entry.Detail, e.Detail)
		b.Uint(entry.Process, uint64(max(0, e.PID)))
		b.Uint(entry.User, uint64(max(0, e.UID)))
		b.Str(entry.Program, e.Executable)
		b.Str(entry.Unit, e.Unit)
		b.Uint(entry.Link, e.Link)
		b.Uint(entry.Version, e.Version)
	})
}

func kindOf(k direct.EventKind) entry.Kind {
	switch k {
	case direct.Attached:
		return entry.Opened
	case direct.Detached, direct.Died, direct.Cut:
		return entry.Closed
	case direct.Refused, direct.KeptApart:
		return entry.Refused
	case direct.Digest:
		return entry.Span
	case direct.Unseen, direct.Omitted:
		return entry.Gap
	case direct.Revoked, direct.Restored, direct.Ended:
		return entry.Kill
	}
	return entry.Path
}

// certified records a certificate that has come into use.
func (a *auditLog) certified(i *pki.Identity) {
	if a == nil {
		return
	}
	a.events.add(entry.Certificate, func(b *entry.Builder) {
		b.Str(entry.Principal, i.Principal().String())
		b.Str(entry.Verb, "in use")
		if leaf := i.Leaf(); leaf != nil {
			b.Str(entry.Object, leaf.SerialNumber.Text(16))
			b.Str(entry.Detail, "from "+leaf.NotBefore.UTC().Format(time.RFC3339)+" to "+leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	})
}

// configured records by which mesh.toml the process runs: a change of it is a new start.
func (a *auditLog) configured(c *config.Config, roles []string, release string) {
	if a == nil {
		return
	}
	a.events.add(entry.Config, func(b *entry.Builder) {
		b.Str(entry.Verb, "in force")
		b.Str(entry.Object, c.File())
		b.Str(entry.After, c.Digest())
		b.Str(entry.Detail, "release "+release+", as "+strings.Join(roles, " and "))
	})
}

// follow records each catalogue that comes into force, and each set of rules.
func (a *auditLog) follow(v *catalog.View) {
	if a == nil {
		return
	}
	before := a.seen.Swap(v)
	digest := v.State.Digest()
	a.events.add(entry.Floor, func(b *entry.Builder) {
		b.Str(entry.Verb, "in force")
		if before != nil {
			b.Str(entry.Before, strconv.FormatUint(before.State.Version, 10))
		}
		b.Str(entry.After, digest.String())
		b.Uint(entry.Version, v.State.Version)
	})
	if before != nil && before.Table.Hash() == v.Table.Hash() {
		return
	}
	hash := v.Table.Hash()
	a.events.add(entry.Policy, func(b *entry.Builder) {
		b.Bytes(entry.Bundle, hash[:])
		b.Uint(entry.Count, uint64(v.Table.Rules()))
		b.Str(entry.Verb, "in force")
		if before != nil {
			b.Str(entry.Before, before.Table.Hash().String())
		}
		b.Str(entry.After, hash.String())
		b.Uint(entry.Version, v.State.Version)
	})
}
