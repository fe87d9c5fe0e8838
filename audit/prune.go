package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// Held is a segment as retention looks at it.
type Held struct {
	First, Next int64 // entries
	From, To    time.Time
	Kinds       uint64 // bit k: it has an entry of kind k
	Bytes       int64
}

// Has tells whether the segment has entries of a kind.
func (h Held) Has(k entry.Kind) bool { return h.Kinds>>(k&63)&1 == 1 }

// Segments are the sealed ones, oldest first.
func (l *Log) Segments() (out []Held) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i, p := range l.parts {
		if i+1 < len(l.parts) {
			out = append(out, Held{p.first(), p.next(), timeOf(p.times.from), timeOf(p.times.to), p.kinds, p.end + p.count*36})
		}
	}
	return out
}

// Prune removes segments from the oldest on for as long as over says that their time is over. Each
// is removed whole, and only when the log has an entry that says so and a signed minimum behind
// it; the roots of what was removed stay, so everything that is kept still verifies. It returns
// the log's new minimum. One caller at a time.
func (l *Log) Prune(ctx context.Context, over func(Held) bool) (least int64, err error) {
	l.pruning.Lock() // over I/O: pruning is what it keeps apart
	defer l.pruning.Unlock()
	n := 0
	for _, h := range l.Segments() {
		if !over(h) {
			break
		}
		n++
	}
	if n == 0 {
		return l.Minimum(), nil
	}
	l.mu.RLock()
	edge, from := l.parts[n].before, l.edge.Size()
	l.mu.RUnlock()
	var b entry.Builder
	b.Begin(nil, l.Now(entry.Pruned))
	b.Uint(entry.First, uint64(from))
	b.Uint(entry.Last, uint64(edge.Size()-1))
	b.Uint(entry.Count, uint64(edge.Size()-from))
	root := edge.Root()
	b.Bytes(entry.Chain, root[:])
	b.Str(entry.Detail, "their time to be kept is over; chain is the root of what was removed")
	if _, err := l.Append(ctx, b.Raw()); err != nil {
		return from, err
	}
	m := minimum{tlog.Head{Origin: l.origin, Size: edge.Size(), Root: root}}
	note, err := m.sign(l.keys.Load().Signing)
	if err == nil {
		err = l.deps.Disk.Replace(minimumName, note)
	}
	if err != nil {
		return from, fmt.Errorf("audit: the minimum of the log: %w", err)
	}
	l.mu.Lock()
	old := l.parts[:n]
	l.parts, l.edge = append([]part(nil), l.parts[n:]...), edge
	l.mu.Unlock()
	for _, p := range old {
		err = errors.Join(err, removeSegment(l.deps.Disk, p.name))
		p.drop()
	}
	return edge.Size(), err
}

// removeSegment removes a segment in whatever form it lies there.
func removeSegment(d Disk, name string) (err error) {
	for _, n := range []string{treeName(name), name, name + squeezedSuffix} {
		if e := d.Remove(n); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
