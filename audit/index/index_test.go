package index

import (
	"slices"
	"testing"

	"fire/audit/entry"

	"pgregory.net/rapid"
)

// drawQuery draws a query that some entries of a narrow floor answer.
func drawQuery(t *rapid.T, logs []*memoryLog) Query {
	var q Query
	l := rapid.SampledFrom(logs).Draw(t, "log")
	if l.durable > l.minimum && rapid.Bool().Draw(t, "of an entry") {
		v, err := entry.Parse(l.entries[rapid.Int64Range(l.minimum, l.durable-1).Draw(t, "entry")])
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
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom([]entry.Kind{entry.Message, entry.Refused, entry.Admin, entry.Clock}), 0, 2, rapid.ID[entry.Kind]).Draw(t, "kinds") {
		q.Kinds = append(q.Kinds, k)
	}
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
	logs := []*memoryLog{newLog("eu.floor/audit/a", f, 9000), newLog("eu.floor/audit/b", f, 700), newLog("eu.floor/audit/c", f, 0), newLog("eu.floor/audit/d", f, 4096)}
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
		if q.Reads < 50 {
			q.Reads = 5000
		}
		if got := all(t, func(q Query) (*Answer, error) { return Scan(t.Context(), listed(logs...)(), q) }, q); !slices.Equal(got, want) {
			rt.Fatalf("scan: %+v: %d hits, %d are due", q, len(got), len(want))
		}
	})
}
