package pki

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// JoinServerConfig serves hosts that hold a token and no certificate. It shows
// control's leaf followed by the roots, since the other side knows only a pin.
func JoinServerConfig(cert func() *tls.Certificate, a *Authority) *tls.Config {
	alpn := []string{ALPNJoin}
	c := base(func() *tls.Certificate {
		if leaf := cert(); leaf != nil {
			return a.withJoinChain(leaf)
		}
		return nil
	}, alpn)
	c.ClientAuth = tls.NoClientCert // the token is the proof
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.DidResume {
			return reason.New(reason.CertResumed, "the peer resumed an earlier session")
		}
		return spoken(cs, alpn)
	}
	return c
}

// JoinClientConfig dials a control of d whose root has the pinned key.
func JoinClientConfig(pin [32]byte, d id.Domain, now func() time.Time) *tls.Config {
	alpn := []string{ALPNJoin}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             alpn,
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, // replaced, not dropped: the chain must end in the pinned key
		VerifyConnection: func(cs tls.ConnectionState) error {
			if err := spoken(cs, alpn); err != nil {
				return err
			}
			return verifyPinned(cs, pin, d, now)
		},
	}
}

// joinChainMax bounds what a join server may send: leaf, roots and cross-signed roots.
const joinChainMax = 1 + 2*RootsMax

// verifyPinned makes a one-root Verifier of the pinned certificate and asks it, so
// that joining is judged by the same function as everything else.
func verifyPinned(cs tls.ConnectionState, pin [32]byte, d id.Domain, now func() time.Time) error {
	if cs.DidResume {
		return reason.New(reason.CertResumed, "the peer resumed an earlier session")
	}
	if len(cs.PeerCertificates) == 0 {
		return reason.New(reason.CertMissing, "control sent no certificate")
	}
	if len(cs.PeerCertificates) > joinChainMax {
		return reason.New(reason.CertExtraChain, "%d certificates sent, the limit is %d", len(cs.PeerCertificates), joinChainMax)
	}
	leaf, above := cs.PeerCertificates[0], cs.PeerCertificates[1:]
	for _, root := range above {
		if pinOf(root) != pin || !root.IsCA {
			continue
		}
		if err := verifyUnder(cs, leaf, above, root, d, now); err == nil || reason.Of(err, reason.OK) != reason.CertUnknownAuthority {
			return err
		}
	}
	return reason.New(reason.PinMismatch, "none of the %d authorities shown is the one the token pins", len(above))
}

// verifyUnder checks the leaf below one pinned root; the path may lead through
// a newer root that the pinned one signed.
func verifyUnder(cs tls.ConnectionState, leaf *x509.Certificate, above []*x509.Certificate, root *x509.Certificate, d id.Domain, now func() time.Time) error {
	v := NewVerifier(now)
	if err := v.SetBundle(Bundle{Domain: d, Roots: [][]byte{root.Raw}}); err != nil {
		return err
	}
	cs.PeerCertificates = append([]*x509.Certificate{leaf}, pathTo(leaf, above, root)...)
	_, err := v.Verify(cs, Want{Kinds: []id.Kind{id.KindControl}})
	return err
}

// pathTo picks, from what was sent, the one certificate between leaf and root.
func pathTo(leaf *x509.Certificate, above []*x509.Certificate, root *x509.Certificate) []*x509.Certificate {
	if leaf.CheckSignatureFrom(root) == nil {
		return nil
	}
	for _, c := range above {
		if c.CheckSignatureFrom(root) == nil && leaf.CheckSignatureFrom(c) == nil {
			return []*x509.Certificate{c}
		}
	}
	return nil
}
