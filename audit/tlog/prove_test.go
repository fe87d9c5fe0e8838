package tlog

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// sizesOfProofs are all of them for a whole log, the more telling ones for a pruned one.
func sizesOfProofs(minimum int64) []int64 {
	if minimum == 0 {
		return []int64{1, 2, 3, 7, 8, 255, 256, 257, 513, 700}
	}
	return []int64{257, 700}
}

func TestEveryEntryOfManySizesIsProved(t *testing.T) {
	var log kept
	var f Frontier
	roots := log.grow(&f, 700)
	for _, minimum := range []int64{0, 1, 37, 256, 300, 511} {
		r := log.prune(minimum)
		for _, size := range sizesOfProofs(minimum) {
			head := Head{"a.log", size, roots[size]}
			if size >= minimum {
				if root, err := RootAt(r, size); err != nil || root != head.Root {
					t.Fatalf("minimum %d: root of %d is %v (%v)", minimum, size, root, err)
				}
			}
			for i := max(0, minimum); i < size; i++ {
				path, err := ProveEntry(r, head, i)
				if err != nil {
					t.Fatalf("minimum %d, size %d, entry %d: %v", minimum, size, i, err)
				}
				if err := tlog.CheckRecord(path, size, head.Root, i, Leaf(leafOf(i))); err != nil {
					t.Fatalf("minimum %d, size %d, entry %d: %v", minimum, size, i, err)
				}
			}
		}
	}
}

func TestGrowthBetweenAllSizesIsProved(t *testing.T) {
	var log kept
	var f Frontier
	roots := log.grow(&f, 700)
	for _, minimum := range []int64{0, 37, 256, 300} {
		r := log.prune(minimum)
		for _, size := range sizesOfProofs(minimum) {
			head := Head{"a.log", size, roots[size]}
			for from := minimum; from <= size; from++ {
				if from > minimum+10 && from%3 != 0 && size-from > 10 {
					continue
				}
				proof, err := ProveGrowth(r, head, from)
				if err != nil {
					t.Fatalf("minimum %d: %d to %d: %v", minimum, from, size, err)
				}
				old := Head{"a.log", from, roots[from]}
				if err := CheckGrowth(proof, head, old); err != nil {
					t.Fatalf("minimum %d: %d to %d: %v", minimum, from, size, err)
				}
				old.Root[0] ^= 1
				if CheckGrowth(proof, head, old) == nil {
					t.Fatalf("%d to %d: another old root is taken", from, size)
				}
			}
		}
	}
}

func TestALevelSixteenSubtreeIsReadInOneStep(t *testing.T) {
	var log kept
	var f Frontier
	const size = 1<<16 + 300
	log.grow(&f, size)
	head := Head{"a.log", size, f.Root()}
	for _, minimum := range []int64{0, 1000, 1 << 16} {
		r := log.prune(minimum)
		for _, i := range []int64{minimum, minimum + 1, 1<<16 - 1, 1 << 16, size - 1} {
			if i < minimum {
				continue
			}
			if _, err := ProveEntry(r, head, i); err != nil {
				t.Errorf("minimum %d, entry %d: %v", minimum, i, err)
			}
		}
	}
	reads := 0
	counted := counting{&log, &reads}
	if _, err := ProveEntry(counted, head, size-1); err != nil || reads > 300+TileHeight*2 {
		t.Errorf("%d reads for the last entry (%v)", reads, err)
	}
}

type counting struct {
	Reader
	reads *int
}

func (c counting) Kept(level int, n int64) (Hash, bool, error) {
	*c.reads++
	return c.Reader.Kept(level, n)
}

func TestWhatWasPrunedOrChangedIsSaid(t *testing.T) {
	var log kept
	var f Frontier
	roots := log.grow(&f, 700)
	head := Head{"a.log", 700, roots[700]}
	r := log.prune(300)
	if _, err := ProveEntry(r, head, 299); err == nil || !strings.Contains(err.Error(), "the log begins at 300") {
		t.Errorf("a pruned entry: %v", err)
	}
	if _, err := ProveGrowth(r, head, 100); err == nil || !strings.Contains(err.Error(), "the log begins at 300") {
		t.Errorf("growth from before the minimum: %v", err)
	}
	for _, from := range []int64{-1, 701} {
		if _, err := ProveGrowth(&log, head, from); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("no growth from %d to 700", from)) {
			t.Errorf("growth from %d: %v", from, err)
		}
	}
	for _, at := range [][2]int64{{0, 600}, {0, 601}, {8, 1}, {0, 699}} {
		h := log.hashes[at]
		h[5] ^= 4
		spoilt := log.prune(0)
		spoilt.hashes[at] = h
		if _, err := ProveEntry(spoilt, head, 600); err == nil || !strings.Contains(err.Error(), "they were changed") {
			t.Errorf("hash %v was changed: %v", at, err)
		}
	}
}

func TestGrowthThatCannotBeIsRefused(t *testing.T) {
	var log kept
	var f Frontier
	roots := log.grow(&f, 20)
	head := func(n int64) Head { return Head{"a.log", n, roots[n]} }
	good, err := ProveGrowth(&log, head(20), 7)
	if err != nil {
		t.Fatal(err)
	}
	other := head(20)
	other.Root[0] ^= 1
	rows := map[string]struct {
		proof     []Hash
		head, old Head
		say       string
	}{
		"shrunk":               {nil, head(7), head(20), "shrank from 20 to 7"},
		"two roots":            {nil, other, head(20), "two roots of size 20"},
		"a proof of nothing":   {good, head(20), head(20), "where none is due"},
		"a proof from nothing": {good, head(20), Head{"a.log", 0, Empty()}, "where none is due"},
		"a root of nothing":    {nil, head(20), Head{"a.log", 0, roots[1]}, "size 0"},
		"other new root":       {good, other, head(7), ""},
		"short":                {good[1:], head(20), head(7), ""},
		"long":                 {append(good, Hash{}), head(20), head(7), ""},
		"other old size":       {good, head(20), head(6), ""},
	}
	for name, row := range rows {
		if err := CheckGrowth(row.proof, row.head, row.old); err == nil || !strings.Contains(err.Error(), row.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
