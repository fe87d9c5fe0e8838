package inquiry

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"

	"fire/audit/entry"
	"fire/audit/index"
	"fire/audit/order"
)

// Index points at entries; *index.Index is one.
type Index interface {
	Search(ctx context.Context, q index.Query) (*index.Answer, error)
	Find(ctx context.Context, keys []index.Match, q index.Query) (*index.Answer, error)
}

// keysMax are looked up at once.
const keysMax = 256

// indexed finds what answers any of the keys: by the index as far as that has come, and by reading
// what is behind that.
func (d *Desk) indexed(ctx context.Context, keys []order.Key) ([]order.Found, error) {
	f := &finding{desk: d, match: newMatcher(keys), seen: map[place]bool{}, covered: map[string]int64{}}
	var ids []index.Match
	from, to := int64(math.MaxInt64), int64(0)
	for _, k := range keys {
		m := matchesOf(k)
		switch k.By {
		case order.BySession, order.ByNumber, order.ByFlow:
			if err := f.about(ctx, k, m); err != nil {
				return nil, err
			}
			continue
		}
		for _, match := range m {
			ids = append(ids, match...)
		}
		from, to = min(from, k.From), max(to, k.To)
	}
	for len(ids) > 0 {
		n := min(len(ids), keysMax)
		if err := f.search(ctx, ids[:n], index.Query{From: from, To: bounded(to)}); err != nil {
			return nil, err
		}
		ids = ids[n:]
	}
	return f.found, f.rest(ctx)
}

// bounded is a time as a query has it: 0 is no bound.
func bounded(to int64) int64 {
	if to == math.MaxInt64 {
		return 0
	}
	return to
}

// matchesOf are the searches that together find what a key asks for, and more: what is too much the
// matcher takes out.
func matchesOf(k order.Key) [][]index.Match {
	one := func(t entry.Tag, v string) index.Match { return index.Match{Tag: t, Value: v} }
	switch k.By {
	case order.ByClOrdID:
		return [][]index.Match{{one(entry.ClOrdID, k.Value)}}
	case order.ByOrigClOrdID:
		return [][]index.Match{{one(entry.OrigID, k.Value)}}
	case order.ByOrderID:
		return [][]index.Match{{one(entry.OrderID, k.Value)}}
	case order.ByExecID:
		return [][]index.Match{{one(entry.ExecID, k.Value)}}
	case order.ByDigest:
		v := hex.EncodeToString([]byte(k.Value))
		return [][]index.Match{{one(entry.Digest, v)}, {one(entry.DigestOut, v)}}
	case order.ByNumber:
		return [][]index.Match{{one(entry.Sender, k.Value), one(entry.Target, k.Other), one(entry.SeqNum, fmt.Sprint(k.Seq))}}
	case order.BySession:
		return [][]index.Match{{one(entry.Sender, k.Value), one(entry.Target, k.Other)}, {one(entry.Sender, k.Other), one(entry.Target, k.Value)}}
	case order.ByFlow:
		return [][]index.Match{{one(entry.Flow, hex.EncodeToString([]byte(k.Value)))}}
	}
	return nil
}

// about searches for what a key of a session, a number or a flow asks for: of a session and a flow
// only what is marked, and a flow's gaps.
func (f *finding) about(ctx context.Context, k order.Key, matches [][]index.Match) error {
	for _, match := range matches {
		q := index.Query{Match: match, From: k.From, To: bounded(k.To)}
		if k.By == order.ByFlow {
			gaps := q
			gaps.Kinds = []entry.Kind{entry.Gap}
			if err := f.search(ctx, nil, gaps); err != nil {
				return err
			}
		}
		var marked []index.Match
		if k.By != order.ByNumber {
			marked = marks()
		}
		if err := f.search(ctx, marked, q); err != nil {
			return err
		}
	}
	return nil
}

// marks are all values of entry.Marks that a session or a flow is asked for.
func marks() (out []index.Match) {
	const all = entry.MarkPossDup | entry.MarkPossResend | entry.MarkGapFill | entry.MarkReset | entry.MarkGarbled
	for m := 1; m <= all; m++ {
		if m&(entry.MarkGapFill|entry.MarkReset|entry.MarkGarbled) != 0 {
			out = append(out, index.Match{Tag: entry.Marks, Value: fmt.Sprint(m)})
		}
	}
	return out
}

type place struct {
	origin string
	index  int64
}

// finding is one round of a trace.
type finding struct {
	desk    *Desk
	match   *matcher
	seen    map[place]bool
	covered map[string]int64 // by log: what the index has looked at in every search
	found   []order.Found
}

func (f *finding) search(ctx context.Context, ids []index.Match, q index.Query) error {
	q.Oldest, q.Limit = true, index.LimitMax
	for {
		var a *index.Answer
		var err error
		if ids != nil {
			a, err = f.desk.index.Find(ctx, ids, q)
		} else {
			a, err = f.desk.index.Search(ctx, q)
		}
		if err != nil {
			return err
		}
		for _, h := range a.Hits {
			f.take(h.Origin, h.Index, h.Entry)
		}
		for _, c := range a.Covered {
			if at, known := f.covered[c.Origin]; !known || c.Covered < at {
				f.covered[c.Origin] = c.Covered
			}
		}
		if !a.More {
			return nil
		}
		q.Cursor = a.Cursor
	}
}

func (f *finding) take(origin string, at int64, e []byte) {
	p := place{origin, at}
	v, err := entry.Parse(e)
	if err != nil || f.seen[p] || !f.match.match(v) {
		return
	}
	f.seen[p] = true
	f.found = append(f.found, order.Found{Origin: origin, Index: at, Node: NodeOf(origin), View: v})
}

// rest reads what the index has not come to.
func (f *finding) rest(ctx context.Context) error {
	for _, l := range f.desk.logs() {
		head, _ := l.Head()
		if err := l.Range(ctx, max(l.Minimum(), f.covered[l.Origin()]), head.Size, func(i int64, e []byte) error {
			if v, err := entry.Parse(e); err == nil && f.match.match(v) {
				f.take(l.Origin(), i, append([]byte(nil), e...)) // e is the log's
			}
			return nil
		}); err != nil {
			return fmt.Errorf("the log %s: %w", l.Origin(), err)
		}
	}
	return nil
}
