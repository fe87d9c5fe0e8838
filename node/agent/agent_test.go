package agent

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/twin"
)

func TestATokenAloneJoinsAndARestartNeedsNone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dir, tok := t.TempDir()+"/agent", w.token("h1")
		nameless := func(_ *Config, h *Host, _ map[string]Service, _ *Deps) { h.Name = "" }
		if fresh, _, err := w.agent(t, dir, withToken(tok), nameless); err != nil {
			t.Fatal(err)
		} else if p, err := fresh.Wanted(); err != nil || p != eu.Node("h1") || fresh.Joined() {
			t.Errorf("before the join it wants to be %v, %v", p, err)
		}
		a := w.start(t, dir, withToken(tok), nameless)
		wait(time.Second)
		if !a.Linked() || a.Node() != eu.Node("h1") || a.View() == nil {
			t.Fatalf("status %+v", a.Status())
		}
		if got := a.controls(); !slices.Equal(got, []string{"c1:7400", "c2:7400"}) {
			t.Errorf("controls %v", got)
		}
		a.stop()
		for _, f := range []string{recordFile, copyFile, "node-h1.pem", "svc-orders.pem", "svc-risk.pem"} {
			if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", f, info, err)
			}
		}
		b := w.start(t, dir, nameless)
		wait(time.Second)
		if !b.Linked() || b.Node() != eu.Node("h1") {
			t.Fatalf("after a restart: %+v", b.Status())
		}
		if hello := heard(w, func(m *catalog.NodeMessage) *catalog.Hello { return m.Hello }); len(hello) != 2 || hello[1].Have.Version == 0 {
			t.Errorf("hellos %+v", hello)
		}
	})
}

func TestJoinRefusalsAreFinalAndSpeakPlainly(t *testing.T) {
	w := newWorld(t)
	spent := w.token("")
	first, _, err := w.agent(t, t.TempDir()+"/a", withToken(spent))
	must(t, err)
	must(t, first.Join(t.Context()))
	foreign := w.token("")
	foreign.Pin[0] ^= 1
	forged := w.token("")
	forged.Secret = make([]byte, 32)
	late := w.token("")
	late.Expires = time.Now().Add(-time.Second)
	elsewhere := w.token("")
	elsewhere.Domain.Region = "us"
	for name, row := range map[string]struct {
		tok  *pki.Token
		want reason.Code
	}{
		"used":                    {spent, reason.TokenUsed},
		"another root":            {foreign, reason.PinMismatch},
		"wrong secret":            {forged, reason.TokenUnknown},
		"expired":                 {late, reason.TokenExpired},
		"for another node":        {w.token("h2"), reason.NotPermitted},
		"for another trust zone":  {elsewhere, reason.CertWrongDomain},
		"no token, not joined":    {nil, reason.BundleMissing},
		"a good one, to compare":  {w.token("h1"), reason.OK},
		"a good one without name": {w.token(""), reason.OK},
	} {
		a, _, err := w.agent(t, t.TempDir()+"/a", withToken(row.tok))
		must(t, err)
		err = a.Join(t.Context())
		if codeOf(err) != row.want {
			t.Errorf("%s: %v; want %v", name, err, row.want)
		}
		if err != nil && a.Joined() {
			t.Errorf("%s: joined all the same", name)
		}
	}
}

func TestAnAnswerThatDoesNotFitTheTokenIsRefused(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	stranger, err := pki.NewKey(eu.Node("h1"))
	must(t, err)
	for name, row := range map[string]struct {
		spoil func(*catalog.JoinAnswer)
		want  reason.Code
	}{
		"another authority's bundle": {func(a *catalog.JoinAnswer) { a.Bundle = other.authority.Bundle() }, reason.PinMismatch},
		"a bundle of another domain": {func(a *catalog.JoinAnswer) { a.Bundle.Domain.Region = "us" }, reason.PinMismatch},
		"no bundle":                  {func(a *catalog.JoinAnswer) { a.Bundle = pki.Bundle{} }, reason.PinMismatch},
		"another name":               {func(a *catalog.JoinAnswer) { a.Node = "h2" }, reason.CertWrongPeer},
		"a certificate for another key": {func(a *catalog.JoinAnswer) {
			a.Chain, err = w.authority.Issue(stranger.CSR(), stranger.Principal())
			must(t, err)
		}, reason.CertWrongPeer},
		"no certificate": {func(a *catalog.JoinAnswer) { a.Chain = nil }, 65535},
	} {
		w.spoilIn = row.spoil
		dir := t.TempDir() + "/a"
		a, _, err := w.agent(t, dir, withToken(w.token("")))
		must(t, err)
		if err := a.Join(t.Context()); codeOf(err) != row.want || err == nil || a.Joined() {
			t.Errorf("%s: %v; want %v", name, err, row.want)
		}
		if _, err := os.Stat(filepath.Join(dir, recordFile)); err == nil {
			t.Errorf("%s: left a record behind", name)
		}
	}
}

func TestJoinWaitsForAControlThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.setDown(true, "c1:7400")
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Minute)
		if s := a.Status(); s.Linked || s.LinkReason != reason.ControlUnreachable || !strings.Contains(s.LinkDetail, "c1:7400") {
			t.Fatalf("status %+v", s)
		}
		w.setDown(false, "c1:7400")
		wait(15 * time.Second)
		if !a.Linked() {
			t.Fatal("did not join when control came")
		}
	})
}

func TestAnotherHostsFolderIsRefused(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir() + "/agent"
	a, _, err := w.agent(t, dir, withToken(w.token("")))
	must(t, err)
	must(t, a.Join(t.Context()))
	rename := func(_ *Config, h *Host, _ map[string]Service, _ *Deps) { h.Name = "h2" }
	if _, _, err := w.agent(t, dir, rename); err == nil || !strings.Contains(err.Error(), "node h1") || !strings.Contains(err.Error(), "node.name") {
		t.Errorf("another name: %v", err)
	}
	moved := func(_ *Config, h *Host, _ map[string]Service, _ *Deps) {
		h.Domain = id.Domain{Region: "us", Mesh: "floor"}
	}
	if _, _, err := w.agent(t, dir, moved); err == nil || !strings.Contains(err.Error(), "eu.floor") {
		t.Errorf("another domain: %v", err)
	}
	must(t, os.Chmod(filepath.Join(dir, "node-h1.pem"), 0o640))
	if _, _, err := w.agent(t, dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "node-h1.pem")))
	if _, _, err := w.agent(t, dir); err == nil || !strings.Contains(err.Error(), "fire token create") {
		t.Errorf("no key: %v", err)
	}
	for _, torn := range []string{"", "{", `{"format":"x"}`, `{"format":"fire.agent/v1","node":"h1"}`} {
		must(t, os.WriteFile(filepath.Join(dir, recordFile), []byte(torn), 0o600))
		if _, _, err := w.agent(t, dir); err == nil || !strings.Contains(err.Error(), recordFile) || !strings.Contains(err.Error(), "join again") {
			t.Errorf("torn record %q: %v", torn, err)
		}
	}
}

func TestAVersionIsAcknowledgedStepByStep(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		appliedAtWatch := -1
		acks := func() (out []catalog.Ack) {
			return heard(w, func(m *catalog.NodeMessage) *catalog.Ack { return m.Ack })
		}
		defer a.Watch(func(v *catalog.View) {
			if v.Placed("risk", "h9") {
				appliedAtWatch = 0
				for _, k := range acks() {
					if k.Version == v.State.Version && k.Stage == catalog.Applied {
						appliedAtWatch++
					}
				}
			}
		})()
		changed, stop := a.Subscribe()
		defer stop()
		w.floor(map[string]catalog.Service{"orders": placed("h1"), "risk": placed("h1", "h9")})
		wait(0)
		version := a.View().State.Version
		var stages []catalog.Stage
		for _, k := range acks() {
			if k.Version == version {
				stages = append(stages, k.Stage)
			}
		}
		if !slices.Equal(stages, []catalog.Stage{catalog.Received, catalog.Accepted, catalog.Applied}) {
			t.Errorf("stages %v", stages)
		}
		if appliedAtWatch != 0 {
			t.Errorf("watcher ran with %d acknowledgements sent (-1: never)", appliedAtWatch)
		}
		select {
		case <-changed:
		default:
			t.Error("the subscriber was not told")
		}
	})
}

func TestABadCatalogueIsRejectedAndTheLastGoodOneStays(t *testing.T) {
	for name, spoil := range map[string]func(*catalog.Signed) *catalog.Signed{
		"forged signature": func(s *catalog.Signed) *catalog.Signed {
			c := *s
			c.Sig = slices.Clone(s.Sig)
			c.Sig[0] ^= 1
			return &c
		},
		"changed content": func(s *catalog.Signed) *catalog.Signed {
			c := *s
			if s.Delta != nil {
				d := *s.Delta
				d.Floor++
				c.Delta = &d
			} else {
				st := *s.State
				st.Floor++
				c.State = &st
			}
			return &c
		},
		"another domain": func(s *catalog.Signed) *catalog.Signed { c := *s; c.Domain.Region = "us"; return &c },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
				wait(time.Second)
				before := a.View()
				w.mu.Lock()
				w.spoil = spoil
				w.mu.Unlock()
				w.floor(map[string]catalog.Service{"orders": placed("h1")})
				wait(time.Second)
				if a.View() != before || !a.Linked() {
					t.Fatal("took it, or lost the link over it")
				}
				acks := heard(w, func(m *catalog.NodeMessage) *catalog.Ack { return m.Ack })
				last := acks[len(acks)-1]
				if last.Stage != catalog.Rejected || last.Code != reason.SnapshotBadSignature || a.Status().Rejected == "" {
					t.Fatalf("last ack %+v, status %q", last, a.Status().Rejected)
				}
				w.mu.Lock()
				w.spoil = nil
				w.mu.Unlock()
				w.floor(map[string]catalog.Service{"orders": placed("h1", "h2")})
				wait(time.Second)
				if !a.View().Placed("orders", "h2") || a.Status().Rejected != "" {
					t.Fatal("did not recover with the next good one")
				}
			})
		})
	}
}

func TestALostDeltaIsHealedByASnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		w.mu.Lock()
		for l := range w.links { // control believes that the agent has a version that it never got
			stray := *l.base
			stray.Version++
			l.base = &stray
		}
		w.mu.Unlock()
		for _, node := range []string{"h4", "h5", "h3"} { // further deltas leave before control hears of it
			w.floor(map[string]catalog.Service{"orders": placed("h1", node)})
		}
		wait(time.Second)
		resyncs := heard(w, func(m *catalog.NodeMessage) *catalog.Resync { return m.Resync })
		if len(resyncs) != 1 || !a.View().Placed("orders", "h3") {
			t.Fatalf("%d resyncs, placed %v", len(resyncs), a.View().Placed("orders", "h3"))
		}
	})
}

func TestStartsFromTheSignedCopyWithControlDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dir := t.TempDir() + "/agent"
		a := w.start(t, dir, withToken(w.token("")))
		wait(2 * time.Second)
		head := a.Status().Head
		a.stop()
		w.setDown(true, "c1:7400", "c2:7400")
		time.Sleep(90 * time.Minute)
		b := w.start(t, dir)
		wait(time.Second)
		s := b.Status()
		if b.View() == nil || s.Head.Version < head.Version || !s.FromDisk || s.Age < 90*time.Minute || s.Linked || s.LinkReason != reason.ControlUnreachable {
			t.Fatalf("status %+v", s)
		}
		if !strings.Contains(b.log.String(), "age=1h30m") {
			t.Errorf("the age is not told:\n%s", b.log)
		}
		if n := strings.Count(b.log.String(), "no link to control"); n != 1 {
			t.Errorf("the same trouble was logged %d times", n)
		}
		if b.NodeCertificate() == nil || b.Certificate(eu.Service("orders")) == nil {
			t.Error("identities are not in use")
		}
		b.stop()

		path := filepath.Join(dir, copyFile)
		whole, err := os.ReadFile(path)
		must(t, err)
		for what, data := range map[string][]byte{
			"torn": whole[:len(whole)/2], "empty": nil,
			"altered": []byte(strings.Replace(string(whole), `"port":9000`, `"port":9001`, 1)),
		} {
			must(t, os.WriteFile(path, data, 0o600))
			c, log, err := w.agent(t, dir)
			must(t, err)
			if c.View() != nil || !strings.Contains(log.String(), path) || !strings.Contains(log.String(), "remove it") || c.Status().CopyTrouble == "" {
				t.Errorf("%s copy: view %v, status %+v", what, c.View(), c.Status())
			}
		}
	})
}

func TestRevocationReachesTheVerifierBeforeItIsAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		gone := eu.Node("h7")
		known := false
		defer a.Watch(func(*catalog.View) { known = a.Verifier().Revoked(gone) })()
		begun := time.Now()
		w.change(func(d *catalog.Directory) error { _, err := d.Revoke(gone, "test", "stolen", time.Now()); return err })
		wait(0)
		if !known || !a.Verifier().Revoked(gone) || time.Since(begun) != 0 {
			t.Fatalf("known to watchers %v, to the verifier %v, after %v", known, a.Verifier().Revoked(gone), time.Since(begun))
		}
	})
}

func TestReportsAndQuestionsTravelOverTheLink(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		n := uint64(0)
		reporting := func(_ *Config, _ *Host, _ map[string]Service, d *Deps) {
			d.Report = func() twin.Report { n++; return twin.Report{Seq: n, Node: "somebody else"} }
		}
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")), reporting)
		wait(10*time.Second + 10*time.Millisecond)
		reports := heard(w, func(m *catalog.NodeMessage) *twin.Report { return m.Report })
		if len(reports) < 39 || len(reports) > 41 || reports[0].Node != "h1" {
			t.Fatalf("%d reports in 10 s, the first of %q", len(reports), reports[0].Node)
		}
		status, body, err := a.Ask(context.Background(), "/v1/why", url.Values{"src": {"a"}, "dst": {"b"}})
		if err != nil || status != 200 || string(body) != `"/v1/why?dst=b\u0026src=a"` {
			t.Fatalf("%d %s %v", status, body, err)
		}
		if s := a.Status(); s.Age != 0 || s.FromDisk {
			t.Errorf("linked, and yet %+v", s)
		}
		w.setDown(true, "c1:7400", "c2:7400")
		w.cut()
		wait(time.Second)
		if s := a.Status(); s.Age != time.Second {
			t.Errorf("the link ended a second ago: %+v", s)
		}
		if _, _, err := a.Ask(context.Background(), "/v1/status", nil); codeOf(err) != reason.ControlUnreachable {
			t.Fatalf("without a link: %v", err)
		}
	})
}

func TestClocksAreComparedAtTheLink(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.skew = 2 * time.Second
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		if s := a.Status(); s.ClockSkew != 2*time.Second || !strings.Contains(s.ClockTrouble, "clock_skew") {
			t.Fatalf("skew %v, trouble %q", s.ClockSkew, s.ClockTrouble)
		}
	})
}

func TestAClockBehindTheCertificatesStartIsNamed(t *testing.T) {
	w := newWorld(t)
	behind := func(_ *Config, _ *Host, _ map[string]Service, d *Deps) {
		d.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	}
	a, _, err := w.agent(t, t.TempDir()+"/a", withToken(w.token("")), behind)
	must(t, err)
	if err := a.Join(t.Context()); codeOf(err) != reason.ClockSkew || !strings.Contains(err.Error(), "clock") {
		t.Fatalf("got %v", err)
	}
}

func TestAnExpiredCertificateSaysToJoinAgain(t *testing.T) {
	overDays(t, func(t *testing.T, w *world) {
		dir := t.TempDir() + "/agent"
		a := w.start(t, dir, withToken(w.token("")), patient)
		wait(time.Second)
		w.setDown(true, "c1:7400", "c2:7400")
		w.cut()
		time.Sleep(pki.LeafLife)
		w.setDown(false, "c1:7400", "c2:7400")
		w.renewOwn()
		wait(20 * time.Minute)
		if s := a.Status(); s.Linked || s.LinkReason != reason.CertExpired || !strings.Contains(s.LinkDetail, "fire token create --node h1") {
			t.Fatalf("status %+v", s)
		}
		a.stop()
		b, _, err := w.agent(t, dir)
		must(t, err)
		if err := b.Run(context.Background()); codeOf(err) != reason.CertExpired || !strings.Contains(err.Error(), "fire token create --node h1") {
			t.Fatalf("a restart: %v", err)
		}
		c := w.start(t, dir, withToken(w.token("h1")))
		wait(time.Second)
		if !c.Linked() {
			t.Fatal("a new token does not bring the host back")
		}
	})
}
