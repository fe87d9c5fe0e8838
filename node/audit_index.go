package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"time"

	"fire/audit/entry"
	"fire/audit/index"
	"fire/audit/inquiry"
	"fire/node/admin"
)

// newAuditIndex is an index over some logs, nil where there are none or none is wanted.
func newAuditIndex(wanted bool, state string, logs []*auditLog, log *slog.Logger) *index.Index {
	if !wanted || len(logs) == 0 {
		return nil
	}
	var all []index.Log
	for _, a := range logs {
		all = append(all, a.log)
	}
	return index.New(index.Deps{Dir: filepath.Join(state, "audit-index"), Logs: func() []index.Log { return all }, Log: log})
}

// indexParts is the index's follower. It starts after the logs and ends before them.
func indexParts(x *index.Index) []part {
	if x == nil {
		return nil
	}
	return []part{{"audit index", x.Run, stopGrace}}
}

// desk answers for the logs of this process.
func (l *local) desk() *inquiry.Desk {
	var x inquiry.Index // not the nil of a type
	if l.index != nil {
		x = l.index
	}
	return inquiry.New(func() (out []inquiry.Log) {
		for _, a := range l.audits() {
			out = append(out, a.log)
		}
		return out
	}, l.cosigned, x)
}

// search finds entries by the text of a query.
func (l *local) search(ctx context.Context, q admin.AuditSearch) (*admin.AuditFound, error) {
	query, err := index.ParseQuery(q.Query, time.Now())
	if err != nil {
		return nil, &admin.Error{Reason: "usage", Message: err.Error(), Next: "`fire audit search --help` lists the keys"}
	}
	if q.Cursor != "" {
		query.Cursor = q.Cursor
	}
	a, err := l.desk().Search(ctx, query)
	if err != nil {
		return nil, err
	}
	out := &admin.AuditFound{Entries: []json.RawMessage{}, More: a.More, Cursor: a.Cursor, Complete: a.Complete()}
	for _, h := range a.Hits {
		v, err := entry.Parse(h.Entry)
		if err != nil {
			continue // of a later version, and Search has looked at it
		}
		out.Entries = append(out.Entries, inquiry.AppendJSON(nil, h.Origin, h.Index, v))
	}
	for _, c := range a.Covered {
		out.Covered = append(out.Covered, c.String())
	}
	return out, nil
}
