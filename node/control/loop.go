package control

import (
	"context"
	"fmt"
	"time"

	"fire/node/catalog"
	"fire/policy/reason"

	"golang.org/x/time/rate"
)

// loop is everything that one goroutine owns. Others reach it through Control.do.
type loop struct {
	c       *Control
	dir     *catalog.Directory
	links   map[string]*link
	facts   map[string]*facts // of every node that linked since start
	waiters map[*waiter]bool
	expiry  time.Time // no lease ends before: they are only ever made or renewed for a whole one

	// publishing
	current *publication
	bundled uint64          // first version with the trust bundle of now
	due     time.Time       // when to publish what has changed; zero: nothing has
	rested  time.Time       // no publication before
	away    map[string]bool // members that have not come back since the start
	gather  time.Time       // until when to wait for them
	pace    *rate.Limiter

	// writing: one write at a time, each with all changes that waited for it
	queue   []durable
	writing []durable // in the write under way
	mark    uint64    // sequence mark of the write under way
	jobs    chan []byte
	written chan error
	failing bool      // the last write failed
	retry   time.Time // when to try again to store what nobody waits for
	hints   bool      // endpoints changed since the last write
}

// change alters a Directory. It runs twice: on a clone whose record is written,
// then on the live one. It must not alter anything else but what it captures.
type change func(*catalog.Directory, time.Time) ([]catalog.Event, error)

// durable is a change with what to do when it is on disk, or refused.
type durable struct {
	change change
	done   func(error)
}

const (
	hintsAfter    = time.Second           // how long a change of endpoints may wait for the disk
	retryAfter    = time.Second           // after a failed write
	restAtLeast   = 10 * time.Millisecond // between publications
	pacePerSecond = 10                    // publications, when there is always something to publish
	paceBurst     = 50
	batchMax      = 4096 // changes in one write
)

func newLoop(c *Control) (*loop, error) {
	limits := catalog.DefaultLimits()
	limits.Lease, limits.History = c.cfg.Lease, c.cfg.History
	saved, err := read(c.disk, directoryFile)
	if err != nil {
		return nil, err
	}
	dir := catalog.NewDirectory(c.deps.Domain, limits)
	if saved != nil {
		if dir, err = catalog.DecodeDirectory(saved, limits, c.now()); err != nil {
			return nil, fmt.Errorf("%w; restore %s from a backup, or remove it and join every node again", err, directoryFile)
		}
		if d := dir.Domain(); d != c.deps.Domain {
			return nil, reason.New(reason.CertWrongDomain, "%s is of %s, but this control is of %s; mend mesh.name and mesh.region, or use another folder",
				directoryFile, d, c.deps.Domain)
		}
	}
	dir.SetBundle(c.authority.Bundle())
	dir.Reserve()
	record, err := dir.Encode()
	if err != nil {
		return nil, err
	}
	if err := c.disk.Write(directoryFile, record); err != nil {
		return nil, notStored(err)
	}
	l := &loop{c: c, dir: dir, pace: rate.NewLimiter(pacePerSecond, paceBurst), links: map[string]*link{}, facts: map[string]*facts{},
		waiters: map[*waiter]bool{}, jobs: make(chan []byte, 1), written: make(chan error, 1)}
	if err := l.publish(); err != nil {
		return nil, err
	}
	l.bundled = l.current.signed.Version
	l.expectBack()
	return l, nil
}

// expectBack makes a restarted control hold what it would publish of endpoints until
// its members are back, for one lease at most: nodes have better catalogues than one
// in which the first to come back is the only one that lives.
func (l *loop) expectBack() {
	l.away, l.gather = map[string]bool{}, l.c.now().Add(l.c.cfg.Lease)
	for name := range l.current.signed.State.Nodes {
		if !l.c.verifier.Revoked(l.dir.Domain().Node(name)) {
			l.away[name] = true
		}
	}
}

// publishable is when what is due may be published.
func (l *loop) publishable() time.Time {
	at := l.due
	if len(l.away) > 0 && at.Before(l.gather) {
		at = l.gather
	}
	if at.Before(l.rested) {
		at = l.rested
	}
	return at
}

// run is the event loop.
func (l *loop) run(ctx context.Context) error {
	go l.writer() // ends with l.jobs, which end closes and then waits for
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.end()
		case f := <-l.c.commands:
			f(l)
		case err := <-l.written:
			l.finish(err)
		case <-timer.C:
		}
		l.settle()
		timer.Reset(l.wait())
	}
}

// settle does whatever is due now.
func (l *loop) settle() {
	now := l.c.now()
	if !now.Before(l.expiry) {
		l.happened(l.dir.Expire(now))
		l.expiry = now.Add(l.c.cfg.Lease)
		if next, ok := l.dir.NextExpiry(); ok && next.Before(l.expiry) {
			l.expiry = next
		}
	}
	if l.dir.Changed() && l.due.IsZero() {
		l.due = now.Add(l.c.cfg.Debounce)
	}
	if !l.due.IsZero() && !now.Before(l.publishable()) {
		if err := l.publish(); err != nil {
			l.c.log.Error("the catalogue cannot be published", "err", err)
			l.due = now.Add(retryAfter)
		}
	}
	l.write(now)
}

// wait is how long nothing is due.
func (l *loop) wait() time.Duration {
	now := l.c.now()
	next := now.Add(time.Hour)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	sooner(l.expiry)
	if !l.due.IsZero() {
		sooner(l.publishable())
	}
	if (l.hints || l.dir.Low()) && l.writing == nil {
		sooner(l.retry)
	}
	return max(0, next.Sub(now))
}

// happened tells everybody who wants to know of events, and when to publish.
func (l *loop) happened(events []catalog.Event) {
	now := l.c.now()
	for _, e := range events {
		l.tell(e)
		if e.Kind.Urgent() {
			l.due = now
		}
		switch e.Kind {
		case catalog.EndpointUp, catalog.EndpointDown, catalog.EndpointRemoved, catalog.NodeLinked:
			if !l.hints {
				l.hints, l.retry = true, now.Add(hintsAfter)
			}
		}
	}
}

// enqueue takes a change for the next write.
func (l *loop) enqueue(d durable) {
	if len(l.queue) >= batchMax {
		d.done(reason.New(reason.TooManyStreams, "%d changes wait for the disk; try again", len(l.queue)))
		return
	}
	l.queue = append(l.queue, d)
}

// write starts a write if one is wanted and none is under way: of the queued
// changes, of a new mark when numbers run low, of endpoints to remember.
func (l *loop) write(now time.Time) {
	housekeeping := (l.hints || l.dir.Low()) && !now.Before(l.retry)
	if l.writing != nil || len(l.queue) == 0 && !housekeeping {
		return
	}
	trial := l.dir.Clone()
	batch := make([]durable, 0, len(l.queue))
	for _, d := range l.queue {
		if _, err := d.change(trial, now); err != nil {
			d.done(err)
			continue
		}
		batch = append(batch, d)
	}
	l.queue = nil
	if len(batch) == 0 && !housekeeping {
		return
	}
	l.mark = 0
	if trial.Low() {
		l.mark = trial.Reserve()
	}
	record, err := trial.Encode()
	if err != nil {
		for _, d := range batch {
			d.done(fmt.Errorf("encode the catalogue: %w", err))
		}
		return
	}
	l.writing, l.hints = batch, false
	l.jobs <- record
}

// writer does the blocking writes, so that a slow disk delays no link and no lease.
func (l *loop) writer() {
	defer close(l.written)
	for record := range l.jobs {
		l.written <- l.c.disk.Write(directoryFile, record)
	}
}

// finish makes the written changes live, publishes them, and only then answers.
func (l *loop) finish(err error) {
	batch := l.writing
	l.writing = nil
	if err != nil {
		if !l.failing {
			l.c.log.Error("the catalogue cannot be stored", "err", err)
		}
		l.failing, l.hints, l.retry = true, true, l.c.now().Add(retryAfter)
		for _, d := range batch {
			d.done(notStored(err))
		}
		return
	}
	if l.failing {
		l.c.log.Info("the catalogue is stored again")
	}
	l.failing = false
	l.dir.Raise(l.mark)
	if len(batch) == 0 {
		return
	}
	now := l.c.now()
	results := make([]error, len(batch))
	for i, d := range batch {
		var events []catalog.Event
		events, results[i] = d.change(l.dir, now)
		l.happened(events)
	}
	if l.dir.Changed() {
		if err := l.publish(); err != nil {
			l.c.log.Error("the catalogue cannot be published", "err", err)
		}
	}
	for i, d := range batch {
		d.done(results[i])
	}
}

// end stores what is known and stops the writer.
func (l *loop) end() error {
	if l.writing != nil {
		l.finish(<-l.written)
	}
	for _, d := range l.queue {
		d.done(errStopped())
	}
	l.queue = nil
	for w := range l.waiters {
		close(w.done)
	}
	close(l.jobs)
	for range l.written {
	}
	record, err := l.dir.Encode()
	if err != nil {
		return err
	}
	if err := l.c.disk.Write(directoryFile, record); err != nil {
		return notStored(err)
	}
	return nil
}
