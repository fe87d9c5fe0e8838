package agent

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy/pki"
	"fire/policy/reason"
)

func TestCertificatesAreRenewedAtHalfLifeForDays(t *testing.T) {
	overDays(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")), patient)
		wait(time.Minute)
		cert := a.NodeCertificate
		seen, last := 0, cert().Leaf.SerialNumber.String()
		for range 24 * 5 {
			time.Sleep(time.Hour)
			for _, p := range []string{"orders", "risk"} {
				if c := a.Certificate(eu.Service(p)); c == nil || time.Until(c.Leaf.NotAfter) < 8*time.Hour {
					t.Fatalf("service %s: %v", p, c)
				}
			}
			if left := time.Until(cert().Leaf.NotAfter); left < 8*time.Hour {
				t.Fatalf("only %v left", left)
			}
			if now := cert().Leaf.SerialNumber.String(); now != last {
				seen, last = seen+1, now
			}
		}
		if seen < 8 || seen > 13 {
			t.Errorf("%d renewals in 5 days of 24 h leaves", seen)
		}
		if !a.Linked() || a.Status().LinkedAt.After(time.Now().Add(-4*24*time.Hour)) {
			t.Error("a renewal cost the link")
		}
	})
}

func TestServiceCertificatesFollowPlacement(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dir := t.TempDir() + "/agent"
		dials := func(_ *Config, h *Host, _ map[string]Service, _ *Deps) { h.Uses = []string{"strategy"} }
		a := w.start(t, dir, withToken(w.token("")), dials)
		wait(time.Second)
		p := eu.Service("strategy")
		row := func() CertStatus {
			for _, c := range a.Status().Certificates {
				if c.ID == p.String() {
					return c
				}
			}
			return CertStatus{}
		}
		if r := row(); a.Identity(p) != nil || r.Held || r.Reason != reason.NotPlaced {
			t.Fatalf("undeclared: %+v", r)
		}
		w.floor(map[string]catalog.Service{"orders": placed("h1"), "risk": placed("h1"), "strategy": placed("h1")})
		wait(time.Second)
		if r := row(); !r.Held || r.Reason != reason.OK || a.Certificate(p) == nil {
			t.Fatalf("placed: %+v", r)
		}
		if _, err := pki.LoadIdentity(dir, p); err != nil {
			t.Error(err)
		}
		w.floor(map[string]catalog.Service{"orders": placed("h1"), "risk": placed("h1"), "strategy": placed("h2")})
		wait(time.Second)
		if r := row(); r.Held || r.Reason != reason.NotPlaced || a.Certificate(p) != nil {
			t.Fatalf("placed elsewhere: %+v", r)
		}
		if _, err := pki.LoadIdentity(dir, p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the key is still on disk: %v", err)
		}
	})
}

func TestRootRotationReachesTheHostAndSurvivesARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dir := t.TempDir() + "/agent"
		a := w.start(t, dir, withToken(w.token("")))
		wait(time.Minute)
		identity := a.Identity(a.Node())
		first := a.NodeCertificate()
		bundle := func() {
			w.change(func(d *catalog.Directory) error { d.SetBundle(w.authority.Bundle()); return nil })
		}
		must(t, w.authority.PrepareRoot())
		bundle()
		wait(rotateSpread + time.Second)
		if a.NodeCertificate() != first {
			t.Error("renewed for a root that does not sign yet")
		}
		must(t, w.authority.ActivateRoot())
		w.renewOwn()
		must(t, w.verifier.SetBundle(w.authority.Bundle()))
		bundle() // signed by the new head key, which came with the prepared bundle
		wait(rotateSpread + time.Second)
		if !w.authority.Bundle().Signs(a.NodeCertificate().Leaf) || a.Identity(a.Node()) != identity {
			t.Fatal("did not renew under the new root, or swapped the identity that others hold")
		}
		requests := w.asked()
		wait(10 * time.Minute)
		if n := w.asked() - requests; n != 0 {
			t.Errorf("%d further requests for the same root", n)
		}
		w.renewOwn()
		must(t, w.authority.RetireRoot())
		must(t, w.verifier.SetBundle(w.authority.Bundle()))
		bundle()
		wait(time.Second)
		if !a.Linked() {
			t.Fatal("the rotation cost the link")
		}
		a.stop()
		b := w.start(t, dir)
		if b.View() == nil {
			t.Error("the copy signed by the new head key was not taken from disk")
		}
		wait(time.Second)
		if !b.Linked() || b.Status().BundleVersion != w.authority.Bundle().Version {
			t.Fatalf("after a restart: %+v", b.Status())
		}
	})
}

func TestControlCanAskForNewCertificates(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Minute)
		before := a.NodeCertificate()
		w.tell(catalog.ControlMessage{Ask: &catalog.Ask{Certificates: true, Why: "test"}})
		wait(time.Second)
		if a.NodeCertificate() == before {
			t.Fatal("did not renew")
		}
	})
}

func TestARefusedCertificateIsToldAndTriedAgainSlower(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		// The host still holds the older floor: control will refuse what it asks for.
		w.mu.Lock()
		w.spoil = func(s *catalog.Signed) *catalog.Signed { c := *s; c.Sig = nil; return &c }
		w.mu.Unlock()
		w.floor(map[string]catalog.Service{"orders": placed("h9")})
		w.tell(catalog.ControlMessage{Ask: &catalog.Ask{Certificates: true}})
		wait(0)
		before := w.asked()
		wait(5 * time.Minute)
		if n := w.asked() - before; n < 2*5 || n > 2*20 {
			t.Errorf("%d requests in 5 minutes for two refused services", n)
		}
		told := 0
		for _, c := range a.Status().Certificates {
			if c.Reason == reason.NotPlaced && c.Held {
				told++ // the older certificate goes on
			}
		}
		if told != 2 {
			t.Errorf("status %+v", a.Status().Certificates)
		}
	})
}

// A control that says another root signs than the one it signs with must not be
// asked without end.
func TestEachBundleMovesARenewalOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Minute)
		must(t, w.authority.PrepareRoot())
		before := w.asked()
		w.change(func(d *catalog.Directory) error {
			b := w.authority.Bundle()
			slices.Reverse(b.Roots)
			b.Version += 1000 // past what the answers bring
			d.SetBundle(b)
			return nil
		})
		wait(time.Hour)
		if n := w.asked() - before; n != 3 {
			t.Errorf("%d requests of 3 identities in an hour", n)
		}
	})
}
