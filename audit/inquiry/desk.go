package inquiry

import (
	"context"
	"fmt"
	"math"
	"strings"

	"fire/audit/entry"
	"fire/audit/index"
	"fire/audit/order"
	"fire/audit/tlog"
	"fire/policy/reason"
)

// Log is one that can be asked; *audit.Log is, and so are mirrors and copies.
type Log interface {
	Origin() string
	Head() (tlog.Head, []byte)
	Minimum() int64
	Entry(index int64) ([]byte, error)
	Range(ctx context.Context, from, to int64, f func(index int64, e []byte) error) error
	Kept(level int, n int64) (tlog.Hash, bool, error)
	Edge() *tlog.Frontier
}

// Desk answers for all logs that a process holds.
type Desk struct {
	logs func() []Log
	// cosigned is a checkpoint of a log that its witnesses have signed and that covers an entry,
	// nil for none. It may wait for one.
	cosigned func(ctx context.Context, origin string, index int64) []byte
	index    Index // nil: logs are read from end to end
}

// New makes one. The functions may be called by many at once; cosigned and index may be nil.
func New(logs func() []Log, cosigned func(ctx context.Context, origin string, index int64) []byte, index Index) *Desk {
	if cosigned == nil {
		cosigned = func(context.Context, string, int64) []byte { return nil }
	}
	return &Desk{logs, cosigned, index}
}

// NodeOf is the host that a log's name speaks of.
func NodeOf(origin string) string { return origin[strings.LastIndexByte(origin, '/')+1:] }

// log is the one of that name: the origin, or a host's.
func (d *Desk) log(name string) (Log, error) {
	var names []string
	for _, l := range d.logs() {
		if l.Origin() == name || NodeOf(l.Origin()) == name {
			return l, nil
		}
		names = append(names, NodeOf(l.Origin()))
	}
	return nil, reason.New(reason.NoSuchNode, "no audit log of %q is here; there %s", name, listed(names))
}

func listed(names []string) string {
	switch len(names) {
	case 0:
		return "is none: [audit] enabled is false, or the process has neither role"
	case 1:
		return "is that of " + names[0]
	}
	return "are those of " + strings.Join(names, ", ")
}

// Trace finds one order in all logs.
func (d *Desk) Trace(ctx context.Context, q order.Query) (order.Result, error) {
	if q.To == 0 {
		q.To = math.MaxInt64
	}
	for _, l := range d.logs() {
		q.Searched = append(q.Searched, NodeOf(l.Origin()))
	}
	return order.Trace(q, func(keys []order.Key) (found []order.Found, err error) {
		if d.index != nil {
			return d.indexed(ctx, keys)
		}
		for _, l := range d.logs() {
			f, err := look(ctx, l, keys)
			if err != nil {
				return nil, fmt.Errorf("the log %s: %w", l.Origin(), err)
			}
			found = append(found, f...)
		}
		return found, nil
	})
}

// Prove makes the proof of one entry, under a head that the log's witnesses have signed if there is
// one that covers it, else under the log's own newest. The log is named by its origin, or its host.
func (d *Desk) Prove(ctx context.Context, name string, index int64) (*tlog.Proof, error) {
	l, err := d.log(name)
	if err != nil {
		return nil, err
	}
	e, err := l.Entry(index)
	if err != nil {
		return nil, err
	}
	head, note := l.Head()
	if cosigned := d.cosigned(ctx, l.Origin(), index); cosigned != nil {
		if h, err := tlog.Claimed(cosigned); err == nil && h.Size > index && h.Origin == l.Origin() {
			head, note = h, cosigned
		}
	}
	path, err := tlog.ProveEntry(l, head, index)
	if err != nil {
		return nil, err
	}
	return &tlog.Proof{Index: index, Entry: e, Path: path, Checkpoint: note}, nil
}

// AppendJSON adds one entry as a JSON object.
func AppendJSON(b []byte, origin string, index int64, v entry.View) []byte {
	b = fmt.Appendf(b, `{"index":%d,"log":%q,"node":%q,`, index, origin, NodeOf(origin))
	return append(v.AppendJSON(b), '}')
}

// Search finds entries by a query: with the index, or without one by reading.
func (d *Desk) Search(ctx context.Context, q index.Query) (*index.Answer, error) {
	if d.index != nil {
		return d.index.Search(ctx, q)
	}
	var logs []index.Log
	for _, l := range d.logs() {
		logs = append(logs, l)
	}
	return index.Scan(ctx, logs, q)
}
