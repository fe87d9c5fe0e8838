package udp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Secret is what both ends of one direction know and nobody else: from the TLS exporter
// of their session, or given by a group's sender over such sessions.
type Secret [32]byte

// When a key is replaced. The counts are far below what AES-GCM allows (RFC 9001 B.1: 2^23
// packets for full-size packets at their advantage bound).
const (
	RekeyPackets = 1 << 22
	RekeyAfter   = 120 * time.Second
	rekeyEarly   = RekeyPackets / 2 // datagrams left, of a group's key
	// keysOverlap is how long the key before the newest opens what was under way.
	keysOverlap = 2 * time.Second
)

// key is one generation of a secret.
type key struct {
	aead       cipher.AEAD
	iv         [12]byte
	secret     Secret
	generation uint8
	until      int64 // of a key that has a successor: opens until then
}

func newKey(s Secret, generation uint8) (*key, error) {
	k := &key{secret: s, generation: generation}
	b, err := hkdf.Expand(sha256.New, s[:], "fire udp key", 16)
	if err != nil {
		return nil, fmt.Errorf("udp key: %w", err)
	}
	iv, err := hkdf.Expand(sha256.New, s[:], "fire udp iv", len(k.iv))
	if err != nil {
		return nil, fmt.Errorf("udp iv: %w", err)
	}
	copy(k.iv[:], iv)
	block, err := aes.NewCipher(b)
	if err != nil {
		return nil, fmt.Errorf("udp cipher: %w", err)
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("udp cipher: %w", err)
	}
	return k, nil
}

// next is the key after this one. Who learns it learns nothing of this one.
func (k *key) next() (*key, error) {
	b, err := hkdf.Expand(sha256.New, k.secret[:], "fire udp next", len(Secret{}))
	if err != nil {
		return nil, fmt.Errorf("udp key update: %w", err)
	}
	return newKey(Secret(b), k.generation+1)
}

// nonce is unique for each index and counter under a key.
func (k *key) nonce(to *[12]byte, h *header) {
	*to = k.iv
	binary.LittleEndian.PutUint32(to[:], binary.LittleEndian.Uint32(to[:])^h.index)
	binary.LittleEndian.PutUint64(to[4:], binary.LittleEndian.Uint64(to[4:])^h.counter)
}

// sealer seals the datagrams of one direction. It belongs to one goroutine.
type sealer struct {
	key     *key
	index   uint32
	counter uint64 // of the next datagram; never goes back
	left    uint64 // datagrams under this key
	since   int64
	given   bool // keys come from outside (a group's); else each follows from the last
	nonce   [12]byte
}

func newSealer(s Secret, index uint32, now int64, given bool, generation uint8) (*sealer, error) {
	k, err := newKey(s, generation)
	if err != nil {
		return nil, err
	}
	return &sealer{key: k, index: index, left: RekeyPackets, since: now, given: given}, nil
}

// stale tells whether the key is due to be replaced. One that comes from outside takes its
// time, and nothing leaves under a key that is used up, so it is asked for at half.
func (s *sealer) stale(now int64) bool {
	return s.left <= rekeyEarly && (s.given || s.left == 0) || now-s.since >= int64(RekeyAfter)
}

// seal appends one datagram to b[:0], which has room for it.
func (s *sealer) seal(now int64, b []byte, typ uint8, payload []byte) ([]byte, error) {
	if s.stale(now) {
		if err := s.renew(now); err != nil {
			return nil, err
		}
	}
	h := header{typ, s.key.generation, s.index, s.counter}
	b = b[:HeaderBytes]
	h.put(b)
	s.key.nonce(&s.nonce, &h)
	s.counter++
	s.left--
	return s.key.aead.Seal(b, s.nonce[:], payload, b), nil
}

func (s *sealer) renew(now int64) error {
	if s.given {
		if s.left == 0 {
			return errKeyUsedUp
		}
		return nil // its owner is late with the next epoch
	}
	k, err := s.key.next()
	if err != nil {
		return err
	}
	s.put(k, now)
	return nil
}

func (s *sealer) put(k *key, now int64) {
	s.key, s.left, s.since = k, RekeyPackets, now
}

// opener opens the datagrams of one direction. It belongs to one goroutine.
type opener struct {
	now, before, after *key // before and after may be nil
	given              bool
	window             replay
	nonce              [12]byte
	counter            uint64              // of the datagram that was opened last
	last               *key                // of the same
	far                [aheadMost + 1]*key // by generations beyond now, from 2 on, once one was asked for
}

func newOpener(s Secret, given bool, generation uint8) (*opener, error) {
	o := &opener{given: given}
	k, err := newKey(s, generation)
	if err != nil {
		return nil, err
	}
	return o, o.put(k, 0)
}

// put makes k the newest key; the one before opens for a while.
func (o *opener) put(k *key, now int64) (err error) {
	if o.before = o.now; o.before != nil {
		o.before.until = now + int64(keysOverlap)
		if o.given { // the peer goes on with the last one until all have this one
			o.before.until = math.MaxInt64
		}
	}
	o.now, o.after, o.far = k, nil, [aheadMost + 1]*key{}
	if !o.given {
		o.after, err = k.next()
	}
	return err
}

// used is called when the peer is known to have sealed what was opened last: if that was with
// the newest key, which was given before it was used, the one before has its time from now.
func (o *opener) used(now int64) {
	if o.last == o.now && o.before != nil {
		o.before.until = min(o.before.until, now+int64(keysOverlap))
	}
}

// open checks a datagram and decrypts it in place. What it returns beside Opened says why
// not.
func (o *opener) open(now int64, b []byte) (typ uint8, payload []byte, v Verdict) {
	h, ok := parseHeader(b)
	if !ok {
		return 0, nil, Malformed
	}
	k := o.keyOf(now, h.generation)
	if k == nil {
		if k = o.ahead(h.generation); k == nil {
			return 0, nil, NoKey
		}
	}
	k.nonce(&o.nonce, &h)
	payload, err := k.aead.Open(b[HeaderBytes:HeaderBytes], o.nonce[:], b[HeaderBytes:], b[:HeaderBytes])
	if err != nil {
		return 0, nil, Forged
	}
	o.counter, o.last = h.counter, k
	if !o.window.fresh(h.counter) {
		return h.typ, payload, Repeated
	}
	if k != o.now && k != o.before { // the peer goes on with it
		if err := o.put(k, now); err != nil {
			return 0, nil, NoKey
		}
	}
	return h.typ, payload, Opened
}

// aheadMost is how many generations ahead a peer may be that was not heard for several lives
// of a key.
const aheadMost = 16

// ahead is the key of a generation beyond the next one. Deriving one costs some microseconds,
// so those that were asked for once are kept until the key changes: rubbish costs no more
// than any datagram with a wrong tag, and needs no allowance that it could use up.
func (o *opener) ahead(generation uint8) *key {
	steps := generation - o.now.generation // modulo 256, as generations are
	if o.given || steps < 2 || steps > aheadMost {
		return nil
	}
	o.far[1] = o.after
	for i := uint8(2); i <= steps; i++ {
		if o.far[i] != nil {
			continue
		}
		var err error
		if o.far[i], err = o.far[i-1].next(); err != nil {
			return nil
		}
	}
	return o.far[steps]
}

func (o *opener) keyOf(now int64, generation uint8) *key {
	switch {
	case o.now.generation == generation:
		return o.now
	case o.after != nil && o.after.generation == generation:
		return o.after
	case o.before != nil && o.before.generation == generation && now < o.before.until:
		return o.before
	}
	return nil
}

// Verdict is what became of a datagram.
type Verdict uint8

const (
	Opened     Verdict = iota
	Malformed          // it is no datagram of this protocol
	NoKey              // its key is not known, or no more
	Forged             // its tag is wrong
	Repeated           // it was seen before, or is too old to tell
	Unexpected         // it is genuine, and its sender has broken the protocol
	verdicts
)

func (v Verdict) String() string {
	return [...]string{"opened", "malformed", "no_key", "forged", "repeated", "unexpected"}[min(v, verdicts-1)]
}
