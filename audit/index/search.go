package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tailMax is how many entries that are durable and not yet indexed a search reads besides, so
// that an index that keeps up answers to the log's end.
const tailMax = 2 * blockSpan

// errClosing is of a search whose index was thrown away under it.
var errClosing = errors.New("the index was closed under the search")

// Search answers from the index, each hit checked against its entry. An index that is not done
// answers for what it has: see Answer.Covered.
func (x *Index) Search(ctx context.Context, q Query) (*Answer, error) {
	p, err := q.plan()
	if err != nil {
		return nil, err
	}
	for range 2 {
		var a *Answer
		s, views := x.held()
		switch a, err = x.search(ctx, p, s, views); {
		case untrusted(err):
			x.accuse(err)
			return x.search(ctx, p, nil, nil)
		case !errors.Is(err, errClosing):
			return a, err
		}
	}
	return x.search(ctx, p, nil, nil) // it was closed twice: without it
}

// accuse tells Run that the folder is not to be trusted.
func (x *Index) accuse(err error) {
	x.mu.Lock()
	x.doubt = err
	x.mu.Unlock()
	x.Wake()
}

// Find is a search for the entries in which one of some ids stands: of an order, say, under all
// its names. Of q all else holds besides.
func (x *Index) Find(ctx context.Context, keys []Match, q Query) (*Answer, error) {
	q.Any = append(slices.Clone(q.Any), keys...)
	if len(q.Any) == 0 {
		return nil, errors.New("audit query: no ids to look for")
	}
	return x.Search(ctx, q)
}

// Scan answers from the logs alone, entry by entry: where there is no index.
func Scan(ctx context.Context, logs []Log, q Query) (*Answer, error) {
	p, err := q.plan()
	if err != nil {
		return nil, err
	}
	var walks []*walk
	a := &Answer{}
	for _, l := range logs {
		if !p.wantsLog(l.Origin()) {
			continue
		}
		head, _ := l.Head()
		v := view{log: l, indexed: l.Minimum()}
		walks = append(walks, newWalk(p, v, head.Size))
		a.Covered = append(a.Covered, Covered{l.Origin(), v.indexed, head.Size, head.Size})
	}
	return a, p.answer(ctx, walks, a)
}

// held is the store, held, with what it has of each log; or nil.
func (x *Index) held() (*store, map[string]view) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.store == nil || !x.store.hold() {
		return nil, nil
	}
	return x.store, maps.Clone(x.views)
}

func (x *Index) snapshot() map[string]view {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.views)
}

// search lets go of s.
func (x *Index) search(ctx context.Context, p *plan, s *store, views map[string]view) (*Answer, error) {
	if s != nil {
		defer s.release()
	}
	var walks []*walk
	a := &Answer{}
	for _, l := range x.deps.Logs() {
		if !p.wantsLog(l.Origin()) {
			continue
		}
		head, _ := l.Head()
		minimum := l.Minimum()
		v, ok := views[l.Origin()]
		if !ok {
			v = view{indexed: minimum}
		}
		v.log, v.indexed = l, min(max(v.indexed, minimum), head.Size)
		to := v.indexed
		if head.Size-v.indexed <= tailMax {
			to = head.Size
		}
		w := newWalk(p, v, to)
		w.store = s
		walks = append(walks, w)
		a.Covered = append(a.Covered, Covered{l.Origin(), minimum, to, head.Size})
	}
	return a, p.answer(ctx, walks, a)
}

// answer merges the walks: within a log by index, between logs by the time of what is next.
func (p *plan) answer(ctx context.Context, walks []*walk, a *Answer) error {
	slices.SortFunc(walks, func(a, b *walk) int { return strings.Compare(a.log.Origin(), b.log.Origin()) })
	p.reads = max(p.reads, len(walks))
	budget, bytes := p.reads, 0
	for len(a.Hits) < p.limit && bytes < bytesMax {
		best, err := p.next(ctx, walks, &budget, p.limit-len(a.Hits))
		if err != nil {
			return err
		}
		if best == nil {
			break
		}
		h := best.queue[0]
		best.queue = best.queue[1:]
		a.Hits = append(a.Hits, Hit{best.log.Origin(), h.index, h.raw})
		bytes += len(h.raw)
	}
	a.Reads = p.reads - budget
	var places []place
	for _, w := range walks {
		at := w.place()
		a.More = a.More || len(w.queue) > 0 || !w.done()
		places = append(places, place{originHash(w.log.Origin()), at})
	}
	a.Cursor = formatCursor(p.hash, p.q.From, p.q.To, places)
	return nil
}

// next is the walk whose next hit comes first, nil when there is none or the budget is spent
// before all walks know theirs. Each has its share of the budget: what one finds is read again by
// the next call, so if it took all, no call would get further.
func (p *plan) next(ctx context.Context, walks []*walk, budget *int, want int) (*walk, error) {
	for {
		lacking := 0
		for _, w := range walks {
			if w.lacks() {
				lacking++
			}
		}
		if lacking == 0 {
			break
		}
		if *budget <= 0 {
			return nil, nil
		}
		for _, w := range walks {
			for share := max(1, *budget/lacking); share > 0 && *budget > 0 && w.lacks(); {
				before := share
				if err := w.fill(ctx, &share, want); err != nil {
					return nil, fmt.Errorf("audit query: %s: %w", w.log.Origin(), err)
				}
				*budget -= before - share
			}
		}
	}
	var best *walk
	for _, w := range walks {
		if len(w.queue) > 0 && (best == nil || w.before(best)) {
			best = w
		}
	}
	return best, nil
}

// lacks says that a walk has to look for its next hit.
func (w *walk) lacks() bool { return len(w.queue) == 0 && !w.done() }

// before says that w's next hit comes before o's; with equal times the log that sorts first.
func (w *walk) before(o *walk) bool {
	if w.p.q.Oldest {
		return w.queue[0].time < o.queue[0].time
	}
	return w.queue[0].time > o.queue[0].time
}
