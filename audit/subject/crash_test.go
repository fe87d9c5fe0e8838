package subject

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// story is what a process does until the power is cut, and what its callers were told.
type story struct {
	kept   []sealed // values that were given to the caller
	gone   map[ID]bool
	trying ID // an erasure that nobody was told the end of
	keys   map[ID][]byte
}

func (y *story) tell(p *platter) error {
	s, err := openStore(p, Deps{Stamp: stamp})
	if err != nil {
		return err
	}
	for _, word := range []string{"+a", "+b", "+c", "-b", "+d", "+b", "-a", "-c", "*"} {
		name := word[1:]
		switch word[0] {
		case '*':
			if err := s.Make([]byte("e"), []byte("f"), []byte("g"), []byte("h"), []byte("i"), []byte("j"), []byte("k"), []byte("l")); err != nil {
				return err
			}
		case '+':
			out, id, err := s.Seal(nil, []byte(name), []byte("values of "+name), []byte("ad"))
			if err != nil {
				return err
			}
			y.kept = append(y.kept, sealed{id, name, out})
			r, err := readRecord(s.file, s.places[id], id)
			if err != nil {
				return err
			}
			y.keys[id] = r.wrapped[:]
		case '-':
			id, _ := s.Find([]byte(name))
			y.trying = id
			if _, err := s.Erase(context.Background(), Erasure{Subject: id}); err != nil {
				return err
			}
			y.gone[id], y.trying = true, ID{}
		}
	}
	return nil
}

func TestThePowerMayGoAtAnyStep(t *testing.T) {
	whole := newPlatter()
	if err := (&story{gone: map[ID]bool{}, keys: map[ID][]byte{}}).tell(whole); err != nil {
		t.Fatal(err)
	}
	states, completed := 0, 0
	for cut := 1; cut <= whole.steps+1; cut++ {
		for seed := range uint64(40) {
			r := rand.New(rand.NewPCG(seed, uint64(cut)))
			p := newPlatter()
			p.cutAt = cut
			y := &story{gone: map[ID]bool{}, keys: map[ID][]byte{}}
			if err := y.tell(p); cut <= whole.steps && !errors.Is(err, errCut) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			found := p.after(r)
			if seed%4 == 1 { // and once more while it is opened again
				found.cutAt = 1 + r.IntN(8)
				openStore(found, Deps{Stamp: stamp})
				found = found.after(r)
			}
			s, err := openStore(found, Deps{Stamp: stamp})
			if err != nil {
				t.Fatalf("cut at %d, seed %d: %v", cut, seed, err)
			}
			states++
			for _, v := range y.kept {
				err := v.opens(s)
				switch {
				case y.gone[v.id] && !errors.Is(err, ErrErased):
					t.Fatalf("cut at %d, seed %d: %s was erased, now %v", cut, seed, v.name, err)
				case v.id == y.trying && errors.Is(err, ErrErased):
					completed++
				case !y.gone[v.id] && err != nil:
					t.Fatalf("cut at %d, seed %d: %s was safe, now %v", cut, seed, v.name, err)
				}
				if errors.Is(err, ErrErased) {
					for name, i := range found.safe {
						if bytes.Contains(i.safe, y.keys[v.id]) {
							t.Fatalf("cut at %d, seed %d: the key of %s is still in %s", cut, seed, v.name, name)
						}
					}
				}
			}
			if v := seal(t, s, "z"); v.opens(s) != nil {
				t.Fatal("it does not go on")
			}
		}
	}
	t.Logf("%d states of %d steps; %d erasures were brought to their end", states, whole.steps, completed)
	if completed == 0 {
		t.Error("no state had an erasure to complete")
	}
}

func TestAfterAFailedFlushNothingIsWritten(t *testing.T) {
	p := newPlatter()
	s, err := openStore(p, Deps{Stamp: stamp})
	if err != nil {
		t.Fatal(err)
	}
	a := seal(t, s, "a")
	p.cutAt = p.steps + 2 // the flush of the next key
	if _, _, err := s.Seal(nil, []byte("b"), nil, nil); !errors.Is(err, ErrBroken) || !errors.Is(err, errCut) {
		t.Error(err)
	}
	p.cutAt = 0
	if _, _, err := s.Seal(nil, []byte("c"), nil, nil); !errors.Is(err, ErrBroken) {
		t.Error("a key after the disk has failed:", err)
	}
	if _, err := s.Erase(t.Context(), Erasure{Subject: a.id}); !errors.Is(err, ErrBroken) {
		t.Error("an erasure after the disk has failed:", err)
	}
	if err := a.opens(s); err != nil {
		t.Error("what was safe:", err)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := open(t, dir, Deps{})
	a, b := seal(t, s, "a"), seal(t, s, "b")
	if _, err := s.Erase(t.Context(), Erasure{Subject: a.id}); err != nil {
		t.Fatal(err)
	}
	seal(t, s, "c")
	s.Close()
	path := filepath.Join(dir, recordsFile)
	good, err := os.ReadFile(path)
	if err != nil || len(good) != 4*recordBytes {
		t.Fatal(len(good), err)
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := scan(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
	}
	bad := bytes.Clone(good)
	bad[recordBytes+70] ^= 4
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir, Deps{}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	for cut := range recordBytes { // a last record that was not written to its end
		if err := os.WriteFile(path, append(bytes.Clone(good), good[recordBytes:recordBytes+cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(dir, Deps{})
		if err != nil {
			t.Fatalf("torn at %d: %v", cut, err)
		}
		if err := b.opens(s); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if now, _ := os.ReadFile(path); !bytes.Equal(now, good) {
			t.Fatalf("torn at %d: %d bytes are left", cut, len(now))
		}
	}
	if err := os.WriteFile(path, append(bytes.Clone(good[:2*recordBytes]), append(make([]byte, recordBytes), good[3*recordBytes:]...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir, Deps{}); !errors.Is(err, ErrDamaged) {
		t.Error("a record that somebody was told of is empty:", err)
	}
}

func TestARecordChangedUnderARunningStoreIsDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := open(t, dir, Deps{})
	a := seal(t, s, "a")
	s.byID, s.byName = cache[ID]{}, cache[string]{}
	if _, err := s.file.WriteAt([]byte{1}, recordBytes+70); err != nil {
		t.Fatal(err)
	}
	if err := a.opens(s); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := s.Erase(t.Context(), Erasure{Subject: a.id}); err != nil {
		t.Error("it can still be erased:", err)
	}
	if v := seal(t, s, "a"); v.id == a.id || v.opens(s) != nil {
		t.Error("the name is not free")
	}
}

func FuzzScan(f *testing.F) {
	sec, err := derive(make([]byte, keyBytes))
	if err != nil {
		f.Fatal(err)
	}
	head := record{kind: header, id: sec.check, durable: 1}
	good := head.append(nil)
	for i := range byte(3) {
		r, _, err := sec.newKey(nameTag{i}, int64(i))
		if err != nil {
			f.Fatal(err)
		}
		r.durable = uint32(i) + 1
		good = r.append(good)
	}
	gone := record{kind: erased, id: ID(good[recordBytes+16 : recordBytes+32]), durable: 4}
	f.Add(good)
	f.Add(gone.append(bytes.Clone(good)))
	f.Add(good[:len(good)-5])
	f.Add(append(bytes.Clone(good), make([]byte, 300)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := scan(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var again []byte
		for _, r := range c.records {
			again = r.append(again)
		}
		d, err := scan(bytes.NewReader(again), int64(len(again)))
		if err != nil || len(d.records) != len(c.records) || d.cut || d.undone != c.undone {
			t.Fatalf("%d records are read as %d: %v", len(c.records), len(d.records), err)
		}
		if !c.cut && !c.undone && !bytes.Equal(again, b) {
			t.Fatal("one content has two forms")
		}
		for _, r := range c.records {
			if r.kind == live {
				sec.unwrap(&r)
			}
		}
	})
}

func FuzzStoreKey(f *testing.F) {
	f.Add([]byte(keyPrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add([]byte(keyPrefix))
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := parseSecret(b); err == nil && len(key) != keyBytes || err != nil && !errors.Is(err, ErrStoreKey) {
			t.Fatalf("%d bytes, %v", len(key), err)
		}
	})
}
