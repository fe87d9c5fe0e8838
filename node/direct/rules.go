package direct

import (
	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
)

// Rules is what the mesh says of channels: one version of the catalogue. It never changes.
type Rules struct {
	Version  uint64
	Domain   id.Domain
	Node     string // this host
	Channels map[string]policy.Channel
	Table    *policy.Table
	Revoked  func(id.Principal) bool
	Placed   func(service, node string) bool
}

// judge decides whether a service of this host may hold a side of a channel.
func (r *Rules) judge(name, service string, side policy.Side) (policy.Channel, policy.Verdict, *reason.Error) {
	node := ""
	if r != nil {
		node = r.Node
	}
	return r.judgeOn(name, service, node, side)
}

// bundle is the hash of the rules in force, as events show it.
func (r *Rules) bundle() string {
	if r == nil {
		return ""
	}
	return r.Table.Hash().Short()
}

// judgeOn decides for a service of a node.
func (r *Rules) judgeOn(name, service, node string, side policy.Side) (policy.Channel, policy.Verdict, *reason.Error) {
	refuse := func(v policy.Verdict, code reason.Code, format string, args ...any) (policy.Channel, policy.Verdict, *reason.Error) {
		v.Allowed, v.Code = false, code
		return policy.Channel{}, v, reason.New(code, format, args...)
	}
	if r == nil {
		return refuse(policy.Verdict{}, reason.ControlUnreachable, "this host has no catalogue yet: it decides nothing before it has one")
	}
	bundle := policy.Verdict{Bundle: r.Table.Hash()}
	c, ok := r.Channels[name]
	if !ok {
		return refuse(bundle, reason.NoSuchChannel, "the floor in force declares no channel %q", name)
	}
	who := r.Domain.Service(service)
	if r.Revoked(who) || r.Revoked(r.Domain.Node(node)) {
		return refuse(bundle, reason.IdentityRevoked, "%s, or its host %s, is revoked", who.Short(), node)
	}
	if !r.Placed(service, node) {
		return refuse(bundle, reason.NotPlaced, "%s is not placed on %s", who.Short(), node)
	}
	v := r.Table.Attach(name, c, who, side)
	if !v.Allowed {
		return refuse(v, v.Code, "channel.%s does not let %s %s", name, who.Short(), side)
	}
	return c, v, nil
}

// pair decides whether a subscriber may see what a publisher writes.
func (r *Rules) pair(name, publisher, subscriber string) policy.Verdict {
	return r.Table.Pair(name, r.Domain.Service(publisher), r.Domain.Service(subscriber))
}
