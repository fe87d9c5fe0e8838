package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/twin"
)

// Control answers node/admin's questions in process and, for nodes, by Inspect.
var _ admin.Reader = (*Control)(nil)

// The states of a node in Status.
const (
	stateSynced   = "SYNCED"
	stateStale    = "STALE"
	stateRejected = "REJECTED"
	stateOffline  = "OFFLINE"
	stateDraining = "DRAINING"
)

// Status tells every node's state with the version that it runs.
func (c *Control) Status(ctx context.Context) (admin.Status, error) {
	var out admin.Status
	err := c.do(ctx, func(l *loop) {
		s := l.current.signed
		out = admin.Status{Domain: s.Domain.String(), Version: s.Version, FloorVersion: s.State.Floor, Digest: s.Digest.String(),
			Source: "control", Nodes: []admin.NodeStatus{}}
		for name, n := range s.State.Nodes {
			out.Nodes = append(out.Nodes, l.nodeStatus(name, n))
		}
	})
	slices.SortFunc(out.Nodes, func(a, b admin.NodeStatus) int { return strings.Compare(a.Node, b.Node) })
	return out, err
}

func (l *loop) nodeStatus(name string, n catalog.Node) admin.NodeStatus {
	out := admin.NodeStatus{Node: name, Address: n.Addr, Zone: n.Zone, Release: n.Release, Roles: n.Roles, LastSeenMS: -1}
	if out.Roles == nil {
		out.Roles = []string{}
	}
	_, out.Linked = l.links[name]
	f, now := l.facts[name], l.c.now()
	if f == nil {
		out.State, out.Reason, out.Detail = stateOffline, reason.PeerUnreachable.String(), "not seen since control started"
		return out
	}
	out.Version, out.LastSeenMS, out.CertExpires = f.applied, now.Sub(f.seen).Milliseconds(), f.notAfter
	out.ApplyMS, out.ClockSkewMS = f.ack.Took, float64(f.skew)/float64(time.Millisecond)
	behind := f.applied < l.current.signed.Version
	switch {
	case !out.Linked:
		out.State, out.Reason = stateOffline, f.lost.String()
	case f.rejected > f.applied:
		out.State, out.Reason, out.Detail = stateRejected, f.ack.Code.String(), f.ack.Detail
	case n.Draining:
		out.State = stateDraining
	case behind && now.Sub(l.current.at) > l.c.cfg.StaleAfter:
		out.State = stateStale
	default:
		out.State = stateSynced
	}
	return out
}

// Services tells every service with its endpoints.
func (c *Control) Services(context.Context) ([]admin.Service, error) { return c.View().Services(), nil }

// Edges tells the live traffic.
func (c *Control) Edges(context.Context) ([]admin.Edge, error) {
	s := c.twin.Snapshot()
	out := make([]admin.Edge, 0, len(s.Edges))
	for i := range s.Edges {
		out = append(out, edge(&s.Edges[i]))
	}
	return out, nil
}

func edge(e *twin.EdgeView) admin.Edge {
	out := admin.Edge{Src: e.Src, Dst: e.Dst, Protocol: e.Protocol, State: string(e.State), Reason: e.TopReason,
		RatePerSecond: e.RatePerSecond, ErrorsPerSecond: e.ErrorsPerSecond, ErrorRatio: e.ErrorRatio,
		P50NS: int64(e.P50), P99NS: int64(e.P99), P999NS: int64(e.P999), BytesPerSecond: e.BytesPerSecond,
		ActiveFlows: e.Active, Secured: e.Secured, Path: pathOf(e.Protocol)}
	side := e.Client
	if side == nil {
		side = e.Server
	}
	if side != nil {
		out.RequestsTotal, out.ErrorsTotal = side.Requests, side.Errors
	}
	return out
}

// Events tells what happened last, oldest first.
func (c *Control) Events(context.Context) ([]admin.Event, error) {
	s := c.twin.Snapshot()
	out := make([]admin.Event, 0, len(s.Events))
	for _, e := range s.Events {
		out = append(out, admin.Event{At: e.At, Kind: string(e.Kind), Subject: e.Subject, Text: e.Text})
	}
	return out, nil
}

// pathOf is "direct" for what goes past the proxies.
func pathOf(protocol string) string {
	if twin.DirectProtocol(protocol) {
		return "direct"
	}
	return "mesh"
}

// PolicyTry tells what the rules in force say of one operation.
func (c *Control) PolicyTry(_ context.Context, q admin.PolicyQuery) (admin.PolicyVerdict, error) {
	return c.View().Try(q)
}

// Why explains why traffic from src to dst works or not: each link of the chain,
// the first that fails being the cause.
func (c *Control) Why(_ context.Context, src, dst string) (admin.Why, error) {
	w := chain{Why: admin.Why{Src: src, Dst: dst, Works: true, Findings: []admin.Finding{}, Refusals: []admin.Refusal{}}}
	v := c.View()
	for _, name := range []string{src, dst} {
		_, ok := v.Service(name)
		w.find(ok, "service", reason.NoSuchService, name+" is declared on the floor", fmt.Sprintf("no service %q is declared", name))
	}
	if !w.Works {
		return w.Why, nil
	}
	for _, p := range []string{src, dst} {
		who := v.State.Domain.Service(p)
		w.find(!v.Revoked(who), "identity", reason.IdentityRevoked, p+"'s identity is accepted", who.String()+" is revoked")
	}
	verdict, err := v.Try(admin.PolicyQuery{Src: src, Dst: dst})
	if err != nil {
		return admin.Why{}, err
	}
	w.Verdict = verdict
	code, _ := reason.Parse(verdict.Reason)
	direct := v.ChannelsBetween(src, dst)
	if len(direct) > 0 && !verdict.Allowed && code == reason.DeniedByDefault {
		w.channels(v, direct, src, dst)
		w.traffic(c.twin.Snapshot(), src, dst)
		return w.Why, nil
	}
	w.find(verdict.Allowed, "policy", code, "rule "+verdict.Rule+" allows it", "policy denies it"+quoted(" by rule ", verdict.Rule))
	w.endpoints(v, dst)
	w.traffic(c.twin.Snapshot(), src, dst)
	return w.Why, nil
}

// chain is a Why that grows by findings.
type chain struct{ admin.Why }

func (w *chain) find(ok bool, step string, code reason.Code, good, bad string) {
	if ok {
		w.Findings = append(w.Findings, admin.Finding{OK: true, Step: step, Text: good})
		return
	}
	if w.Works {
		w.Works, w.Reason = false, code.String()
	}
	w.Findings = append(w.Findings, admin.Finding{Step: step, Text: bad, Reason: code.String(), Next: code.Info().Fix})
}

// channels is what takes the place of policy and endpoints for a pair that only direct
// paths connect.
func (w *chain) channels(v *catalog.View, names []string, src, dst string) {
	w.find(true, "policy", reason.OK, "channel."+strings.Join(names, ", channel.")+" connects them directly; nothing else does", "")
	var shared []string
	for _, node := range v.State.Services[src].Nodes {
		if v.Placed(dst, node) {
			shared = append(shared, node)
		}
	}
	if len(shared) > 0 {
		w.find(true, "channel", reason.OK, "both are placed on "+strings.Join(shared, ", ")+", where they attach (`fire channel ls` there)", "")
		return
	}
	from, to := v.State.Services[src].Nodes, v.State.Services[dst].Nodes
	w.find(len(from) > 0 && len(to) > 0, "channel", reason.NotPlaced, fmt.Sprintf("messages go from %s to %s over encrypted datagrams (`fire channel paths` there)",
		strings.Join(from, ", "), strings.Join(to, ", ")), "one of them is placed on no host")
}

func (w *chain) endpoints(v *catalog.View, dst string) {
	all, routable := v.ByService(dst), v.Routable(dst)
	w.find(len(all) > 0, "endpoints", reason.NoEndpoint, fmt.Sprintf("%s has %d endpoints", dst, len(all)),
		fmt.Sprintf("%s is placed on %s, and none has registered it", dst, strings.Join(v.State.Services[dst].Nodes, ", ")))
	if len(all) == 0 {
		return
	}
	var sick []string
	for _, e := range all {
		switch {
		case e.Tier == catalog.TierReady:
		case e.Draining || v.State.Nodes[e.Node].Draining:
			sick = append(sick, e.Node+" drains")
		case !e.Healthy:
			sick = append(sick, e.Node+" is unhealthy"+quoted(": ", e.Why))
		case e.Tier == catalog.TierOut:
			sick = append(sick, e.Node+" is revoked")
		default:
			sick = append(sick, e.Node+" has lost control")
		}
	}
	text := strings.Join(sick, "; ")
	w.find(len(routable) > 0, "endpoints", reason.NoHealthyEndpoint, fmt.Sprintf("%d of %d can take traffic%s", len(routable), len(all), quoted("; ", text)),
		"none can take traffic: "+text)
}

func (w *chain) traffic(s *twin.Snapshot, src, dst string) {
	for i := range s.Edges {
		if s.Edges[i].Src != src || s.Edges[i].Dst != dst {
			continue
		}
		e := edge(&s.Edges[i])
		w.Edge = &e
		code, ok := reason.Parse(e.Reason)
		if !ok {
			code = reason.AppError // a broken path always says why
		}
		w.find(e.State != string(twin.StateError), "traffic", code, fmt.Sprintf("%.1f requests/s, %.2f%% errors", e.RatePerSecond, 100*e.ErrorRatio),
			fmt.Sprintf("%.1f%% of %.1f requests/s fail%s", 100*e.ErrorRatio, e.RatePerSecond, quoted(", mostly with ", e.Reason)))
		return
	}
	w.Findings = append(w.Findings, admin.Finding{OK: true, Step: "traffic", Text: "none was seen yet"})
}

func quoted(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// CA describes the authority and the nodes' certificates.
func (c *Control) CA(ctx context.Context) (admin.CA, error) {
	b := c.authority.Bundle()
	out := admin.CA{Domain: b.Domain.String(), Pin: b.Pin(), BundleVersion: b.Version, Roots: []admin.RootInfo{}, Nodes: []admin.CertInfo{}}
	for _, r := range c.authority.Roots() {
		out.Roots = append(out.Roots, admin.RootInfo{Pin: r.Pin, Active: r.Stage == pki.StageActive, NotBefore: r.NotBefore, NotAfter: r.NotAfter})
	}
	err := c.do(ctx, func(l *loop) {
		for name, f := range l.facts {
			out.Nodes = append(out.Nodes, admin.CertInfo{ID: b.Domain.Node(name).String(), NotAfter: f.notAfter})
		}
	})
	slices.SortFunc(out.Nodes, func(a, b admin.CertInfo) int { return strings.Compare(a.ID, b.ID) })
	return out, err
}
