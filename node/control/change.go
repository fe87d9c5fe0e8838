package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
)

// Control makes node/admin's changes. Only the admin socket of a control host
// reaches these; a node's link does not.
var _ admin.Changer = (*Control)(nil)

const (
	applyWait    = 2 * time.Second // for the nodes' answers, unless the caller says
	applyWaitMax = 25 * time.Second
	operator     = "operator"
)

// Apply puts a floor file in force, or tells what it would change.
func (c *Control) Apply(ctx context.Context, r admin.ApplyRequest) (admin.ApplyResult, error) {
	f, problems := catalog.ParseFloor(r.Name, []byte(r.Text))
	out := admin.ApplyResult{DryRun: r.DryRun, Problems: []string{}, Nodes: []admin.ApplyNode{}}
	for _, p := range problems {
		out.Problems = append(out.Problems, strings.TrimSuffix(p.String()+"\n"+p.Excerpt, "\n"))
	}
	var dir *catalog.Directory
	if err := c.do(ctx, func(l *loop) { dir = l.dir.Clone() }); err != nil {
		return out, err
	}
	out.FloorVersion = dir.Current().Version
	if len(problems) > 0 {
		c.differ(&out, catalog.Difference{})
		return out, nil
	}
	if len(f.Services) == 0 && !r.Empty && !r.DryRun {
		return out, &admin.Error{Reason: "usage", Message: r.Name + " declares no service: it would end all traffic of the mesh",
			Next: "write --allow-empty if that is meant; --dry-run shows what it would do"}
	}
	c.differ(&out, dir.DryRun(f)) // on a clone: comparing every pair takes a while
	if r.DryRun {
		return out, nil
	}
	return c.apply(ctx, out, r.WaitMS, func(d *catalog.Directory, now time.Time) (uint64, []catalog.Event, error) {
		return d.ApplyFloor(f, operator, r.Name, now)
	})
}

// Rollback puts an earlier version's content in force.
func (c *Control) Rollback(ctx context.Context, r admin.RollbackRequest) (admin.ApplyResult, error) {
	out := admin.ApplyResult{Problems: []string{}, Nodes: []admin.ApplyNode{}}
	var dir *catalog.Directory
	if err := c.do(ctx, func(l *loop) { dir = l.dir.Clone() }); err != nil {
		return out, err
	}
	e, err := dir.Edition(r.Version)
	if err != nil {
		return out, err
	}
	c.differ(&out, dir.DryRun(e.Floor))
	return c.apply(ctx, out, r.WaitMS, func(d *catalog.Directory, now time.Time) (uint64, []catalog.Event, error) {
		return d.Rollback(e.Version, operator, fmt.Sprintf("rollback to %d", e.Version), now)
	})
}

func (c *Control) apply(ctx context.Context, out admin.ApplyResult, waitMS int64,
	change func(*catalog.Directory, time.Time) (uint64, []catalog.Event, error)) (admin.ApplyResult, error) {
	var before, after uint64
	err := c.durably(ctx, func(d *catalog.Directory, now time.Time) (events []catalog.Event, err error) {
		before = d.Current().Version
		after, events, err = change(d, now)
		return events, err
	})
	if err != nil {
		return out, err // before and after may still be written to
	}
	out.FloorVersion, out.Changed = after, after != before
	out.Nodes, err = c.await(ctx, waitMS)
	return out, err
}

// differ writes a difference in the API's words.
func (c *Control) differ(out *admin.ApplyResult, d catalog.Difference) {
	out.Changes, out.Allowed, out.Denied = []string{}, []string{}, []string{}
	for sign, names := range map[string][]string{"+ ": d.Added, "- ": d.Removed, "~ ": d.Changed} {
		for _, n := range names {
			out.Changes = append(out.Changes, sign+n)
		}
	}
	slices.SortFunc(out.Changes, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	for _, key := range d.Unplaced {
		out.Changes = append(out.Changes, "- endpoint "+key)
	}
	for _, p := range d.Allowed {
		out.Allowed = append(out.Allowed, p.From+" > "+p.To)
	}
	for _, p := range d.Denied {
		out.Denied = append(out.Denied, p.From+" > "+p.To)
	}
	out.Changed = !d.Empty()
}

// await waits until every linked node has finished with what is published now,
// and tells each one's progress. Nodes that are slow show as not applied.
func (c *Control) await(ctx context.Context, waitMS int64) ([]admin.ApplyNode, error) {
	wait := applyWait
	if waitMS > 0 {
		wait = min(time.Duration(waitMS)*time.Millisecond, applyWaitMax)
	}
	w := &waiter{done: make(chan struct{})}
	err := c.do(ctx, func(l *loop) {
		w.version = l.current.signed.Version
		l.waiters[w] = true
		l.checkWaiters()
	})
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	case <-ctx.Done():
	case <-c.stopped:
	}
	nodes := []admin.ApplyNode{}
	err = c.do(context.WithoutCancel(ctx), func(l *loop) {
		delete(l.waiters, w)
		for name := range l.links {
			nodes = append(nodes, l.progress(name, w.version))
		}
	})
	slices.SortFunc(nodes, func(a, b admin.ApplyNode) int { return strings.Compare(a.Node, b.Node) })
	return nodes, err
}

func (l *loop) progress(node string, version uint64) admin.ApplyNode {
	f := l.facts[node]
	out := admin.ApplyNode{Node: node, Applied: f.applied >= version, Rejected: f.rejected >= version && f.applied < version}
	out.Accepted = out.Applied || f.accepted >= version
	out.Received = out.Accepted || out.Rejected || f.received >= version
	if out.Applied || out.Rejected {
		out.ApplyMS = f.ack.Took
	}
	if out.Rejected {
		out.Reason, out.Detail = f.ack.Code.String(), f.ack.Detail
	}
	return out
}

// CreateToken makes a join token. It is durable before its text exists.
func (c *Control) CreateToken(_ context.Context, r admin.TokenRequest) (admin.TokenAnswer, error) {
	life := c.cfg.TokenLife
	if r.TTLMS != 0 {
		life = time.Duration(r.TTLMS) * time.Millisecond
	}
	if r.Node != "" {
		if _, err := id.ParseName(r.Node); err != nil {
			return admin.TokenAnswer{}, &admin.Error{Reason: "usage", Message: "no token for this node: " + err.Error()}
		}
	}
	pin, err := c.authority.Bundle().PinBytes()
	if err != nil {
		return admin.TokenAnswer{}, err
	}
	t, err := c.tokens.Mint(pki.Mint{Pin: pin, Domain: c.deps.Domain, Controls: c.cfg.Advertise, Node: r.Node, Life: life}, c.now())
	if err != nil {
		return admin.TokenAnswer{}, err
	}
	c.log.Info("token created", "token", t.ID, "node", t.Node)
	return admin.TokenAnswer{ID: t.ID, Token: t.String(), Node: t.Node, ExpiresAt: t.Expires}, nil
}

// Tokens lists the tokens without their secrets.
func (c *Control) Tokens(context.Context) ([]admin.TokenInfo, error) {
	out := []admin.TokenInfo{}
	for _, t := range c.tokens.List(c.now()) {
		out = append(out, admin.TokenInfo{ID: t.ID, Node: t.Node, ExpiresAt: t.Expires, UsedBy: t.UsedBy, State: t.State})
	}
	return out, nil
}

// Revoke stops accepting an identity everywhere, or takes that back. Nodes hear of
// it at once and cut what it holds; its own sessions with control end here.
func (c *Control) Revoke(ctx context.Context, r admin.RevokeRequest) (admin.RevokeAnswer, error) {
	p, err := c.principal(r.ID)
	if err != nil {
		return admin.RevokeAnswer{}, err
	}
	out := admin.RevokeAnswer{ID: p.String(), Undo: r.Undo, Nodes: []admin.ApplyNode{}}
	err = c.durably(ctx, func(d *catalog.Directory, now time.Time) ([]catalog.Event, error) {
		if r.Undo {
			return d.Unrevoke(p, now)
		}
		return d.Revoke(p, operator, r.Why, now)
	})
	if err != nil {
		return out, err
	}
	if !r.Undo {
		if err := c.do(ctx, func(l *loop) { l.expel(p) }); err != nil {
			return out, err
		}
		c.cut(p, reason.IdentityRevoked, p.String()+" is revoked")
	}
	out.Nodes, err = c.await(ctx, 0)
	return out, err
}

// expel ends a revoked node's link without waiting for its session's end.
func (l *loop) expel(p id.Principal) {
	if k := l.links[p.Name]; p.Kind == id.KindNode && k != nil {
		l.detach(k, reason.IdentityRevoked)
	}
}

// principal reads a SPIFFE id, or kind/name of this domain.
func (c *Control) principal(s string) (id.Principal, error) {
	if !strings.Contains(s, "://") {
		s = "spiffe://" + c.deps.Domain.String() + "/" + s
	}
	p, err := id.ParsePrincipal(s)
	if err != nil {
		return p, &admin.Error{Reason: "usage", Message: err.Error(), Next: "write node/NAME or svc/NAME"}
	}
	return p, nil
}

// Drain keeps new flows away from a node or one of its endpoints, or ends that.
func (c *Control) Drain(ctx context.Context, r admin.DrainRequest) (admin.DrainAnswer, error) {
	out := admin.DrainAnswer{Node: r.Node, Undo: r.Undo, Endpoints: []string{}}
	err := c.durably(ctx, func(d *catalog.Directory, now time.Time) ([]catalog.Event, error) {
		return d.Drain(r.Service, r.Node, !r.Undo, now)
	})
	if err != nil {
		return out, err
	}
	s := c.View().State
	out.Version = s.Version
	for key, e := range s.Endpoints {
		if e.Node == r.Node && (r.Service == "" || e.Service == r.Service) {
			out.Endpoints = append(out.Endpoints, key)
		}
	}
	slices.Sort(out.Endpoints)
	_, err = c.await(ctx, 0)
	return out, err
}
