package node

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"fire/audit/tlog"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/reason"
)

var witnessed1 = id.Domain{Region: "eu", Mesh: "floor"}

func newTestWitness(t *testing.T, state string) *auditWitness {
	t.Helper()
	w, err := openAuditWitness(state, witnessed1, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// grown is a log of some entries, and the request to cosign it behind an older size.
func grown(t *testing.T, origin string, size int, keys ...*tlog.Key) *catalog.WitnessRequest {
	t.Helper()
	var f tlog.Frontier
	for i := range size {
		f.Add(tlog.Leaf(fmt.Append(nil, i)), nil)
	}
	note, err := tlog.Sign(tlog.Head{Origin: origin, Size: f.Size(), Root: f.Root()}, keys...)
	if err != nil {
		t.Fatal(err)
	}
	r := &catalog.WitnessRequest{Body: append([]byte("old 0\n\n"), note...)}
	for _, k := range keys {
		r.Keys = append(r.Keys, k.Verifier())
	}
	return r
}

func testKey(t *testing.T, origin string) *tlog.Key {
	t.Helper()
	k, err := tlog.NewKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestANodeHasOnlyItsOwnLogCosigned, by keys that control believes the first time and that change only
// while the old one still signs; also after a restart of control.
func TestANodeHasOnlyItsOwnLogCosigned(t *testing.T) {
	state := t.TempDir()
	origin := auditOrigin(witnessed1, "h1")
	old, next, foreign := testKey(t, origin), testKey(t, origin), testKey(t, origin)
	w := newTestWitness(t, state)
	a, err := w.cosign(t.Context(), "h1", &catalog.WitnessRequest{})
	if err != nil || !strings.HasPrefix(a.Key, "eu.floor/witness/control+") || a.Status != 0 {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err = w.cosign(t.Context(), "h1", grown(t, origin, 5, old)); err != nil || a.Status != 200 || !bytes.HasPrefix(a.Body, []byte("\u2014 eu.floor/witness/control ")) {
		t.Fatalf("%+v %v", a, err)
	}
	sig, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(a.Body[bytes.LastIndexByte(a.Body, ' '):])))
	if err != nil || len(sig) != 4+8+64 {
		t.Errorf("a cosignature of %d bytes: %v", len(sig), err)
	}
	refused := func(what, node string, r *catalog.WitnessRequest) {
		t.Helper()
		if a, err := w.cosign(t.Context(), node, r); reason.Of(err, reason.OK) != reason.NotPermitted {
			t.Errorf("%s: %+v %v", what, a, err)
		}
	}
	refused("another's log", "h2", grown(t, origin, 5, old))
	refused("another key", "h1", grown(t, origin, 6, foreign))
	refused("no key", "h1", &catalog.WitnessRequest{Body: grown(t, origin, 6, old).Body})
	refused("keys that are none", "h1", &catalog.WitnessRequest{Keys: []string{"x"}, Body: grown(t, origin, 6, old).Body})
	if err := w.close(); err != nil {
		t.Fatal(err)
	}

	w = newTestWitness(t, state)
	refused("another key, after a restart", "h1", grown(t, origin, 6, foreign))
	if a, err = w.cosign(t.Context(), "h1", grown(t, origin, 7, next, old)); err != nil || a.Status != 409 || string(a.Body) != "5\n" {
		t.Errorf("both keys, at a stale size: %+v %v", a, err)
	}
	if k, _ := w.known(origin); len(k) != 2 {
		t.Errorf("the new key is not learned: %v", k)
	}
	if a, err = w.cosign(t.Context(), "h1", grown(t, origin, 7, next)); err != nil || a.Status != 409 {
		t.Errorf("the new key alone: %+v %v", a, err)
	}
}
