package pki

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"fire/policy/id"
	"fire/policy/reason"
)

// RootsMax bounds the roots (and head keys) of one bundle: two during a rotation,
// with room for a later overlap of two.
const RootsMax = 4

// Bundle is what a node trusts for one trust domain. The last root is the one that
// signs now; a root that is only prepared, or on its way out, stands before it.
type Bundle struct {
	Domain   id.Domain `json:"domain"`
	Roots    [][]byte  `json:"roots"`     // DER
	HeadKeys [][]byte  `json:"head_keys"` // Ed25519 public keys that sign catalogue heads
	Version  uint64    `json:"version"`
}

// headContext separates a signature over a catalogue head from every other use.
const headContext = "fire-head/1\x00"

// Check says why the bundle cannot be trusted as a value; nil when it is whole.
func (b Bundle) Check() error {
	_, err := b.roots()
	return err
}

// roots parses and checks every root.
func (b Bundle) roots() ([]*x509.Certificate, error) {
	if b.Domain == (id.Domain{}) {
		return nil, reason.New(reason.BundleMissing, "the bundle names no trust domain")
	}
	if len(b.Roots) == 0 {
		return nil, reason.New(reason.BundleMissing, "the bundle of %s holds no root", b.Domain)
	}
	if len(b.Roots) > RootsMax || len(b.HeadKeys) > RootsMax {
		return nil, fmt.Errorf("the bundle of %s holds more than %d roots or head keys", b.Domain, RootsMax)
	}
	var out []*x509.Certificate
	for _, der := range b.Roots {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("root of %s cannot be read: %w", b.Domain, err)
		}
		if !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("a root of %s is no CA certificate", b.Domain)
		}
		out = append(out, c)
	}
	for _, k := range b.HeadKeys {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("a head key of %s has %d bytes, want %d", b.Domain, len(k), ed25519.PublicKeySize)
		}
	}
	return out, nil
}

// pinOf is the SHA-256 of a certificate's SubjectPublicKeyInfo, as in RFC 7469.
func pinOf(c *x509.Certificate) [32]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// PinBytes is the pin of the root that signs now: what a join token carries.
func (b Bundle) PinBytes() ([32]byte, error) {
	roots, err := b.roots()
	if err != nil {
		return [32]byte{}, err
	}
	return pinOf(roots[len(roots)-1]), nil
}

// Pin is PinBytes as "sha256:hex", or "" when the bundle is not whole.
func (b Bundle) Pin() string {
	pin, err := b.PinBytes()
	if err != nil {
		return ""
	}
	return "sha256:" + hex.EncodeToString(pin[:])
}

// HasPin tells whether one of the roots is the pinned one.
func (b Bundle) HasPin(pin [32]byte) bool {
	roots, err := b.roots()
	if err != nil {
		return false
	}
	for _, c := range roots {
		if pinOf(c) == pin {
			return true
		}
	}
	return false
}

// Signs tells whether leaf was signed by the root that signs now. A holder of any
// other leaf renews early: its root is on the way out.
func (b Bundle) Signs(leaf *x509.Certificate) bool {
	roots, err := b.roots()
	return err == nil && bytes.Equal(leaf.AuthorityKeyId, roots[len(roots)-1].SubjectKeyId)
}

// VerifyHead checks a catalogue head's signature against every head key.
func (b Bundle) VerifyHead(msg, sig []byte) error {
	if len(b.HeadKeys) == 0 {
		return reason.New(reason.BundleMissing, "no head key of %s is known", b.Domain)
	}
	signed := append([]byte(headContext), msg...)
	for _, k := range b.HeadKeys {
		if len(k) == ed25519.PublicKeySize && ed25519.Verify(k, signed, sig) {
			return nil
		}
	}
	return reason.New(reason.SnapshotBadSignature, "none of the %d head keys of %s made it", len(b.HeadKeys), b.Domain)
}
