package witness

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/torchwood"
)

// algorithm is of a timestamped Ed25519 cosignature, C2SP tlog-cosignature.
const algorithm = 4

// Key cosigns heads as a witness. It is never a log's key: a cosignature says "I have seen no
// other", not "this is what I hold".
type Key struct {
	signer *torchwood.CosignatureSigner
	seed   []byte
}

// NewKey makes a key for the witness of that name, like "eu.floor/witness/host-2".
func NewKey(rand io.Reader, name string) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("witness: a key for %q: %w", name, err)
	}
	return keyOf(name, seed)
}

func keyOf(name string, seed []byte) (*Key, error) {
	s, err := torchwood.NewCosignatureSigner(name, ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return nil, fmt.Errorf("witness: a key for %q: %w", name, err)
	}
	return &Key{s, seed}, nil
}

// ReadKey reads what Secret has given.
func ReadKey(secret string) (*Key, error) {
	bad := errors.New("witness: that is no key of a witness") // without the cause, which may show it
	parts := strings.SplitN(strings.TrimSpace(secret), "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return nil, bad
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != algorithm {
		return nil, bad
	}
	k, err := keyOf(parts[2], raw[1:])
	if err != nil || k.Secret() != strings.TrimSpace(secret) { // the number is that of the key
		return nil, bad
	}
	return k, nil
}

// Name is the witness's.
func (k *Key) Name() string { return k.signer.Name() }

// Verifier is the public half, as a policy names it.
func (k *Key) Verifier() string { return k.signer.Verifier().String() }

// Secret is the key itself, for a file of mode 0600. Its form is that of a log's secret key.
func (k *Key) Secret() string {
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", k.Name(), k.signer.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algorithm}, k.seed...)))
}

// String names the key, never its secret.
func (k *Key) String() string { return k.Verifier() }
