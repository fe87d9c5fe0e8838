package audit

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/audit/tlog"
)

// memory is a whole log in memory, closed: its files, and where each entry lies.
type memory struct {
	files map[string][]byte
	known *tlog.Verifiers
	keys  *Keys
	size  int64
}

func newMemory(t *testing.T, entries int, segmentBytes int64, groups int) *memory {
	t.Helper()
	w := newWorld(t)
	tr := newTraced()
	w.cfg.SegmentBytes = segmentBytes
	w.deps.Disk, w.deps.Away = tr.in("log"), tr.in("away")
	l, _ := w.open()
	for g := range groups {
		for i := range entries/groups - 1 {
			if err := l.Add(t.Context(), fact(uint64(g), uint64(i))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Append(t.Context(), fact(uint64(g), 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	m := &memory{files: tr.now, size: int64(entries / groups * groups), keys: w.deps.Keys}
	m.known, _ = tlog.NewVerifiers(w.deps.Keys.Known...)
	return m
}

func (m *memory) copy() map[string][]byte {
	out := maps.Clone(m.files)
	for n := range out {
		out[n] = bytes.Clone(out[n])
	}
	return out
}

func (m *memory) verify(t *testing.T, files map[string][]byte) *Report {
	t.Helper()
	mem := newTraced()
	mem.now = files
	r, err := Verify(context.Background(), Verification{Disk: mem.in("log"), Away: mem.in("away"), Known: m.known, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (m *memory) names(suffix string) (out []string) {
	for n := range m.files {
		if strings.HasSuffix(n, suffix) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// indexAt is the first entry that a byte of a segment concerns: the one that lies there, or the
// first that follows the end of a group, or of the segment.
func indexAt(t *testing.T, b []byte, at int64) int64 {
	h, err := parseHeader(b[:headerBytes])
	if err != nil {
		t.Fatal(err)
	}
	if at < headerBytes {
		return h.first()
	}
	index := h.first()
	fr := frames{from: bytes.NewReader(b), size: int64(len(b)), at: headerBytes}
	for {
		kind, _, err := fr.next()
		if err != nil {
			return index // behind the last group
		}
		switch {
		case at < fr.at:
			return index
		case kind == frameEntry:
			index++
		}
	}
}

func TestAWholeLogIsGood(t *testing.T) {
	m := newMemory(t, 400, 32<<10, 4)
	r := m.verify(t, m.copy())
	if r.Verdict != Good || r.Size != m.size || r.Entries != m.size || len(r.Faults) > 0 || len(r.Notes) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestEveryFlippedBitIsFound flips one of every file, ten thousand times, and wants the first
// index that it concerns.
func TestEveryFlippedBitIsFound(t *testing.T) {
	m := newMemory(t, 120, 16<<10, 4)
	files := m.copy()
	var names []string
	for n := range files {
		if len(files[n]) > 0 {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	if len(names) < 6 {
		t.Fatal(names)
	}
	r := rand.New(rand.NewPCG(1, 2))
	flips := 10000
	if testing.Short() || raceOn {
		flips = 500
	}
	for range flips {
		n := names[r.IntN(len(names))]
		at := r.IntN(len(files[n]))
		bit := byte(1) << r.IntN(8)
		want := int64(0)
		if strings.HasSuffix(n, segmentSuffix) {
			want = indexAt(t, files[n], int64(at))
		}
		files[n][at] ^= bit
		got := m.verify(t, files)
		files[n][at] ^= bit
		if got.Verdict == Good || len(got.Faults) == 0 {
			t.Fatalf("%s, byte %d: %s", n, at, got.Verdict)
		}
		f := got.Faults[0]
		if !strings.HasSuffix(n, f.File) {
			t.Errorf("%s, byte %d: blames %v", n, at, f)
		}
		if strings.HasSuffix(n, segmentSuffix) && f.Index != want {
			t.Errorf("%s, byte %d: index %d, want %d: %v", n, at, f.Index, want, f)
		}
	}
}

// TestAnEntryThatWasChangedWithItsChecksumIsNamed: the sum is no secret, the root is.
func TestAnEntryThatWasChangedWithItsChecksumIsNamed(t *testing.T) {
	m := newMemory(t, 240, 32<<10, 4)
	name := m.names(segmentSuffix)[0]
	files := m.copy()
	b := files[name]
	fr := frames{from: bytes.NewReader(b), size: int64(len(b)), at: headerBytes}
	var at int64
	for entries := 0; entries < 18; { // groups end between them
		at = fr.at
		kind, _, err := fr.next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == frameEntry {
			entries++
		}
	}
	frame := b[at:fr.at]
	frame[frameBytes+40] ^= 1
	putFrame(frame, frameEntry)
	r := m.verify(t, files)
	if r.Verdict != IsTampered || r.Faults[0].Index != 17 || r.Faults[0].Offset != at || r.Faults[0].Want == "" || r.Faults[0].Got == "" {
		t.Errorf("%s %v", r.Verdict, r.Faults)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	m := newMemory(t, 600, 32<<10, 12)
	segments := m.names(segmentSuffix)
	last := segments[len(segments)-1]
	frameEnds := func(b []byte, want byte) (ends []int64) {
		fr := frames{from: bytes.NewReader(b), size: int64(len(b)), at: headerBytes}
		for {
			kind, _, err := fr.next()
			if err != nil {
				return ends
			}
			if kind == want {
				ends = append(ends, fr.at)
			}
		}
	}
	cut := func(b []byte, at int64) { clear(b[at:]) }
	rows := map[string]struct {
		do   func(files map[string][]byte)
		kind FaultKind
	}{
		"the tail, at a record": {func(f map[string][]byte) {
			ends := frameEnds(f[last], frameEntry)
			cut(f[last], ends[len(ends)-2])
		}, Incomplete},
		"the tail, at a group": {func(f map[string][]byte) {
			ends := frameEnds(f[last], frameTrailer)
			cut(f[last], ends[len(ends)-2])
		}, Incomplete},
		"the file, shorter": {func(f map[string][]byte) {
			ends := frameEnds(f[last], frameEntry)
			f[last] = f[last][:ends[len(ends)-2]+3]
		}, Tampered},
		"the last segment": {func(f map[string][]byte) { delete(f, last) }, Incomplete},
		"a middle segment": {func(f map[string][]byte) { delete(f, segments[1]) }, Incomplete},
		"the first segment": {func(f map[string][]byte) {
			delete(f, segments[0])
			delete(f, treeName(segments[0]))
		}, Incomplete},
		"the head that lies away": {func(f map[string][]byte) { delete(f, "away/head") }, Incomplete},
		"all segments": {func(f map[string][]byte) {
			for _, n := range segments {
				delete(f, n)
			}
		}, Incomplete},
	}
	for name, row := range rows {
		files := m.copy()
		row.do(files)
		r := m.verify(t, files)
		if r.Verdict == Good || len(r.Faults) == 0 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if !slices.ContainsFunc(r.Faults, func(f *Fault) bool { return f.Kind == row.kind }) {
			t.Errorf("%s: %v", name, r.Faults)
		}
		t.Log(name, "→", r.Verdict, r.Faults[0])
		if strings.HasPrefix(name, "the head") || strings.HasPrefix(name, "all") {
			continue
		}
		mem := newTraced()
		mem.now = files
		if l, _, err := Open(Config{Origin: testOrigin, SegmentBytes: 32 << 10, Rings: 1}, m.deps(mem)); err == nil {
			t.Errorf("%s: the log starts", name)
			_ = l.closeParts()
		}
	}
}

func (m *memory) deps(tr *traced) Deps {
	return Deps{Disk: tr.in("log"), Away: tr.in("away"), Keys: m.keys}
}

func TestAWrongKeyIsNamed(t *testing.T) {
	m := newMemory(t, 40, 32<<10, 1)
	m.known, _ = tlog.NewVerifiers(newKeys(t).Known...)
	r := m.verify(t, m.copy())
	if r.Verdict != IsTampered || !strings.Contains(r.Faults[0].Why, tlog.ErrWrongKey.Error()) {
		t.Errorf("%s %v", r.Verdict, r.Faults)
	}
}

// TestALogIsVerifiedWhileItGrows, up to a head.
func TestALogIsVerifiedWhileItGrows(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 128 << 10
	l, _ := w.open()
	known, _ := tlog.NewVerifiers(w.deps.Keys.Known...)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				if err := l.Add(context.Background(), fact(1, i)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for h, _ := l.Head(); h.Size < 1000; h, _ = l.Head() {
		time.Sleep(time.Millisecond)
	}
	for range 10 {
		r, err := l.Verify(t.Context(), Verification{Known: known, Away: w.deps.Away})
		if err != nil || r.Verdict != Good || r.Size < 1000 {
			for _, f := range r.Faults {
				t.Error(f)
			}
			t.Fatalf("%v %+v", err, r)
		}
	}
	close(stop)
	<-done
}
