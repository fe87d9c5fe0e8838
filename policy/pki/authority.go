package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

const (
	LeafLife    = 24 * time.Hour  // life of every leaf from now on
	BackDate    = 5 * time.Minute // how far a node's clock may be behind ours
	RootLife    = 10 * 365 * 24 * time.Hour
	CSRBytesMax = 8 << 10
)

// Authority is the certificate authority of one trust domain: control only.
type Authority struct {
	domain id.Domain
	path   string
	now    func() time.Time
	turn   chan struct{}           // one writer of the file at a time; holds one value
	state  atomic.Pointer[caState] // immutable; replaced by whoever has the turn
	ledger *ledger                 // of issued leaves
}

// OpenAuthority loads the authority of d from dir, or makes it. A key that others
// could read is refused with the command that mends it.
func OpenAuthority(dir string, d id.Domain, now func() time.Time) (*Authority, error) {
	if err := MakePrivateDir(dir); err != nil {
		return nil, err
	}
	a := &Authority{domain: d, path: filepath.Join(dir, authorityFile), now: now, turn: make(chan struct{}, 1)}
	data, err := ReadPrivate(a.path, authorityBytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a, a.create()
	case err != nil:
		return nil, fmt.Errorf("open authority: %w", err)
	}
	s, err := decodeState(data)
	if err != nil {
		return nil, fmt.Errorf("authority file %s is damaged: %w; restore it from a backup, or remove it and join every node again", a.path, err)
	}
	if s.domain != d {
		return nil, reason.New(reason.CertWrongDomain, "authority file %s is of %s, but this control is of %s; mend mesh.name and node.region, or use another folder", a.path, s.domain, d)
	}
	a.state.Store(s)
	if a.ledger, err = openLedger(filepath.Join(dir, ledgerFile), now().Add(LeafLife), now()); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	return a, nil
}

// create makes the first root. It is on disk before anyone sees it.
func (a *Authority) create() error {
	e, err := newEra(a.domain, nil, a.now())
	if err != nil {
		return err
	}
	e.Stage = StageActive
	if a.ledger, err = openLedger(filepath.Join(filepath.Dir(a.path), ledgerFile), time.Time{}, a.now()); err != nil {
		return err
	}
	return a.store(&caState{domain: a.domain, version: 1, eras: []*era{e}})
}

// Bundle is what nodes must trust: every root that may have signed a live leaf, or
// will sign soon. The active root stands last.
func (a *Authority) Bundle() Bundle {
	s := a.state.Load()
	b := Bundle{Domain: s.domain, Version: s.version}
	for _, e := range append(s.others(), s.active()) {
		b.Roots = append(b.Roots, e.RootDER)
		b.HeadKeys = append(b.HeadKeys, e.head.Public().(ed25519.PublicKey))
	}
	return b
}

// Issue signs a leaf for p, whatever names the request carries. The caller has
// decided that the asker may have it. See IssueHeld for a service's leaf.
func (a *Authority) Issue(csrDER []byte, p id.Principal) (chainDER [][]byte, err error) {
	return a.IssueHeld(csrDER, p, p)
}

// IssueHeld signs a leaf for p whose key is held by node: revoking the node then
// also revokes the services' leaves that lie on it.
func (a *Authority) IssueHeld(csrDER []byte, p, node id.Principal) (chainDER [][]byte, err error) {
	pub, err := requestKey(csrDER)
	if err != nil {
		return nil, fmt.Errorf("certificate request of %s: %w", p, err)
	}
	if _, err := parseID(p.String()); err != nil {
		return nil, err
	}
	if p.Domain != a.domain || node.Domain != a.domain {
		return nil, reason.New(reason.CertWrongDomain, "%s asked of the authority of %s", p, a.domain)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	e, until, err := a.reserve(leafKey{principal: p, node: node, serial: serial.String()}, now)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: node.String()}, // the holder, read by revocation only
		NotBefore:             now.Add(-BackDate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           leafUsage[:],
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: p.Domain.String(), Path: "/" + p.Kind.String() + "/" + p.Name}},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, e.root, pub, e.key)
	if err != nil {
		return nil, fmt.Errorf("sign leaf of %s: %w", p, err)
	}
	return [][]byte{der}, nil
}

// reserve enters the coming leaf under the active root, durably, before it is
// signed, so that the root cannot retire in between.
func (a *Authority) reserve(k leafKey, now time.Time) (*era, time.Time, error) {
	for {
		e := a.state.Load().active()
		until := earlier(now.Add(LeafLife), e.root.NotAfter)
		ok, err := a.ledger.add(k, e.pin(), until, now)
		if ok || err != nil {
			return e, until, err
		}
		// That root was retired since it was read: at most once per rotation.
	}
}

// requestKey checks that the asker holds the key, and that it is of our one type.
func requestKey(csrDER []byte) (*ecdsa.PublicKey, error) {
	if len(csrDER) > CSRBytesMax {
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(csrDER), CSRBytesMax)
	}
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, err
	}
	pub, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key is not ECDSA P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("its signature is wrong: %w", err)
	}
	return pub, nil
}

// SignHead signs a catalogue head with the Ed25519 key of the active era. Every
// node that holds the bundle can check it with Bundle.VerifyHead.
func (a *Authority) SignHead(msg []byte) []byte {
	return ed25519.Sign(a.state.Load().active().head, append([]byte(headContext), msg...))
}

// joinChain is what a host with a mere pin needs to reach any root of the bundle:
// the roots, and the new root signed by the one before it.
func (a *Authority) joinChain() [][]byte {
	var out [][]byte
	for _, e := range a.state.Load().eras {
		out = append(out, e.RootDER)
		if e.CrossDER != nil {
			out = append(out, e.CrossDER)
		}
	}
	return out
}

// WithJoinChain is cert followed by the roots; a join server shows it.
func (a *Authority) withJoinChain(cert *tls.Certificate) *tls.Certificate {
	c := *cert
	c.Certificate = append(append([][]byte{}, cert.Certificate[0]), a.joinChain()...)
	return &c
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 4.1.2.2: at most 20 bytes
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
