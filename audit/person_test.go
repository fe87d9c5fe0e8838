package audit

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/audit/order"
	"fire/audit/subject"
	"fire/transport/fix"
)

// TestPersonalValuesAreSealedAndErased: the log stays as it was signed, and says nothing more.
func TestPersonalValuesAreSealedAndErased(t *testing.T) {
	w := newWorld(t)
	keys, err := subject.OpenStore(t.TempDir()+"/subjects", subject.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	named := []int{1, 448}
	tags, err := order.NewPersonal(named)
	if err != nil {
		t.Fatal(err)
	}
	w.deps.Persons = Persons{tags, named, keys}
	l, _ := w.open()
	s, err := l.Capture().Source(Options{Form: FIX, Full: FullClosed, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var raws [][]byte
	for i, account := range []string{"ALICE-77", "BOB-12", "ALICE-77", ""} {
		var b fix.Builder
		b.Begin("FIX.4.4", "D")
		b.String(49, "DESK")
		b.String(56, "GATEWAY")
		b.Int(34, int64(i+1))
		b.String(11, "ORD")
		if account != "" {
			b.String(448, "TRADER-9")
			b.String(1, account)
		}
		raws = append(raws, bytes.Clone(b.End()))
		if err := s.Message(raws[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	w.close()
	l, _ = w.open()
	head, _ := l.Head()
	var all []entry.View
	_ = l.Range(t.Context(), 0, head.Size, func(_ int64, e []byte) error {
		if bytes.Contains(e, []byte("ALICE")) || bytes.Contains(e, []byte("BOB")) || bytes.Contains(e, []byte("TRADER")) {
			t.Errorf("an entry shows a personal value: %q", e)
		}
		v, err := entry.Parse(bytes.Clone(e))
		all = append(all, v)
		return err
	})
	if len(all) != 4 || all[3].Bytes(entry.Sealed) != nil || !bytes.Equal(all[0].Bytes(entry.Subject), all[2].Bytes(entry.Subject)) || bytes.Equal(all[0].Bytes(entry.Subject), all[1].Bytes(entry.Subject)) {
		t.Fatalf("%d entries", len(all))
	}
	for i, v := range all {
		if got, err := Unseal(keys, v); err != nil || !bytes.Equal(got, raws[i]) {
			t.Errorf("message %d: %v %q", i, err, got)
		}
	}
	alice := subject.ID(all[0].Bytes(entry.Subject))
	if _, err := keys.Erase(t.Context(), subject.Erasure{Subject: alice, Actor: "uid 0", Reason: "asked"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Unseal(keys, all[0]); !errors.Is(err, subject.ErrErased) {
		t.Error(err)
	}
	if _, err := Unseal(keys, all[1]); err != nil {
		t.Error("another subject is gone, too:", err)
	}
	if r := w.verified(w.deps.Disk); r.Verdict != Good {
		t.Errorf("%+v", r)
	}
}
