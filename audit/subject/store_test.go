package subject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fire/audit/entry"
)

func TestWhatIsSealedOpensForItsSubjectAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := open(t, dir, Deps{})
	a, b := seal(t, s, "account-1"), seal(t, s, "account-2")
	again := seal(t, s, "account-1")
	if a.id == b.id || a.id != again.id || bytes.Equal(a.bytes, again.bytes) || len(a.bytes) != len("values of account-1")+Overhead {
		t.Errorf("%v %v %v", a.id, b.id, again.id)
	}
	s.Close()
	s = open(t, dir, Deps{})
	for _, v := range []sealed{a, b, again} {
		if err := v.opens(s); err != nil {
			t.Error(err)
		}
	}
	if id, ok := s.Find([]byte("account-1")); !ok || id != a.id {
		t.Error("the name is not found again")
	}
	if back, err := ParseID(a.id.String()); err != nil || back != a.id {
		t.Error(back, err)
	}
	bad := bytes.Clone(a.bytes)
	bad[14] ^= 1
	rows := map[string]func() ([]byte, error){
		"changed":          func() ([]byte, error) { return s.Open(nil, a.id, bad, []byte("ad")) },
		"of another":       func() ([]byte, error) { return s.Open(nil, b.id, a.bytes, []byte("ad")) },
		"other data shown": func() ([]byte, error) { return s.Open(nil, a.id, a.bytes, []byte("ae")) },
		"short":            func() ([]byte, error) { return s.Open(nil, a.id, a.bytes[:27], nil) },
	}
	for name, f := range rows {
		if got, err := f(); !errors.Is(err, ErrTampered) || len(got) != 0 {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if _, err := s.Open(nil, ID{1}, a.bytes, nil); !errors.Is(err, ErrUnknown) {
		t.Error("nobody:", err)
	}
	for _, name := range []string{"", strings.Repeat("x", 257)} {
		if _, _, err := s.Seal(nil, []byte(name), nil, nil); !errors.Is(err, ErrName) {
			t.Errorf("a name of %d bytes: %v", len(name), err)
		}
	}
}

func TestTheFolderShowsNoName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := open(t, dir, Deps{})
	seal(t, s, "ACCOUNT-OF-SOMEBODY")
	for name, b := range files(t, dir) {
		if bytes.Contains(b, []byte("ACCOUNT")) || bytes.Contains(b, []byte("SOMEBODY")) {
			t.Errorf("%s has the name", name)
		}
	}
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = b
	}
	return out
}

// wrapped is what a folder's file holds of a subject's key.
func wrapped(t *testing.T, s *Store, id ID) []byte {
	t.Helper()
	r, err := readRecord(s.file, s.places[id], id)
	if err != nil {
		t.Fatal(err)
	}
	return r.wrapped[:]
}

func TestAnErasureIsFinalHereAndInEveryLaterCopy(t *testing.T) {
	dir, copyDir := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "copy")
	s := open(t, dir, Deps{})
	a, b := seal(t, s, "a"), seal(t, s, "b")
	secret := wrapped(t, s, a.id)
	before, err := os.Open(filepath.Join(dir, recordsFile)) // keeps hold of the file that is replaced
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	raw, err := s.Erase(t.Context(), Erasure{a.id, "dpo from 10.0.0.9", "GDPR Art. 17, ticket 7"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := entry.Parse(raw)
	if err != nil || v.Kind() != entry.Erased || !bytes.Equal(v.Bytes(entry.Subject), a.id[:]) || v.Str(entry.Actor) != "dpo from 10.0.0.9" ||
		v.Str(entry.Detail) != "GDPR Art. 17, ticket 7" || v.Head().Time != 1_700_000_000_000_000_000 || v.Head().Clock != entry.ClockPTP || v.Head().Bound != 850 {
		t.Errorf("%v %s", err, v.AppendJSON(nil))
	}
	old := make([]byte, 1<<12)
	n, _ := before.ReadAt(old, 0)
	if bytes.Contains(old[:n], secret) {
		t.Error("the file that was replaced still has the key")
	}
	if err := os.Mkdir(copyDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files(t, dir) {
		if bytes.Contains(b, secret) {
			t.Errorf("%s still has the key", name)
		}
		if err := os.WriteFile(filepath.Join(copyDir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Store{s, open(t, copyDir, Deps{})} {
		if err := a.opens(s); !errors.Is(err, ErrErased) {
			t.Error("erased:", err)
		}
		if err := b.opens(s); err != nil {
			t.Error("the other:", err)
		}
		if _, err := s.Erase(t.Context(), Erasure{Subject: a.id}); !errors.Is(err, ErrErased) {
			t.Error("twice:", err)
		}
		if g := s.Erased(); len(g) != 1 || g[0] != (Gone{a.id, 1_700_000_000_000_000_000}) {
			t.Errorf("%v", g)
		}
		if _, ok := s.Find([]byte("a")); ok {
			t.Error("the name is still there")
		}
		anew := seal(t, s, "a")
		if anew.id == a.id || anew.opens(s) != nil || !errors.Is(a.opens(s), ErrErased) {
			t.Error("new values under the old name")
		}
	}
	if _, err := s.Erase(t.Context(), Erasure{Subject: ID{9}}); !errors.Is(err, ErrUnknown) {
		t.Error("nobody:", err)
	}
}

func TestAHoldKeepsASubject(t *testing.T) {
	held := map[ID]string{}
	s := open(t, filepath.Join(t.TempDir(), "s"), Deps{Held: func(id ID) (string, bool) { why, ok := held[id]; return why, ok }})
	a := seal(t, s, "a")
	held[a.id] = "retention until 2031-05-01"
	if _, err := s.Erase(t.Context(), Erasure{Subject: a.id}); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "2031") {
		t.Error(err)
	}
	if err := a.opens(s); err != nil {
		t.Error(err)
	}
	delete(held, a.id)
	if _, err := s.Erase(t.Context(), Erasure{Subject: a.id}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.turn <- struct{}{}
	if _, err := s.Erase(ctx, Erasure{Subject: a.id}); !errors.Is(err, context.Canceled) {
		t.Error("nobody waits any more:", err)
	}
	<-s.turn
}

func TestWhatOthersMayReadIsRefused(t *testing.T) {
	for _, what := range []string{"", keyFile, recordsFile} {
		dir := filepath.Join(t.TempDir(), "s")
		open(t, dir, Deps{}).Close()
		path := filepath.Join(dir, what)
		for name := range files(t, dir) {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s is made with %v", name, info.Mode())
			}
		}
		if err := os.Chmod(path, 0o750); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenStore(dir, Deps{}); err == nil || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("%q of mode 0750: %v", what, err)
		}
	}
}

func TestTwoProcessesDoNotShareAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := open(t, dir, Deps{})
	if _, err := OpenStore(dir, Deps{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
	s.Close()
	if err := s.Make([]byte("late")); err == nil {
		t.Error("a closed store makes a key")
	}
	open(t, dir, Deps{})
}

func TestTheWrongStoreKeyIsToldAndNoneIsMadeInItsPlace(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "o")
	s := open(t, dir, Deps{})
	a := seal(t, s, "a")
	s.Close()
	open(t, other, Deps{}).Close()
	right, _ := os.ReadFile(filepath.Join(dir, keyFile))
	wrong, _ := os.ReadFile(filepath.Join(other, keyFile))
	for name, b := range map[string][]byte{"of another store": wrong, "half": right[:30], "none": nil} {
		if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
			t.Fatal(err)
		}
		if b != nil {
			if err := os.WriteFile(filepath.Join(dir, keyFile), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenStore(dir, Deps{}); !errors.Is(err, ErrStoreKey) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, keyFile), right, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.opens(open(t, dir, Deps{})); err != nil {
		t.Error(err)
	}
}

func TestSealingAllocatesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"), Deps{})
	name, plain, ad := []byte("account-1"), []byte("1=account-1"), []byte("ad")
	dst := make([]byte, 0, 128)
	var id ID
	n := testing.AllocsPerRun(200, func() {
		var err error
		if dst, id, err = s.Seal(dst[:0], name, plain, ad); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	out := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := s.Open(out, id, dst, ad); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations to open", n)
	}
}

func TestNoNonceComesTwice(t *testing.T) {
	var n nonces
	n.run.Store(newRun())
	seen, first := map[string]bool{}, n.run.Load()
	for i := range 2000 {
		if i == 1000 {
			first.next.Store(1<<32 - 2) // the counter's end is near
		}
		v := string(n.append(nil))
		if len(v) != nonceBytes || seen[v] {
			t.Fatalf("%x again", v)
		}
		seen[v] = true
	}
	if n.run.Load() == first {
		t.Error("the counter went beyond its bits under the same random ones")
	}
}

func TestTheCacheIsBoundedAndKeysComeBack(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"), Deps{})
	const many = 3 * cacheMax
	names := make([][]byte, many)
	for i := range names {
		names[i] = fmt.Appendf(nil, "account-%d", i)
	}
	if err := s.Make(append(names, names[0])...); err != nil {
		t.Fatal(err)
	}
	if s.count != many+1 {
		t.Errorf("%d records for %d names", s.count, many)
	}
	first := seal(t, s, "account-0")
	for _, n := range names {
		if _, _, err := s.Seal(nil, n, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.byName.young) > cacheMax || len(s.byName.old) > cacheMax || len(s.byID.young) > cacheMax || len(s.byID.old) > cacheMax {
		t.Error("the cache has outgrown its bound")
	}
	if err := first.opens(s); err != nil {
		t.Error("forgotten, and not found again:", err)
	}
	if _, err := s.Erase(t.Context(), Erasure{Subject: first.id}); err != nil {
		t.Fatal(err)
	}
	if all, gone := s.Len(); all != many || gone != 1 {
		t.Errorf("%d subjects, %d erased", all, gone)
	}
	if v := seal(t, s, "account-77"); v.opens(s) != nil {
		t.Error("lost by the erasure of another")
	}
}

// TestReadersDoNotMindErasures: a writer seals, readers open, and subjects are erased meanwhile.
func TestReadersDoNotMindErasures(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"), Deps{})
	const many = 40
	var values [many]sealed
	for i := range values {
		values[i] = seal(t, s, fmt.Sprint("account-", i))
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for r := range 3 {
		wg.Go(func() {
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				v := values[i%many]
				err := v.opens(s)
				if i%2 == 0 && err != nil || err != nil && !errors.Is(err, ErrErased) {
					if i%many%2 == 0 || !errors.Is(err, ErrErased) {
						t.Errorf("%s: %v", v.name, err)
						return
					}
				}
				if i%7 == 0 { // as if it had been forgotten
					s.mu.Lock()
					s.byID = cache[ID]{}
					s.mu.Unlock()
				}
			}
		})
	}
	wg.Go(func() {
		defer close(stop)
		for i := 1; i < many; i += 2 {
			if _, err := s.Erase(t.Context(), Erasure{Subject: values[i].id}); err != nil {
				t.Error(err)
			}
			anew, id, err := s.Seal(nil, []byte(values[i].name), []byte("x"), nil)
			if err != nil || id == values[i].id || len(anew) != 1+Overhead {
				t.Errorf("%v sealed anew as %v: %v", values[i].id, id, err)
			}
		}
	})
	wg.Wait()
	for i, v := range values {
		if err := v.opens(s); (i%2 == 1) != errors.Is(err, ErrErased) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}
