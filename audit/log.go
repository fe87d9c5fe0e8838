package audit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// Log is one node's log: what is appended is durable and signed when Append returns. It is
// opened by Open and works while Run does.
type Log struct {
	store
	cfg   Config
	deps  Deps
	keys  atomic.Pointer[Keys]
	inbox *inbox
	wake  chan struct{}

	capture *Capture
	encoder encoder
	swept   time.Time // when gaps were last looked for; the writer's own

	tree   tlog.Frontier // of the newest group that was signed; the writer's own
	hasher tlog.Hasher
	spare  *spare
	away   *awayHead
	sealed chan *segment // their hashes may go to a .tree file

	pruning sync.Mutex // keeps what changes sealed segments apart

	// the committer's own
	number     uint64   // of the newest segment
	current    *segment // that is written to; nil: the next group begins one
	used       int64    // offset behind its last group
	complained time.Time

	State State
}

// Append makes e, one entry in the form of audit/entry, durable and returns its index. It waits
// until then: a few milliseconds, or for as long as the disk takes nothing and ctx lasts.
// When ctx ends the entry may be durable all the same.
func (l *Log) Append(ctx context.Context, e []byte) (int64, error) {
	if err := checkEntry(e); err != nil {
		return 0, err
	}
	q, at, err := l.inbox.put(ctx, e)
	if err != nil {
		return 0, err
	}
	select {
	case <-q.done:
		return q.first + int64(at), q.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Add queues e and does not wait for the disk. It waits only while the queue is full.
func (l *Log) Add(ctx context.Context, e []byte) error {
	if err := checkEntry(e); err != nil {
		return err
	}
	_, _, err := l.inbox.put(ctx, e)
	return err
}

// Run writes until ctx ends, and then what is queued. It returns an error only where a head
// cannot be signed: everything that a disk can do is waited out, at the end for stopWait.
func (l *Log) Run(ctx context.Context) error {
	toDisk, back := make(chan *work, 2), make(chan *work, 2)
	back <- &work{}
	back <- &work{}
	stop := make(chan struct{}) // closed: nobody waits any longer for a disk that takes nothing
	giveUp := sync.OnceFunc(func() { close(stop) })
	var others sync.WaitGroup
	others.Go(func() {
		for g := range toDisk {
			l.commit(g, stop)
			back <- g
		}
	})
	others.Go(func() { l.runAside(stop) })
	err := l.fill(ctx, toDisk, back)
	l.inbox.close(errors.Join(ErrClosed, err))
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if err == nil {
		err = l.rest(toDisk, back, limit.Done())
	}
	close(toDisk)
	for range 2 { // both come back: durable, or given up
		select {
		case <-back:
		case <-limit.Done():
			giveUp()
			<-back
		}
	}
	giveUp()
	others.Wait()
	return errors.Join(err, l.close())
}

// rest writes what came while the inbox was closed, and every gap that nothing has followed.
func (l *Log) rest(toDisk chan<- *work, back chan *work, limit <-chan struct{}) error {
	for {
		l.swept = time.Time{} // nobody looks for gaps later
		var g *work
		select {
		case g = <-back:
		case <-limit:
			if q := l.inbox.take(); q != nil {
				q.finish(0, fmt.Errorf("audit: not durable: %w", ErrClosed))
			}
			return nil
		}
		if !l.gather(g) {
			back <- g
			return nil
		}
		if err := l.finish(g); err != nil {
			g.fail(err)
			back <- g
			return err
		}
		toDisk <- g
	}
}

// stopWait is how long a log that is told to end waits for a disk that takes nothing.
const stopWait = 2 * time.Second

// fill gathers groups until ctx ends. The first entry after a pause goes at once; then groups
// begin at least Linger apart.
func (l *Log) fill(ctx context.Context, toDisk chan<- *work, back chan *work) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var last time.Time
	for {
		var g *work
		select {
		case g = <-back:
		case <-ctx.Done():
			return nil
		}
		for !l.gather(g) {
			if !l.idle(ctx, pause, last) {
				back <- g
				return nil
			}
		}
		last = time.Now()
		if err := l.finish(g); err != nil {
			g.fail(err)
			back <- g
			return err
		}
		toDisk <- g
		if l.cfg.Linger > 0 {
			l.wait(ctx, pause, l.cfg.Linger-time.Since(last), nil)
		}
	}
}

const (
	lookEvery  = time.Millisecond       // at the rings, so that nobody has to wake the writer
	sleepAfter = 100 * time.Millisecond // without a message: from then on the next one wakes it
)

// idle waits until there may be something. It is false when ctx has ended.
func (l *Log) idle(ctx context.Context, pause *time.Timer, last time.Time) bool {
	if time.Since(last) < sleepAfter {
		l.wait(ctx, pause, lookEvery, l.wake)
		return ctx.Err() == nil
	}
	l.capture.asleep.Store(true)
	if l.capture.pending() {
		l.capture.asleep.Store(false)
		l.wait(ctx, pause, 0, nil)
		return ctx.Err() == nil
	}
	l.wait(ctx, pause, gapsEvery, l.wake)
	l.capture.asleep.Store(false)
	return ctx.Err() == nil
}

func (l *Log) wait(ctx context.Context, pause *time.Timer, d time.Duration, wake <-chan struct{}) {
	if d <= 0 {
		runtime.Gosched()
		return
	}
	pause.Reset(d)
	select {
	case <-pause.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// gather puts what was queued and captured into a group, and tells whether there was anything.
func (l *Log) gather(g *work) bool {
	g.reset(&l.tree)
	if q := l.inbox.take(); q != nil {
		g.buf = append(g.buf, q.buf...)
		g.offsets = append(g.offsets, q.offsets...)
		g.queued = append(g.queued, q)
	}
	l.drain(g)
	return len(g.offsets) > 0
}

// finish hashes and signs.
func (l *Log) finish(g *work) error {
	g.hash(&l.tree, &l.hasher)
	return g.sign(&l.tree, l.origin, l.keys.Load().Signing, l.deps.Now().UnixNano())
}

// Now is the head of an entry of this moment that no source counts.
func (l *Log) Now(k entry.Kind) entry.Head {
	at, bound, sync, clock := l.deps.Stamp()
	return entry.Head{Kind: k, Time: at, Bound: bound, Sync: sync, Clock: clock}
}

// Capture is where the data path leaves its messages.
func (l *Log) Capture() *Capture { return l.capture }

// poke wakes the writer.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close ends a log that was opened and never run.
func (l *Log) Close() error { return l.close() }

// close ends all files.
func (l *Log) close() error {
	l.mu.Lock()
	err := l.closeParts()
	l.mu.Unlock()
	err = errors.Join(err, l.spare.close())
	if e := l.away.close(); e != nil {
		err = errors.Join(err, fmt.Errorf("the head that lies away: %w", e))
	}
	return err
}
