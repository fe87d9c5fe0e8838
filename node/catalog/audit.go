package catalog

import "time"

// Audit is what the proxies record of a service's traffic, at both of its ends.
type Audit string

// What is recorded. Connections, their ends and refusals always are, but with AuditOff.
const (
	AuditByProtocol  Audit = ""            // "full" for fix, "digest" for soupbin, "connections" for tcp and http
	AuditFull        Audit = "full"        // every message with its bytes
	AuditDigest      Audit = "digest"      // every message with its digest and, of fix, its identifiers
	AuditConnections Audit = "connections" // no messages
	AuditOff         Audit = "off"
)

// AuditWhenFull is what becomes of a message when the audit log takes nothing: its disk hangs, or
// is full or slow.
type AuditWhenFull string

// What becomes of it.
const (
	WhenFullByProtocol AuditWhenFull = ""       // "closed" for fix, else "open"
	WhenFullClosed     AuditWhenFull = "closed" // after audit_budget it is refused, and its connection ends
	WhenFullOpen       AuditWhenFull = "open"   // it goes on without an entry, and the log says how many have
)

const (
	auditBudgetDefault = 50 * time.Millisecond
	auditBudgetMax     = 10 * time.Second
)

// Audited is what is in force: what is recorded, whether a full log refuses, and after how long.
func (s Service) Audited() (what Audit, closed bool, budget time.Duration) {
	what, closed, budget = s.Audit, s.AuditWhenFull == WhenFullClosed, time.Duration(s.AuditBudget)
	if what == AuditByProtocol {
		switch s.Protocol {
		case FIX:
			what = AuditFull
		case SoupBin:
			what = AuditDigest
		default:
			what = AuditConnections
		}
	}
	if s.AuditWhenFull == WhenFullByProtocol {
		closed = s.Protocol == FIX
	}
	if budget == 0 {
		budget = auditBudgetDefault
	}
	return what, closed, budget
}

func (s Service) checkAudit(key string, bad badFunc) {
	oneOf(key+".audit", s.Audit, bad, AuditByProtocol, AuditFull, AuditDigest, AuditConnections, AuditOff)
	oneOf(key+".audit_when_full", s.AuditWhenFull, bad, WhenFullByProtocol, WhenFullClosed, WhenFullOpen)
	if d := time.Duration(s.AuditBudget); d < 0 || d > auditBudgetMax {
		bad(key+".audit_budget", "%v is not 0s (%v) to %v", d, auditBudgetDefault, auditBudgetMax)
	}
	if (s.Audit == AuditFull || s.Audit == AuditDigest) && s.Protocol != FIX && s.Protocol != SoupBin {
		bad(key+".audit", "%q needs messages, which %s has none of; \"connections\" or \"off\"", s.Audit, s.Protocol)
	}
}
