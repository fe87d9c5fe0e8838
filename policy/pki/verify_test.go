package pki

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

func TestHostileChainsAreRefusedWithTheirReason(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	a, foreign, stranger := openAuthority(t, eu, clock), openAuthority(t, us, clock), openAuthority(t, eu, clock)
	v := verifier(t, clock, a.Bundle(), foreign.Bundle())
	peer := eu.Node("h2")
	other := issued(t, a, eu.Node("h3"))
	revoked := eu.Node("h9")
	v.SetRevoked(map[id.Principal]bool{revoked: true})

	rows := []struct {
		name string
		want reason.Code
		make func() *forgery
	}{
		{"lawful", reason.OK, func() *forgery { return honest(a, peer, now) }},
		{"expired", reason.CertExpired, func() *forgery {
			f := honest(a, peer, now)
			f.template.NotBefore, f.template.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Second)
			return f
		}},
		{"not yet valid", reason.CertNotYetValid, func() *forgery {
			f := honest(a, peer, now)
			f.template.NotBefore = now.Add(time.Minute)
			return f
		}},
		{"domain without roots", reason.CertWrongDomain, func() *forgery {
			return honest(a, id.Domain{Region: "ap", Mesh: "floor"}.Node("h2"), now)
		}},
		{"domain of another authority", reason.CertUnknownAuthority, func() *forgery { return honest(a, us.Node("h2"), now) }},
		{"leaf of another node", reason.CertWrongPeer, func() *forgery { return honest(a, eu.Node("h3"), now) }},
		{"same node in another region", reason.CertWrongPeer, func() *forgery { return honest(foreign, us.Node("h2"), now) }},
		{"another leaf behind it", reason.CertExtraChain, func() *forgery {
			f := honest(a, peer, now)
			f.behind = other.Certificate().Certificate
			return f
		}},
		{"the root behind it", reason.CertExtraChain, func() *forgery {
			f := honest(a, peer, now)
			f.behind = [][]byte{a.state.Load().active().RootDER}
			return f
		}},
		{"a long tail behind it", reason.CertExtraChain, func() *forgery {
			f := honest(a, peer, now)
			for range 40 {
				f.behind = append(f.behind, other.Certificate().Certificate[0])
			}
			return f
		}},
		{"a node's leaf as authority", reason.CertUnknownAuthority, func() *forgery {
			f := honest(a, peer, now)
			f.parent, f.signer = other.Leaf(), privateKey(t, other)
			f.behind = other.Certificate().Certificate
			return f
		}},
		{"CA as leaf", reason.CertCAAsLeaf, func() *forgery {
			f := honest(a, peer, now)
			f.template.IsCA, f.template.KeyUsage = true, x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign
			return f
		}},
		{"no URI name", reason.CertNoID, func() *forgery {
			f := honest(a, peer, now)
			f.template.ExtraExtensions, f.template.DNSNames = nil, []string{"h2"}
			return f
		}},
		{"two URI names", reason.CertManyIDs, func() *forgery {
			f := honest(a, peer, now)
			f.template.ExtraExtensions[0] = uriNames(peer.String(), eu.Node("h3").String())
			return f
		}},
		{"the same URI name twice", reason.CertManyIDs, func() *forgery {
			f := honest(a, peer, now)
			f.template.ExtraExtensions[0] = uriNames(peer.String(), peer.String())
			return f
		}},
		{"id of an unknown kind", reason.CertBadID, badID(t, a, now, "spiffe://eu.floor/pod/h2")},
		{"id with an empty fragment", reason.CertBadID, badID(t, a, now, "spiffe://eu.floor/node/h2#")},
		{"id with an upper-case scheme", reason.CertBadID, badID(t, a, now, "SPIFFE://eu.floor/node/h2")},
		{"id with a percent code", reason.CertBadID, badID(t, a, now, "spiffe://eu.floor/node/%682")},
		{"id of the domain alone", reason.CertBadID, badID(t, a, now, "spiffe://eu.floor")},
		{"a web address", reason.CertBadID, badID(t, a, now, "https://eu.floor/node/h2")},
		{"wrong key usage", reason.CertWrongUsage, func() *forgery {
			f := honest(a, peer, now)
			f.template.KeyUsage = x509.KeyUsageKeyEncipherment
			return f
		}},
		{"may sign certificates", reason.CertWrongUsage, func() *forgery {
			f := honest(a, peer, now)
			f.template.KeyUsage |= x509.KeyUsageCertSign
			f.template.BasicConstraintsValid = false
			return f
		}},
		{"wrong extended key usage", reason.CertWrongUsage, func() *forgery {
			f := honest(a, peer, now)
			f.template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
			return f
		}},
		{"no extended key usage", reason.CertWrongUsage, func() *forgery {
			f := honest(a, peer, now)
			f.template.ExtKeyUsage = nil
			return f
		}},
		{"any extended key usage", reason.CertWrongUsage, func() *forgery {
			f := honest(a, peer, now)
			f.template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
			return f
		}},
		{"unknown authority of our name", reason.CertUnknownAuthority, func() *forgery { return honest(stranger, peer, now) }},
		{"wrong kind", reason.CertWrongKind, func() *forgery { return honest(a, eu.Service("h2"), now) }},
		{"revoked", reason.IdentityRevoked, func() *forgery { return honest(a, revoked, now) }},
		{"service leaf on a revoked node", reason.IdentityRevoked, func() *forgery {
			f := honest(a, eu.Service("orders"), now)
			f.template.Subject.CommonName = revoked.String()
			return f
		}},
	}
	lawful := issued(t, a, eu.Node("h1"))
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			shown := fixed(row.make().certificate(t))
			want := Want{Exactly: peer}
			any := Want{Kinds: []id.Kind{id.KindNode}}
			asClient, _ := shake(t, ServerConfig(lawful.Certificate, v, want, ALPNMesh), ClientConfig(shown, v, any, ALPNMesh))
			if got := codeOf(asClient); got != row.want {
				t.Errorf("as client: %v; want %v", asClient, row.want)
			}
			_, asServer := shake(t, ServerConfig(shown, v, any, ALPNMesh), ClientConfig(lawful.Certificate, v, want, ALPNMesh))
			if got := codeOf(asServer); got != row.want {
				t.Errorf("as server: %v; want %v", asServer, row.want)
			}
		})
	}
}

func badID(t *testing.T, a *Authority, now time.Time, uri string) func() *forgery {
	return func() *forgery {
		f := honest(a, eu.Node("h2"), now)
		f.template.ExtraExtensions[0] = uriNames(uri)
		return f
	}
}

// codeOf is the reason of err, OK for nil, and no released code for a bare error.
func codeOf(err error) reason.Code {
	if err == nil {
		return reason.OK
	}
	return reason.Of(err, 65535)
}

func TestEverythingIsRefusedWithoutABundle(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	me, empty := issued(t, a, eu.Node("h1")), NewVerifier(time.Now)
	any := Want{Kinds: []id.Kind{id.KindNode}}
	serverErr, _ := shake(t, ServerConfig(me.Certificate, empty, any, ALPNMesh), ClientConfig(me.Certificate, verifier(t, time.Now, a.Bundle()), any, ALPNMesh))
	if codeOf(serverErr) != reason.BundleMissing {
		t.Fatalf("server without a bundle: %v", serverErr)
	}
	for _, b := range []Bundle{{}, {Domain: eu}, {Domain: eu, Roots: [][]byte{{1}}}, {Domain: eu, Roots: me.Certificate().Certificate}} {
		if err := empty.SetBundle(b); err == nil {
			t.Errorf("bundle %+v was taken", b)
		}
	}
}

func TestABadOrOlderBundleKeepsTheHeldOne(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	me, v := issued(t, a, eu.Node("h1")), NewVerifier(time.Now)
	b := a.Bundle()
	b.Version = 7
	older := openAuthority(t, eu, time.Now).Bundle()
	older.Version = 6
	for n, set := range []Bundle{b, {Domain: eu, Version: 9}, older} {
		if err := v.SetBundle(set); (err == nil) != (n == 0) {
			t.Fatalf("bundle %d: %v", n, err)
		}
		if _, err := v.Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{me.Leaf()}}, Want{Kinds: []id.Kind{id.KindNode}}); err != nil {
			t.Fatalf("after bundle %d: %v", n, err)
		}
	}
}

func TestAPeerWithoutCertificateOrProtocolIsRefused(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	me, v := issued(t, a, eu.Node("h1")), verifier(t, time.Now, a.Bundle())
	any := Want{Kinds: []id.Kind{id.KindNode}}
	server := ServerConfig(me.Certificate, v, any, ALPNMesh)
	for name, row := range map[string]struct {
		client *tls.Config
		want   reason.Code
	}{
		"no certificate":   {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPNMesh}}, reason.CertMissing},
		"no protocol":      {ClientConfig(me.Certificate, v, any), reason.FrameVersion},
		"TLS 1.2":          {&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, NextProtos: []string{ALPNMesh}}, 65535},
		"another protocol": {ClientConfig(me.Certificate, v, any, ALPNControl), 65535},
	} {
		if err, _ := shake(t, server, row.client); codeOf(err) != row.want {
			t.Errorf("%s: %v; want %v", name, err, row.want)
		}
	}
	if _, err := v.Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{me.Leaf()}}, Want{}); codeOf(err) != reason.CertWrongKind {
		t.Errorf("a Want that names nobody: %v", err)
	}
	none := func() *tls.Certificate { return nil }
	if _, err := shake(t, server, ClientConfig(none, v, any, ALPNMesh)); codeOf(err) != reason.CertMissing {
		t.Errorf("own side without a certificate: %v", err)
	}
}

// The trap of the field: TLS asks VerifyPeerCertificate on full handshakes only. The
// bait shows that the handshake really is resumed and that such a check is blind.
func TestAResumedSessionIsRefusedEvenWithTicketsOn(t *testing.T) {
	for _, change := range []string{"nothing", "revocation", "bundle"} {
		t.Run(change, func(t *testing.T) {
			a := openAuthority(t, eu, time.Now)
			server, client := issued(t, a, eu.Node("h1")), issued(t, a, eu.Node("h2"))
			v := verifier(t, time.Now, a.Bundle())
			any := Want{Kinds: []id.Kind{id.KindNode}}

			sc := ServerConfig(server.Certificate, v, any, ALPNMesh)
			sc.SessionTicketsDisabled = false
			sc.SetSessionTicketKeys([][32]byte{{1}})
			guard := sc.VerifyConnection
			hostile := &tls.Config{
				InsecureSkipVerify: true, NextProtos: []string{ALPNMesh}, ServerName: "h1", ClientSessionCache: tls.NewLRUClientSessionCache(4),
				Certificates: []tls.Certificate{*client.Certificate()},
			}
			if s, c := shake(t, sc, hostile); s != nil || c != nil {
				t.Fatalf("first handshake: %v, %v", s, c)
			}
			switch change {
			case "revocation":
				v.SetRevoked(map[id.Principal]bool{client.Principal(): true})
			case "bundle":
				b := openAuthority(t, eu, time.Now).Bundle()
				if err := v.SetBundle(b); err != nil {
					t.Fatal(err)
				}
			}
			resumed := false
			bait := sc.Clone()
			bait.SetSessionTicketKeys([][32]byte{{1}})
			bait.VerifyConnection = func(cs tls.ConnectionState) error { resumed = cs.DidResume; return nil }
			bait.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
				t.Error("VerifyPeerCertificate ran: the session was not resumed and the test proves nothing")
				return nil
			}
			if s, _ := shake(t, bait, hostile); s != nil || !resumed {
				t.Fatalf("the bait was not taken: %v, resumed %v", s, resumed)
			}
			sc.VerifyConnection = guard
			if s, _ := shake(t, sc, hostile); codeOf(s) != reason.CertResumed {
				t.Fatalf("server took a resumed session: %v", s)
			}
			// The client side refuses a server that resumes, too.
			wary := ClientConfig(client.Certificate, verifier(t, time.Now, a.Bundle()), any, ALPNMesh)
			wary.SessionTicketsDisabled, wary.ServerName, wary.ClientSessionCache = false, "h1", hostile.ClientSessionCache
			if _, c := shake(t, bait, wary); codeOf(c) != reason.CertResumed {
				t.Fatalf("client took a resumed session: %v", c)
			}
		})
	}
}

func TestTicketsAreOffAndKeyExchangeIsHybrid(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	me, v := issued(t, a, eu.Node("h1")), verifier(t, time.Now, a.Bundle())
	any := Want{Kinds: []id.Kind{id.KindNode}}
	cc := ClientConfig(me.Certificate, v, any, ALPNMesh)
	cc.ServerName, cc.SessionTicketsDisabled, cc.ClientSessionCache = "h1", false, tls.NewLRUClientSessionCache(1)
	var got tls.ConnectionState
	check := cc.VerifyConnection
	cc.VerifyConnection = func(cs tls.ConnectionState) error { got = cs; return check(cs) }
	for range 2 {
		if s, c := shake(t, ServerConfig(me.Certificate, v, any, ALPNMesh), cc); s != nil || c != nil {
			t.Fatal(s, c)
		}
	}
	if got.CurveID != tls.X25519MLKEM768 || got.Version != tls.VersionTLS13 {
		t.Errorf("curve %v, version %#x", got.CurveID, got.Version)
	}
	if _, held := cc.ClientSessionCache.Get("h1"); held {
		t.Error("the server handed out a ticket")
	}
}

func TestNameConstraintBindsARootToItsDomain(t *testing.T) {
	now := time.Now()
	a := openAuthority(t, eu, time.Now)
	mixed := a.Bundle()
	mixed.Domain = us // an operator filed the roots of eu under us
	v := verifier(t, time.Now, mixed)
	cert := honest(a, us.Node("h2"), now).certificate(t)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, Want{Kinds: []id.Kind{id.KindNode}}); codeOf(err) != reason.CertWrongDomain {
		t.Fatalf("got %v", err)
	}
}
