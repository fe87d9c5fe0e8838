package subject

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
)

const (
	keyFile     = "store.key"
	recordsFile = "subjects"
	keyPrefix   = "fire-subject-key-1 "
)

// secret is the store's key, and what is derived from it.
type secret struct {
	wrap  cipher.AEAD
	names []byte
	check ID // of the header: which key the file is under
}

// readSecret reads the store's key; fresh makes one where there is none.
func readSecret(d folder, fresh bool) (*secret, error) {
	f, err := d.Open(keyFile)
	switch {
	case absent(err) && fresh:
		return makeSecret(d)
	case absent(err):
		return nil, fmt.Errorf("%w: %s is there and %s is not; put it back, nothing can be opened without it", ErrStoreKey, recordsFile, keyFile)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := f.ReadAt(b, 0) // what is missing is found below
	key, err := parseSecret(b[:n])
	if err != nil {
		return nil, err
	}
	return derive(key)
}

func parseSecret(b []byte) ([]byte, error) {
	text, ok := bytes.CutPrefix(bytes.TrimSuffix(b, []byte("\n")), []byte(keyPrefix))
	key, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if !ok || err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("%w: %s holds no key", ErrStoreKey, keyFile) // without the cause, which may show it
	}
	return key, nil
}

func makeSecret(d folder) (*secret, error) {
	key := make([]byte, keyBytes)
	rand.Read(key) // never fails (crypto/rand)
	f, err := replace(d, keyFile, func(f file) error {
		_, err := f.WriteAt([]byte(keyPrefix+base64.StdEncoding.EncodeToString(key)+"\n"), 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("subject: make %s: %w", keyFile, err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return derive(key)
}

// derive gives each use a key of its own (RFC 5869).
func derive(key []byte) (*secret, error) {
	var out [3][]byte
	for i, use := range []string{"wrap", "names", "check"} {
		k, err := hkdf.Key(sha256.New, key, nil, "fire/audit/subject/1 "+use, keyBytes)
		if err != nil {
			return nil, err
		}
		out[i] = k
	}
	wrap, err := newAEAD(out[0])
	if err != nil {
		return nil, err
	}
	return &secret{wrap, out[1], ID(out[2][:16])}, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s *secret) tag(name []byte) (t nameTag) {
	h := hmac.New(sha256.New, s.names)
	h.Write(name)
	copy(t[:], h.Sum(nil))
	return t
}

// newKey draws a key and an id, and seals the key into a record. The record's place in the file
// is not part of what is sealed: it moves when the file is written anew.
func (s *secret) newKey(name nameTag, when int64) (record, *key, error) {
	r := record{kind: live, when: when, name: name}
	var plain [keyBytes]byte
	defer clear(plain[:])
	rand.Read(plain[:])
	rand.Read(r.id[:])
	rand.Read(r.nonce[:])
	s.wrap.Seal(r.wrapped[:0], r.nonce[:], plain[:], r.bound())
	aead, err := newAEAD(plain[:])
	return r, &key{id: r.id, aead: aead}, err
}

// unwrap opens the key of a record.
func (s *secret) unwrap(r *record) (*key, error) {
	plain, err := s.wrap.Open(nil, r.nonce[:], r.wrapped[:], r.bound())
	if err != nil {
		return nil, fmt.Errorf("%w: the key of subject %v does not open under the store's key", ErrDamaged, r.id)
	}
	defer clear(plain)
	aead, err := newAEAD(plain)
	return &key{id: r.id, aead: aead}, err
}

// bound is what a sealed key is tied to: id, name and time.
func (r *record) bound() []byte {
	b := append([]byte("fire/audit/subject/1"), r.id[:]...)
	b = append(b, r.name[:]...)
	for i := range 8 {
		b = append(b, byte(uint64(r.when)>>(8*i)))
	}
	return b
}

// key is a subject's, ready for use.
type key struct {
	id   ID
	aead cipher.AEAD
}

// nonces gives each sealed value its own: 64 random bits and a counter of 32. A random one of 96
// bits is good for 2^32 values under one key (NIST SP 800-38D, 8.3), which the account of a
// market maker passes in weeks; here two runs must draw the same 64 bits for a repetition, so
// ten thousand restarts leave it at 3 in 10^12.
type nonces struct {
	run atomic.Pointer[run]
}

type run struct {
	random [8]byte
	next   atomic.Uint64
}

func newRun() *run {
	r := new(run)
	rand.Read(r.random[:])
	return r
}

// append adds a nonce.
func (n *nonces) append(b []byte) []byte {
	for {
		r := n.run.Load()
		if c := r.next.Add(1) - 1; c < 1<<32 {
			b = append(b, r.random[:]...)
			return append(b, byte(c>>24), byte(c>>16), byte(c>>8), byte(c))
		}
		n.run.CompareAndSwap(r, newRun())
	}
}

// What is wrong. Errors wrap one of them.
var (
	ErrUnknown  = errors.New("subject: no such subject")
	ErrErased   = errors.New("subject: the subject was erased, its key is destroyed")
	ErrTampered = errors.New("subject: the sealed values were changed, or are of another entry")
	ErrHeld     = errors.New("subject: a hold keeps the subject from being erased")
	ErrDamaged  = errors.New("subject: the file of keys is damaged; put a copy in its place")
	ErrStoreKey = errors.New("subject: not the store's key")
	ErrBroken   = errors.New("subject: the disk has failed; no key is made or erased until the process is started again")
	ErrFull     = errors.New("subject: too many subjects")
	ErrName     = errors.New("subject: a name has 1 to 256 bytes")
)
