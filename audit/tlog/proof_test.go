package tlog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

const origin = "eu.floor/audit/host-1"

// world is a log of 300 entries, its key, three witnesses and a policy of two of them.
type world struct {
	log       kept
	head      Head
	key       *Key
	witnesses []*torchwood.CosignatureSigner
	policy    *Policy
}

func newKey(t testing.TB, name string) *Key {
	t.Helper()
	k, err := NewKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{key: newKey(t, origin)}
	var f Frontier
	w.log.grow(&f, 300)
	w.head = Head{origin, 300, f.Root()}
	text := "log " + w.key.Verifier() + "\n"
	for i := range 3 {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := torchwood.NewCosignatureSigner(fmt.Sprintf("eu.floor/witness/host-%d", i+2), private)
		if err != nil {
			t.Fatal(err)
		}
		w.witnesses = append(w.witnesses, s)
		text += fmt.Sprintf("witness w%d %s\n", i, s.Verifier())
	}
	var err error
	if w.policy, err = ParsePolicy([]byte(text + "group all-of-them 2 w0 w1 w2\nquorum all-of-them\n")); err != nil {
		t.Fatal(err)
	}
	return w
}

// checkpoint is a head, signed by key and cosigned by n witnesses.
func (w *world) checkpoint(t testing.TB, h Head, key *Key, n int) []byte {
	t.Helper()
	signers := []note.Signer{}
	if key != nil {
		signers = append(signers, key.signer)
	}
	for _, s := range w.witnesses[:n] {
		signers = append(signers, s)
	}
	out, err := note.Sign(&note.Note{Text: h.text()}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) proof(t testing.TB, i int64, checkpoint []byte) *Proof {
	t.Helper()
	path, err := ProveEntry(&w.log, w.head, i)
	if err != nil {
		t.Fatal(err)
	}
	return &Proof{i, leafOf(i), path, checkpoint}
}

func TestATrueProofIsTakenHereAndByTorchwood(t *testing.T) {
	w := newWorld(t)
	theirs, err := torchwood.ParsePolicy([]byte(w.policy.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int64{0, 1, 128, 255, 256, 299} {
		file := w.proof(t, i, w.checkpoint(t, w.head, w.key, 2)).Format()
		p, h, err := Check(file, w.policy)
		if err != nil || p.Index != i || !bytes.Equal(p.Entry, leafOf(i)) || h != w.head {
			t.Fatalf("entry %d: %v, %+v", i, err, h)
		}
		if err := torchwood.VerifyProof(theirs, Leaf(leafOf(i)), file); err != nil {
			t.Errorf("torchwood refuses entry %d: %v", i, err)
		}
		again, err := ParseProof(file)
		if err != nil || !bytes.Equal(again.Format(), file) {
			t.Errorf("entry %d is written again as something else (%v)", i, err)
		}
	}
	if got := w.policy.Signers(w.checkpoint(t, w.head, w.key, 2)); len(got) != 3 || got[0] != origin || got[2] != w.witnesses[1].Name() {
		t.Errorf("signers: %q", got)
	}
}

func TestEachThingThatWasChangedHasItsOwnError(t *testing.T) {
	w := newWorld(t)
	stranger, other := newKey(t, origin), newKey(t, "eu.floor/audit/host-9")
	good := w.checkpoint(t, w.head, w.key, 2)
	with := func(checkpoint []byte) []byte { return w.proof(t, 77, checkpoint).Format() }
	changed := func(change func(p *Proof)) []byte {
		p := w.proof(t, 77, good)
		change(p)
		return p.Format()
	}
	edit := func(old, new string) []byte { return []byte(strings.Replace(string(with(good)), old, new, 1)) }
	theirs := w.head
	theirs.Origin = other.Origin()
	signature := strings.Split(string(good), "\n")[4]
	leaf := func(p *Proof) []byte { return changed(func(q *Proof) { *q = *p }) }
	swapped := w.proof(t, 77, good)
	swapped.Entry = leafOf(78)
	rows := map[string]struct {
		file []byte
		want error
		say  string
	}{
		"wrong key":           {with(w.checkpoint(t, w.head, stranger, 2)), ErrWrongKey, fmt.Sprintf("%s, key %08x", origin, stranger.ID())},
		"wrong key, alone":    {with(w.checkpoint(t, w.head, stranger, 0)), ErrWrongKey, origin},
		"unsigned root":       {with([]byte(w.head.text())), ErrUnsigned, "no signature at all"},
		"an empty block":      {with([]byte(w.head.text() + "\n")), ErrUnsigned, "no signature at all"},
		"witnesses alone":     {with(w.checkpoint(t, w.head, nil, 3)), ErrUnsigned, origin},
		"swapped leaf":        {edit(base64.StdEncoding.EncodeToString(extraOf(77, 77)), base64.StdEncoding.EncodeToString(extraOf(77, 78))), ErrEntry, "its hash is"},
		"swapped leaf, noted": {leaf(swapped), ErrPath, "does not lead to the root"},
		"edited text":         {edit("\n300\n", "\n301\n"), ErrEdited, "signature of"},
		"edited root":         {edit(base64.StdEncoding.EncodeToString(w.head.Root[:]), base64.StdEncoding.EncodeToString(make([]byte, 32))), ErrEdited, "signature of"},
		"edited signature":    {edit(signature, flipped(signature)), ErrEdited, origin},
		"changed index":       {edit("index 77", "index 76"), ErrIndex, "it is 76, and was 77"},
		"changed index, both": {changed(func(p *Proof) { p.Index = 76 }), ErrPath, "entry 76"},
		"index beyond":        {changed(func(p *Proof) { p.Index = 300 }), ErrIndex, "covers 300"},
		"changed hash":        {changed(func(p *Proof) { p.Path[3][7] ^= 1 }), ErrPath, "entry 77"},
		"dropped hash":        {changed(func(p *Proof) { p.Path = p.Path[:len(p.Path)-1] }), ErrPath, "entry 77"},
		"added hash":          {changed(func(p *Proof) { p.Path = append(p.Path, Hash{}) }), ErrPath, "entry 77"},
		"half a hash":         {edit("index 77\n", "index 77\nAAAA\n"), ErrPath, "is no hash"},
		"missing cosignature": {with(w.checkpoint(t, w.head, w.key, 1)), ErrUncosigned, "1 of 3 have " + w.witnesses[0].Name()},
		"no cosignature":      {with(w.checkpoint(t, w.head, w.key, 0)), ErrUncosigned, "0 of 3"},
		"other origin":        {with(w.checkpoint(t, theirs, other, 2)), ErrOrigin, other.Origin()},
		"other origin, alone": {with(w.checkpoint(t, theirs, other, 0)), ErrOrigin, other.Origin()},
		"our key, their name": {with(w.checkpoint(t, theirs, w.key, 2)), ErrOrigin, other.Origin()},
		"no proof":            {[]byte("hello"), ErrNoProof, ""},
		"no gap":              {edit("\n\n", "\n"), ErrPath, "is no hash"},
		"signed twice":        {with([]byte(string(good) + "\nx\n")), ErrNoHead, ""},
		"index of two forms":  {edit("index 77", "index 077"), ErrNoProof, "index"},
		"no entry":            {torchwood.FormatProof(77, w.proof(t, 77, good).Path, good), ErrNoProof, "extra"},
	}
	all := []error{ErrWrongKey, ErrUnsigned, ErrEntry, ErrEdited, ErrIndex, ErrPath, ErrUncosigned, ErrOrigin, ErrNoProof, ErrNoHead}
	for name, row := range rows {
		_, _, err := Check(row.file, w.policy)
		if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %v and %q", name, err, row.want, row.say)
		}
		for _, e := range all {
			if e != row.want && errors.Is(err, e) {
				t.Errorf("%s is also %v", name, e)
			}
		}
	}
}

// extraOf is what a proof file carries of entry i, said to be that of leaf.
func extraOf(leaf, entry int64) []byte {
	h := Leaf(leafOf(leaf))
	out := append([]byte(extraMagic), h[:]...)
	return append(append(out, 0, 0, 0, 0, 0, 0, 0, byte(leaf)), leafOf(entry)...)
}

// flipped is a signature line with a bit of the signature changed.
func flipped(line string) string {
	b := []byte(line)
	if b[len(b)-20] == 'A' {
		b[len(b)-20] = 'B'
	} else {
		b[len(b)-20] = 'A'
	}
	return string(b)
}

// TestNoBitOfAProofFileCanBeChanged flips them, at each byte. The file has no signature that the policy could
// do without: one more could be made nobody's, and those are passed over (C2SP signed-note).
func TestNoBitOfAProofFileCanBeChanged(t *testing.T) {
	w := newWorld(t)
	file := w.proof(t, 77, w.checkpoint(t, w.head, w.key, 2)).Format()
	for i := range file {
		for bit := range 8 {
			if near := file[i:min(len(file), i+5)]; bit != i%8 && !bytes.ContainsAny(near, "=\n") {
				continue // all bits where base64 ends, one elsewhere
			}
			spoilt := bytes.Clone(file)
			spoilt[i] ^= 1 << bit
			if _, _, err := Check(spoilt, w.policy); err == nil {
				t.Errorf("bit %d of byte %d (%q) can be changed", bit, i, file[max(0, i-10):min(len(file), i+10)])
			}
		}
	}
}

func TestAKeyIsRotatedWithOverlap(t *testing.T) {
	before, after := newKey(t, origin), newKey(t, origin)
	h := Head{origin, 3, Hash{1, 2}}
	old, new := must(Sign(h, before)), must(Sign(h, after))
	overlap := must(Sign(h, before, after))
	verifiers := func(keys ...string) *Verifiers { return must(NewVerifiers(keys...)) }
	rows := map[string]struct {
		v          *Verifiers
		checkpoint []byte
		want       error
	}{
		"old under old":      {verifiers(before.Verifier()), old, nil},
		"new under old":      {verifiers(before.Verifier()), new, ErrWrongKey},
		"overlap under old":  {verifiers(before.Verifier()), overlap, nil},
		"overlap under new":  {verifiers(after.Verifier()), overlap, nil},
		"overlap under both": {verifiers(before.Verifier(), after.Verifier()), overlap, nil},
		"old under both":     {verifiers(before.Verifier(), after.Verifier()), old, nil},
		"new under both":     {verifiers(before.Verifier(), after.Verifier()), new, nil},
		"a key named twice":  {verifiers(after.Verifier(), after.Verifier()+"\n"), new, nil},
		"nobody":             {verifiers(), new, ErrOrigin},
	}
	for name, row := range rows {
		got, err := row.v.Open(row.checkpoint)
		if !errors.Is(err, row.want) || err == nil && got != h {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, row.want)
		}
	}
	policy := must(ParsePolicy([]byte("log " + before.Verifier() + "\nlog " + after.Verifier() + "\nquorum none\n")))
	for _, c := range [][]byte{old, new, overlap} {
		if got, err := policy.Open(c); err != nil || got != h {
			t.Errorf("a policy of both keys: %v", err)
		}
	}
	_, n, err := verifiers(after.Verifier()).OpenNote(overlap)
	if err != nil || len(n.Sigs) != 1 || n.Sigs[0].Hash != after.ID() || len(n.UnverifiedSigs) != 0 || n.Text != h.text() {
		t.Errorf("OpenNote gives %+v (%v)", n, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAKeyIsReadAsItWasWritten(t *testing.T) {
	var k *Key
	for range 64 { // half of all keys have a "+" in their base64
		k = newKey(t, origin)
		again, err := ReadKey(k.Secret() + "\n")
		if err != nil || again.Verifier() != k.Verifier() || again.Origin() != origin || again.ID() != k.ID() || again.Secret() != k.Secret() {
			t.Fatalf("%v: %v", again, err)
		}
		if _, err := must(NewVerifiers(k.Verifier())).Open(must(Sign(Head{origin, 1, Hash{}}, again))); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"", "PRIVATE+KEY+x", k.Verifier(), strings.Replace(k.Secret(), "host-1", "host-2", 1)} {
		if _, err := ReadKey(bad); err == nil || len(bad) > 20 && strings.Contains(err.Error(), bad[len(bad)-20:]) {
			t.Errorf("%v", err)
		}
	}
	if s := fmt.Sprintf("%v %s", k, k); strings.Contains(s, "PRIVATE") {
		t.Error("a key that is printed shows its secret")
	}
}

func TestPoliciesThatCannotBeMetAreRefused(t *testing.T) {
	w := newWorld(t)
	log, w0, w1 := "log "+w.key.Verifier()+"\n", fmt.Sprintf("witness w0 %s\n", w.witnesses[0].Verifier()), fmt.Sprintf("witness w1 %s\n", w.witnesses[1].Verifier())
	again := strings.Replace(w0, "witness w0", "witness w7", 1)
	for text, say := range map[string]string{
		w0 + "quorum w0\n":           "no line",
		log + w0:                     "quorum",
		log + "log x\nquorum none\n": "no public key of a log",
		log + log + "quorum none\n":  "is there twice",
		log + w0 + again + "group g 2 w0 w7\nquorum g\n":         "counts twice",
		log + w0 + w1 + "group g 2 w0 w0 w1\nquorum g\n":         "counts twice",
		log + w0 + "group g 2 w0\nquorum g\n":                    "threshold",
		log + "witness w0 " + w.key.Verifier() + "\nquorum w0\n": "witness vkey",
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v; want %q", text, err, say)
		}
	}
	if _, err := ParsePolicy([]byte("# of host-1\n" + log + w0 + w1 + "quorum w0 # w1 is for later\n")); err != nil {
		t.Error(err)
	}
}

func TestClaimedBelievesNothingButReadsTheText(t *testing.T) {
	w := newWorld(t)
	if h, err := Claimed(w.checkpoint(t, w.head, newKey(t, "x"), 0)); err != nil || h != w.head {
		t.Errorf("%+v %v", h, err)
	}
	for _, bad := range []string{"", "a\n1\n", "a\n1\nAAAA\n\n— x y\n", w.head.text()} {
		if _, err := Claimed([]byte(bad)); !errors.Is(err, ErrNoHead) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	w := newWorld(f)
	good := w.proof(f, 77, w.checkpoint(f, w.head, w.key, 2)).Format()
	f.Add(good)
	f.Add(w.proof(f, 0, w.checkpoint(f, w.head, w.key, 1)).Format())
	f.Add(w.proof(f, 299, []byte(w.head.text())).Format())
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := ParseProof(file)
		q, h, checked := Check(file, w.policy)
		if checked == nil && (err != nil || h != w.head || !bytes.Equal(q.Entry, leafOf(q.Index))) {
			t.Fatalf("a proof of %q at %d in %+v", q.Entry, q.Index, h)
		}
		if err == nil {
			if again, err := ParseProof(p.Format()); err != nil || !bytes.Equal(again.Entry, p.Entry) || again.Index != p.Index || len(again.Path) != len(p.Path) {
				t.Fatalf("%q is read again as %+v (%v)", file, again, err)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	w := newWorld(f)
	v := must(NewVerifiers(w.key.Verifier()))
	f.Add(w.checkpoint(f, w.head, w.key, 0))
	f.Add(w.checkpoint(f, w.head, w.key, 3))
	f.Add([]byte(w.head.text() + "\n"))
	f.Add([]byte("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— a AAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, checkpoint []byte) {
		h, err := v.Open(checkpoint)
		if err == nil && h != w.head {
			t.Fatalf("nobody has signed %+v", h)
		}
		if c, claimed := Claimed(checkpoint); err == nil && (claimed != nil || c != h) {
			t.Fatalf("claimed %+v (%v), signed %+v", c, claimed, h)
		}
		if _, err := w.policy.Open(checkpoint); err == nil && len(w.policy.Signers(checkpoint)) < 3 {
			t.Fatal("taken with too few signatures")
		}
	})
}
