package pki

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fire/policy/reason"
)

var start = time.Unix(1_800_000_000, 0)

func mint(t *testing.T, b *TokenBook, node string) *Token {
	t.Helper()
	tok, err := b.Mint(Mint{Pin: [32]byte{1}, Domain: eu, Controls: []string{"10.0.0.1:7400", "[::1]:7400"}, Node: node, Life: time.Hour}, start)
	must(t, err)
	return tok
}

// shelf is a store whose content is durable once Save returned.
type shelf struct {
	mu    sync.Mutex
	data  []byte
	saves int
	fail  bool
}

func (s *shelf) save(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errDisk
	}
	s.data, s.saves = bytes.Clone(b), s.saves+1
	return nil
}

func open(t *testing.T, s *shelf) *TokenBook {
	t.Helper()
	b, err := OpenTokenBook(s.data, s.save)
	must(t, err)
	return b
}

func TestTokenRoundTripAndTornCopies(t *testing.T) {
	tok := mint(t, open(t, &shelf{}), "h2")
	text := tok.String()
	back, err := ParseToken(" " + text + "\n")
	must(t, err)
	if back.String() != text || back.Node != "h2" || !slices.Equal(back.Controls, tok.Controls) || back.Domain != eu || back.Pin != tok.Pin {
		t.Fatalf("came back as %+v", back)
	}
	for n := range text {
		if _, err := ParseToken(text[:n]); codeOf(err) != reason.TokenMalformed {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for n := len(tokenPrefix); n < len(text); n++ {
		flipped := []byte(text)
		if flipped[n] ^= 1; flipped[n] == text[n] {
			continue
		}
		if got, err := ParseToken(string(flipped)); err == nil {
			t.Fatalf("changed at %d: %+v", n, got)
		}
	}
	if err := back.Check(start.Add(2 * time.Hour)); codeOf(err) != reason.TokenExpired {
		t.Errorf("got %v", err)
	}
}

func TestTokenSecretStaysOutOfLogsAndRest(t *testing.T) {
	var out bytes.Buffer
	s := &shelf{}
	tok := mint(t, open(t, s), "")
	slog.New(slog.NewJSONHandler(&out, nil)).Info("token made", "token", tok)
	if strings.Contains(out.String(), tokenPrefix) || !strings.Contains(out.String(), tok.ID) {
		t.Errorf("log line: %s", &out)
	}
	if bytes.Contains(s.data, tok.Secret) || bytes.Contains(s.data, []byte(tok.String())) || !bytes.Contains(s.data, []byte(tok.ID)) {
		t.Error("the book holds the secret")
	}
}

func TestThousandConcurrentRedeemsHaveOneWinner(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	tok := mint(t, b, "")
	var won, used atomic.Int32
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for range 1000 {
		wg.Go(func() {
			<-gate
			err := b.Redeem(tok.ID, tok.Secret, start)
			switch reason.Of(err, reason.OK) {
			case reason.TokenUsed:
				used.Add(1)
			case reason.OK:
				if err != nil {
					t.Error(err)
				}
				s.mu.Lock()
				durable := bytes.Contains(s.data, []byte("used_at"))
				s.mu.Unlock()
				if !durable {
					t.Error("won before the mark was durable")
				}
				won.Add(1)
			}
		})
	}
	close(gate)
	wg.Wait()
	if won.Load() != 1 || used.Load() != 999 {
		t.Fatalf("%d won, %d were told it is used", won.Load(), used.Load())
	}
	if err := open(t, s).Redeem(tok.ID, tok.Secret, start); codeOf(err) != reason.TokenUsed {
		t.Fatalf("after a restart: %v", err)
	}
}

func TestConcurrentRedeemsShareSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		saves := 0
		b, err := OpenTokenBook(nil, func([]byte) error { <-disk; saves++; return nil })
		must(t, err)
		var wg sync.WaitGroup
		for n := range 200 {
			secret := []byte{byte(n)}
			hash := sha256.Sum256(secret)
			tokenID := fmt.Sprintf("%016x", n)
			b.tokens[tokenID] = &entry{ID: tokenID, Hash: hash[:], Expires: start.Add(time.Hour)}
		}
		for n := range 200 {
			wg.Go(func() { must(t, b.RedeemFor(fmt.Sprintf("%016x", n), []byte{byte(n)}, "h1", start)) })
		}
		synctest.Wait() // all have marked their token; one is at the disk, the others queue
		close(disk)
		wg.Wait()
		if saves > 2 {
			t.Errorf("%d saves for 200 concurrent redeems", saves)
		}
	})
}

func TestRedeemRefusalsAndWhatTheyReveal(t *testing.T) {
	late, guess := start.Add(2*time.Hour), make([]byte, secretBytes)
	fresh := open(t, &shelf{})
	one := mint(t, fresh, "h1")
	steps := []struct {
		err  error
		want reason.Code
	}{
		{fresh.Redeem("0011223344556677", one.Secret, start), reason.TokenUnknown},
		{fresh.Redeem(one.ID, guess, start), reason.TokenUnknown},
		{fresh.Redeem(one.ID, nil, late), reason.TokenUnknown},
		{fresh.Redeem(one.ID, one.Secret, late), reason.TokenExpired},
		{fresh.RedeemFor(one.ID, one.Secret, "h2", start), reason.TokenUnknown},
		{fresh.RedeemFor(one.ID, one.Secret, "h1", start), reason.OK},
		{fresh.RedeemFor(one.ID, one.Secret, "h1", start), reason.TokenUsed},
		{fresh.Redeem(one.ID, guess, start), reason.TokenUnknown},
	}
	for n, s := range steps {
		if codeOf(s.err) != s.want {
			t.Errorf("step %d: %v; want %v", n, s.err, s.want)
		}
	}
	if row := fresh.List(start)[0]; row.UsedBy != "h1" || row.State != "used" {
		t.Errorf("list says %+v", row)
	}
}

func TestAFailedSaveAdmitsNobodyAndLosesNoToken(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	tok := mint(t, b, "")
	s.fail = true
	if err := b.Redeem(tok.ID, tok.Secret, start); !errors.Is(err, errDisk) {
		t.Fatalf("got %v", err)
	}
	if _, err := b.Mint(Mint{Domain: eu, Controls: []string{"a:1"}, Life: time.Hour}, start); !errors.Is(err, errDisk) {
		t.Fatalf("got %v", err)
	}
	if n := len(b.List(start)); n != 1 {
		t.Fatalf("%d tokens, want the one that was stored", n)
	}
	s.fail = false
	must(t, b.Redeem(tok.ID, tok.Secret, start))
}

func TestTokenBookIsBounded(t *testing.T) {
	b := open(t, &shelf{})
	for n := range TokensMax {
		tokenID := fmt.Sprintf("%016x", n)
		b.tokens[tokenID] = &entry{ID: tokenID, Hash: make([]byte, 32), Expires: start.Add(time.Hour)}
	}
	if _, err := b.Mint(Mint{Domain: eu, Controls: []string{"a:1"}, Life: time.Hour}, start); err == nil || !strings.Contains(err.Error(), "fire token list") {
		t.Fatalf("minted above the cap: %v", err)
	}
	if _, err := b.Mint(Mint{Domain: eu, Controls: []string{"a:1"}, Life: time.Hour}, start.Add(2*time.Hour+tokenKept)); err != nil {
		t.Fatalf("dead tokens must make room: %v", err)
	}
	if n := len(b.tokens); n != 1 {
		t.Fatalf("%d tokens are kept", n)
	}
	for _, m := range []Mint{
		{Domain: eu, Controls: []string{"a:1"}}, {Domain: eu, Controls: []string{"a:1"}, Life: TokenLifeMax + 1}, {Controls: []string{"a:1"}, Life: 1},
		{Domain: eu, Life: 1}, {Domain: eu, Controls: []string{"a"}, Life: 1}, {Domain: eu, Controls: []string{"a:1"}, Node: "H1", Life: 1},
	} {
		if _, err := b.Mint(m, start); err == nil {
			t.Errorf("minted %+v", m)
		}
	}
}

func TestCancelledTokenIsUnknown(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	tok := mint(t, b, "")
	if ok, err := b.Cancel(tok.ID, start); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := open(t, s).Redeem(tok.ID, tok.Secret, start); codeOf(err) != reason.TokenUnknown {
		t.Fatalf("got %v", err)
	}
	if ok, _ := b.Cancel(tok.ID, start); ok {
		t.Fatal("cancelled twice")
	}
}

func TestADamagedTokenBookIsRefused(t *testing.T) {
	s := &shelf{}
	mint(t, open(t, s), "")
	for n := range s.data {
		if _, err := OpenTokenBook(s.data[:n], s.save); err == nil || !strings.Contains(err.Error(), "token book") {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	b, err := OpenTokenBook(nil, func([]byte) error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	tok, err := b.Mint(Mint{Domain: eu, Controls: []string{"a:1"}, Life: time.Hour}, start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok.String())
	f.Add("fire1.")
	f.Add("fire1.AAAAAHt9")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			if codeOf(err) != reason.TokenMalformed {
				t.Fatalf("refused without its code: %v", err)
			}
			return
		}
		back, err := ParseToken(tok.String())
		if err != nil || back.String() != tok.String() {
			t.Fatalf("%q reads back as %v, %v", tok, back, err)
		}
	})
}
