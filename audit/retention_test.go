package audit

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// settle waits until every sealed segment has its .tree file.
func (w *world) settle() {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		w.log.mu.RLock()
		n := len(w.log.parts) - 1
		ok := !slices.ContainsFunc(w.log.parts[:n], func(p part) bool { return p.tree == nil })
		w.log.mu.RUnlock()
		if ok {
			return
		}
	}
	w.t.Fatal("a sealed segment gets no .tree file")
}

func (w *world) verified(disk Disk) *Report {
	w.t.Helper()
	r, err := Verify(w.t.Context(), Verification{Disk: disk, Away: w.deps.Away, Known: w.log.knownKeys(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// TestWhatIsKeptStillVerifiesWhenTheRestIsPruned, and every entry of it can still be proved.
func TestWhatIsKeptStillVerifiesWhenTheRestIsPruned(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 48 << 10
	l, _ := w.open()
	w.append(1, 1, 2000)
	before, _ := l.Head()
	segments := l.Segments()
	if len(segments) < 6 || !segments[0].Has(entry.Message) || segments[0].Has(entry.Clock) || segments[0].From.IsZero() {
		t.Fatalf("%+v", segments)
	}
	least, err := l.Prune(t.Context(), func(h Held) bool { return h.Next <= segments[3].Next })
	if err != nil || least != segments[3].Next || l.Minimum() != least {
		t.Fatalf("%v: the minimum is %d, want %d", err, least, segments[3].Next)
	}
	check := func() {
		t.Helper()
		head, _ := w.log.Head()
		if head.Size < 2001 {
			t.Errorf("%d entries", head.Size)
		}
		for i := least; i < head.Size; i += 1 + rand.Int64N(7) {
			if _, err := tlog.ProveEntry(w.log, head, i); err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
		}
		proof, err := tlog.ProveGrowth(w.log, head, before.Size)
		if err != nil || tlog.CheckGrowth(proof, head, before) != nil {
			t.Errorf("growth from %d: %v", before.Size, err)
		}
		if _, err := w.log.Entry(least - 1); !errors.Is(err, ErrPruned) {
			t.Error(err)
		}
		if r := w.verified(w.deps.Disk); r.Verdict != Good || r.Minimum != least || len(r.Notes) > 0 {
			t.Errorf("%+v", r)
		}
	}
	w.close()
	w.open()
	check()
	said := false
	_ = w.log.Range(t.Context(), least, 1<<40, func(_ int64, e []byte) error {
		if v, _ := entry.Parse(e); v.Kind() == entry.Pruned {
			said = v.Uint(entry.First) == 0 && v.Uint(entry.Last) == uint64(least-1)
		}
		return nil
	})
	if !said {
		t.Error("the log does not say what was pruned")
	}
}

// TestPruningThatWasInterruptedIsFinished, whatever step it had reached.
func TestPruningThatWasInterruptedIsFinished(t *testing.T) {
	w := newWorld(t)
	tr := newTraced()
	w.cfg.SegmentBytes = 16 << 10
	w.deps.Disk, w.deps.Away = tr.in("log"), tr.in("away")
	l, _ := w.open()
	w.append(1, 1, 400)
	w.settle()
	tr.mu.Lock()
	tr.ops = nil
	base := (&memory{files: tr.now}).copy()
	tr.mu.Unlock()
	least, err := l.Prune(t.Context(), func(h Held) bool { return h.Next < 300 })
	if err != nil || least < 100 {
		t.Fatal(least, err)
	}
	w.close()
	states := 0
	for n := range tr.ops {
		mem := newTraced()
		mem.now = (&memory{files: base}).copy()
		for _, o := range tr.ops[:n+1] {
			apply(mem.now, o)
		}
		deps := w.deps
		deps.Disk, deps.Away = mem.in("log"), mem.in("away")
		l, _, err := Open(w.cfg, deps)
		if err != nil {
			t.Fatalf("after %d of %d (%v): %v", n+1, len(tr.ops), tr.ops[n].name, err)
		}
		if m := l.Minimum(); m != 0 && m != least {
			t.Errorf("the minimum is %d", m)
		}
		for name := range mem.now {
			if first, _, ok := parseSegmentName(strings.TrimPrefix(name, "log/")); ok && l.Minimum() > 0 && first < least {
				t.Errorf("%s is left", name)
			}
		}
		_ = l.closeParts()
		states++
	}
	t.Logf("%d states", states)
}

// TestAMinimumOfAnotherIsRefused: an old head, which anybody has, is no minimum.
func TestAMinimumOfAnotherIsRefused(t *testing.T) {
	m := newMemory(t, 600, 32<<10, 12)
	segments := m.names(segmentSuffix)
	files := m.copy()
	second, _, _ := parseSegmentName(strings.TrimPrefix(segments[1], "log/"))
	h, err := parseHeader(files[segments[1]][:headerBytes])
	if err != nil {
		t.Fatal(err)
	}
	note, _ := tlog.Sign(tlog.Head{Origin: testOrigin, Size: second, Root: h.before.Root()}, m.keys.Signing...)
	files["log/"+minimumName] = note
	delete(files, segments[0])
	delete(files, treeName(segments[0]))
	if r := m.verify(t, files); r.Verdict != IsTampered || r.Faults[0].File != minimumName && r.Faults[1].File != minimumName {
		t.Errorf("%s %v", r.Verdict, r.Faults)
	}
}

func TestASqueezedSegmentReadsAndVerifiesAsBefore(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 400 << 10
	l, _ := w.open()
	w.append(1, 1, 8000)
	w.settle()
	want, _ := l.Entry(1234)
	sealed := len(l.Segments())
	n, err := l.Squeeze(func(h Held) bool { return true }, func() bool { return false })
	if err != nil || n != sealed || n < 3 {
		t.Fatalf("%d of %d: %v", n, sealed, err)
	}
	again := func() {
		t.Helper()
		got, err := w.log.Entry(1234)
		if err != nil || string(got) != string(want) {
			t.Error(err)
		}
		head, _ := w.log.Head()
		count := 0
		if err := w.log.Range(t.Context(), 0, head.Size, func(int64, []byte) error { count++; return nil }); err != nil || int64(count) != head.Size {
			t.Errorf("%d of %d: %v", count, head.Size, err)
		}
		if _, err := tlog.ProveEntry(w.log, head, 4321); err != nil {
			t.Error(err)
		}
		if r := w.verified(w.deps.Disk); r.Verdict != Good || r.Entries != head.Size {
			t.Errorf("%+v", r)
		}
	}
	again()
	w.close()
	_, found := w.open()
	if found.Rebuilt > 0 {
		t.Errorf("%+v", found)
	}
	again()
}

func TestAFlippedBitOfASqueezedSegmentIsFound(t *testing.T) {
	w := newWorld(t)
	tr := newTraced()
	w.cfg.SegmentBytes = 64 << 10
	w.deps.Disk, w.deps.Away = tr.in("log"), tr.in("away")
	l, _ := w.open()
	w.append(1, 1, 600)
	w.settle()
	if n, err := l.Squeeze(func(Held) bool { return true }, func() bool { return false }); n < 2 || err != nil {
		t.Fatal(n, err)
	}
	w.close()
	m := &memory{files: tr.now, keys: w.deps.Keys}
	m.known, _ = tlog.NewVerifiers(w.deps.Keys.Known...)
	if r := m.verify(t, m.copy()); r.Verdict != Good {
		t.Fatalf("%+v", r)
	}
	names := m.names(squeezedSuffix)
	files := m.copy()
	for range 400 {
		n := names[rand.IntN(len(names))]
		at, bit := rand.IntN(len(files[n])), byte(1)<<rand.IntN(8)
		files[n][at] ^= bit
		r := m.verify(t, files)
		files[n][at] ^= bit
		if r.Verdict == Good {
			t.Fatalf("%s, byte %d of %d: good", n, at, len(files[n]))
		}
	}
}
