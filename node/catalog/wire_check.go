package catalog

import (
	"net"
	"strconv"
	"unicode/utf8"

	"fire/policy/id"
	"fire/policy/reason"
)

// Check refuses what a decoded message may not hold: not exactly one field, names
// that are no names, lists and texts beyond their bounds. Control calls it before
// anything else looks at a message.
func (m *NodeMessage) Check() error {
	set := count(m.Hello != nil, m.Renew != nil, m.Register != nil, m.Withdraw != nil, m.Health != nil,
		m.Drain != nil, m.Ack != nil, m.Resync != nil, m.Report != nil, m.Log != nil)
	if set != 1 {
		return malformed("a node message has %d fields, want exactly one", set)
	}
	switch {
	case m.Hello != nil:
		return m.Hello.check()
	case m.Renew != nil:
		return m.Renew.check()
	case m.Register != nil:
		return m.Register.check()
	case m.Withdraw != nil:
		return m.Withdraw.check()
	case m.Health != nil:
		return first(m.Health.Lease.check(), text("why", m.Health.Why))
	case m.Drain != nil && m.Drain.Service != "":
		return name("service", m.Drain.Service)
	case m.Ack != nil:
		return m.Ack.check()
	case m.Resync != nil:
		return text("why", m.Resync.Why)
	case m.Log != nil:
		return first(text("level", m.Log.Level), text("text", m.Log.Text))
	}
	return nil
}

// Check refuses a first message that is not exactly one of its kinds.
func (o *Opening) Check() error {
	set := count(o.Hello != nil, o.Issue != nil, o.Inspect != nil, o.Witness != nil)
	switch {
	case set != 1:
		return malformed("a stream opens with %d of hello, issue, inspect and witness, want exactly one", set)
	case o.Hello != nil:
		return o.Hello.check()
	case o.Witness != nil && (len(o.Witness.Body) > WitnessBody || len(o.Witness.Keys) > WitnessKeys):
		return reason.New(reason.FrameOversized, "a head to be cosigned has %d bytes and %d keys, the limits are %d and %d", len(o.Witness.Body), len(o.Witness.Keys), WitnessBody, WitnessKeys)
	case o.Inspect != nil && len(o.Inspect.Body) > InspectBody:
		return reason.New(reason.FrameOversized, "inspect body of %d bytes, the limit is %d", len(o.Inspect.Body), InspectBody)
	}
	return nil
}

// Check refuses a malformed join. An empty node name leaves the choice to the token.
func (j *JoinRequest) Check() error {
	if len(j.TokenID) > id.NameMaxBytes || len(j.Secret) > 128 || len(j.CSR) > 16<<10 {
		return reason.New(reason.FrameOversized, "a field of the join request is too long")
	}
	if j.Node != "" {
		if err := name("node", j.Node); err != nil {
			return err
		}
	}
	if j.Addr != "" {
		return addr(j.Addr)
	}
	return nil
}

func (h *Hello) check() error {
	if h.Protocol < 1 {
		return malformed("hello says protocol %d", h.Protocol)
	}
	if len(h.Claims) > ClaimsMax || len(h.Roles) > RolesMax {
		return reason.New(reason.FrameOversized, "hello has %d claims and %d roles, the limits are %d and %d",
			len(h.Claims), len(h.Roles), ClaimsMax, RolesMax)
	}
	err := first(addr(h.Addr), text("release", h.Release), optional("region", h.Region), optional("zone", h.Zone))
	for _, r := range h.Roles {
		err = first(err, name("role", r))
	}
	for i := range h.Claims {
		err = first(err, h.Claims[i].check())
	}
	return err
}

func (c *Claim) check() error {
	if c.Weight < 0 || c.Weight > WeightMax {
		return malformed("claim of %q has weight %d, want 0 to %d", clip(c.Service), c.Weight, WeightMax)
	}
	return first(name("service", c.Service), text("why", c.Why))
}

func (l *Lease) check() error { return name("service", l.Service) }

func (r *Renew) check() error {
	if len(r.Leases) > ClaimsMax {
		return reason.New(reason.FrameOversized, "renew has %d leases, the limit is %d", len(r.Leases), ClaimsMax)
	}
	for i := range r.Leases {
		if err := r.Leases[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (a *Ack) check() error {
	switch a.Stage {
	case Received, Accepted, Applied, Rejected:
		return text("detail", a.Detail)
	}
	return malformed("ack has stage %q", clip(string(a.Stage)))
}

func name(what, s string) error {
	if _, err := id.ParseName(s); err != nil {
		return malformed("%s: %w", what, err)
	}
	return nil
}

func optional(what, s string) error {
	if s == "" {
		return nil
	}
	return name(what, s)
}

func text(what, s string) error {
	if len(s) > TextBytes {
		return reason.New(reason.FrameOversized, "%s is %d bytes long, the limit is %d", what, len(s), TextBytes)
	}
	if !utf8.ValidString(s) {
		return malformed("%s is not UTF-8", what)
	}
	return nil
}

func addr(s string) error {
	if len(s) > AddrBytes {
		return reason.New(reason.FrameOversized, "addr is %d bytes long, the limit is %d", len(s), AddrBytes)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return malformed("addr %q: want host:port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return malformed("addr %q: the port is not 1 to 65535", s)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return reason.New(reason.FrameMalformed, format, args...)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}
