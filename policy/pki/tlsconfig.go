package pki

import (
	"crypto/tls"
	"slices"

	"fire/policy/reason"
)

// The application protocols of the mesh.
const (
	ALPNMesh    = "fire-mesh/1"    // proxy to proxy
	ALPNControl = "fire-control/1" // node to control
	ALPNBridge  = "fire-bridge/1"  // direct node to direct node
	ALPNJoin    = "fire-join/1"    // a host that has a token and nothing else
)

// ServerConfig accepts peers that v verifies as w.
func ServerConfig(cert func() *tls.Certificate, v *Verifier, w Want, alpn ...string) *tls.Config {
	c := base(cert, alpn)
	// v checks the chain against the peer's own trust domain, and refuses a peer without
	// one; Go's RequireAnyClientCert would refuse it too, but without a reason code.
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = verifyConnection(v, w, alpn)
	return c
}

// ClientConfig dials peers that v verifies as w.
func ClientConfig(cert func() *tls.Certificate, v *Verifier, w Want, alpn ...string) *tls.Config {
	c := base(cert, alpn)
	c.InsecureSkipVerify = true // replaced, not dropped: host names mean nothing here, v checks the whole chain
	c.VerifyConnection = verifyConnection(v, w, alpn)
	return c
}

// base is what all configurations share. Curve preferences are Go's own, which put
// X25519MLKEM768 first since Go 1.24; cipher suites of TLS 1.3 are not selectable.
func base(cert func() *tls.Certificate, alpn []string) *tls.Config {
	show := func() (*tls.Certificate, error) {
		if c := cert(); c != nil {
			return c, nil
		}
		return nil, reason.New(reason.CertMissing, "this side holds no certificate yet")
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             alpn,
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return show() },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return show() },
	}
}

func verifyConnection(v *Verifier, w Want, alpn []string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if err := spoken(cs, alpn); err != nil {
			return err
		}
		_, err := v.Verify(cs, w)
		return err
	}
}

// spoken refuses a peer that negotiated no protocol: TLS lets a client without ALPN
// pass, and a handshake must not be replayed into another protocol (RFC 9001 8.1).
func spoken(cs tls.ConnectionState, alpn []string) error {
	if cs.Version != tls.VersionTLS13 {
		return reason.New(reason.FrameVersion, "TLS version %#x, want 1.3", cs.Version)
	}
	if len(alpn) > 0 && !slices.Contains(alpn, cs.NegotiatedProtocol) {
		return reason.New(reason.FrameVersion, "application protocol %q, want one of %q", cs.NegotiatedProtocol, alpn)
	}
	return nil
}
