package control

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
	"fire/twin/web"
)

func TestFullDiskIsOneClearErrorAndNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h1", healthy("orders"))
		token := w.token("")
		before := w.c.View().State
		full := reason.New(reason.DiskFull, "no space left on device")
		w.disk.set(func(d *testDisk) { d.fail = full })
		csr := newKey(t, domain.Node("h7")).CSR()
		next := strings.Replace(testFloor, `["risk"]`, `["*"]`, 1)
		for name, do := range map[string]func() error{
			"apply":    func() error { _, err := w.c.Apply(t.Context(), admin.ApplyRequest{Text: next}); return err },
			"revoke":   func() error { _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "node/h2"}); return err },
			"drain":    func() error { _, err := w.c.Drain(t.Context(), admin.DrainRequest{Node: "h2"}); return err },
			"token":    func() error { _, err := w.c.CreateToken(t.Context(), admin.TokenRequest{}); return err },
			"join":     func() error { _, err := w.joinAs(token, "h7", csr); return err },
			"rollback": func() error { _, err := w.c.Rollback(t.Context(), admin.RollbackRequest{Version: 1}); return err },
		} {
			if name == "rollback" {
				continue // to what is in force: there is nothing to write
			}
			if err := do(); reason.Of(err, reason.OK) != reason.DiskFull {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(time.Second)
		n.renewAll()
		synctest.Wait()
		s := w.c.View().State
		if s.Floor != before.Floor || len(s.Revoked) != 0 || s.Nodes["h2"].Draining || len(s.Nodes) != 3 {
			t.Fatalf("a failed change is in force: %+v", s)
		}
		// Leases go on without the disk.
		for range 20 {
			time.Sleep(time.Second)
			n.renewAll()
		}
		n.say(catalog.NodeMessage{Health: &catalog.Health{Lease: n.lease("orders"), Why: "x"}})
		synctestWait(t)
		if e, ok := w.c.View().State.Endpoints["orders@h1"]; !ok || e.Healthy {
			t.Fatalf("the catalogue stands still: %+v", e)
		}
		w.disk.set(func(d *testDisk) { d.fail = nil })
		if _, err := w.joinAs(token, "h7", csr); err != nil {
			t.Fatalf("the token was lost: %v", err)
		}
		w.apply(next)
		time.Sleep(2 * retryAfter)
		w = w.restart()
		if s := w.c.View().State; s.Floor != 2 || s.Nodes["h7"].Addr == "" {
			t.Fatalf("after the restart %+v", s)
		}
	})
}

func TestEndpointsAreRememberedThroughAPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h1", healthy("orders"))
		time.Sleep(2 * hintsAfter)
		n.renewAll()
		synctest.Wait()
		survived := w.disk.after()
		w.stop()
		again := startWorld(t, w.dir, survived)
		if got := endpoints(again.c.View().State); len(got) != 1 || got[0] != "orders@h1 linked=false healthy=true" {
			t.Fatalf("remembered: %v", got)
		}
	})
}

func TestNumbersGrowAboveWhatNodesHoldAndThroughAPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		// A node that holds a version of this mesh from before a restore lifts the numbers.
		const held = 1 << 20
		n := &testNode{t: t, name: "h1", session: w.dial("h1"), bundle: w.c.Bundle(), ended: make(chan struct{})}
		n.stream, _ = n.session.Open(t.Context())
		n.say(catalog.NodeMessage{Hello: &catalog.Hello{Protocol: 1, Addr: "h1:7400", Claims: []catalog.Claim{healthy("orders")}, Have: catalog.Head{Version: held}}})
		go n.read()
		time.Sleep(2 * hintsAfter)
		n.renewAll()
		synctest.Wait()
		if v := w.c.View().State.Version; v <= held {
			t.Fatalf("version %d is not above the node's %d", v, held)
		}
		// Many more numbers than one block holds.
		for range 3 {
			w.c.do(t.Context(), func(l *loop) {
				for range 4000 {
					l.dir.SetBundle(w.c.Bundle())
					l.dir.State()
				}
				l.dir.SetBundle(w.c.Bundle())
			})
			synctestWait(t)
		}
		version := w.c.View().State.Version
		survived := w.disk.after()
		w.stop()
		again := startWorld(t, w.dir, survived)
		s := again.c.View().State
		if s.Version <= version || version < held+12_000 {
			t.Fatalf("version went from %d to %d", version, s.Version)
		}
	})
}

func TestSlowDiskDelaysItsCallerAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		a, b := w.node("h1", healthy("orders")), w.node("h2")
		time.Sleep(1500 * time.Millisecond)
		a.renewAll()
		synctest.Wait()
		hold := make(chan struct{})
		w.disk.set(func(d *testDisk) { d.hold = hold })
		applied := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := w.c.Drain(t.Context(), admin.DrainRequest{Node: "h3", Service: []string{"risk", "orders", ""}[i]})
				applied <- err
			}()
			synctest.Wait()
		}
		writes := w.disk.count()
		if len(applied) != 0 || w.c.View().State.Nodes["h3"].Draining {
			t.Fatal("a change was acknowledged or published before it was written")
		}
		a.session.Close(reason.PeerLost, "")
		synctest.Wait()
		if e := b.view().Endpoints["orders@h1"]; e.Linked {
			t.Fatal("the loop waits for the disk")
		}
		w.disk.set(func(d *testDisk) { d.hold = nil })
		close(hold)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for range 3 {
			if err := <-applied; err != nil {
				t.Error(err)
			}
		}
		if !w.c.View().State.Nodes["h3"].Draining {
			t.Fatal("the changes are not in force")
		}
		// The first had the disk for itself, the two that waited shared the next write.
		if got := w.disk.count() - writes; got > 4 {
			t.Fatalf("%d writes for three changes", got)
		}
	})
}

// TestPowerLossAtEveryWriteKeepsWhatWasAcknowledged cuts the power before and after
// every write of a script of changes, starts control on what the disk then holds,
// and asks whether everything acknowledged is there and nothing is half there.
func TestPowerLossAtEveryWriteKeepsWhatWasAcknowledged(t *testing.T) {
	total := 0
	for cut := 1; ; cut++ {
		reached := false
		for _, before := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				reached = powerLoss(t, cut, before) || reached
			})
		}
		total = cut
		if !reached {
			break
		}
	}
	if total < 8 {
		t.Fatalf("the script made only %d writes", total)
	}
}

func powerLoss(t *testing.T, cut int, before bool) (lost bool) {
	w := newWorld(t)
	w.disk.set(func(d *testDisk) { d.lose, d.before = d.writes+cut, before })
	type fact struct {
		what string
		ok   func(*Control) bool
	}
	var acknowledged []fact
	did := func(err error, what string, ok func(*Control) bool) {
		if err == nil {
			acknowledged = append(acknowledged, fact{what, ok})
		} else {
			lost = true
		}
	}
	ctx := t.Context()
	for i := range 2 {
		node := fmt.Sprintf("h%d", i)
		answer, err := w.c.CreateToken(ctx, admin.TokenRequest{})
		did(err, "token "+answer.ID, func(c *Control) bool {
			rows, _ := c.Tokens(ctx)
			for _, r := range rows {
				if r.ID == answer.ID {
					return true
				}
			}
			return false
		})
		if err != nil {
			continue
		}
		token, _ := pki.ParseToken(answer.Token)
		_, err = w.joinAs(token, node, newKey(t, domain.Node(node)).CSR())
		did(err, "join "+node, func(c *Control) bool {
			_, member := c.View().State.Nodes[node]
			again := c.tokens.Redeem(token.ID, token.Secret, time.Now())
			return member && reason.Of(again, reason.OK) == reason.TokenUsed
		})
	}
	_, err := w.c.Apply(ctx, admin.ApplyRequest{Text: testFloor})
	did(err, "apply", func(c *Control) bool { return c.View().State.Floor >= 1 })
	_, err = w.c.Revoke(ctx, admin.RevokeRequest{ID: "node/h1"})
	did(err, "revoke", func(c *Control) bool { return c.View().Revoked(domain.Node("h1")) })
	_, err = w.c.Drain(ctx, admin.DrainRequest{Node: "h0"})
	did(err, "drain", func(c *Control) bool { return c.View().State.Nodes["h0"].Draining })
	version := w.c.View().State.Version
	survived := w.disk.after()
	w.stop()
	again := startWorld(t, w.dir, survived)
	for _, f := range acknowledged {
		if !f.ok(again.c) {
			t.Errorf("power lost at write %d (before=%v): %s was acknowledged and is gone", cut, before, f.what)
		}
	}
	if got := again.c.View().State.Version; got <= version {
		t.Errorf("power lost at write %d: version went from %d to %d", cut, version, got)
	}
	again.stop()
	return lost
}

func TestRevokedNodeIsCutAndEveryoneHearsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		thief, other := w.node("h1", healthy("orders")), w.node("h2")
		time.Sleep(time.Second)
		begun := time.Now()
		answer, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "node/h1", Why: "stolen"})
		if err != nil || answer.ID != "spiffe://eu.floor/node/h1" || len(answer.Nodes) != 1 || !answer.Nodes[0].Applied {
			t.Fatalf("%+v, %v", answer, err)
		}
		if time.Since(begun) > 0 {
			t.Fatalf("it took %v", time.Since(begun))
		}
		wantCode(t, thief.session.Err(), reason.IdentityRevoked)
		if r := other.view().Revoked["spiffe://eu.floor/node/h1"]; r.Why != "stolen" || r.At.IsZero() {
			t.Fatalf("h2 sees %+v", other.view().Revoked)
		}
		back := w.quietNode("h1") // its certificate lives; the handshake would refuse it, and so does control
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantCode(t, back.session.Err(), reason.IdentityRevoked)
		if _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "node/h1", Undo: true}); err != nil {
			t.Fatal(err)
		}
		if n := w.node("h1", healthy("orders")); n.lease("orders").Epoch == 0 {
			t.Fatal("the node is not accepted again")
		}
		for bad, code := range map[string]reason.Code{"control/c1": reason.NotPermitted,
			"spiffe://us.floor/node/h1": reason.CertWrongDomain} {
			_, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: bad})
			wantCode(t, err, code)
		}
		if _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "h1"}); err == nil || !strings.Contains(err.Error(), "write node/NAME or svc/NAME") {
			t.Error(err)
		}
	})
}

func TestRootRotationWaitsForEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		good, slow, away := w.node("h1"), w.node("h2"), w.node("h3")
		slow.silent = true
		away.session.Close(reason.PeerClosed, "")
		pin := w.c.Bundle().Pin()
		step := func(s string) (admin.CA, error) { return w.c.RotateCA(t.Context(), admin.RotateRequest{Step: s}) }
		ca, err := step("prepare")
		if err != nil || len(ca.Roots) != 2 || w.c.Bundle().Pin() != pin || len(good.view().Bundle.Roots) != 2 {
			t.Fatalf("%+v, %v", ca, err)
		}
		_, err = step("activate")
		if reason.Of(err, 0) != reason.ConfigRejected || !strings.Contains(err.Error(), "h2 has not applied") || !strings.Contains(err.Error(), "h3 is offline") {
			t.Fatalf("activated without the nodes: %v", err)
		}
		slow.say(catalog.NodeMessage{Ack: &catalog.Ack{Version: slow.view().Version, Stage: catalog.Applied}})
		time.Sleep(time.Hour) // the certificate that h3 told of has ended
		good, _ = w.node("h1"), w.node("h2")
		if _, err = step("activate"); err != nil || w.c.Bundle().Pin() == pin {
			t.Fatalf("%v", err)
		}
		synctestWait(t)
		asked := false
		for _, m := range good.messages {
			asked = asked || m.Ask != nil && m.Ask.Certificates
		}
		if !asked || !w.c.Bundle().Signs(w.c.identity.Leaf()) {
			t.Fatalf("nodes asked to renew: %v, control renewed: %v", asked, w.c.Bundle().Signs(w.c.identity.Leaf()))
		}
		_, err = step("sideways")
		wantCode(t, err, reason.ConfigRejected)
		time.Sleep(26 * time.Hour) // every old leaf has ended
		if ca, err = step("retire"); err != nil || len(ca.Roots) != 1 {
			t.Fatalf("%+v, %v", ca, err)
		}
	})
}

func TestControlRenewsItsOwnCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 4 {
			time.Sleep(12 * time.Hour)
			synctest.Wait()
			if left := time.Until(w.c.identity.NotAfter()); left < 6*time.Hour {
				t.Fatalf("the certificate ends in %v", left)
			}
		}
	})
}

func TestStateOfAnotherMeshIsRefused(t *testing.T) {
	w := newWorld(t)
	w.stop()
	deps := w.c.deps
	deps.Domain.Region, deps.Dir = "us", t.TempDir()+"/us"
	_, err := New(Default(), deps)
	wantCode(t, err, reason.CertWrongDomain)
	w.disk.files[directoryFile] = []byte(`{"format":1`)
	deps = w.c.deps
	if _, err := New(Default(), deps); err == nil || !strings.Contains(err.Error(), directoryFile) {
		t.Fatalf("a damaged file: %v", err)
	}
	w.disk.files[directoryFile] = nil
	w.disk.fail = reason.New(reason.DiskFull, "no space left on device")
	deps.Disk = w.disk
	delete(w.disk.files, directoryFile)
	_, err = New(Default(), deps)
	wantCode(t, err, reason.DiskFull)
}

func TestFolderKeepsPrivateFiles(t *testing.T) {
	sessions := make(chan transport.Session)
	dir := t.TempDir() + "/control"
	deps := Deps{Domain: domain, Name: "c1", Dir: dir, Log: slog.New(slog.DiscardHandler), Twin: twin.Default(), Web: web.Config{}, Sessions: sessions}
	c, err := New(Default(), deps)
	if err != nil {
		t.Fatal(err)
	}
	version := c.View().State.Version
	if c, err = New(Default(), deps); err != nil || c.View().State.Version <= version {
		t.Fatalf("opened again: %v", err)
	}
	if _, err := pki.ReadPrivate(dir+"/"+directoryFile, 1<<20); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFlippedBitOfAStateFileIsNoticed(t *testing.T) {
	whole := seal([]byte(`{"a": [1, "<b>"]}`))
	if content, err := unseal(whole); err != nil || string(content) != `{"a": [1, "<b>"]}` {
		t.Fatalf("%q, %v", content, err)
	}
	for i := range whole[:len(whole)-1] { // the newline at the end is decoration
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			content, err := unseal(b)
			if err == nil && string(content) != `{"a": [1, "<b>"]}` {
				t.Fatalf("bit %d of byte %d: %q", bit, i, content)
			}
		}
		if _, err := unseal(whole[:i]); err == nil {
			t.Fatalf("cut at %d is taken", i)
		}
	}
}

func TestConfigCheckNamesEveryBadKey(t *testing.T) {
	c := Default()
	c.Check(func(key, problem string) { t.Errorf("default: %s %s", key, problem) })
	c = Config{Advertise: []string{"nowhere"}}
	var keys []string
	c.Check(func(key, problem string) { keys = append(keys, key) })
	if got := strings.Join(keys, " "); got != "advertise lease report_every token_life stale_after history" {
		t.Fatalf("got %s", got)
	}
}
