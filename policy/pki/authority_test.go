package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

func TestAuthorityIgnoresTheNamesOfARequest(t *testing.T) {
	now := time.Now().Truncate(time.Second) // certificates have whole seconds
	a := openAuthority(t, eu, func() time.Time { return now })
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"evil"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Issue(csr, eu.Node("h1"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(chain) != 1 || len(leaf.DNSNames) != 0 || leaf.URIs[0].String() != "spiffe://eu.floor/node/h1" || leaf.IsCA {
		t.Fatalf("chain of %d, names %v %v", len(chain), leaf.DNSNames, leaf.URIs)
	}
	if d := leaf.NotAfter.Sub(now); d != LeafLife {
		t.Errorf("lives %v", d)
	}
	if d := now.Sub(leaf.NotBefore); d != BackDate {
		t.Errorf("back-dated %v", d)
	}
}

func TestAuthorityRefusesBadRequests(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	edCSR, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, edKey)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	bigCSR, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p384)
	good, err := NewKey(eu.Node("h1"))
	if err != nil {
		t.Fatal(err)
	}
	forged := good.CSR()
	forged[len(forged)-1] ^= 1
	for name, csr := range map[string][]byte{"none": nil, "ed25519": edCSR, "P-384": bigCSR, "forged": forged, "huge": make([]byte, CSRBytesMax+1)} {
		if _, err := a.Issue(csr, eu.Node("h1")); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
	for _, p := range []id.Principal{{}, us.Node("h1"), eu.Node("H1"), eu.Node("a/b")} {
		if _, err := a.Issue(good.CSR(), p); err == nil {
			t.Errorf("issued for %v", p)
		}
	}
}

func TestAuthorityComesBackTheSame(t *testing.T) {
	dir := t.TempDir() + "/ca"
	a, err := OpenAuthority(dir, eu, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	sig := a.SignHead([]byte("head"))
	b, err := OpenAuthority(dir, eu, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if a.Bundle().Pin() != b.Bundle().Pin() || !strings.HasPrefix(a.Bundle().Pin(), "sha256:") {
		t.Fatalf("pins %s, %s", a.Bundle().Pin(), b.Bundle().Pin())
	}
	if err := b.Bundle().VerifyHead([]byte("head"), sig); err != nil {
		t.Fatal(err)
	}
	if err := b.Bundle().VerifyHead([]byte("heaD"), sig); codeOf(err) != reason.SnapshotBadSignature {
		t.Fatalf("changed head: %v", err)
	}
	if err := openAuthority(t, eu, time.Now).Bundle().VerifyHead([]byte("head"), sig); codeOf(err) != reason.SnapshotBadSignature {
		t.Fatalf("foreign head: %v", err)
	}
	if _, err := OpenAuthority(dir, us, time.Now); codeOf(err) != reason.CertWrongDomain {
		t.Fatalf("another domain: %v", err)
	}
}

func TestLooseModesAreRefusedWithTheCommandThatMendsThem(t *testing.T) {
	dir := t.TempDir() + "/ca"
	if _, err := OpenAuthority(dir, eu, time.Now); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, authorityFile)
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Fatalf("key file has mode %v", info.Mode())
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Fatalf("key folder has mode %v", info.Mode())
	}
	for _, row := range []struct {
		path string
		mode os.FileMode
		fix  string
	}{{file, 0o644, "chmod 600 " + file}, {file, 0o620, "chmod 600 " + file}, {dir, 0o755, "chmod 700 " + dir}} {
		if err := os.Chmod(row.path, row.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenAuthority(dir, eu, time.Now); err == nil || !strings.Contains(err.Error(), row.fix) {
			t.Errorf("%s with %o: %v", row.path, row.mode, err)
		}
		_ = os.Chmod(file, 0o600)
		_ = os.Chmod(dir, 0o700)
	}
}

func TestATornAuthorityFileIsOneClearError(t *testing.T) {
	dir := t.TempDir() + "/ca"
	if _, err := OpenAuthority(dir, eu, time.Now); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, authorityFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, len(whole) / 3, len(whole) / 2, len(whole) - 3} {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenAuthority(dir, eu, time.Now)
		if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "restore") {
			t.Errorf("cut at %d: %v", n, err)
		}
		if now, _ := os.ReadFile(file); len(now) != n {
			t.Errorf("cut at %d: the damaged file was replaced", n)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzAuthorityFile(f *testing.F) {
	e, err := newEra(eu, nil, time.Unix(1e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	e.Stage = StageActive
	data, err := (&caState{domain: eu, version: 1, eras: []*era{e}}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":"fire.authority/v1","domain":"eu.floor","version":1,"eras":[null]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err == nil && (s.active() == nil || s.active().key == nil) {
			t.Fatal("a state without a key to sign with")
		}
	})
}

func TestJoinAcceptsOnlyControlUnderThePin(t *testing.T) {
	a, other := openAuthority(t, eu, time.Now), openAuthority(t, eu, time.Now)
	control, node := issued(t, a, eu.Control("c1")), issued(t, a, eu.Node("h1"))
	pin, err := a.Bundle().PinBytes()
	if err != nil {
		t.Fatal(err)
	}
	wrongPin, _ := other.Bundle().PinBytes()
	// The pinned root is public: showing it behind a leaf it did not sign proves nothing.
	usurper := issued(t, other, eu.Control("c1"))
	for name, row := range map[string]struct {
		shown *Identity
		a     *Authority
		pin   [32]byte
		d     id.Domain
		want  reason.Code
	}{
		"control under the pin":       {control, a, pin, eu, reason.OK},
		"another pin":                 {control, a, wrongPin, eu, reason.PinMismatch},
		"a node":                      {node, a, pin, eu, reason.CertWrongKind},
		"another domain":              {control, a, pin, us, reason.CertWrongDomain},
		"the pinned root as ornament": {usurper, a, pin, eu, reason.PinMismatch},
	} {
		s, c := shake(t, JoinServerConfig(row.shown.Certificate, row.a), JoinClientConfig(row.pin, row.d, time.Now))
		if codeOf(c) != row.want || (s == nil) != (row.want == reason.OK) {
			t.Errorf("%s: server %v, client %v; want %v", name, s, c, row.want)
		}
	}
	// A server that shows its leaf alone cannot be tied to a pin.
	bare := &tls.Config{Certificates: []tls.Certificate{*control.Certificate()}, NextProtos: []string{ALPNJoin}}
	if _, c := shake(t, bare, JoinClientConfig(pin, eu, time.Now)); codeOf(c) != reason.PinMismatch {
		t.Errorf("leaf alone: %v", c)
	}
}
