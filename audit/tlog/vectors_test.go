package tlog

import (
	"crypto/sha256"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// vectors walks a folder of transparency-dev/merkle's test data. It is not part of the
// repository: FIRE_SHARED names the folder that holds data/merkle.
func vectors(t *testing.T, kind string, each func(name string, raw []byte)) {
	t.Helper()
	shared := os.Getenv("FIRE_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	root := filepath.Join(shared, "data/merkle/testdata", kind)
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no test vectors at %s; set FIRE_SHARED to the folder above data/merkle", root)
	}
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		raw, err := os.ReadFile(path)
		n++
		each(path, raw)
		return err
	})
	if err != nil || n != 98 {
		t.Errorf("%d vectors of %s, 98 are known (%v)", n, kind, err)
	}
}

func TestInclusionProofsOfTheKnownVectors(t *testing.T) {
	vectors(t, "inclusion", func(name string, raw []byte) {
		var v struct {
			LeafIdx, TreeSize uint64
			Root, LeafHash    []byte
			Proof             [][]byte
			Desc              string
			WantErr           bool
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(name, err)
		}
		root, leaf, path, short := hashesOf(v.Root, v.LeafHash, v.Proof)
		err := CheckEntry(path, Head{Size: int64(v.TreeSize), Root: root}, int64(v.LeafIdx), leaf)
		if refused := err != nil || short && v.WantErr; refused != v.WantErr {
			t.Errorf("%s (%s): %v, an error is due: %v", name, v.Desc, err, v.WantErr)
		}
	})
}

func TestConsistencyProofsOfTheKnownVectors(t *testing.T) {
	vectors(t, "consistency", func(name string, raw []byte) {
		var v struct {
			Size1, Size2 uint64
			Root1, Root2 []byte
			Proof        [][]byte
			Desc         string
			WantErr      bool
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(name, err)
		}
		old, root, proof, short := hashesOf(v.Root1, v.Root2, v.Proof)
		err := CheckGrowth(proof, Head{Size: int64(v.Size2), Root: root}, Head{Size: int64(v.Size1), Root: old})
		if refused := err != nil || short && v.WantErr; refused != v.WantErr {
			t.Errorf("%s (%s): %v, an error is due: %v", name, v.Desc, err, v.WantErr)
		}
	})
}

// hashesOf gives a stand-in for what is no hash. All of our parsers refuse that, but where the
// check can see that it leads nowhere, it should. short says whether there was any.
func hashesOf(a, b []byte, proof [][]byte) (ha, hb Hash, out []Hash, short bool) {
	for _, p := range append([][]byte{a, b}, proof...) {
		h := Hash(sha256.Sum256(append([]byte("stand-in"), p...)))
		if len(p) == HashBytes {
			h = Hash(p)
		} else {
			short = true
		}
		out = append(out, h)
	}
	return out[0], out[1], out[2:], short
}
