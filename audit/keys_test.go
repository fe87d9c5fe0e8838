package audit

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"fire/audit/tlog"
)

// kept is a file of keys in memory.
type kept struct{ b []byte }

func (k *kept) file() KeyFile {
	return KeyFile{
		Read: func() ([]byte, error) {
			if k.b == nil {
				return nil, fs.ErrNotExist
			}
			return k.b, nil
		},
		Write: func(b []byte) error { k.b = bytes.Clone(b); return nil },
	}
}

// TestKeysAreReadBack makes many: a seed may have any byte in it.
func TestKeysAreReadBack(t *testing.T) {
	for range 200 {
		var f kept
		made, err := LoadKeys(f.file(), testOrigin, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadKeys(f.file(), testOrigin, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if again.Signing[0].Verifier() != made.Known[0] || !slices.Equal(again.Known, made.Known) {
			t.Fatalf("%v became %v", made.Known, again.Known)
		}
		note, err := tlog.Sign(tlog.Head{Origin: testOrigin, Size: 1, Root: tlog.Leaf(nil)}, again.Signing...)
		if err != nil {
			t.Fatal(err)
		}
		known, _ := tlog.NewVerifiers(made.Known...)
		if _, err := known.Open(note); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeysThatDoNotFitAreRefused(t *testing.T) {
	var f kept
	if _, err := LoadKeys(f.file(), testOrigin, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(f.file(), "eu.floor/audit/host-2", rand.Reader); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Error(err)
	}
	secret := strings.Fields(string(f.b))[1]
	for _, bad := range []string{"", "signing x", "known x", "hello", "signing " + secret[:len(secret)-2]} {
		_, err := parseKeys([]byte(bad), testOrigin)
		if err == nil {
			t.Errorf("%q is taken", bad)
		} else if strings.Contains(err.Error(), secret[len(secret)-20:]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	broken := f.file()
	broken.Read = func() ([]byte, error) { return nil, errors.New("injected") }
	if _, err := LoadKeys(broken, testOrigin, rand.Reader); err == nil {
		t.Error("keys that cannot be read are made anew")
	}
}

// TestAKeyRotatesWithOverlap: the log is signed by both, then by the new one, and verifies all along.
func TestAKeyRotatesWithOverlap(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 64 << 10
	l, _ := w.open()
	old := w.deps.Keys
	w.append(1, 1, 200)
	both, err := old.Rotated(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetKeys(both); err != nil {
		t.Fatal(err)
	}
	w.append(1, 201, 200)
	_, note := l.Head()
	for _, k := range both.Known {
		one, _ := tlog.NewVerifiers(k)
		if _, err := one.Open(note); err != nil {
			t.Errorf("during the overlap %s does not verify the head: %v", k, err)
		}
	}
	if _, err := both.Rotated(rand.Reader); err == nil {
		t.Error("a second rotation begins before the first is settled")
	}
	if err := l.SetKeys(both.Settled()); err != nil {
		t.Fatal(err)
	}
	w.append(1, 401, 200)
	_, note = l.Head()
	oldOnly, _ := tlog.NewVerifiers(old.Known...)
	if _, err := oldOnly.Open(note); !errors.Is(err, tlog.ErrWrongKey) {
		t.Errorf("the old key still signs: %v", err)
	}
	w.close()
	w.deps.Keys = both.Settled()
	l, _ = w.open()
	known, _ := tlog.NewVerifiers(both.Known...)
	if r, err := l.Verify(t.Context(), Verification{Known: known, Away: w.deps.Away}); err != nil || r.Verdict != Good || r.Size != 600 {
		t.Errorf("%v %+v", err, r)
	}
	if r, _ := l.Verify(t.Context(), Verification{Known: oldOnly}); r.Verdict != IsTampered {
		t.Errorf("the old key alone verifies all: %+v", r)
	}
}
