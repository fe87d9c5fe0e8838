package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/audit/entry"

	"pgregory.net/rapid"
)

// drawQuery draws a query that some entries of a narrow floor answer.
func drawQuery(t *rapid.T, logs []*memoryLog) Query {
	var q Query
	l := rapid.SampledFrom(logs).Draw(t, "log")
	if l.durable > l.minimum && rapid.Bool().Draw(t, "of an entry") {
		v, err := entry.Parse(l.entries[rapid.Int64Range(l.minimum, l.durable-1).Draw(t, "entry")-l.base])
		if err != nil {
			t.Fatal(err)
		}
		var tags []entry.Tag
		for tag := range v.All() {
			tags = append(tags, tag)
		}
		for _, tag := range rapid.SliceOfNDistinct(rapid.SampledFrom(tags), 1, min(3, len(tags)), rapid.ID[entry.Tag]).Draw(t, "fields") {
			q.Match = append(q.Match, Match{tag, v.Text(tag)})
		}
	}
	q.Kinds = append(q.Kinds, rapid.SliceOfNDistinct(rapid.SampledFrom([]entry.Kind{entry.Message, entry.Refused, entry.Admin, entry.Clock}), 0, 2, rapid.ID[entry.Kind]).Draw(t, "kinds")...)
	for range rapid.IntRange(0, 3).Draw(t, "any") {
		tag := rapid.SampledFrom([]entry.Tag{entry.ClOrdID, entry.OrigID, entry.OrderID, entry.Symbol}).Draw(t, "tag")
		q.Any = append(q.Any, Match{tag, rapid.SampledFrom([]string{"C1", "C3", "O2", "SYM4"}).Draw(t, "value")})
	}
	if rapid.Bool().Draw(t, "window") {
		q.From = epoch + rapid.Int64Range(0, 20_000_000_000).Draw(t, "from")
		q.To = q.From + rapid.Int64Range(1, 10_000_000_000).Draw(t, "length")
	}
	if rapid.Bool().Draw(t, "one log") {
		q.Logs = []string{l.origin}
	}
	q.Oldest = rapid.Bool().Draw(t, "oldest")
	q.Limit = rapid.SampledFrom([]int{1, 7, 100, LimitMax}).Draw(t, "limit")
	q.Reads = rapid.SampledFrom([]int{1, 50, 0}).Draw(t, "reads")
	if q.Reads == 1 {
		q.Limit = LimitMax // else a page each
	}
	return q
}

func TestTheIndexAnswersAsTheLogsDo(t *testing.T) {
	f := newFloor(1)
	f.wide = 9
	logs := []*memoryLog{newLog("eu.floor/audit/a", f, 4700), newLog("eu.floor/audit/b", f, 300), newLog("eu.floor/audit/c", f, 0), newLog("eu.floor/audit/d", f, 100)}
	logs[0].prune(300)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(logs...)})
	x.caughtUp()
	rapid.Check(t, func(rt *rapid.T) {
		q := drawQuery(rt, logs)
		if q.Reads == 1 && len(q.Match) == 0 {
			q.Reads = 500 // else a page for each entry
		}
		want := oracle(t, logs, q)
		if got := all(t, func(q Query) (*Answer, error) { return x.Search(t.Context(), q) }, q); !slices.Equal(got, want) {
			rt.Fatalf("%+v: %d hits, %d are due\n%.300v\n%.300v", q, len(got), len(want), got, want)
		}
		q.Reads, q.Limit = 3000, LimitMax
		if got := all(t, func(q Query) (*Answer, error) { return Scan(t.Context(), listed(logs...)(), q) }, q); !slices.Equal(got, want) {
			rt.Fatalf("scan: %+v: %d hits, %d are due", q, len(got), len(want))
		}
	})
}

func TestPrunedEntriesVanish(t *testing.T) {
	f := newFloor(21)
	f.wide = 9
	l := &memoryLog{origin: "eu.floor/audit/a", base: shardSpan - 5000, minimum: shardSpan - 5000}
	l.append(f.entries(11_000)...)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(l)})
	x.caughtUp()
	x.right(l)
	if n := x.keysOf(0); n < 5000 {
		t.Fatalf("%d keys of the first shard", n)
	}
	l.prune(shardSpan - 100) // within a block
	x.right(l)
	l.prune(shardSpan + 700)
	x.right(l)
	x.until("its keys are gone", func() bool { return x.keysOf(0) == 0 })
	x.right(l)
	if a, err := x.Search(t.Context(), Query{Oldest: true, Limit: 1}); err != nil || a.Hits[0].Index != shardSpan+700 || a.Covered[0].Minimum != shardSpan+700 {
		t.Errorf("%v %+v", err, a)
	}
	x.stop()
	l.prune(shardSpan + 5500) // while it was not running
	x = start(t, Deps{Dir: x.deps.Dir, Logs: x.deps.Logs})
	x.caughtUp()
	x.right(l)
	if s := x.Stats(); s.Rebuilds != 0 {
		t.Errorf("%+v", s)
	}
	l.append(f.entries(10)...)
	l.prune(l.durable - 3) // beyond what is indexed, perhaps
	x.caughtUp()
	x.right(l)
}

// keysOf is how many keys a shard of the first log has.
func (r *running) keysOf(shard int64) int {
	s, _ := r.held()
	if s == nil {
		return -1
	}
	defer s.release()
	keys, err := s.keysBetween(nil, shardPrefix(0, shard), shardPrefix(0, shard+1), 1<<20)
	if err != nil {
		r.t.Error(err)
	}
	return len(keys)
}

func TestPagesDoNotMoveWhileLogsGrow(t *testing.T) {
	f := newFloor(22)
	f.wide = 30
	a, b := newLog("eu.floor/audit/a", f, 2000), newLog("eu.floor/audit/b", f, 1500)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(a, b)})
	x.caughtUp()
	for _, oldest := range []bool{false, true} {
		q := Query{Match: []Match{{entry.Service, "gateway"}, {entry.MsgType, "D"}}, Limit: 13, Oldest: oldest}
		want := oracle(t, []*memoryLog{a, b}, q)
		var got []string
		for more := true; more; {
			answer, err := x.Search(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, names(answer.Hits)...)
			q.Cursor, more = answer.Cursor, answer.More && len(got) < len(want)
			a.append(f.entries(20)...)
			b.append(f.entries(5)...)
			x.Wake()
		}
		if got = got[:min(len(got), len(want))]; !slices.Equal(got, want) && !oldest {
			t.Errorf("newest first: %d hits, %d are due", len(got), len(want))
		}
		if !oldest {
			continue
		}
		// Oldest first the pages go on into what was appended: all of it, once.
		x.caughtUp()
		q.Cursor = ""
		if got, want := all(t, func(q Query) (*Answer, error) { return x.Search(t.Context(), q) }, q), oracle(t, []*memoryLog{a, b}, q); !slices.Equal(got, want) {
			t.Errorf("oldest first: %d hits, %d are due", len(got), len(want))
		}
	}
}

func TestACursorFollowsALog(t *testing.T) {
	f := newFloor(23)
	l := newLog("eu.floor/audit/a", f, 50)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(l), Check: time.Hour})
	q := Query{Oldest: true, Limit: LimitMax}
	seen := 0
	for range 20 {
		a, err := x.Search(t.Context(), q)
		if err != nil || a.More || !a.Complete() {
			t.Fatal(err, a)
		}
		for _, h := range a.Hits {
			if h.Index != int64(seen) {
				t.Fatalf("entry %d came where %d was due", h.Index, seen)
			}
			seen++
		}
		if int64(seen) != l.durable {
			t.Fatalf("%d of %d entries", seen, l.durable)
		}
		q.Cursor = a.Cursor
		l.append(f.entries(300)...)
	}
	x.caughtUp()
}

func TestOneCallReadsNoMoreThanItMay(t *testing.T) {
	f := newFloor(24)
	f.wide = 50
	a, b := newLog("eu.floor/audit/a", f, 6000), newLog("eu.floor/audit/b", f, 6000)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(a, b)})
	x.caughtUp()
	for _, q := range []Query{
		{Match: []Match{{entry.Verb, "nobody does this"}}, Reads: 700},
		{Match: []Match{{entry.Service, "gateway"}, {entry.Verb, "nor this"}}, Reads: 30, Oldest: true},
	} {
		calls := 0
		for more := true; more; calls++ {
			a.reads, b.reads = 0, 0
			answer, err := x.Search(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if n := a.reads + b.reads; n > q.Reads || answer.Reads != n || len(answer.Hits) > 0 {
				t.Fatalf("%d entries were read where %d may be, and it says %d", n, q.Reads, answer.Reads)
			}
			q.Cursor, more = answer.Cursor, answer.More
		}
		if calls < 3 {
			t.Errorf("%d calls", calls)
		}
	}
}

// TestAnIdCostsFewReadings: the index leads to the entries, not past them.
func TestAnIdCostsFewReadings(t *testing.T) {
	f := newFloor(25)
	l := newLog("eu.floor/audit/a", f, 9000)
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(l)})
	x.caughtUp()
	a, err := x.Find(t.Context(), []Match{{entry.ClOrdID, "C00000001"}, {entry.OrigID, "C00000001"}, {entry.OrderID, "O00000002"}}, Query{})
	if err != nil || a.Reads > 3 || len(a.Hits) == 0 {
		t.Errorf("%v: %d readings for %d hits", err, a.Reads, len(a.Hits))
	}
	want := oracle(t, []*memoryLog{l}, Query{Any: []Match{{entry.ClOrdID, "C00000001"}, {entry.OrigID, "C00000001"}, {entry.OrderID, "O00000002"}}})
	if !slices.Equal(names(a.Hits), want) {
		t.Errorf("%v, not %v", names(a.Hits), want)
	}
	if a, err = x.Search(t.Context(), Query{Match: []Match{{entry.Symbol, "SYM9"}, {entry.Sender, "BETA"}, {entry.Rule, "orders"}}}); err != nil || a.Reads != len(a.Hits) {
		t.Errorf("%v: %d readings for %d hits", err, a.Reads, len(a.Hits))
	}
	v, _ := entry.Parse(l.entries[4000])
	if a, err = x.Search(t.Context(), Query{From: v.Head().Time, To: v.Head().Time + 1}); err != nil || a.Reads > 2*blockSpan || len(a.Hits) != 1 {
		t.Errorf("%v: %d readings for a moment", err, a.Reads)
	}
}

func TestLogsComeAndGo(t *testing.T) {
	f := newFloor(26)
	a, b := newLog("eu.floor/audit/a", f, 300), newLog("eu.floor/audit/b", f, 300)
	var both bool
	dir := t.TempDir()
	logs := func() []Log {
		if both {
			return listed(a, b)()
		}
		return listed(b)()
	}
	for _, both = range []bool{false, true, false, true} {
		x := start(t, Deps{Dir: dir, Logs: logs})
		x.caughtUp()
		if both {
			x.right(a, b)
		} else {
			x.right(b)
		}
		x.stop()
		if s := x.Stats(); s.Rebuilds != 0 {
			t.Errorf("%+v", s)
		}
		b.append(f.entries(100)...)
		a.append(f.entries(100)...)
	}
}

func TestWithoutAnIndexASearchSaysSo(t *testing.T) {
	f := newFloor(27)
	small, large := newLog("eu.floor/audit/a", f, 100), newLog("eu.floor/audit/b", f, tailMax+1)
	x := New(Deps{Dir: t.TempDir(), Logs: listed(small), Log: quiet()})
	if a, err := x.Search(t.Context(), Query{Limit: 200}); err != nil || !a.Complete() || len(a.Hits) != 100 {
		t.Errorf("%v: a short log needs no index: %+v", err, a.Covered)
	}
	x = New(Deps{Dir: t.TempDir(), Logs: listed(large), Log: quiet()})
	if a, err := x.Search(t.Context(), Query{}); err != nil || a.Complete() || a.Covered[0].String() != fmt.Sprintf("eu.floor/audit/b: complete up to index 0 of %d", tailMax+1) {
		t.Errorf("%v %v", err, a.Covered)
	}
}

func TestACursorIsOfItsQuery(t *testing.T) {
	l := newLog("eu.floor/audit/a", newFloor(28), 500)
	x := New(Deps{Dir: t.TempDir(), Logs: listed(l), Log: quiet()})
	q := Query{Match: []Match{{entry.Service, "gateway"}}, From: epoch, Limit: 3}
	a, err := x.Search(t.Context(), q)
	if err != nil || !a.More {
		t.Fatal(err, a)
	}
	other := q
	other.Match = []Match{{entry.Service, "risk"}}
	for _, bad := range []Query{{Cursor: "x"}, {Cursor: "AAAA"}, {Match: other.Match, From: q.From, Cursor: a.Cursor}, {Match: q.Match, Oldest: true, Cursor: a.Cursor}, {Match: q.Match, Cursor: a.Cursor + "AA"}} {
		if _, err := x.Search(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "cursor") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	// "since 10m" is another moment by the next page: the cursor has the first one's.
	all := oracle(t, []*memoryLog{l}, Query{Match: q.Match, From: epoch})
	q.From, q.Cursor, q.Limit = epoch+1<<40, a.Cursor, LimitMax
	if a, err = x.Search(t.Context(), q); err != nil || !slices.Equal(names(a.Hits), all[3:]) {
		t.Errorf("%v: %d hits, %d are due", err, len(a.Hits), len(all)-3)
	}
}

// TestAnyHistoryLeavesTheSameAnswers appends, prunes, restarts, forgets to close, deletes, and asks.
func TestAnyHistoryLeavesTheSameAnswers(t *testing.T) {
	f := newFloor(41)
	f.wide = 40
	r := rand.New(rand.NewPCG(41, 41))
	a, b := newLog("eu.floor/audit/a", f, 10), &memoryLog{origin: "eu.floor/audit/b", base: 3*blockSpan - 7, minimum: 3*blockSpan - 7}
	b.append(f.entries(20)...)
	deps := Deps{Dir: filepath.Join(t.TempDir(), "index"), Logs: listed(a, b)}
	x := start(t, deps)
	for step := range 60 {
		l := []*memoryLog{a, b}[r.IntN(2)]
		switch what := r.IntN(12); {
		case what < 6:
			l.append(f.entries(r.IntN(1500))...)
			x.Wake()
		case what == 6:
			l.prune(l.minimum + r.Int64N(l.durable-l.minimum))
		case what < 10: // wherever it is
			x.stop()
			if what == 9 {
				if err := os.RemoveAll(deps.Dir); err != nil {
					t.Fatal(err)
				}
			}
			x = start(t, deps)
		default:
			x.caughtUp()
		}
		if step%5 == 4 {
			x.until("the index is near", func() bool {
				return !slices.ContainsFunc(x.States(), func(s State) bool { return s.Lag() > tailMax })
			})
			x.right(a, b)
		}
	}
	x.caughtUp()
	x.right(a, b)
	if s := x.Stats(); s.Rebuilds != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAWindowHasItsFirstMomentAndNotItsLast(t *testing.T) {
	l := &memoryLog{origin: "eu.floor/audit/a"}
	var b entry.Builder
	for i := range 3 * blockSpan { // blocks of one moment each
		b.Begin(nil, entry.Head{Kind: entry.Clock, Time: epoch + int64(i/blockSpan)})
		l.append(b.Raw())
	}
	x := start(t, Deps{Dir: t.TempDir(), Logs: listed(l)})
	x.caughtUp()
	for _, oldest := range []bool{false, true} {
		q := Query{From: epoch + 1, To: epoch + 2, Limit: LimitMax, Oldest: oldest}
		if got, want := all(t, func(q Query) (*Answer, error) { return x.Search(t.Context(), q) }, q), oracle(t, []*memoryLog{l}, q); len(want) != blockSpan || !slices.Equal(got, want) {
			t.Errorf("%d entries, %d are due", len(got), len(want))
		}
	}
}
