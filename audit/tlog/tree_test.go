package tlog

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// leafOf is entry i of the trees of these tests.
func leafOf(i int64) []byte { return fmt.Appendf(nil, "entry %d", i) }

// kept is a Reader in memory that holds what a log keeps: levels 0, 8, 16, and the edge of what
// was pruned.
type kept struct {
	hashes map[[2]int64]Hash
	edge   Frontier
}

func (k *kept) Kept(level int, n int64) (Hash, bool, error) {
	if level%TileHeight != 0 {
		return Hash{}, false, fmt.Errorf("level %d is not kept", level)
	}
	h, ok := k.hashes[[2]int64{int64(level), n}]
	return h, ok, nil
}

func (k *kept) Edge() *Frontier { return &k.edge }

// grow adds leaves up to size, and gives the root at each size from the one before.
func (k *kept) grow(f *Frontier, size int64) []Hash {
	if k.hashes == nil {
		k.hashes = map[[2]int64]Hash{}
	}
	roots := []Hash{f.Root()}
	for f.Size() < size {
		f.Add(Leaf(leafOf(f.Size())), func(level int, n int64, h Hash) {
			if level%TileHeight == 0 {
				k.hashes[[2]int64{int64(level), n}] = h
			}
		})
		roots = append(roots, f.Root())
	}
	return roots
}

// prune is a copy without what lies wholly below minimum.
func (k *kept) prune(minimum int64) *kept {
	out := &kept{hashes: map[[2]int64]Hash{}}
	for i := range minimum {
		out.edge.Add(Leaf(leafOf(i)), nil)
	}
	for at, h := range k.hashes {
		if (at[1]+1)<<at[0] > minimum {
			out.hashes[at] = h
		}
	}
	return out
}

// TestKnownRoots is the tree of Certificate Transparency's own tests: the inputs and roots that
// every implementation of RFC 6962 carries.
func TestKnownRoots(t *testing.T) {
	inputs := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var f Frontier
	var h Hasher
	for n, want := range roots {
		if got := f.Root(); hex.EncodeToString(got[:]) != want {
			t.Errorf("root of %d leaves is %x, RFC 6962 has %s", n, got, want)
		}
		if n < len(inputs) {
			data, err := hex.DecodeString(inputs[n])
			if err != nil {
				t.Fatal(err)
			}
			if h.Leaf(data) != Leaf(data) {
				t.Errorf("two hashes of leaf %x", data)
			}
			f.Add(h.Leaf(data), nil)
		}
	}
}

func TestFrontierIsTheTreeOfTheProvenModule(t *testing.T) {
	var f Frontier
	var stored []Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]Hash, error) {
		out := make([]Hash, len(at))
		for i, a := range at {
			out[i] = stored[a]
		}
		return out, nil
	})
	for n := int64(0); n <= 3000; n++ {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		again, err := FrontierOf(n, f.Append(nil))
		if f.Root() != want || err != nil || !bytes.Equal(again.Append(nil), f.Append(nil)) || again.Root() != want || f.Size() != n {
			t.Fatalf("size %d: root %v, the module has %v; read again %v (%v)", n, f.Root(), want, again.Root(), err)
		}
		hs, err := tlog.StoredHashes(n, leafOf(n), reader)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		f.Add(Leaf(leafOf(n)), func(level int, num int64, h Hash) {
			if i >= len(hs) || hs[i] != h || tlog.StoredHashIndex(level, num) != int64(len(stored)+i) {
				t.Fatalf("leaf %d completes level %d number %d as %v, the module has %v", n, level, num, h, hs)
			}
			i++
		})
		if i != len(hs) {
			t.Fatalf("leaf %d completes %d subtrees, the module has %d", n, i, len(hs))
		}
		stored = append(stored, hs...)
		for level := range 14 {
			for num := range (n+1)>>level + 1 {
				h, ok := f.Subtree(level, num)
				if due := f.Size()>>level&1 == 1 && num == f.Size()>>level-1; ok != due || ok && h != stored[tlog.StoredHashIndex(level, num)] {
					t.Fatalf("size %d: subtree %d of level %d is %v (%v)", f.Size(), num, level, h, ok)
				}
			}
			if n > 300 {
				break
			}
		}
	}
}

func TestWhatIsNoFrontierIsRefused(t *testing.T) {
	for size, bytes := range map[int64]int{-1: 0, 3: 32, 4: 0, 0: 32, 1 << 61: 32, 5: 65} {
		if _, err := FrontierOf(size, make([]byte, bytes)); err == nil {
			t.Errorf("%d bytes are taken as a frontier of %d leaves", bytes, size)
		}
	}
}

func TestFoldIsTheRootOfAFullTree(t *testing.T) {
	for level := range 9 {
		var f Frontier
		hs := make([]Hash, 1<<level)
		for i := range hs {
			hs[i] = Leaf(leafOf(int64(i)))
			f.Add(hs[i], nil)
		}
		if got := Fold(hs); got != f.Root() {
			t.Errorf("%d leaves: %v and %v", 1<<level, got, f.Root())
		}
	}
}

func TestHashingAllocatesNothing(t *testing.T) {
	var h Hasher
	data := bytes.Repeat([]byte("x"), 4096)
	h.Leaf(data)
	var f Frontier
	count := 0
	done := func(int, int64, Hash) { count++ }
	rows := map[string]func(){
		"Hasher.Leaf":  func() { h.Leaf(data[:100+count%3000]) },
		"Node":         func() { Node(Hash{1}, Hash{2}) },
		"Frontier.Add": func() { f.Add(Hash{3}, done); f.Add(Hash{4}, nil) },
	}
	for name, do := range rows {
		if n := testing.AllocsPerRun(1000, do); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
