package pki

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"fire/policy/reason"
)

func TestIdentityRenewsWithAFreshKey(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	i, err := NewKey(eu.Node("h1"))
	must(t, err)
	if i.Certificate() != nil || !i.RenewAt().IsZero() || !i.NotAfter().IsZero() {
		t.Fatal("an identity without a certificate shows one")
	}
	if err := i.Save(t.TempDir()); err == nil {
		t.Fatal("saved without a certificate")
	}
	renew(t, a, i)
	first := i.Certificate()
	renew(t, a, i)
	if privateKey(t, i).Equal(first.PrivateKey) {
		t.Fatal("the key was kept over a renewal")
	}
	if first.Leaf.NotAfter.IsZero() || i.Certificate() == first {
		t.Fatal("the older certificate must stay whole for running connections")
	}
}

func TestInstallRefusesWhatIsNotOurs(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	i, err := NewKey(eu.Node("h1"))
	must(t, err)
	for name, row := range map[string]struct {
		chain [][]byte
		want  reason.Code
	}{
		"empty":         {nil, 65535},
		"garbage":       {[][]byte{{1, 2}}, 65535},
		"another's key": {issued(t, a, eu.Node("h1")).Certificate().Certificate, reason.CertWrongPeer},
		"another's id":  {issued(t, a, eu.Node("h2")).Certificate().Certificate, reason.CertWrongPeer},
		"a root":        {a.Bundle().Roots, reason.CertCAAsLeaf},
	} {
		if err := i.Install(row.chain); codeOf(err) != row.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	renew(t, a, i) // and the pending request survived all that
	if err := i.Install(i.Certificate().Certificate); err == nil {
		t.Error("installed without a request")
	}
}

func TestRenewalFallsAroundHalfLife(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	i := issued(t, a, eu.Node("h1"))
	life := i.NotAfter().Sub(i.Leaf().NotBefore)
	for r, want := range map[float64]float64{0: 0.4, 0.5: 0.5, 1: 0.6} {
		got := float64(renewAt(i.Leaf(), r).Sub(i.Leaf().NotBefore)) / float64(life)
		if got < want-0.001 || got > want+0.001 {
			t.Errorf("jitter %v: renews at %.3f of life, want %v", r, got, want)
		}
	}
}

func TestIdentityFileIsPrivateAndWhole(t *testing.T) {
	a, dir := openAuthority(t, eu, time.Now), t.TempDir()+"/ids"
	i := issued(t, a, eu.Service("orders"))
	must(t, i.Save(dir))
	back, err := LoadIdentity(dir, i.Principal())
	must(t, err)
	if !back.Leaf().Equal(i.Leaf()) || !privateKey(t, back).Equal(privateKey(t, i)) {
		t.Fatal("came back different")
	}
	path := identityPath(dir, i.Principal())
	if _, err := LoadIdentity(dir, eu.Service("other")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	must(t, os.Chmod(path, 0o640))
	if _, err := LoadIdentity(dir, i.Principal()); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("loose: %v", err)
	}
	must(t, os.Chmod(path, 0o600))
	whole, err := os.ReadFile(path)
	must(t, err)
	other := issued(t, a, eu.Service("other"))
	must(t, other.Save(dir))
	foreign, err := os.ReadFile(identityPath(dir, other.Principal()))
	must(t, err)
	must(t, RemoveIdentity(dir, i.Principal()))
	must(t, RemoveIdentity(dir, i.Principal()))
	if _, err := LoadIdentity(dir, i.Principal()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed, and yet: %v", err)
	}
	cut := [][]byte{nil, whole[:10], whole[:len(whole)/2], whole[:len(whole)-20], foreign, append([]byte("x"), foreign...)}
	for n, data := range cut {
		must(t, os.WriteFile(path, data, 0o600))
		_, err := LoadIdentity(dir, i.Principal())
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "fire token create") {
			t.Errorf("damage %d: %v", n, err)
		}
	}
}

func FuzzIdentityFile(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseIdentity(eu.Node("h1"), data); err == nil && c.tls.Leaf == nil {
			t.Fatal("no leaf")
		}
	})
}
