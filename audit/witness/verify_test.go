package witness

import (
	"errors"
	"strings"
	"testing"

	"fire/audit/tlog"
)

func TestHowALogStandsToWhatWasRemembered(t *testing.T) {
	log := newLog(newKey(origin), 700)
	at := func(l *memoryLog, size int64) tlog.Head { h, _ := l.at(size); return h }
	now := at(log, 700)
	fork := log.forked(300, 700)
	without := func(l *memoryLog, level, n int64) *memoryLog {
		out := l.copy(l.f.Size())
		delete(out.hashes, [2]int64{level, n})
		return out
	}
	changed := func(l *memoryLog, level, n int64) *memoryLog {
		out := l.copy(l.f.Size())
		out.hashes[[2]int64{level, n}] = tlog.Hash{1}
		return out
	}
	pruned := log.copy(700)
	for i := range int64(300) {
		pruned.edge.Add(log.leaves[i], nil)
		delete(pruned.hashes, [2]int64{0, i})
	}
	delete(pruned.hashes, [2]int64{8, 0})
	elsewhere := now
	elsewhere.Origin = "eu.floor/audit/host-2"
	rows := map[string]struct {
		log       *memoryLog
		now, then tlog.Head
		want      Relation
		err       error
		say       string
	}{
		"same":                   {log, now, now, Same, nil, "of size 700"},
		"grown":                  {log, now, at(log, 299), Grown, nil, "grown from 299 to 700"},
		"grown from nothing":     {log, now, tlog.Head{Origin: origin, Root: tlog.Empty()}, Grown, nil, "from 0"},
		"older copy":             {log.copy(500), at(log, 500), now, Replaced, nil, "the first missing entry is 500"},
		"wiped":                  {log.copy(0), at(log, 0), now, Replaced, nil, "ends at 0"},
		"cut":                    {log.copy(500), at(log, 600), now, Shrunk, nil, "has shrunk: its head says 600"},
		"forked, same size":      {fork, at(fork, 700), now, Forked, nil, "forked at or before entry 699"},
		"forked and grown":       {fork, at(fork, 700), at(log, 400), Forked, nil, "forked at or before entry 399"},
		"not forked yet":         {fork, at(fork, 700), at(log, 300), Grown, nil, "grown"},
		"pruned, newer":          {pruned, now, at(log, 301), Grown, nil, ""},
		"pruned, at the edge":    {pruned, now, at(log, 300), Grown, nil, ""},
		"pruned, older":          {pruned, now, at(log, 299), Unknown, ErrPruned, "compare a newer head"},
		"a missing hash":         {without(log, 8, 1), now, at(log, 100), Grown, nil, ""}, // its leaves are there
		"a missing leaf":         {without(log, 0, 699), now, now, Unknown, ErrDamaged, ""},
		"a missing leaf, before": {without(log, 0, 100), now, at(log, 101), Unknown, ErrDamaged, ""},
		"a changed leaf":         {changed(log, 0, 698), now, at(log, 100), Unknown, ErrDamaged, ""},
		"a changed leaf, before": {changed(log, 0, 100), now, at(log, 101), Unknown, ErrDamaged, ""},
		"a changed tile":         {changed(log, 8, 0), now, at(log, 600), Unknown, ErrDamaged, ""},
		"another log":            {log, now, elsewhere, Unknown, tlog.ErrOrigin, "host-2"},
	}
	for name, row := range rows {
		f, err := VerifyAgainst(row.log, row.now, row.then)
		if f.Relation != row.want || !errors.Is(err, row.err) || (err != nil) != (row.want == Unknown) {
			t.Errorf("%s: %v, %v; want %v, %v", name, f.Relation, err, row.want, row.err)
		}
		line := f.String()
		if err != nil {
			line = err.Error()
		}
		if !strings.Contains(line, row.say) || strings.Contains(line, "\n") {
			t.Errorf("%s: %q; want %q", name, line, row.say)
		}
		if f.Relation.Good() != (row.want == Same || row.want == Grown) || f.Relation.String() == "" {
			t.Errorf("%s: %v is good: %v", name, f.Relation, f.Relation.Good())
		}
	}
}
