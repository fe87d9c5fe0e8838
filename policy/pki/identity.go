package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// Identity is one principal's key and chain on the node that uses it. The key is
// made here and never leaves, but for the owner's own file.
type Identity struct {
	principal id.Principal
	current   atomic.Pointer[credential]
	mu        sync.Mutex        // guards pending
	pending   *ecdsa.PrivateKey // waits for its certificate
}

// credential is one immutable key with its certificate.
type credential struct {
	tls     tls.Certificate
	renewAt time.Time
}

// NewKey makes an identity without a certificate yet.
func NewKey(p id.Principal) (*Identity, error) {
	if _, err := parseID(p.String()); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of %s: %w", p, err)
	}
	return &Identity{principal: p, pending: key}, nil
}

// Principal is whose identity it is.
func (i *Identity) Principal() id.Principal { return i.principal }

// CSR asks for a certificate, each renewal with a fresh key. Asking again before
// Install asks for the same key. Nil only when the system cannot make keys.
func (i *Identity) CSR() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pending == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil
		}
		i.pending = key
	}
	// The names in a request are ignored by Issue, so it carries none.
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, i.pending)
	if err != nil {
		return nil
	}
	return csr
}

// Install puts a chain into use for new connections; running ones keep theirs. The
// leaf must hold the key of the last CSR and this identity's id.
func (i *Identity) Install(chainDER [][]byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pending == nil {
		return fmt.Errorf("install certificate of %s: no request is pending", i.principal)
	}
	cred, err := newCredential(i.principal, i.pending, chainDER)
	if err != nil {
		return err
	}
	i.pending = nil
	i.current.Store(cred)
	return nil
}

func newCredential(p id.Principal, key *ecdsa.PrivateKey, chainDER [][]byte) (*credential, error) {
	if len(chainDER) == 0 || len(chainDER) > 1+intermediatesMax {
		return nil, fmt.Errorf("certificate of %s: chain of %d certificates", p, len(chainDER))
	}
	leaf, err := x509.ParseCertificate(chainDER[0])
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", p, err)
	}
	if _, got, err := readLeaf([]*x509.Certificate{leaf}); err != nil {
		return nil, err
	} else if got != p {
		return nil, reason.New(reason.CertWrongPeer, "got a certificate of %s for %s", got, p)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, reason.New(reason.CertWrongPeer, "the certificate of %s is for another key", p)
	}
	chain := make([][]byte, len(chainDER))
	for n, der := range chainDER {
		chain[n] = bytes.Clone(der)
	}
	return &credential{
		tls:     tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf},
		renewAt: renewAt(leaf, mathrand.Float64()),
	}, nil
}

// renewAt is half the leaf's life, moved by up to a tenth of its life either way so
// that a floor started together does not renew together; r is in [0,1).
func renewAt(leaf *x509.Certificate, r float64) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life/2 + time.Duration((r-0.5)*0.2*float64(life)))
}

// Certificate is what TLS shows, nil before the first Install. It is a func value
// for ServerConfig and ClientConfig: each handshake takes the newest.
func (i *Identity) Certificate() *tls.Certificate {
	if c := i.current.Load(); c != nil {
		return &c.tls
	}
	return nil
}

// Leaf is the parsed certificate in use, or nil.
func (i *Identity) Leaf() *x509.Certificate {
	if c := i.current.Load(); c != nil {
		return c.tls.Leaf
	}
	return nil
}

// NotAfter is the end of the certificate in use; zero when there is none.
func (i *Identity) NotAfter() time.Time {
	if leaf := i.Leaf(); leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}

// RenewAt is when to ask for the next certificate; zero (at once) when there is none.
func (i *Identity) RenewAt() time.Time {
	if c := i.current.Load(); c != nil {
		return c.renewAt
	}
	return time.Time{}
}

const identityBytesMax = 64 << 10

func identityPath(dir string, p id.Principal) string {
	return filepath.Join(dir, p.Kind.String()+"-"+p.Name+".pem")
}

// Save writes key and chain as one file, so that they can never be of two ages.
func (i *Identity) Save(dir string) error {
	c := i.current.Load()
	if c == nil {
		return fmt.Errorf("save %s: no certificate yet", i.principal)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.tls.PrivateKey)
	if err != nil {
		return fmt.Errorf("save %s: %w", i.principal, err)
	}
	var b bytes.Buffer
	b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	for _, der := range c.tls.Certificate {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if err := MakePrivateDir(dir); err != nil {
		return err
	}
	return WritePrivate(identityPath(dir, i.principal), b.Bytes())
}

// LoadIdentity reads what Save wrote; fs.ErrNotExist when there is none.
func LoadIdentity(dir string, p id.Principal) (*Identity, error) {
	path := identityPath(dir, p)
	data, err := ReadPrivate(path, identityBytesMax)
	if err != nil {
		return nil, err
	}
	cred, err := parseIdentity(p, data)
	if err != nil {
		return nil, fmt.Errorf("identity file %s is damaged: %w; remove it and join again: fire token create", path, err)
	}
	i := &Identity{principal: p}
	i.current.Store(cred)
	return i, nil
}

func parseIdentity(p id.Principal, data []byte) (*credential, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("no private key at its start")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key is not ECDSA P-256")
	}
	var chain [][]byte
	for len(bytes.TrimSpace(rest)) > 0 {
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it ends in the middle of a certificate")
		}
		chain = append(chain, block.Bytes)
	}
	return newCredential(p, key, chain)
}

// RemoveIdentity forgets p's key and chain on disk; absent is fine.
func RemoveIdentity(dir string, p id.Principal) error {
	if err := os.Remove(identityPath(dir, p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove identity: %w", err)
	}
	return nil
}
