package tlog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Head is what a log says of itself: its name, its size, its root.
type Head struct {
	Origin string
	Size   int64
	Root   Hash
}

// text is the checkpoint before it is signed (C2SP tlog-checkpoint).
func (h Head) text() string {
	return torchwood.Checkpoint{Origin: h.Origin, Tree: tlog.Tree{N: h.Size, Hash: h.Root}}.String()
}

// Key signs heads as their log. It is a note signer (C2SP signed-note, Ed25519).
type Key struct {
	signer note.Signer
	vkey   string
	secret string
}

// NewKey makes a key for the log of that name.
func NewKey(rand io.Reader, origin string) (*Key, error) {
	skey, vkey, err := note.GenerateKey(rand, origin)
	if err != nil {
		return nil, fmt.Errorf("tlog: a key for %q: %w", origin, err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("tlog: a key for %q: %w", origin, err)
	}
	return &Key{s, vkey, skey}, nil
}

// ReadKey reads what Secret has given.
func ReadKey(secret string) (*Key, error) {
	secret = strings.TrimSpace(secret)
	s, err := note.NewSigner(secret)
	if err != nil {
		return nil, errors.New("tlog: that is no key of a log") // without the cause, which may show it
	}
	parts := strings.SplitN(secret, "+", 5) // PRIVATE+KEY+name+id+seed; base64 has a plus, too
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(parts) != 5 || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("tlog: that is no key of a log")
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(s.Name(), public)
	if err != nil {
		return nil, errors.New("tlog: that is no key of a log")
	}
	return &Key{s, vkey, secret}, nil
}

// Origin is the name of the key's log.
func (k *Key) Origin() string { return k.signer.Name() }

// ID is the key's number in a signature line.
func (k *Key) ID() uint32 { return k.signer.KeyHash() }

// Verifier is the public half, as a policy names it.
func (k *Key) Verifier() string { return k.vkey }

// Secret is the key itself, for a file of mode 0600.
func (k *Key) Secret() string { return k.secret }

// String names the key, never its secret.
func (k *Key) String() string { return k.vkey }

// Sign makes the checkpoint of a head: text, empty line, one signature line for each key.
func Sign(h Head, keys ...*Key) ([]byte, error) {
	signers := make([]note.Signer, len(keys))
	for i, k := range keys {
		signers[i] = k.signer
	}
	return note.Sign(&note.Note{Text: h.text()}, signers...)
}

// Verifiers are the public keys of one log: the one in use and those before it.
type Verifiers struct {
	list  []note.Verifier
	known note.Verifiers
}

// NewVerifiers reads public keys, each as Key.Verifier gives it. One that is named twice counts once.
func NewVerifiers(vkeys ...string) (*Verifiers, error) {
	v := &Verifiers{}
	seen := map[string]bool{}
	for _, k := range vkeys {
		k = strings.TrimSpace(k)
		one, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("tlog: %q is no public key of a log: %w", k, err)
		}
		if !seen[k] { // note.Open refuses all that is signed by a key that it finds twice
			v.list = append(v.list, one)
		}
		seen[k] = true
	}
	v.known = note.VerifierList(v.list...)
	return v, nil
}

// What is wrong with a head. Errors of Open and Check wrap one of them.
var (
	ErrNoHead   = errors.New("that is no signed head of a log")
	ErrUnsigned = errors.New("the head is not signed by its log")
	ErrWrongKey = errors.New("the head is signed in the log's name by a key that is not known")
	ErrEdited   = errors.New("the head or its signature was changed after it was signed")
	ErrOrigin   = errors.New("the head is of another log")
)

// Open verifies a checkpoint under the log's own keys.
func (v *Verifiers) Open(checkpoint []byte) (Head, error) {
	h, _, err := open(checkpoint, v.known, v.list)
	return h, err
}

// OpenNote is Open that also gives the signed text and, of its signatures, those of the log's keys.
func (v *Verifiers) OpenNote(checkpoint []byte) (Head, *note.Note, error) {
	h, n, err := open(checkpoint, v.known, v.list)
	if err != nil {
		return Head{}, nil, err
	}
	return h, &note.Note{Text: n.Text, Sigs: n.Sigs}, nil
}

// open is note.Open with errors that tell one fault from another. logs are the keys of which
// one must have signed.
func open(checkpoint []byte, known note.Verifiers, logs []note.Verifier) (Head, *note.Note, error) {
	n, err := note.Open(checkpoint, known)
	var unknown *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &invalid):
		return Head{}, nil, fmt.Errorf("%w: signature of %s, key %08x", ErrEdited, invalid.Name, invalid.Hash)
	case errors.As(err, &unknown):
		n = unknown.Note
	case err != nil && unsigned(checkpoint):
		return Head{}, nil, fmt.Errorf("%w: there is no signature at all", ErrUnsigned)
	case err != nil:
		return Head{}, nil, fmt.Errorf("%w: %w", ErrNoHead, err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		return Head{}, nil, fmt.Errorf("%w: %w", ErrNoHead, err)
	}
	h := Head{c.Origin, c.N, c.Hash}
	if err := signedByLog(n, h.Origin, logs); err != nil {
		return Head{}, nil, err
	}
	for _, s := range n.Sigs { // base64 with other bits after its end reads as the same signature
		if raw, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil || base64.StdEncoding.EncodeToString(raw) != s.Base64 {
			return Head{}, nil, fmt.Errorf("%w: signature of %s, key %08x, is not written as it was", ErrEdited, s.Name, s.Hash)
		}
	}
	return h, n, nil
}

// unsigned tells a checkpoint without signatures from something else.
func unsigned(checkpoint []byte) bool {
	text, signatures, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	_, err := torchwood.ParseCheckpoint(strings.TrimRight(string(text), "\n") + "\n")
	return err == nil && len(signatures) == 0
}

func signedByLog(n *note.Note, origin string, logs []note.Verifier) error {
	named := false
	for _, k := range logs {
		named = named || k.Name() == origin
		for _, s := range n.Sigs {
			if s.Name == origin && k.Name() == origin && s.Hash == k.KeyHash() {
				return nil
			}
		}
	}
	if !named {
		return fmt.Errorf("%w: it says %q", ErrOrigin, origin)
	}
	for _, s := range n.UnverifiedSigs {
		if s.Name == origin {
			return fmt.Errorf("%w: %s, key %08x", ErrWrongKey, s.Name, s.Hash)
		}
	}
	return fmt.Errorf("%w: %q", ErrUnsigned, origin)
}

// Claimed is what a checkpoint says, without any word on whether it is true.
func Claimed(checkpoint []byte) (Head, error) {
	text, _, ok := bytes.Cut(checkpoint, []byte("\n\n"))
	if !ok {
		return Head{}, ErrNoHead
	}
	c, err := torchwood.ParseCheckpoint(string(text) + "\n")
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrNoHead, err)
	}
	return Head{c.Origin, c.N, c.Hash}, nil
}
