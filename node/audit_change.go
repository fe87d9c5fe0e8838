package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"fire/audit"
	"fire/audit/clock"
	"fire/audit/entry"
	"fire/audit/inquiry"
	"fire/audit/subject"
	"fire/audit/tlog"
	"fire/node/admin"
)

func (a *auditLog) node() string { return inquiry.NodeOf(a.log.Origin()) }

// hold sets or lifts a legal hold in every log of the process, and lists those in force.
func (l *local) hold(ctx context.Context, q admin.AuditHold, by string) ([]admin.AuditHeld, error) {
	out := []admin.AuditHeld{}
	for _, a := range l.audits() {
		var err error
		switch q.Do {
		case "set":
			err = a.log.SetHold(ctx, audit.LegalHold{Name: q.Name, From: q.From, To: q.To, By: by, Why: q.Why, Set: time.Now().UTC()})
		case "lift":
			err = a.log.LiftHold(ctx, q.Name, by, q.Why)
		case "list":
		default:
			err = &admin.Error{Reason: "usage", Message: fmt.Sprintf("a hold is set, lifted or listed, and not %q", q.Do)}
		}
		if err != nil {
			return nil, err
		}
		all, err := a.log.Holds()
		if err != nil {
			return nil, err
		}
		for _, h := range all {
			out = append(out, admin.AuditHeld{Node: a.node(), Name: h.Name, From: h.From, To: h.To, By: h.By, Why: h.Why, Set: h.Set})
		}
	}
	return out, nil
}

// erase destroys a person's key in every log that knows the person.
func (l *local) erase(ctx context.Context, q admin.AuditErase, by string) ([]admin.AuditErased, error) {
	if strings.TrimSpace(q.Why) == "" {
		return nil, &admin.Error{Reason: "usage", Message: "an erasure has a reason, which is recorded"}
	}
	out := []admin.AuditErased{}
	for _, a := range l.audits() {
		e := admin.AuditErased{Node: a.node()}
		if a.persons != nil {
			if who, ok := a.persons.Find([]byte(q.Subject)); ok {
				raw, err := a.persons.Erase(ctx, subject.Erasure{Subject: who, Actor: by, Reason: q.Why})
				if err != nil {
					return nil, fmt.Errorf("%s: %w", a.node(), err)
				}
				e.Subject, e.Erased = fmt.Sprintf("%x", who[:]), true
				if e.Index, err = a.log.Append(ctx, raw); err != nil {
					return nil, fmt.Errorf("%s: the key is destroyed, and the log has no entry of it yet; the next start makes it: %w", a.node(), err)
				}
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// held tells the store of keys whether a hold covers a subject: nobody knows what of it a span of
// time has, so any hold does.
func (a *auditLog) held(subject.ID) (why string, held bool) {
	all, err := a.log.Holds()
	switch {
	case err != nil:
		return err.Error(), true
	case len(all) > 0:
		return fmt.Sprintf("legal hold %q", all[0].Name), true
	}
	return "", false
}

// scrubWithin bounds a scrub that somebody waits for.
const scrubWithin = 25 * time.Second

// scrub reads every log again now, as fast as it goes.
func (l *local) scrub(ctx context.Context) ([]admin.AuditScrubbed, error) {
	ctx, cancel := context.WithTimeout(ctx, scrubWithin)
	defer cancel()
	out := []admin.AuditScrubbed{}
	for _, a := range l.audits() {
		r, err := a.keeper.Scrub(ctx, 0)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the logs are too large to be read again within %v; `fire audit verify` takes its time, and [audit] scrub_every does it by itself", scrubWithin)
		}
		if err != nil {
			return nil, err
		}
		s := admin.AuditScrubbed{Node: a.node(), Verdict: string(r.Verdict), Entries: r.Entries}
		if len(r.Faults) > 0 {
			s.Fault = r.Faults[0].Error()
		}
		out = append(out, s)
	}
	return out, nil
}

// rotate gives every log a new key, which signs together with the old one until it is settled.
func (l *local) rotate(ctx context.Context, q admin.AuditRotate, by string) ([]admin.AuditKeys, error) {
	out := []admin.AuditKeys{}
	for _, a := range l.audits() {
		keys := a.keys.Load()
		var err error
		switch q.Do {
		case "begin":
			keys, err = keys.Rotated(rand.Reader)
		case "settle":
			keys = keys.Settled()
		default:
			err = &admin.Error{Reason: "usage", Message: fmt.Sprintf("a rotation begins or is settled, and not %q", q.Do)}
		}
		if err != nil {
			return nil, err
		}
		if err := a.useKeys(ctx, keys, q.Do, by); err != nil {
			return nil, fmt.Errorf("%s: %w", a.node(), err)
		}
		k := admin.AuditKeys{Node: a.node(), Known: keys.Known}
		for _, s := range keys.Signing {
			k.Signing = append(k.Signing, s.Verifier())
		}
		out = append(out, k)
	}
	return out, nil
}

// useKeys puts keys into their file before the log signs with them, and says so under the old ones.
func (a *auditLog) useKeys(ctx context.Context, keys *audit.Keys, verb, by string) error {
	known, err := tlog.NewVerifiers(keys.Known...)
	if err != nil {
		return err
	}
	var b entry.Builder
	b.Begin(nil, a.log.Now(entry.Log))
	b.Str(entry.Actor, by)
	b.Str(entry.Verb, "key "+verb)
	b.Str(entry.Before, a.keys.Load().Signing[0].Verifier())
	b.Str(entry.After, keys.Signing[0].Verifier())
	if _, err := a.log.Append(ctx, b.Raw()); err != nil {
		return err
	}
	if err := keys.Save(a.keyFile); err != nil {
		return err
	}
	a.keys.Store(keys)
	a.known.Store(known)
	a.keeper.SetKnown(known)
	return a.log.SetKeys(keys)
}

// clockDay reports one day of each log's clock.
func (l *local) clockDay(ctx context.Context, q admin.AuditDay) (any, error) {
	day, err := time.Parse(time.DateOnly, q.Day)
	if err != nil {
		return nil, &admin.Error{Reason: "usage", Message: fmt.Sprintf("%q is no day; write 2026-11-27", q.Day)}
	}
	if _, ok := clock.ClassBound(q.Class); q.Class != "" && !ok {
		return nil, &admin.Error{Reason: "usage", Message: fmt.Sprintf("%q is no class; there are %s", q.Class, strings.Join(clock.Classes(), ", "))}
	}
	type report struct {
		Node string `json:"node"`
		clock.Day
	}
	out := []report{}
	for _, a := range l.audits() {
		var failed error
		terms := clock.Terms{Class: q.Class}
		if now := time.Now().UTC(); now.Before(day.AddDate(0, 0, 1)) {
			terms.Until = now
		}
		r := clock.Report(day, terms, a.journal(ctx, &failed))
		if failed != nil {
			return nil, failed
		}
		out = append(out, report{a.node(), r})
	}
	return out, nil
}

// journal is every entry of a log.
func (a *auditLog) journal(ctx context.Context, failed *error) iter.Seq[entry.View] {
	return func(yield func(entry.View) bool) {
		done := errors.New("done")
		head, _ := a.log.Head()
		err := a.log.Range(ctx, a.log.Minimum(), head.Size, func(_ int64, e []byte) error {
			if v, err := entry.Parse(e); err == nil && !yield(v) {
				return done
			}
			return nil
		})
		if err != nil && !errors.Is(err, done) {
			*failed = err
		}
	}
}

// reconcile puts erasures into the log that a crash has kept out of it: they were made before they
// could be told.
func (a *auditLog) reconcile(ctx context.Context) error {
	if a.persons == nil {
		return nil
	}
	gone := map[subject.ID]subject.Gone{}
	for _, g := range a.persons.Erased() {
		gone[g.Subject] = g
	}
	if len(gone) == 0 {
		return nil
	}
	from := a.log.Minimum()
	look := func(from, to int64) error {
		return a.log.Range(ctx, from, to, func(_ int64, e []byte) error {
			if v, err := entry.Parse(e); err == nil && v.Kind() == entry.Erased && len(v.Bytes(entry.Subject)) == len(subject.ID{}) {
				delete(gone, subject.ID(v.Bytes(entry.Subject)))
			}
			return nil
		})
	}
	for _, s := range a.log.Segments() {
		if from = s.Next; s.Has(entry.Erased) {
			if err := look(s.First, s.Next); err != nil {
				return err
			}
		}
	}
	head, _ := a.log.Head()
	if err := look(from, head.Size); err != nil {
		return err
	}
	for id, g := range gone {
		var b entry.Builder
		b.Begin(nil, a.log.Now(entry.Erased))
		b.Str(entry.Verb, "erased")
		b.Str(entry.Detail, "before the process ended, at "+time.Unix(0, g.When).UTC().Format(time.RFC3339Nano)+"; by whom was not recorded")
		b.Bytes(entry.Subject, id[:])
		if _, err := a.log.Append(ctx, b.Raw()); err != nil {
			return err
		}
	}
	return nil
}
