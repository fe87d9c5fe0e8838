package udp

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

func pairOf(t testing.TB) (*sealer, *opener) {
	s, err := newSealer(secret(1), 7, 0, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	o, err := newOpener(secret(1), false, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

func TestReplayedAndForgedDatagramsAreRefused(t *testing.T) {
	s, o := pairOf(t)
	b, err := s.seal(0, make([]byte, 200), typeData, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("hello")) {
		t.Fatal("it is not encrypted")
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, _, v := o.open(0, c); v == Opened {
			t.Fatalf("opened with byte %d changed", i)
		}
	}
	if _, p, v := o.open(0, bytes.Clone(b)); v != Opened || string(p) != "hello" {
		t.Fatal(v, p)
	}
	if _, _, v := o.open(0, bytes.Clone(b)); v != Repeated {
		t.Fatal("a repeat is", v)
	}
	for n := range len(b) {
		if _, _, v := o.open(0, bytes.Clone(b[:n])); v == Opened {
			t.Fatal("opened when cut to", n)
		}
	}
}

// TestForgeryMovesNoWindow sends a far counter that nobody has sealed.
func TestForgeryMovesNoWindow(t *testing.T) {
	s, o := pairOf(t)
	b, _ := s.seal(0, make([]byte, 200), typeData, []byte("x"))
	far := bytes.Clone(b)
	far[14] = 0xff
	if _, _, v := o.open(0, far); v != Forged {
		t.Fatal(v)
	}
	if _, _, v := o.open(0, b); v != Opened {
		t.Fatal("the genuine one is refused after a forgery:", v)
	}
}

func TestReplayWindowTellsEveryCounterOnce(t *testing.T) {
	if ReplayWindow < 8128 {
		t.Fatal(ReplayWindow)
	}
	var w replay
	seen := map[uint64]bool{}
	rng := rand.New(rand.NewPCG(1, 1))
	top := uint64(0)
	for range 300_000 {
		c := uint64(0)
		switch rng.IntN(20) {
		case 0:
			c = top + rng.Uint64N(20_000)
		case 1:
			c = top - min(top, rng.Uint64N(20_000))
		default:
			c = top - min(top, rng.Uint64N(100)) + rng.Uint64N(3)
		}
		want := !seen[c] && (c > top || top-c < ReplayWindow)
		if got := w.fresh(c); got != want {
			t.Fatalf("counter %d at %d: %v, want %v", c, top, got, want)
		}
		seen[c] = true
		top = max(top, c)
	}
}

func TestKeysAreReplacedByTimeAndByCount(t *testing.T) {
	s, o := pairOf(t)
	send := func(now int64) Verdict {
		b, err := s.seal(now, make([]byte, 200), typeData, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, _, v := o.open(now, b)
		return v
	}
	first := s.key
	if v := send(0); v != Opened {
		t.Fatal(v)
	}
	late, _ := s.seal(1, make([]byte, 200), typeData, []byte("under way"))
	now := int64(RekeyAfter)
	if v := send(now); v != Opened || s.key == first || bytes.Equal(s.key.secret[:], first.secret[:]) {
		t.Fatal("the key was not replaced by time:", v)
	}
	again := bytes.Clone(late)
	if _, _, v := o.open(now+1, late); v != Opened {
		t.Error("what was under way under the last key is", v)
	}
	if _, _, v := o.open(now+int64(keysOverlap)+1, again); v != NoKey {
		t.Error("the last key still opens:", v)
	}
	second := s.key
	s.left = 1
	send(now)
	if v := send(now); v != Opened || s.key == second {
		t.Fatal("the key was not replaced by count:", v)
	}
	for range 600 { // generations go around
		now += int64(RekeyAfter)
		if v := send(now); v != Opened {
			t.Fatal(v)
		}
	}
}

// TestNonceIsNeverUsedTwice for two indexes and many counters under one key.
func TestNonceIsNeverUsedTwice(t *testing.T) {
	seen := map[[12]byte]bool{}
	for index := range uint32(3) {
		s, err := newSealer(secret(1), index, 0, true, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if _, err := s.seal(0, make([]byte, 100), typeData, nil); err != nil {
				t.Fatal(err)
			}
			if seen[s.nonce] {
				t.Fatal("twice")
			}
			seen[s.nonce] = true
		}
	}
}

func TestUsedUpGroupKeySealsNothing(t *testing.T) {
	s, err := newSealer(secret(1), 1, 0, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.left = 1
	if _, err := s.seal(0, make([]byte, 100), typeData, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.seal(int64(time.Hour), make([]byte, 100), typeData, nil); err == nil {
		t.Fatal("sealed under a key that is used up")
	}
}

// TestPeerThatWasNotHeardForSeveralKeysIsUnderstoodAgain has all that it sends lost meanwhile.
func TestPeerThatWasNotHeardForSeveralKeysIsUnderstoodAgain(t *testing.T) {
	for lost := range 20 {
		s, o := pairOf(t)
		now := int64(1)
		seal := func() []byte {
			b, err := s.seal(now, make([]byte, 200), typeData, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if _, _, v := o.open(now, seal()); v != Opened {
			t.Fatal(v)
		}
		for range lost {
			now += int64(RekeyAfter)
			seal()
		}
		_, _, v := o.open(now, seal())
		if want := lost <= aheadMost; (v == Opened) != want {
			t.Errorf("%d keys were missed: %v", lost, v)
		}
		if v != Opened {
			continue
		}
		now += int64(RekeyAfter)
		if _, _, v := o.open(now, seal()); v != Opened {
			t.Errorf("%d keys were missed, and the one after is %v", lost, v)
		}
	}
}

// TestRubbishCostsNoKeysAndHidesNone sends generations far ahead that nobody has sealed,
// before each datagram of a peer that is some keys ahead.
func TestRubbishCostsNoKeysAndHidesNone(t *testing.T) {
	s, o := pairOf(t)
	now := int64(1)
	for range 9 {
		now += int64(RekeyAfter)
		if _, err := s.seal(now, make([]byte, 200), typeData, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	piece := make([]byte, 60)
	rubbish := func() {
		for g := range 256 {
			clear(piece)
			piece[0], piece[1] = typeData, byte(g)
			if _, _, v := o.open(now, piece); v == Opened {
				t.Fatal("rubbish is opened")
			}
		}
	}
	rubbish()
	if n := testing.AllocsPerRun(20, rubbish); n > 0 {
		t.Errorf("%v allocations for 256 pieces of rubbish: each has its key derived", n)
	}
	b, _ := s.seal(now, make([]byte, 200), typeData, []byte("x"))
	if _, _, v := o.open(now, b); v != Opened {
		t.Error("after rubbish a genuine one is", v)
	}
}

// TestGroupsKeyIsAskedForLongBeforeItIsUsedUp seals as many datagrams as a key may.
func TestGroupsKeyIsAskedForLongBeforeItIsUsedUp(t *testing.T) {
	s, err := newSealer(secret(1), 1, 0, true, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, asked := make([]byte, 200), uint64(0)
	for n := uint64(0); ; n++ {
		if asked == 0 && s.stale(1) {
			asked = n
		}
		if _, err := s.seal(1, b, typeData, nil); err != nil {
			if n != RekeyPackets {
				t.Errorf("used up after %d", n)
			}
			break
		}
	}
	if asked != RekeyPackets/2 {
		t.Errorf("asked for after %d of %d: what is sent until the members have the next is lost", asked, RekeyPackets)
	}
}
