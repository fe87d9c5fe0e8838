package direct

import (
	"time"

	"fire/policy/reason"
)

// EventKind is what happened.
type EventKind string

const (
	Attached  EventKind = "attached"
	Refused   EventKind = "refused"
	Detached  EventKind = "detached"   // on purpose
	Died      EventKind = "died"       // the process, or its connection without a goodbye
	Cut       EventKind = "cut"        // by policy, revocation or an operator
	Paired    EventKind = "paired"     // a reader has begun to read a lane
	KeptApart EventKind = "kept_apart" // a deny rule forbids the pair
	Lost      EventKind = "lost"       // what a reader that is gone had not read is given up
	Adopted   EventKind = "adopted"    // a ring goes on that an earlier direct node had made
	Digest    EventKind = "digest"     // of a lane's messages
	Unseen    EventKind = "unseen"     // messages that the audit came too late for
	Revoked   EventKind = "revoked"    // by an operator
	Restored  EventKind = "restored"   // the same taken back
	Held      EventKind = "held"       // a process that was cut still has the ring
	Ended     EventKind = "ended"      // a process was ended for that
	Omitted   EventKind = "omitted"    // events that found no room in the trail, nor in memory until it had some
)

// Event is one fact for the audit trail.
type Event struct {
	At         time.Time   `json:"at"`
	Kind       EventKind   `json:"kind"`
	Channel    string      `json:"channel,omitempty"`
	Service    string      `json:"service,omitempty"`
	Side       string      `json:"side,omitempty"`
	Peer       string      `json:"peer,omitempty"` // the service at the other end of a pair
	Link       uint64      `json:"link,omitempty"`
	Node       string      `json:"node,omitempty"` // of a publisher on another host
	PID        int         `json:"pid,omitempty"`
	UID        int         `json:"uid,omitempty"`
	User       string      `json:"user,omitempty"`
	Executable string      `json:"executable,omitempty"`
	Unit       string      `json:"unit,omitempty"`
	Reason     reason.Code `json:"reason,omitempty"`
	Rule       string      `json:"rule,omitempty"`
	Bundle     string      `json:"bundle,omitempty"`  // hash of the rules that decided
	Version    uint64      `json:"version,omitempty"` // of the catalogue that decided
	Detail     string      `json:"detail,omitempty"`
	First      uint64      `json:"first,omitempty"` // of the messages that it speaks of
	Last       uint64      `json:"last,omitempty"`
	Messages   uint64      `json:"messages,omitempty"`
	Chain      string      `json:"chain,omitempty"` // SHA-256 over the chain before and the messages of the span
	Elapsed    int64       `json:"elapsed_ns,omitempty"`
}

func (e Event) of(p *process) Event {
	if p != nil {
		e.PID, e.UID, e.User, e.Executable, e.Unit = p.pid, p.uid, p.user, p.executable, p.unit
	}
	return e
}
