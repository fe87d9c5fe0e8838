package node

import (
	"context"
	"encoding/hex"
	"errors"

	"fire/node/admin"
	"fire/node/agent"
	"fire/node/catalog"
	"fire/policy/reason"
)

// linked reads the mesh on a host without control: it asks control over the link,
// and while control is unreachable it answers what the signed catalogue on this
// host can tell.
type linked struct {
	admin.Remote
	agent *agent.Agent
}

func newLinked(a *agent.Agent) linked { return linked{admin.Remote{Ask: a.Ask}, a} }

// view is the catalogue to answer from instead, or nil when err is another failure.
func (l linked) view(err error) *catalog.View {
	if e, ok := errors.AsType[*reason.Error](err); !ok || e.Code != reason.ControlUnreachable {
		return nil
	}
	return l.agent.View()
}

// Status falls back to the nodes of the last signed catalogue. What only control
// knows, as who is in sync, is left out.
func (l linked) Status(ctx context.Context) (admin.Status, error) {
	out, err := l.Remote.Status(ctx)
	v := l.view(err)
	if v == nil {
		return out, err
	}
	s := v.State
	digest := s.Digest()
	out = admin.Status{Domain: s.Domain.String(), Version: s.Version, FloorVersion: s.Floor, Digest: hex.EncodeToString(digest[:]),
		Source: "snapshot", SnapshotAgeMS: l.agent.Status().Age.Milliseconds(), Nodes: []admin.NodeStatus{}}
	for _, name := range sortedKeys(s.Nodes) {
		n := s.Nodes[name]
		out.Nodes = append(out.Nodes, admin.NodeStatus{Node: name, Address: n.Addr, Zone: n.Zone, Release: n.Release,
			Roles: append([]string{}, n.Roles...), State: "UNKNOWN", Linked: n.Linked, Version: s.Version, LastSeenMS: -1})
	}
	return out, nil
}

// Services falls back to the last signed catalogue.
func (l linked) Services(ctx context.Context) ([]admin.Service, error) {
	out, err := l.Remote.Services(ctx)
	if v := l.view(err); v != nil {
		return v.Services(), nil
	}
	return out, err
}

// PolicyTry falls back to the rules in force on this host.
func (l linked) PolicyTry(ctx context.Context, q admin.PolicyQuery) (admin.PolicyVerdict, error) {
	out, err := l.Remote.PolicyTry(ctx, q)
	if v := l.view(err); v != nil {
		return v.Try(q)
	}
	return out, err
}

// witnessed adds to Why what this process itself refused between the two services:
// control hears of refusals as counts with a reason, the process knows each one.
type witnessed struct {
	admin.Reader
	local *local
}

// refusalsShown bounds what Why repeats of them.
const refusalsShown = 10

// Why asks the mesh and adds the newest refusals.
func (r witnessed) Why(ctx context.Context, src, dst string) (admin.Why, error) {
	w, err := r.Reader.Why(ctx, src, dst)
	if err != nil {
		return w, err
	}
	all, err := r.local.Refusals(ctx)
	for _, x := range all {
		if x.Src == src && x.Dst == dst && len(w.Refusals) < refusalsShown {
			w.Refusals = append(w.Refusals, x)
		}
	}
	return w, err
}
