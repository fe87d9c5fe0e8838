package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/reason"
	"fire/twin"
)

// renewIdentity gives control a new certificate for a new key.
func (c *Control) renewIdentity() error {
	p := c.identity.Principal()
	chain, err := c.authority.Issue(c.identity.CSR(), p)
	if err != nil {
		return err
	}
	return c.identity.Install(chain)
}

// renewals keeps control's own certificate young until ctx ends: at half of its
// life, and when the root changes.
func (c *Control) renewals(ctx context.Context) error {
	timer := time.NewTimer(c.identity.RenewAt().Sub(c.now()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.renew:
		}
		wait := time.Minute
		if err := c.renewIdentity(); err != nil {
			c.log.Error("control's own certificate cannot be renewed", "err", err, "reason", reason.Of(err, reason.CertExpired).String())
		} else {
			wait = c.identity.RenewAt().Sub(c.now())
			c.twin.Note(twin.Event{Kind: twin.EventCertRenewed, Subject: "control " + c.deps.Name,
				Text: "control " + c.deps.Name + " has a new certificate"})
		}
		timer.Reset(wait)
	}
}

// RotateCA does one step of a root rotation; none of them cuts a connection.
//
//	prepare ──► every node holds both roots ──► activate ──► every leaf renewed ──► retire
//	            (the barrier, checked here)                  (checked by policy/pki)
func (c *Control) RotateCA(ctx context.Context, r admin.RotateRequest) (admin.CA, error) {
	select {
	case c.rotating <- struct{}{}:
		defer func() { <-c.rotating }()
	default:
		return admin.CA{}, reason.New(reason.ConfigRejected, "another step of the rotation is being done")
	}
	var err error
	switch r.Step {
	case "prepare":
		err = c.authority.PrepareRoot()
	case "activate":
		if err = c.barrier(ctx); err == nil {
			err = c.authority.ActivateRoot()
		}
	case "retire":
		err = c.authority.RetireRoot()
	case "abandon":
		err = c.authority.AbandonRoot()
	default:
		err = reason.New(reason.ConfigRejected, "step %q is none of prepare, activate, retire, abandon", r.Step)
	}
	if err == nil {
		err = c.bundleChanged(ctx, r.Step)
	}
	if err != nil {
		return admin.CA{}, err
	}
	if _, err := c.await(ctx, 0); err != nil {
		return admin.CA{}, err
	}
	return c.CA(ctx)
}

// barrier refuses to activate while a node could not verify what the new root
// signs: it has not applied the bundle, or is away with a certificate that lives.
func (c *Control) barrier(ctx context.Context) error {
	if _, err := c.await(ctx, 0); err != nil {
		return err
	}
	var missing []string
	err := c.do(ctx, func(l *loop) {
		now := l.c.now()
		for name := range l.current.signed.State.Nodes {
			f := l.facts[name]
			_, linked := l.links[name]
			switch {
			case l.c.verifier.Revoked(l.dir.Domain().Node(name)):
			case linked && f.applied < l.bundled:
				missing = append(missing, name+" has not applied the bundle")
			case !linked && f != nil && f.notAfter.After(now) && f.applied < l.bundled:
				missing = append(missing, name+" is offline and may come back")
			}
		}
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	slices.Sort(missing)
	return reason.New(reason.ConfigRejected, "%d nodes do not hold the new root yet (%s); try again when `fire status` shows them SYNCED, or revoke them",
		len(missing), strings.Join(missing[:min(len(missing), 5)], ", "))
}

// bundleChanged makes the authority's new bundle known everywhere.
func (c *Control) bundleChanged(ctx context.Context, step string) error {
	b := c.authority.Bundle()
	if err := c.verifier.SetBundle(b); err != nil {
		return err
	}
	if step == "activate" {
		select {
		case c.renew <- struct{}{}:
		default:
		}
	}
	c.log.Info("trust bundle changed", "event", "ca_"+step, "version", b.Version)
	return c.do(ctx, func(l *loop) {
		l.dir.SetBundle(b)
		if err := l.publish(); err != nil {
			l.c.log.Error("the catalogue cannot be published", "err", err)
			return
		}
		l.bundled = l.current.signed.Version
		if step == "activate" {
			for _, k := range l.links {
				k.out.send(catalog.ControlMessage{Ask: &catalog.Ask{Certificates: true, Why: "the root changes"}})
			}
		}
	})
}
