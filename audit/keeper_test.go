package audit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fire/audit/entry"
)

// aged is a world whose clock can be moved, with entries of 2020.
func aged(t *testing.T) (w *world, l *Log, set func(year, month int)) {
	w = newWorld(t)
	w.cfg.SegmentBytes = 32 << 10
	var now atomic.Int64
	set = func(year, month int) {
		now.Store(time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC).UnixNano())
	}
	set(2021, 1)
	w.deps.Now = func() time.Time { return time.Unix(0, now.Load()) }
	l, _ = w.open()
	for i := range 400 {
		var b entry.Builder
		kind := entry.Opened
		if i >= 200 {
			kind = entry.Message
		}
		b.Begin(nil, entry.Head{Kind: kind, Time: time.Date(2020, 1, 1, 0, i, 0, 0, time.UTC).UnixNano()})
		b.Str(entry.Detail, strings.Repeat("x", 200))
		if _, err := l.Append(t.Context(), b.Raw()); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	return w, l, set
}

func years() Retention {
	return Retention{Years: map[entry.Kind]int{entry.Opened: 3, entry.Message: 6}, YearsElse: 6, LookEvery: time.Hour}
}

// TestEachClassIsKeptForItsYears, and a legal hold longer.
func TestEachClassIsKeptForItsYears(t *testing.T) {
	_, l, set := aged(t)
	k := NewKeeper(l, years(), l.knownKeys(t))
	prune := func() int64 {
		t.Helper()
		if err := k.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l.Minimum()
	}
	if m := prune(); m != 0 {
		t.Errorf("after a year the minimum is %d", m)
	}
	set(2023, 6)
	first := prune()
	if first == 0 || first > 200 {
		t.Errorf("after three years the minimum is %d: connections go, and no message", first)
	}
	hold := LegalHold{Name: "case 7", From: time.Date(2020, 1, 1, 4, 0, 0, 0, time.UTC), To: time.Date(2020, 1, 1, 4, 5, 0, 0, time.UTC), By: "counsel", Why: "inquiry"}
	if err := l.SetHold(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	if l.SetHold(t.Context(), hold) == nil {
		t.Error("it is set twice")
	}
	set(2027, 1)
	if m := prune(); m > 240 || m <= first {
		t.Errorf("under the hold the minimum is %d", m)
	}
	if err := l.LiftHold(t.Context(), "case 7", "counsel", "closed"); err != nil {
		t.Fatal(err)
	}
	if m := prune(); m < 300 {
		t.Errorf("after it the minimum is %d", m)
	}
	var said []string
	head, _ := l.Head()
	_ = l.Range(t.Context(), 0, head.Size, func(_ int64, e []byte) error {
		if v, _ := entry.Parse(e); v.Kind() == entry.Hold {
			said = append(said, v.Str(entry.Verb)+" by "+v.Str(entry.Actor))
		}
		return nil
	})
	if got := strings.Join(said, ", "); got != "set by counsel, lifted by counsel" {
		t.Error(got)
	}
}

// TestHoldsThatWereChangedHoldEverything: who edits the file lifts nothing.
func TestHoldsThatWereChangedHoldEverything(t *testing.T) {
	w, l, set := aged(t)
	set(2040, 1)
	if err := l.SetHold(t.Context(), LegalHold{Name: "a", From: time.Unix(0, 0), To: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "log", holdsName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), `"a"`, `"b"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	k := NewKeeper(l, years(), l.knownKeys(t))
	if err := k.prune(t.Context()); err == nil || l.Minimum() != 0 {
		t.Errorf("%v, the minimum is %d", err, l.Minimum())
	}
}

func TestTheOldestGoWhenTheLogIsTooLarge(t *testing.T) {
	_, l, _ := aged(t)
	how := years()
	how.Bytes = 40 << 10
	k := NewKeeper(l, how, l.knownKeys(t))
	if err := k.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := l.Minimum(); m < 200 || l.Stat().DiskBytes > 80<<10 {
		t.Errorf("the minimum is %d, %d bytes are left", m, l.Stat().DiskBytes)
	}
}

// TestScrubbingTellsTheLogWhatItFound.
func TestScrubbingTellsTheLogWhatItFound(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 64 << 10
	l, _ := w.open()
	w.append(1, 1, 1000)
	w.settle()
	k := NewKeeper(l, years(), l.knownKeys(t))
	if r, err := k.Scrub(t.Context(), 0); err != nil || r.Verdict != Good || k.Scrubs().Good.Load() == 0 {
		t.Fatalf("%v %+v", err, r)
	}
	path := filepath.Join(w.dir, "log", l.parts[1].name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff, 0xfe}, 20000); err != nil {
		t.Fatal(err)
	}
	r, err := k.Scrub(t.Context(), 0)
	if err != nil || r.Verdict != IsTampered || k.Scrubs().Bad.Load() != 1 || k.Scrubs().Fault.Load() == nil {
		t.Fatalf("%v %+v", err, r)
	}
	var results []string
	head, _ := l.Head()
	_ = l.Range(t.Context(), 1000, head.Size, func(_ int64, e []byte) error {
		if v, _ := entry.Parse(e); v.Kind() == entry.Scrubbed {
			results = append(results, v.Str(entry.Result))
		}
		return nil
	})
	if strings.Join(results, " ") != "good tampered" {
		t.Error(results)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Run(ctx); err != nil {
		t.Error(err)
	}
}
