package witness

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fire/audit/entry"
	"fire/audit/tlog"
)

func TestForkIsRefusedAndBothHeadsAreKept(t *testing.T) {
	w := newWorld(t, 400)
	w.expect(t, "first", w.log.request(0, 300), 200, "")
	other := w.log.forked(100, 400)
	fork := (&request{old: 300, checkpoint: must2(other.at(300))}).format()
	for range 3 {
		w.expect(t, "the other root", fork, 422, "forked: size 300 was cosigned with the root")
	}
	w.expect(t, "the true one", w.log.request(300, 300), 200, "") // cosigned anew, with another time
	w.expect(t, "the other root again", fork, 422, "forked")
	w.expect(t, "with an old size", (&request{old: 7, checkpoint: must2(other.at(300))}).format(), 409, "300\n")

	told := w.told()
	later := told[0]
	later.Held = strings.Replace(later.Held, "\n\n", "\n\n— of another time\n", 1)
	if later.name() != told[0].name() {
		t.Error("the same two heads are two pieces when one was cosigned again")
	}
	if len(told) != 1 || told[0].Misdeed != MisdeedFork || told[0].From == "" || told[0].Err != nil {
		t.Fatalf("reported: %+v", told)
	}
	path := filepath.Join(w.cfg.Dir, "evidence", told[0].File)
	e, err := ParseEvidence(must(os.ReadFile(path)))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Check(w.log.key.Verifier()); err != nil {
		t.Error(err)
	}
	held, shown := must(tlog.Claimed([]byte(e.Held))), must(tlog.Claimed([]byte(e.Shown)))
	mine, _ := w.log.at(300)
	theirs, _ := other.at(300)
	if held != mine || shown != theirs || cosignedBy(w.cfg.Key, []byte(e.Held)) != nil {
		t.Errorf("held %+v, shown %+v", held, shown)
	}
	w.restart(t)
	w.expect(t, "after a restart", fork, 422, "forked")
	if kept := w.Evidence(); len(kept) != 1 || len(w.told()) != 1 || kept[0].Shown != e.Shown {
		t.Errorf("kept %d, told %d", len(kept), len(w.told()))
	}
	w.expect(t, "the log goes on", w.log.request(300, 400), 200, "")
}

func TestAProofThatDoesNotVerifyIsKeptAsThat(t *testing.T) {
	w := newWorld(t, 400)
	w.expect(t, "first", w.log.request(0, 300), 200, "")
	other := w.log.forked(100, 400)
	w.expect(t, "a fork that grew", other.request(300, 400), 422, "does not lead")
	kept := w.Evidence()
	if len(kept) != 1 || kept[0].Misdeed != MisdeedUnproven || len(kept[0].Proof) == 0 || kept[0].Check(w.log.key.Verifier()) != nil {
		t.Fatalf("%+v", kept)
	}
	h, checkpoint := w.log.at(400)
	true400 := must(tlog.ProveGrowth(w.log, h, 300))
	innocent := kept[0]
	innocent.Shown, innocent.Proof = string(checkpoint), true400
	if innocent.Check(w.log.key.Verifier()) == nil {
		t.Error("a true proof is evidence")
	}
}

func TestASmallerHeadIsEvidenceOnlyWhereItIsClaimedToBeTheNewest(t *testing.T) {
	w := newWorld(t, 400)
	w.expect(t, "first", w.log.request(0, 300), 200, "")
	w.expect(t, "a late request", w.log.request(0, 100), 409, "300\n")
	w.expect(t, "a repeated one", w.log.request(50, 100), 409, "300\n")
	if m, err := w.Observe(t.Context(), "host-7", must2(w.log.at(300))); m != "" || err != nil {
		t.Errorf("the same head: %s %v", m, err)
	}
	if m, err := w.Observe(t.Context(), "host-7", must2(w.log.at(400))); m != "" || err != nil {
		t.Errorf("a larger head: %s %v", m, err)
	}
	if len(w.Evidence()) != 0 {
		t.Fatalf("honest heads are evidence: %+v", w.Evidence())
	}
	w.expect(t, "a claim", (&request{old: 300, checkpoint: must2(w.log.at(100))}).format(), 400, "old size 300 is larger")
	if m, err := w.Observe(t.Context(), "host-7", must2(w.log.at(200))); m != MisdeedShrunk || err != nil {
		t.Errorf("an observed claim: %s %v", m, err)
	}
	if m, err := w.Observe(t.Context(), "host-7", must2(w.log.forked(9, 300).at(300))); m != MisdeedFork || err != nil {
		t.Errorf("an observed fork: %s %v", m, err)
	}
	var got []string
	for _, e := range w.Evidence() {
		got = append(got, string(e.Misdeed))
		if err := e.Check(w.log.key.Verifier()); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(got, []string{"shrunk", "shrunk", "fork"}) || w.Evidence()[1].From != "host-7" || len(w.told()) != 3 {
		t.Errorf("%v, %d told", got, len(w.told()))
	}
}

func TestObserveBelievesOnlySignatures(t *testing.T) {
	w := newWorld(t, 400)
	stranger := newLog(newKey(origin), 10)
	unknown := newLog(newKey("eu.floor/audit/host-9"), 10)
	for name, checkpoint := range map[string][]byte{
		"nothing": nil, "a stranger": must2(stranger.at(5)), "an unknown log": must2(unknown.at(5)), "before the first": must2(w.log.at(5)),
	} {
		if m, err := w.Observe(t.Context(), "x", checkpoint); m != "" || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %s %v", name, m, err)
		}
	}
}

// TestWordsNeverCrowdOutAProof floods the folder with what anybody can send.
func TestWordsNeverCrowdOutAProof(t *testing.T) {
	w := newWorld(t, 100)
	w.cfg.EvidenceMax = 20
	w.restart(t)
	var logs []*memoryLog
	for i := range 4 {
		l := newLog(newKey(fmt.Sprintf("eu.floor/audit/host-1%d", i)), 100)
		w.known.set(l.key.Origin(), l.key.Verifier())
		w.expect(t, "first", l.request(0, 50), 200, "")
		for size := int64(1); size < 30; size++ {
			w.expect(t, "a claim", (&request{old: 50, checkpoint: must2(l.at(size))}).format(), 400, "")
		}
		logs = append(logs, l)
	}
	if n := len(w.Evidence()); n != 10 {
		t.Errorf("%d words are kept, half of 20 is allowed", n)
	}
	of := map[string]int{}
	for _, e := range w.Evidence() {
		of[e.Origin]++
	}
	if of[logs[0].key.Origin()] != perLogMax || of[logs[1].key.Origin()] != 2 {
		t.Errorf("kept of each: %v", of)
	}
	told := len(w.told())
	if told != 10+4 { // each log's first that was not kept is told, too
		t.Errorf("%d told", told)
	}
	for i := range int64(12) {
		l := logs[i%2].forked(1+i, 50)
		w.expect(t, "a fork", (&request{old: 50, checkpoint: must2(l.at(50))}).format(), 422, "forked")
	}
	kept := w.Evidence()
	forks := slices.DeleteFunc(kept, func(e Evidence) bool { return e.Misdeed != MisdeedFork })
	if len(forks) != 10 || len(w.Evidence()) != 20 {
		t.Errorf("%d forks of %d", len(forks), len(w.Evidence()))
	}
	last := w.told()[len(w.told())-1]
	if !errors.Is(last.Err, errFull) || last.File != "" {
		t.Errorf("%v", last.Err)
	}
	w.restart(t)
	if len(w.Evidence()) != 20 {
		t.Errorf("%d after a restart", len(w.Evidence()))
	}
}

func TestEvidenceThatCannotBeKeptIsToldOnce(t *testing.T) {
	log := newLog(newKey(origin), 100)
	known := &catalogue{}
	known.set(origin, log.key.Verifier())
	p := &platter{failAt: 7}
	var told []Evidence
	w := must(Open(Config{Dir: "x", Key: must(NewKey(rand.Reader, "w")), Logs: known.logs, Report: func(e Evidence) { told = append(told, e) }, open: p.open}))
	if a := w.Add(t.Context(), "host-1", log.request(0, 50)); a.Status != 200 {
		t.Fatal(a.Status)
	}
	fork := (&request{old: 50, checkpoint: must2(log.forked(9, 50).at(50))}).format()
	if a := w.Add(t.Context(), "host-1", fork); a.Status != 422 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if len(told) != 1 || !errors.Is(told[0].Err, errInjected) || told[0].From != "host-1" {
		t.Fatalf("%+v", told)
	}
	if a := w.Add(t.Context(), "host-1", fork); a.Status != 422 || len(told) != 2 || told[1].File == "" {
		t.Errorf("%d, %+v", a.Status, told)
	}
	if a := w.Add(t.Context(), "host-1", log.request(50, 100)); a.Status != 200 {
		t.Error("a folder of evidence that fails stops the log")
	}
}

func TestEvidenceIsCheckedAndNotBelieved(t *testing.T) {
	w := newWorld(t, 400)
	w.expect(t, "first", w.log.request(0, 300), 200, "")
	w.expect(t, "fork", (&request{old: 300, checkpoint: must2(w.log.forked(9, 300).at(300))}).format(), 422, "")
	good := w.Evidence()[0]
	rows := map[string]func(e *Evidence){
		"another key":    func(e *Evidence) {},
		"the same twice": func(e *Evidence) { e.Shown = e.Held },
		"sizes":          func(e *Evidence) { e.Shown = string(must2(w.log.at(200))) },
		"other misdeed":  func(e *Evidence) { e.Misdeed = MisdeedShrunk },
		"edited":         func(e *Evidence) { e.Shown = strings.Replace(e.Shown, "300", "301", 1) },
		"held edited":    func(e *Evidence) { e.Held = strings.Replace(e.Held, "300", "301", 1) },
		"other log":      func(e *Evidence) { e.Origin = "x" },
	}
	for name, spoil := range rows {
		e := good
		spoil(&e)
		key := w.log.key.Verifier()
		if name == "another key" {
			key = newKey(origin).Verifier()
		}
		if e.Check(key) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if good.Check("x") == nil || good.Check(w.log.key.Verifier()) != nil {
		t.Error("the good one is not")
	}
	for _, bad := range []string{"", "{}", `{"misdeed":"theft"}`, string(good.Format()) + "{}", `{"misdeed":"fork","more":1}`} {
		if _, err := ParseEvidence([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAFileThatIsNoEvidenceIsShownAndStopsNothing(t *testing.T) {
	w := newWorld(t, 10)
	if err := os.WriteFile(filepath.Join(w.cfg.Dir, "evidence", "x.json"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	if kept := w.Evidence(); len(kept) != 1 || kept[0].Err == nil || kept[0].File != "x.json" {
		t.Errorf("%+v", kept)
	}
	w.expect(t, "a head", w.log.request(0, 5), 200, "")
}

func TestAnEntryOfEvidenceHoldsTheEvidence(t *testing.T) {
	w := newWorld(t, 400)
	w.expect(t, "first", w.log.request(0, 300), 200, "")
	w.expect(t, "fork", (&request{old: 300, checkpoint: must2(w.log.forked(9, 300).at(300))}).format(), 422, "")
	e := w.told()[0]
	var b entry.Builder
	raw := EvidenceEntry(&b, []byte("before"), entry.Head{Time: 77, Source: 5, Seq: 6}, e)
	v, err := entry.Parse(raw[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseEvidence(v.Bytes(entry.Content))
	if err != nil || back.Check(w.log.key.Verifier()) != nil {
		t.Errorf("the entry's content convicts nobody: %v", err)
	}
	file := must(os.ReadFile(filepath.Join(w.cfg.Dir, "evidence", e.File)))
	sum := sha256.Sum256(file)
	if v.Kind() != entry.Evidence || v.Head().Time != 77 || v.Str(entry.Object) != origin || v.Str(entry.Verb) != "fork" || v.Str(entry.Detail) != e.File ||
		!bytes.Equal(v.Bytes(entry.Digest), sum[:]) || v.Uint(entry.Size) != uint64(len(file)) || !strings.HasPrefix(v.Str(entry.Before), "300 ") || v.Str(entry.Before) == v.Str(entry.After) {
		t.Errorf("%s", v.AppendJSON(nil))
	}
	if !json.Valid(append(v.AppendJSON([]byte("{")), '}')) {
		t.Error("it makes no JSON")
	}
	e.Shown = strings.Repeat("x", 60000)
	e.From, e.Err = strings.Repeat("y\n", 9000), errors.New("no room")
	v, err = entry.Parse(EvidenceEntry(&b, nil, entry.Head{}, e))
	if err != nil || v.Bytes(entry.Content) != nil || len(v.Bytes(entry.Digest)) != 32 || strings.Contains(v.Str(entry.Actor), "\n") || v.Str(entry.Detail) != "not kept: no room" {
		t.Errorf("what is too large for an entry: %v %s", err, v.AppendJSON(nil))
	}
}

func FuzzParseEvidence(f *testing.F) {
	l := newLog(newKey(origin), 40)
	e := Evidence{Misdeed: MisdeedFork, Origin: origin, Held: string(must2(l.at(30))), Shown: string(must2(l.forked(2, 30).at(30)))}
	f.Add(e.Format())
	f.Add([]byte(`{"misdeed":"shrunk"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseEvidence(raw)
		if err != nil {
			return
		}
		again, err := ParseEvidence(e.Format())
		if err != nil || again.name() != e.name() || !bytes.Equal(again.Format(), e.Format()) {
			t.Fatalf("%q is written as %q (%v)", raw, e.Format(), err)
		}
		if e.Check(l.key.Verifier()) == nil && e.Misdeed != MisdeedFork {
			t.Fatalf("%+v convicts", e)
		}
	})
}
