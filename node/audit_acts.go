package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"fire/audit/entry"
	"fire/node/admin"
	"fire/policy/reason"
)

// actedWithin is how long a change waits until it is recorded.
const actedWithin = 2 * time.Second

// Acted records what is asked of this process: a change before it is made, which is not where that
// finds no room, and after it; who only looks, once a minute for each user and question.
func (l *local) Acted(ctx context.Context, a admin.Act) error {
	if l.ledger == nil || !a.Change && !l.looked.first(a, time.Now()) {
		return nil
	}
	return l.ledger.acted(ctx, a, "")
}

// acted records one. A nil log records nothing.
func (a *auditLog) acted(ctx context.Context, act admin.Act, object string) error {
	if a == nil {
		return nil
	}
	fill := func(b *entry.Builder) {
		b.Str(entry.Actor, act.By)
		b.Str(entry.Verb, act.Verb)
		b.Str(entry.Object, object)
		b.Str(entry.After, act.Request)
		switch {
		case act.Done:
			b.Str(entry.Result, act.Result)
		case act.Change:
			b.Str(entry.Result, "asked")
		}
	}
	if act.Done || !act.Change {
		a.events.add(entry.Admin, fill)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, actedWithin)
	defer cancel()
	var b entry.Builder
	b.Begin(nil, a.log.Now(entry.Admin))
	fill(&b)
	_, err := a.log.Append(ctx, b.Raw())
	if errors.Is(err, context.DeadlineExceeded) {
		err = reason.New(reason.AuditStalled, "what is asked found no room in the log of %s within %v", a.log.Origin(), actedWithin)
	}
	return err
}

// looked remembers who has looked at what of late.
type looked struct {
	mu   sync.Mutex
	last map[[2]string]time.Time
}

const (
	lookedEvery = time.Minute
	lookedMax   = 1024
)

func (l *looked) first(a admin.Act, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{a.By, a.Verb}
	if now.Sub(l.last[key]) < lookedEvery {
		return false
	}
	if l.last == nil || len(l.last) >= lookedMax {
		l.last = map[[2]string]time.Time{}
	}
	l.last[key] = now
	return true
}
