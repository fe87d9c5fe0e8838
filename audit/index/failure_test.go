package index

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fire/audit/entry"

	"golang.org/x/sys/unix"
)

// probes are queries of every way to look: by id, by lists, by both, by time alone.
func probes(f *memoryLog) []Query {
	var out []Query
	for _, i := range []int64{f.minimum, (f.minimum + f.durable) / 2, f.durable - 1} {
		v, err := entry.Parse(f.entries[i-f.base])
		if err != nil {
			continue
		}
		for _, t := range []entry.Tag{entry.ClOrdID, entry.OrderID, entry.Digest} {
			if v.Text(t) != "" {
				out = append(out, Query{Match: []Match{{t, v.Text(t)}}})
			}
		}
		out = append(out, Query{From: v.Head().Time - 50_000_000, To: v.Head().Time + 50_000_000})
	}
	return append(out,
		Query{Match: []Match{{entry.Service, "gateway"}, {entry.Symbol, "SYM7"}}, Limit: LimitMax},
		Query{Match: []Match{{entry.Actor, "ops@host-1"}, {entry.Verb, "apply"}}, Limit: LimitMax, Oldest: true},
		Query{Match: []Match{{entry.Reason, "peer_lost"}, {entry.Rule, "orders"}}, Kinds: []entry.Kind{entry.Refused}, Limit: LimitMax})
}

// right checks the index's answers against the logs themselves.
func (r *running) right(logs ...*memoryLog) {
	r.t.Helper()
	for _, l := range logs {
		for _, q := range probes(l) {
			q.Reads = ReadsMax
			want := oracle(r.t, logs, q)
			if got := all(r.t, func(q Query) (*Answer, error) { return r.Search(r.t.Context(), q) }, q); !slices.Equal(got, want) {
				r.t.Fatalf("%+v: %d hits, %d are due: %.300v, not %.300v", q, len(got), len(want), got, want)
			}
		}
	}
}

func TestARestartGoesOnWhereItWas(t *testing.T) {
	f := newFloor(2)
	l := newLog("eu.floor/audit/a", f, 9_000)
	deps := Deps{Dir: t.TempDir(), Logs: listed(l)}
	x := start(t, deps)
	x.caughtUp()
	x.stop()
	l.append(f.entries(3000)...)
	l.mu.Lock()
	l.reads = 0
	l.mu.Unlock()
	x = start(t, deps)
	x.caughtUp()
	if l.reads > 3000+blockSpan+10 {
		t.Errorf("%d entries were read after a restart behind 9,000 of 12,000", l.reads)
	}
	if s := x.Stats(); s.Rebuilds != 0 {
		t.Errorf("%+v", s)
	}
	x.right(l)
}

// TestAKilledIndexSkipsNothing kills a process that indexes, again and again, and opens what it left.
func TestAKilledIndexSkipsNothing(t *testing.T) {
	if dir := os.Getenv("INDEX_VICTIM"); dir != "" {
		x := start(t, Deps{Dir: dir, Logs: listed(newLog("eu.floor/audit/a", newFloor(3), 40_000))})
		for {
			fmt.Println(x.States()[0].Indexed)
			time.Sleep(100 * time.Microsecond)
		}
	}
	l := newLog("eu.floor/audit/a", newFloor(3), 40_000)
	dir := t.TempDir()
	for _, far := range []int{8_000, 16_000, 30_000} {
		ctx, cancel := context.WithCancel(t.Context())
		c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAKilledIndexSkipsNothing$")
		c.Env = append(os.Environ(), "INDEX_VICTIM="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, _ := strconv.Atoi(lines.Text()); n >= far {
				break
			}
		}
		cancel() // SIGKILL
		_ = c.Wait()
	}
	x := start(t, Deps{Dir: dir, Logs: listed(l)})
	x.caughtUp()
	x.right(l)
	if s := x.Stats(); s.Rebuilds != 0 {
		t.Errorf("what a killed process left was thrown away: %+v", s)
	}
}

func TestAFolderThatIsDeletedWhileInUseIsMadeAgain(t *testing.T) {
	l := newLog("eu.floor/audit/a", newFloor(4), 20_000)
	dir := filepath.Join(t.TempDir(), "index")
	x := start(t, Deps{Dir: dir, Logs: listed(l)})
	stop := x.searching(l)
	for round := range int64(3) {
		x.until("some of it is indexed", func() bool { return x.States()[0].Indexed > 5000*round })
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			t.Fatal(err)
		}
		x.until("it is noticed", func() bool { return x.Stats().Rebuilds > round })
	}
	x.caughtUp()
	stop()
	x.right(l)
}

// searching asks again and again, beside everything else. Whatever a search says, it says how far
// it goes, and what it calls complete is.
func (r *running) searching(l *memoryLog) (stop func()) {
	q := Query{Match: []Match{{entry.Symbol, "SYM7"}}, Limit: LimitMax, Reads: ReadsMax}
	want := oracle(r.t, []*memoryLog{l}, q)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() {
		for asked := 0; ; asked++ {
			a, err := r.Search(context.Background(), q)
			switch {
			case err != nil:
				done <- err
				return
			case a.Complete() && !slices.Equal(names(a.Hits), want):
				done <- fmt.Errorf("%d hits, %d are due, and it says: %v", len(a.Hits), len(want), a.Covered)
				return
			case !a.Complete() && !strings.Contains(a.Covered[0].String(), fmt.Sprintf("complete up to index %d of %d", a.Covered[0].Covered, l.durable)):
				done <- fmt.Errorf("it says %v", a.Covered)
				return
			case ctx.Err() != nil && asked > 10:
				done <- nil
				return
			}
		}
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func TestHalfAFolderIsMadeAgain(t *testing.T) {
	rows := map[string]func(t *testing.T, db string){
		"a table is missing":      func(t *testing.T, db string) { remove(t, db, ".sst") },
		"the manifest is missing": func(t *testing.T, db string) { remove(t, db, "MANIFEST") },
		"the format is newer": func(t *testing.T, db string) {
			write(t, filepath.Join(db, "../FORMAT"), "fire audit index, format 3\n")
		},
		"the format is missing":    func(t *testing.T, db string) { remove(t, filepath.Dir(db), "FORMAT") },
		"it is no index at all":    func(t *testing.T, db string) { write(t, filepath.Join(db, "MANIFEST"), "hello") },
		"a table is cut short":     func(t *testing.T, db string) { truncate(t, db, ".sst") },
		"of a log that was longer": nil,
		"of another log":           nil,
	}
	for name, spoil := range rows {
		t.Run(name, func(t *testing.T) {
			l := newLog("eu.floor/audit/a", newFloor(5), 5000)
			deps := Deps{Dir: t.TempDir(), Logs: listed(l)}
			x := start(t, deps)
			x.caughtUp()
			x.stop()
			switch {
			case name == "of another log":
				l.swap(newFloor(6).entries(5500))
			case spoil == nil:
				l.swap(l.entries[:4500])
			default:
				spoil(t, filepath.Join(deps.Dir, "db"))
			}
			x = start(t, deps)
			x.until("it is made again", func() bool { return x.Stats().Rebuilds == 1 && x.States()[0].Indexed > 0 })
			x.caughtUp()
			x.right(l)
			if s := x.Stats(); s.Rebuilds != 1 || s.Rebuilt == "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func find(t *testing.T, dir, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(found) == 0 {
		t.Fatal("no", suffix, "in", dir, err)
	}
	return found[0]
}

func remove(t *testing.T, dir, suffix string) {
	t.Helper()
	if err := os.Remove(find(t, dir, suffix)); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, dir, suffix string) {
	t.Helper()
	name := find(t, dir, suffix)
	st, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, st.Size()*2/3)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAFlippedByteNeverMakesAWrongAnswer flips bytes of every file and opens what comes of it.
func TestAFlippedByteNeverMakesAWrongAnswer(t *testing.T) {
	l := newLog("eu.floor/audit/a", newFloor(7), 1500)
	whole := t.TempDir()
	x := start(t, Deps{Dir: whole, Logs: listed(l)})
	x.caughtUp()
	x.stop()
	rnd := rand.New(rand.NewPCG(7, 7))
	rebuilt := 0
	for round := range 24 {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		name, at := flip(t, dir, round, rnd)
		x := start(t, Deps{Dir: dir, Logs: listed(l)})
		x.until("it is open", func() bool { return x.States()[0].Indexed > 0 })
		x.caughtUp()
		x.right(l)
		if x.stop(); x.Stats().Rebuilds > 0 {
			rebuilt++
		} else if strings.HasSuffix(name, ".sst") {
			t.Errorf("byte %d of %s was flipped, and nobody has seen it", at, name)
		}
	}
	if rebuilt < 6 {
		t.Errorf("%d of 24 flips were found", rebuilt)
	}
}

// flip changes a byte of one of the files in dir, each in its turn, its ends more often.
func flip(t *testing.T, dir string, round int, rnd *rand.Rand) (name string, at int) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if st, err := d.Info(); err == nil && d.Type().IsRegular() && st.Size() > 0 {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	name = files[round%len(files)]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	switch at = rnd.IntN(len(b)); round / len(files) % 3 {
	case 1:
		at = len(b) - 1 - min(rnd.IntN(40), len(b)-1)
	case 2:
		at = min(rnd.IntN(40), len(b)-1)
	}
	b[at] ^= byte(1 + rnd.IntN(255))
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, at
}

func TestAByteThatRotsWhileInUseIsFound(t *testing.T) {
	l := newLog("eu.floor/audit/a", newFloor(8), 9_000)
	dir := t.TempDir()
	x := start(t, Deps{Dir: dir, Logs: listed(l)})
	x.caughtUp()
	x.stop()
	x = start(t, Deps{Dir: dir, Logs: listed(l)})
	x.caughtUp()
	name := find(t, filepath.Join(dir, "db"), ".sst")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{^b[len(b)/3]}, int64(len(b)/3)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	x.until("it is found and made again", func() bool { return x.Stats().Rebuilds == 1 })
	x.caughtUp()
	x.right(l)
}

func TestAFullDiskStopsTheIndexAndNothingElse(t *testing.T) {
	f := newFloor(9)
	l := newLog("eu.floor/audit/a", f, 5_000)
	var free atomic.Int64
	free.Store(1 << 40)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(l), Free: func(string) (int64, error) { return free.Load(), nil }})
	x.caughtUp()
	free.Store(1 << 20)
	l.append(f.entries(10_000)...)
	x.until("it says that it stopped", func() bool { return strings.Contains(x.Stats().Stopped, "nearly full") })
	a, err := x.Search(t.Context(), Query{Match: []Match{{entry.Symbol, "SYM7"}}})
	if err != nil || a.Complete() || a.Covered[0].Covered >= a.Covered[0].Durable {
		t.Errorf("%v %v: complete without the entries that were not indexed", err, a.Covered)
	}
	if s := x.States()[0]; s.Lag() == 0 || s.Durable != 15_000 {
		t.Errorf("%+v", s)
	}
	free.Store(1 << 40)
	x.caughtUp()
	x.right(l)
	if s := x.Stats(); s.Rebuilds != 0 {
		t.Errorf("%+v", s)
	}
}

func TestTwoProcessesDoNotShareAFolder(t *testing.T) {
	l := newLog("eu.floor/audit/a", newFloor(10), 100)
	dir := t.TempDir()
	x := start(t, Deps{Dir: dir, Logs: listed(l)})
	x.caughtUp()
	y := start(t, Deps{Dir: dir, Logs: listed(l)})
	y.until("it says so", func() bool { return strings.Contains(y.Stats().Stopped, "another process") })
	x.right(l)
	x.stop()
	y.caughtUp()
	if y.Stats().Rebuilds != 0 {
		t.Errorf("%+v", y.Stats())
	}
}

func TestALogThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	f := newFloor(11)
	a, b := newLog("eu.floor/audit/a", f, 5000), newLog("eu.floor/audit/b", f, 5000)
	a.broken = errors.New("the disk says no")
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(a, b)})
	x.until("the other is indexed", func() bool { return x.States()[1].Lag() == 0 })
	if s := x.Stats(); !strings.Contains(s.Stopped, "the disk says no") {
		t.Errorf("%+v", s)
	}
	a.mu.Lock()
	a.broken = nil
	a.mu.Unlock()
	x.caughtUp()
	x.right(a, b)
}

// TestARealFullDiskIsSurvived fills a small file system around an index at work.
func TestARealFullDiskIsSurvived(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Skip("no file system of its own can be mounted:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f := newFloor(12)
	l := newLog("eu.floor/audit/a", f, 3000)
	x := start(t, Deps{Dir: filepath.Join(dir, "index"), Logs: listed(l), Reserve: 40 << 20})
	x.caughtUp()
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, strings.Repeat("x", 60<<20))
	l.append(f.entries(20_000)...)
	x.until("it says that it stopped", func() bool { return strings.Contains(x.Stats().Stopped, "nearly full") })
	x.stop() // it closes with what is left
	x = start(t, Deps{Dir: filepath.Join(dir, "index"), Logs: listed(l), Reserve: 40 << 20})
	x.until("it does not begin", func() bool { return strings.Contains(x.Stats().Stopped, "nearly full") })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	x.caughtUp()
	x.right(l)
	if s := x.Stats(); s.Rebuilds != 0 {
		t.Errorf("%+v", s)
	}
}

// TestAStoreClosesBehindItsReaders: what they read is mapped, and gone with the last of them.
func TestAStoreClosesBehindItsReaders(t *testing.T) {
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(newLog("eu.floor/audit/a", newFloor(13), 100))})
	x.caughtUp()
	s, _ := x.held()
	closed := make(chan struct{})
	go func() { x.stop(); close(closed) }()
	for !s.closing.Load() {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.logs(); err != nil || s.db.IsClosed() {
		t.Error("it closed under a reader", err)
	}
	if s.hold() {
		t.Error("a reader came in after it began to close")
	}
	select {
	case <-closed:
		t.Error("Run ended before the reader")
	case <-time.After(20 * time.Millisecond):
	}
	s.release()
	<-closed
	if !s.db.IsClosed() {
		t.Error("it is open")
	}
	if a, err := x.Search(t.Context(), Query{}); err != nil || len(a.Hits) != 100 {
		t.Error("a search after Run:", err)
	}
}

// TestASearchThatComesUponNonsenseHasTheIndexMadeAgain and is answered without it.
func TestASearchThatComesUponNonsenseHasTheIndexMadeAgain(t *testing.T) {
	l := newLog("eu.floor/audit/a", newFloor(14), tailMax+500)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(l), Check: time.Hour})
	x.caughtUp()
	s, _ := x.held()
	txn := s.db.NewTransactionAt(math.MaxUint64, true)
	if err := txn.Set(appendList(nil, 0, entry.Symbol, hashOf([]byte("SYM7")), 0), []byte{listGaps, 0}); err != nil {
		t.Fatal(err)
	}
	if err := txn.CommitAt(1<<40, nil); err != nil {
		t.Fatal(err)
	}
	s.release()
	a, err := x.Search(t.Context(), Query{Match: []Match{{entry.Symbol, "SYM7"}}})
	if err != nil || a.Complete() || len(a.Hits) != 0 {
		t.Errorf("%v: %v with %d hits", err, a.Covered, len(a.Hits))
	}
	x.until("it is made again", func() bool { return x.Stats().Rebuilds == 1 })
	x.caughtUp()
	x.right(l)
}
