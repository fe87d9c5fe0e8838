package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// TokenBook is control's list of join tokens. It keeps hashes, never secrets.
type TokenBook struct {
	save func([]byte) error
	turn chan struct{} // one save at a time; holds one value

	mu      sync.Mutex // guards what follows; never held while saving
	tokens  map[string]*entry
	version uint64 // of tokens
	saved   uint64 // newest version known to be durable
}

// entry is one token at rest.
type entry struct {
	ID      string    `json:"id"`
	Hash    []byte    `json:"hash"` // SHA-256; the secret has 256 random bits, so no slow hash is needed
	Node    string    `json:"node,omitempty"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
	UsedAt  time.Time `json:"used_at,omitzero"`
	UsedBy  string    `json:"used_by,omitempty"`
}

// TokenInfo is one row of `fire token list`.
type TokenInfo struct {
	ID      string    `json:"id"`
	Node    string    `json:"node,omitempty"`
	State   string    `json:"state"` // "open", "used" or "expired"
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
	UsedAt  time.Time `json:"used_at,omitzero"`
	UsedBy  string    `json:"used_by,omitempty"`
}

const (
	TokensMax    = 10_000             // entries, used and expired ones included
	tokenKept    = 7 * 24 * time.Hour // how long a dead token stays to say "used" or "expired"
	bookFormat   = "fire.tokens/v1"
	BookBytesMax = 4 << 20
)

// OpenTokenBook continues from what save was last given; nil starts empty. save
// returns nil only when the bytes are durable.
func OpenTokenBook(saved []byte, save func([]byte) error) (*TokenBook, error) {
	b := &TokenBook{save: save, turn: make(chan struct{}, 1), tokens: map[string]*entry{}}
	if saved == nil {
		return b, nil
	}
	var f bookFile
	dec := json.NewDecoder(bytes.NewReader(saved))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("the token book is damaged: %w; remove it, open tokens are then void", err)
	}
	if f.Format != bookFormat || len(f.Tokens) > TokensMax {
		return nil, fmt.Errorf("the token book has format %q and %d tokens, want %q and at most %d", f.Format, len(f.Tokens), bookFormat, TokensMax)
	}
	for _, e := range f.Tokens {
		if e == nil || !isTokenID(e.ID) || len(e.Hash) != sha256.Size || b.tokens[e.ID] != nil {
			return nil, fmt.Errorf("the token book is damaged: an entry is not whole; remove it, open tokens are then void")
		}
		b.tokens[e.ID] = e
	}
	return b, nil
}

type bookFile struct {
	Format string   `json:"format"`
	Tokens []*entry `json:"tokens"`
}

// Mint is what a new token shall say.
type Mint struct {
	Pin      [32]byte
	Domain   id.Domain
	Controls []string
	Node     string // "" leaves the name to the joiner
	Life     time.Duration
}

// Mint makes a token. It is in the book durably before the secret is handed out.
func (b *TokenBook) Mint(m Mint, now time.Time) (*Token, error) {
	if m.Life <= 0 || m.Life > TokenLifeMax {
		return nil, fmt.Errorf("a token lives more than 0 and at most %s, not %s", TokenLifeMax, m.Life)
	}
	random := make([]byte, tokenIDBytes+secretBytes)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	body := tokenBody{hex.EncodeToString(random[:tokenIDBytes]), random[tokenIDBytes:], m.Pin[:], m.Domain, m.Controls, m.Node, now.Add(m.Life).Unix()}
	t, err := body.token()
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(t.Secret)
	b.mu.Lock()
	b.prune(now)
	if len(b.tokens) >= TokensMax {
		b.mu.Unlock()
		return nil, fmt.Errorf("the token book is full (%d tokens); cancel some: fire token list", TokensMax)
	}
	b.tokens[t.ID] = &entry{ID: t.ID, Hash: hash[:], Node: t.Node, Made: now.UTC(), Expires: t.Expires}
	v := b.bump()
	b.mu.Unlock()
	if err := b.durable(v); err != nil {
		b.undo(func() { delete(b.tokens, t.ID) })
		return nil, err
	}
	return t, nil
}

// Redeem spends a token: of any number of calls, exactly one gets nil, and then the
// mark is durable. Whoever does not know the secret learns nothing about the token.
func (b *TokenBook) Redeem(tokenID string, secret []byte, now time.Time) error {
	return b.redeem(tokenID, secret, nil, now)
}

// RedeemFor is Redeem for a host that calls itself node: a token bound to another
// name is refused and stays open.
func (b *TokenBook) RedeemFor(tokenID string, secret []byte, node string, now time.Time) error {
	return b.redeem(tokenID, secret, &node, now)
}

func (b *TokenBook) redeem(tokenID string, secret []byte, node *string, now time.Time) error {
	b.mu.Lock()
	e, err := b.open(tokenID, secret, node, now)
	if err != nil {
		b.mu.Unlock()
		return err
	}
	e.UsedAt = now.UTC()
	if node != nil {
		e.UsedBy = *node
	}
	v := b.bump()
	b.mu.Unlock()
	if err := b.durable(v); err != nil {
		b.undo(func() { e.UsedAt, e.UsedBy = time.Time{}, "" })
		return err
	}
	return nil
}

// open finds an entry that may be redeemed. The caller holds mu.
func (b *TokenBook) open(tokenID string, secret []byte, node *string, now time.Time) (*entry, error) {
	got := sha256.Sum256(secret)
	want := make([]byte, sha256.Size) // compared in vain when the id is unknown, to take as long
	e := b.tokens[tokenID]
	if e != nil {
		want = e.Hash
	}
	same := subtle.ConstantTimeCompare(got[:], want) == 1
	switch {
	case e == nil || !same:
		return nil, reason.New(reason.TokenUnknown, "no such token, or its secret is wrong")
	case !e.UsedAt.IsZero():
		return nil, reason.New(reason.TokenUsed, "token %s was used at %s", e.ID, stamp(e.UsedAt))
	case now.After(e.Expires):
		return nil, reason.New(reason.TokenExpired, "token %s ended %s", e.ID, stamp(e.Expires))
	case node != nil && e.Node != "" && e.Node != *node:
		return nil, reason.New(reason.TokenUnknown, "token %s is for node %s, not %s", e.ID, e.Node, *node)
	}
	return e, nil
}

// Cancel voids a token that was not used; false when there is none.
func (b *TokenBook) Cancel(tokenID string, now time.Time) (bool, error) {
	b.mu.Lock()
	e := b.tokens[tokenID]
	if e == nil || !e.UsedAt.IsZero() {
		b.mu.Unlock()
		return false, nil
	}
	delete(b.tokens, tokenID)
	v := b.bump()
	b.mu.Unlock()
	if err := b.durable(v); err != nil {
		b.undo(func() { b.tokens[tokenID] = e })
		return false, err
	}
	return true, nil
}

// List shows every token, newest first.
func (b *TokenBook) List(now time.Time) []TokenInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []TokenInfo
	for _, e := range b.tokens {
		state := "open"
		if !e.UsedAt.IsZero() {
			state = "used"
		} else if now.After(e.Expires) {
			state = "expired"
		}
		out = append(out, TokenInfo{e.ID, e.Node, state, e.Made, e.Expires, e.UsedAt, e.UsedBy})
	}
	slices.SortFunc(out, func(a, b TokenInfo) int {
		if c := b.Made.Compare(a.Made); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// durable returns once version v is on disk. Callers that waited while another saved
// find their version in that save: one fsync serves all of them.
func (b *TokenBook) durable(v uint64) error {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	b.mu.Lock()
	if b.saved >= v {
		b.mu.Unlock()
		return nil
	}
	at, data, err := b.encode()
	b.mu.Unlock()
	if err == nil {
		err = b.save(data)
	}
	if err != nil {
		return fmt.Errorf("store the token book: %w", fullDisk(err))
	}
	b.mu.Lock()
	b.saved = at
	b.mu.Unlock()
	return nil
}

// encode is the book as bytes with its version. The caller holds mu.
func (b *TokenBook) encode() (uint64, []byte, error) {
	f := bookFile{Format: bookFormat}
	for _, e := range b.tokens {
		f.Tokens = append(f.Tokens, e)
	}
	slices.SortFunc(f.Tokens, func(a, b *entry) int { return strings.Compare(a.ID, b.ID) })
	data, err := json.Marshal(f)
	if err == nil && len(data) > BookBytesMax {
		err = errors.New("it is too large")
	}
	return b.version, data, err
}

// bump marks the book as changed. The caller holds mu.
func (b *TokenBook) bump() uint64 { b.version++; return b.version }

// undo takes back a change that did not reach the disk.
func (b *TokenBook) undo(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	b.bump()
}

// prune forgets tokens that have been dead for long. The caller holds mu.
func (b *TokenBook) prune(now time.Time) {
	for k, e := range b.tokens {
		if now.After(e.Expires.Add(tokenKept)) {
			delete(b.tokens, k)
		}
	}
}
