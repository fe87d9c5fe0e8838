package agent

import (
	"maps"
	"slices"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/reason"
)

// Status is what this host can say of itself at once, without asking anybody.
type Status struct {
	Node          string          `json:"node"`
	Domain        id.Domain       `json:"domain"`
	Linked        bool            `json:"linked"`
	Control       string          `json:"control,omitempty"`      // name of the control linked to
	ControlAddr   string          `json:"control_addr,omitempty"` // its address
	LinkedAt      time.Time       `json:"linked_at,omitzero"`
	LinkReason    reason.Code     `json:"link_reason,omitempty"` // of not being linked
	LinkDetail    string          `json:"link_detail,omitempty"`
	Head          catalog.Head    `json:"head"`
	SignedAt      time.Time       `json:"signed_at,omitzero"`
	FromDisk      bool            `json:"from_disk"` // read at start, and no control was reached since
	Age           time.Duration   `json:"age_ns"`    // how old the catalogue may be: zero while linked
	Rejected      string          `json:"rejected,omitempty"`
	CopyTrouble   string          `json:"copy_trouble,omitempty"`
	ClockSkew     time.Duration   `json:"clock_skew_ns"` // control's clock minus ours, at the last welcome
	ClockTrouble  string          `json:"clock_trouble,omitempty"`
	Certificates  []CertStatus    `json:"certificates"`
	Services      []ServiceStatus `json:"services"`
	BundleVersion uint64          `json:"bundle_version"`
	Draining      []string        `json:"draining,omitempty"` // services asked to drain here; "" is all of them
}

// CertStatus is one identity of this host.
type CertStatus struct {
	ID        string      `json:"id"`
	Held      bool        `json:"held"`
	NotBefore time.Time   `json:"not_before,omitzero"`
	NotAfter  time.Time   `json:"not_after,omitzero"`
	RenewAt   time.Time   `json:"renew_at,omitzero"`
	Serial    string      `json:"serial,omitempty"`
	Reason    reason.Code `json:"reason,omitempty"` // why there is none, or no newer one
	Detail    string      `json:"detail,omitempty"`
}

// trouble is what went wrong last, per matter; nil where all is well.
type trouble struct {
	since                      time.Time // the last link ended; zero: there was none
	link, skew, copy, rejected error
	certificates               map[id.Principal]error
}

func (a *Agent) setTrouble(change func(*trouble)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.trouble)
}

func (a *Agent) setCertTrouble(p id.Principal, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.trouble.certificates, p)
		return
	}
	a.trouble.certificates[p] = err
}

// Linked tells whether there is a session with control now.
func (a *Agent) Linked() bool { return a.live.Load() != nil }

// Status is a picture of now.
func (a *Agent) Status() Status {
	a.mu.Lock()
	t := a.trouble
	t.certificates = maps.Clone(t.certificates)
	var drains []string
	for service, on := range a.drains {
		if on {
			drains = append(drains, service)
		}
	}
	a.mu.Unlock()
	slices.Sort(drains)
	s := Status{Node: a.Node().Name, Domain: a.Node().Domain, Draining: drains,
		Rejected: said(t.rejected), CopyTrouble: said(t.copy), ClockTrouble: said(t.skew)}
	if r := a.known.Load(); r != nil {
		s.BundleVersion = r.Bundle.Version
	}
	if h := a.held.Load(); h != nil {
		s.Head, s.SignedAt = h.head, h.view.SignedAt
		s.FromDisk = h.fromDisk && t.since.IsZero() && a.live.Load() == nil
	}
	if l := a.live.Load(); l != nil {
		s.Linked, s.Control, s.ControlAddr, s.LinkedAt, s.ClockSkew = true, l.welcome.Control, l.address, l.since, l.skew
	} else {
		s.LinkReason, s.LinkDetail = reason.Of(t.link, reason.ControlUnreachable), said(t.link)
		s.Age = a.now().Sub(later(s.SignedAt, t.since))
	}
	s.Services = a.board.status(s.Linked)
	s.Certificates = a.certStatus(t.certificates)
	return s
}

func (a *Agent) certStatus(trouble map[id.Principal]error) []CertStatus {
	all := maps.Clone(trouble)
	for p := range a.keys.Load().byPrincipal {
		if _, told := all[p]; !told {
			all[p] = nil
		}
	}
	var out []CertStatus
	for _, p := range slices.SortedFunc(maps.Keys(all), byKindThenName) {
		c := CertStatus{ID: p.String(), Reason: reason.Of(all[p], reason.OK), Detail: said(all[p])}
		if i := a.Identity(p); i != nil && i.Leaf() != nil {
			leaf := i.Leaf()
			c.Held, c.NotBefore, c.NotAfter, c.RenewAt, c.Serial = true, leaf.NotBefore, leaf.NotAfter, i.RenewAt(), leaf.SerialNumber.Text(16)
		}
		out = append(out, c)
	}
	return out
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err.Error())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
