package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"time"

	"fire/policy/id"
)

// Stage is where a root stands in its life: prepared, active, retiring, gone.
type Stage string

const (
	StagePrepared Stage = "prepared" // in the bundle, signs nothing yet
	StageActive   Stage = "active"   // signs; exactly one
	StageRetiring Stage = "retiring" // signs nothing more, still trusted
)

// era is one root with its head key, as kept on disk. Both change together, so one
// rotation cures the loss of the control host's keys.
type era struct {
	Stage    Stage  `json:"stage"`
	RootDER  []byte `json:"root"`
	CrossDER []byte `json:"cross,omitempty"` // this root signed by the one before it
	KeyDER   []byte `json:"key"`             // PKCS 8
	HeadSeed []byte `json:"head_seed"`

	root *x509.Certificate
	key  *ecdsa.PrivateKey
	head ed25519.PrivateKey
}

// caState is one immutable state of the authority.
type caState struct {
	domain  id.Domain
	version uint64
	eras    []*era // oldest first
}

const (
	authorityFile     = "authority.json"
	authorityBytesMax = 1 << 20
	authorityFormat   = "fire.authority/v1"
)

// newEra makes a root for d, signed by itself and, when there is one, by before.
func newEra(d id.Domain, before *era, now time.Time) (*era, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make root key: %w", err)
	}
	_, head, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make head key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{CommonName: "fire " + d.String() + " root " + serial.Text(36)[:8]},
		NotBefore:                   now.Add(-BackDate),
		NotAfter:                    now.Add(RootLife),
		KeyUsage:                    x509.KeyUsageCertSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLen:                  1, // room for the next root signed by this one
		PermittedDNSDomainsCritical: true,
		PermittedURIDomains:         []string{d.String()}, // Go enforces the host of URI names (RFC 5280 4.2.1.10)
	}
	e := &era{Stage: StagePrepared}
	if e.RootDER, err = x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key); err != nil {
		return nil, fmt.Errorf("sign root: %w", err)
	}
	if before != nil {
		root.MaxPathLen, root.MaxPathLenZero = 0, true
		root.NotAfter = earlier(root.NotAfter, before.root.NotAfter)
		if e.CrossDER, err = x509.CreateCertificate(rand.Reader, root, before.root, &key.PublicKey, before.key); err != nil {
			return nil, fmt.Errorf("cross-sign root: %w", err)
		}
	}
	if e.KeyDER, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, err
	}
	e.HeadSeed = head.Seed()
	return e, e.parse()
}

// parse fills the working form from the kept form and checks that they belong together.
func (e *era) parse() error {
	var err error
	if e.root, err = x509.ParseCertificate(e.RootDER); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(e.KeyDER)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(e.root.PublicKey) {
		return fmt.Errorf("the root's key is not the root's")
	}
	if len(e.HeadSeed) != ed25519.SeedSize {
		return fmt.Errorf("head key: %d bytes, want %d", len(e.HeadSeed), ed25519.SeedSize)
	}
	e.key, e.head = key, ed25519.NewKeyFromSeed(e.HeadSeed)
	return nil
}

func (e *era) pin() [32]byte { return pinOf(e.root) }

func (s *caState) active() *era {
	for _, e := range s.eras {
		if e.Stage == StageActive {
			return e
		}
	}
	return nil // decodeState refuses such a file
}

func (s *caState) others() []*era {
	var out []*era
	for _, e := range s.eras {
		if e.Stage != StageActive {
			out = append(out, e)
		}
	}
	return out
}

// with is a copy of s in which change was applied to a copy of each era.
func (s *caState) with(change func(*era)) *caState {
	next := &caState{domain: s.domain, version: s.version}
	for _, e := range s.eras {
		own := *e
		change(&own)
		next.eras = append(next.eras, &own)
	}
	return next
}

// caFile is the file: one document, so that a change of stage is one rename.
type caFile struct {
	Format  string    `json:"format"`
	Domain  id.Domain `json:"domain"`
	Version uint64    `json:"version"`
	Eras    []*era    `json:"eras"`
}

func (s *caState) encode() ([]byte, error) {
	return json.MarshalIndent(caFile{authorityFormat, s.domain, s.version, s.eras}, "", " ")
}

func decodeState(data []byte) (*caState, error) {
	var f caFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	if f.Format != authorityFormat {
		return nil, fmt.Errorf("its format is %q, want %q", f.Format, authorityFormat)
	}
	active := 0
	for _, e := range f.Eras {
		if e == nil {
			return nil, fmt.Errorf("an era is null")
		}
		if err := e.parse(); err != nil {
			return nil, err
		}
		if e.Stage == StageActive {
			active++
		}
	}
	if active != 1 || len(f.Eras) > RootsMax {
		return nil, fmt.Errorf("%d of %d roots are active, want exactly one of at most %d", active, len(f.Eras), RootsMax)
	}
	return &caState{domain: f.Domain, version: f.Version, eras: f.Eras}, nil
}
