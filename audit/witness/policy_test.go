package witness

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fire/audit/tlog"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

func TestAPolicyOfKOfNIsTakenHereAndByTorchwood(t *testing.T) {
	log := newLog(newKey(origin), 300)
	head, checkpoint := log.at(300)
	var keys []*Key
	var named []Named
	for i := range 4 {
		k := must(NewKey(rand.Reader, fmt.Sprintf("eu.floor/witness/host-%d", i)))
		keys, named = append(keys, k), append(named, Named{k.Name(), k.Verifier()})
	}
	path := must(tlog.ProveEntry(log, head, 77))
	for k := range 5 {
		text, err := PolicyText(k, []string{log.key.Verifier()}, named)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := must(tlog.ParsePolicy([]byte(text))), must(torchwood.ParsePolicy([]byte(text)))
		for n := range 5 {
			signers := []note.Signer{}
			for _, w := range keys[4-n:] {
				signers = append(signers, w.signer)
			}
			_, own, err := must(tlog.NewVerifiers(log.key.Verifier())).OpenNote(checkpoint)
			if err != nil {
				t.Fatal(err)
			}
			file := (&tlog.Proof{Index: 77, Entry: []byte("77"), Path: path, Checkpoint: must(note.Sign(own, signers...))}).Format()
			_, _, err = tlog.Check(file, ours)
			if (err == nil) != (n >= k) || err != nil && !errors.Is(err, tlog.ErrUncosigned) {
				t.Errorf("%d of %d needed: %v", n, k, err)
			}
			if err := torchwood.VerifyProof(theirs, tlog.Leaf([]byte("77")), file); (err == nil) != (n >= k) {
				t.Errorf("torchwood, %d of %d needed: %v", n, k, err)
			}
		}
	}
}

func TestPoliciesThatSayNothingAreRefused(t *testing.T) {
	log, log2 := newKey(origin).Verifier(), newKey(origin).Verifier()
	a, b := must(NewKey(rand.Reader, "a")), must(NewKey(rand.Reader, "b"))
	A, B := Named{"a", a.Verifier()}, Named{"b", b.Verifier()}
	rows := map[string]struct {
		k         int
		logs      []string
		witnesses []Named
	}{
		"more than there are": {3, []string{log}, []Named{A, B}},
		"below none":          {-1, []string{log}, []Named{A, B}},
		"no log":              {1, nil, []Named{A, B}},
		"one name twice":      {1, []string{log}, []Named{A, {"a", b.Verifier()}}},
		"one key twice":       {2, []string{log}, []Named{A, {"b", a.Verifier()}}},
		"a log twice":         {1, []string{log, log}, []Named{A}},
		"a log's key":         {1, []string{log}, []Named{{"a", log}}},
		"a witness's key":     {1, []string{a.Verifier()}, []Named{A}},
		"two words":           {1, []string{log}, []Named{{"a b", a.Verifier()}}},
		"a new line":          {1, []string{log + "\nquorum none"}, []Named{A}},
		"a comment":           {1, []string{log}, []Named{{"a#", a.Verifier()}}},
		"none":                {1, []string{log}, []Named{{"none", a.Verifier()}}},
		"no name":             {1, []string{log}, []Named{{"", a.Verifier()}}},
	}
	for name, row := range rows {
		if text, err := PolicyText(row.k, row.logs, row.witnesses); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
	text, err := PolicyText(2, []string{log, log2}, []Named{{"quorum", a.Verifier()}, {"quorum-", b.Verifier()}})
	if lines := strings.Split(text, "\n"); err != nil || !slices.Contains(lines, "group quorum-- 2 quorum quorum-") {
		t.Errorf("%v %q", err, text)
	}
}
