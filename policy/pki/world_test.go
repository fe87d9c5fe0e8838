package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"crypto/x509/pkix"

	"fire/policy/id"
)

var (
	eu = id.Domain{Region: "eu", Mesh: "floor"}
	us = id.Domain{Region: "us", Mesh: "floor"}
)

func openAuthority(t *testing.T, d id.Domain, now func() time.Time) *Authority {
	t.Helper()
	a, err := OpenAuthority(t.TempDir()+"/ca", d, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issued(t *testing.T, a *Authority, p id.Principal) *Identity {
	t.Helper()
	i, err := NewKey(p)
	if err != nil {
		t.Fatal(err)
	}
	renew(t, a, i)
	return i
}

func renew(t *testing.T, a *Authority, i *Identity) {
	t.Helper()
	node := i.Principal()
	if node.Kind == id.KindService {
		node = node.Domain.Node("h-" + node.Name)
	}
	chain, err := a.IssueHeld(i.CSR(), i.Principal(), node)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Install(chain); err != nil {
		t.Fatal(err)
	}
}

func verifier(t *testing.T, now func() time.Time, bundles ...Bundle) *Verifier {
	t.Helper()
	v := NewVerifier(now)
	for _, b := range bundles {
		if err := v.SetBundle(b); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// shake runs one handshake over loopback and returns what each side thought of it.
// Each side sends a byte, since a TLS 1.3 client learns of a refusal only then.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clientEnd, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	serverEnd, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return converse(tls.Server(serverEnd, server), tls.Client(clientEnd, client))
}

// converse runs both ends until each has read the other's byte or failed.
func converse(server, client *tls.Conn) (serverErr, clientErr error) {
	var wg sync.WaitGroup
	side := func(c *tls.Conn, err *error) {
		wg.Go(func() {
			defer c.NetConn().Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute)) // against a hanging test only
			if *err = c.Handshake(); *err == nil {
				_, _ = c.Write([]byte{1})
				_, *err = c.Read(make([]byte, 1))
			}
		})
	}
	side(server, &serverErr)
	side(client, &clientErr)
	wg.Wait()
	return serverErr, clientErr
}

// forgery is a leaf made to order, signed by whoever signs.
type forgery struct {
	template x509.Certificate
	parent   *x509.Certificate
	signer   *ecdsa.PrivateKey
	behind   [][]byte // sent after the leaf
}

// honest is the template of a lawful leaf; rows spoil one thing each.
func honest(a *Authority, p id.Principal, now time.Time) *forgery {
	e := a.state.Load().active()
	serial, _ := newSerial()
	return &forgery{
		template: x509.Certificate{
			SerialNumber: serial, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: leafUsage[:], BasicConstraintsValid: true,
			Subject:         pkix.Name{CommonName: p.String()},
			ExtraExtensions: []pkix.Extension{uriNames(p.String())},
		},
		parent: e.root, signer: e.key,
	}
}

// uriNames is a SAN extension with exactly these URI bytes.
func uriNames(uris ...string) pkix.Extension {
	var names []asn1.RawValue
	for _, u := range uris {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(u)})
	}
	der, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: der}
}

func (f *forgery) certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &f.template, f.parent, &key.PublicKey, f.signer)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, f.behind...), PrivateKey: key}
}

func fixed(c *tls.Certificate) func() *tls.Certificate { return func() *tls.Certificate { return c } }

var errDisk = errors.New("no disk today")

func privateKey(t *testing.T, i *Identity) *ecdsa.PrivateKey {
	t.Helper()
	return i.Certificate().PrivateKey.(*ecdsa.PrivateKey)
}
