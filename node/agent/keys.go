package agent

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
)

// keys is one immutable set of identities in use.
type keys struct {
	byPrincipal map[id.Principal]*pki.Identity
}

func (k *keys) of(p id.Principal) *pki.Identity { return k.byPrincipal[p] }

func (k *keys) with(i *pki.Identity) *keys {
	next := maps.Clone(k.byPrincipal)
	if next == nil {
		next = map[id.Principal]*pki.Identity{}
	}
	next[i.Principal()] = i
	return &keys{next}
}

func (k *keys) without(p id.Principal) *keys {
	next := maps.Clone(k.byPrincipal)
	delete(next, p)
	return &keys{next}
}

// serviceNames are the services whose identity this host is configured to use.
func (a *Agent) serviceNames() []string {
	names := slices.Collect(maps.Keys(a.services))
	names = append(names, a.host.Uses...)
	slices.Sort(names)
	return slices.Compact(names)
}

// How long a certificate that control refused or could not give waits for the next try.
const (
	issueRetryMin = time.Second
	issueRetryMax = time.Minute
	issueTimeout  = 10 * time.Second
	rotateSpread  = 10 * time.Second // over which a floor renews when its root changes
)

// renewal is the plan for one principal; keepCertificates owns them all.
type renewal struct {
	identity *pki.Identity // the same for the life of the plan; others may hold it
	at       time.Time     // when to ask next
	wait     backoff
	rotated  uint64 // bundle version that moved at forward, because its root goes
}

// keepCertificates asks for what is missing and renews what nears its end, one at a
// time. It alone changes Agent.keys once Run has begun.
func (a *Agent) keepCertificates(ctx context.Context) {
	plans := map[id.Principal]*renewal{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	asked := false // control wants all renewed
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.hurry:
		case <-timer.C:
		}
		if l := a.live.Load(); l != nil && l.wantsRenewal.Swap(false) {
			asked = true
		}
		a.plan(plans, asked)
		asked = false
		now := a.now()
		next := now.Add(time.Hour) // also when nothing is due: the clock may have been set
		for _, p := range slices.SortedFunc(maps.Keys(plans), byKindThenName) {
			if ctx.Err() != nil {
				return
			}
			a.pursue(ctx, plans[p])
			if at := plans[p].at; at.After(now) { // what stays due waits for a link, which pokes hurry
				next = earliest(next, at)
			}
		}
		timer.Reset(max(next.Sub(a.now()), 0))
	}
}

// byKindThenName puts the node before its services.
func byKindThenName(a, b id.Principal) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}

// plan makes plans match the placement in force: what is placed here is pursued,
// what is not is dropped, key and all.
func (a *Agent) plan(plans map[id.Principal]*renewal, all bool) {
	r, now := a.known.Load(), a.now()
	mine := map[id.Principal]bool{r.Domain.Node(r.Node): true}
	if v := a.View(); v != nil {
		for _, name := range a.serviceNames() {
			p := r.Domain.Service(name)
			if v.Placed(name, r.Node) {
				mine[p] = true
				continue
			}
			a.setCertTrouble(p, reason.New(reason.NotPlaced, "service %s on node %s; add the node to its nodes in the floor file: fire apply", name, r.Node))
			a.drop(plans, p)
		}
	}
	for p := range mine {
		if plans[p] == nil {
			n, err := a.newRenewal(p)
			if err != nil {
				a.setCertTrouble(p, err)
				continue
			}
			plans[p] = n
			a.setCertTrouble(p, nil)
		}
		if n := plans[p]; all {
			n.at = now
		} else if n.rotated != r.Bundle.Version && n.identity.Leaf() != nil && !r.Bundle.Signs(n.identity.Leaf()) {
			n.rotated = r.Bundle.Version
			n.at = earliest(n.at, now.Add(rand.N(rotateSpread)))
		}
	}
}

func (a *Agent) newRenewal(p id.Principal) (*renewal, error) {
	i := a.Identity(p)
	if i == nil {
		var err error
		if i, err = pki.NewKey(p); err != nil {
			return nil, err
		}
	}
	return &renewal{identity: i, at: i.RenewAt(), wait: backoff{min: issueRetryMin, max: issueRetryMax}}, nil
}

// drop ends the use of a service's identity.
func (a *Agent) drop(plans map[id.Principal]*renewal, p id.Principal) {
	delete(plans, p)
	if a.Identity(p) == nil {
		return
	}
	a.keys.Store(a.keys.Load().without(p))
	if err := pki.RemoveIdentity(a.host.Dir, p); err != nil {
		a.log.Warn("service key not removed", "svc", p.Name, "err", err)
	}
	a.log.Info("service is not placed here any more, its certificate is dropped", "svc", p.Name)
}

// pursue asks for one certificate if it is due and control is there.
func (a *Agent) pursue(ctx context.Context, n *renewal) {
	now, l, p := a.now(), a.live.Load(), n.identity.Principal()
	if n.at.After(now) || l == nil {
		return
	}
	err := a.renew(ctx, l, n)
	if ctx.Err() != nil {
		return
	}
	a.setCertTrouble(p, err)
	if err != nil {
		n.at = now.Add(n.wait.next())
		a.log.Warn("certificate not renewed", "id", p.String(), "reason", reason.Of(err, reason.ControlUnreachable).String(), "err", err)
		return
	}
	n.wait.reset()
	n.at = n.identity.RenewAt()
	if a.deps.Certified != nil {
		a.deps.Certified(n.identity)
	}
	a.log.Info("certificate renewed", "id", p.String(), "not_after", n.identity.NotAfter())
}

// renew gets a certificate for a fresh key and shows it in new handshakes. Running
// connections keep the one they began with. A crash before it is written costs
// nothing: the older one on disk is still valid.
func (a *Agent) renew(ctx context.Context, l *link, n *renewal) error {
	p := n.identity.Principal()
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	answer, err := l.ask(ctx, catalog.Request{Issue: &catalog.IssueRequest{Principal: p, CSR: n.identity.CSR()}})
	if err != nil {
		return err
	}
	if answer.Issue == nil {
		return reason.New(reason.FrameMalformed, "control answered a certificate request with something else")
	}
	if err := a.trust(answer.Issue.Bundle); err != nil {
		return err
	}
	if err := n.identity.Install(answer.Issue.Chain); err != nil {
		return err
	}
	if a.Identity(p) == nil {
		a.keys.Store(a.keys.Load().with(n.identity))
	}
	if err := n.identity.Save(a.host.Dir); err != nil {
		return err
	}
	return a.clockAllows(n.identity)
}

// clockAllows tells a clock behind the certificate's start from other troubles.
func (a *Agent) clockAllows(i *pki.Identity) error {
	if behind := i.Leaf().NotBefore.Sub(a.now()); behind > 0 {
		return reason.New(reason.ClockSkew, "this host's clock is at least %s behind control's: the new certificate starts later; set the clock: chronyc makestep", (behind + pki.BackDate).Round(time.Second))
	}
	return nil
}

// trust takes a newer bundle of our own domain: in force at once, on disk before
// anything signed under it is used. Both the catalogue and an issued certificate
// bring bundles, so they take turns.
func (a *Agent) trust(b pki.Bundle) error {
	a.trusting <- struct{}{}
	defer func() { <-a.trusting }()
	r := a.known.Load()
	if b.Domain != r.Domain || b.Version <= r.Bundle.Version {
		return nil
	}
	if err := a.verifier.SetBundle(b); err != nil {
		return err
	}
	next := *r
	next.Bundle = b
	if err := a.store(&next); err != nil {
		return fmt.Errorf("store the bundle: %w", err)
	}
	a.log.Info("trust bundle changed", "version", b.Version)
	poke(a.hurry)
	return nil
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
