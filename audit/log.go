package audit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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

	tree   tlog.Frontier // of the newest group that was signed; the writer's own
	hasher tlog.Hasher
	spare  *spare
	away   *awayHead
	sealed chan *segment // their hashes may go to a .tree file

	// the committer's own
	number  uint64   // of the newest segment
	current *segment // that is written to; nil: the next group begins one
	used    int64    // offset behind its last group

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
// cannot be signed: everything that a disk can do is waited out.
func (l *Log) Run(ctx context.Context) error {
	toDisk, back := make(chan *work), make(chan *work, 2)
	back <- &work{}
	back <- &work{}
	done := make(chan struct{})
	stop := make(chan struct{}) // the committer stops to wait for a disk that takes nothing
	go func() {
		defer close(done)
		for g := range toDisk {
			l.commit(g, stop)
			back <- g
		}
	}()
	aside := make(chan struct{})
	go func() { defer close(aside); l.runAside(stop) }()
	err := l.fill(ctx, toDisk, back)
	l.inbox.close(errors.Join(ErrClosed, err))
	for q := l.inbox.take(); q != nil; q = l.inbox.take() { // came while it was closed
		g := <-back
		l.gather(g, q)
		if e := l.finish(g); e != nil {
			q.finish(0, e)
			err = errors.Join(err, e)
			break
		}
		toDisk <- g
	}
	close(toDisk)
	select {
	case <-done:
	case <-time.After(stopWait):
		close(stop)
		<-done
		stop = nil
	}
	if stop != nil {
		close(stop)
	}
	<-aside
	return errors.Join(err, l.close())
}

// stopWait is how long a log that is told to end waits for a disk that takes nothing.
const stopWait = 2 * time.Second

// fill gathers groups until ctx ends.
func (l *Log) fill(ctx context.Context, toDisk chan<- *work, back <-chan *work) error {
	linger := time.NewTimer(0)
	defer linger.Stop()
	for {
		q := l.inbox.take()
		if q == nil {
			select {
			case <-l.wake:
			case <-ctx.Done():
				return nil
			}
			linger.Reset(l.cfg.Linger)
			select {
			case <-linger.C:
			case <-ctx.Done():
			}
			continue
		}
		g := <-back
		l.gather(g, q)
		if err := l.finish(g); err != nil {
			for _, q := range g.queued {
				q.finish(0, err)
			}
			return err
		}
		toDisk <- g
	}
}

// gather puts what was queued into a group.
func (l *Log) gather(g *work, q *queue) {
	g.reset(&l.tree)
	base := uint32(len(g.buf))
	g.buf = append(g.buf, q.buf...)
	for _, o := range q.offsets {
		g.offsets = append(g.offsets, base+o)
	}
	q.first = l.tree.Size()
	g.queued = append(g.queued, q)
}

// finish hashes and signs.
func (l *Log) finish(g *work) error {
	g.hash(&l.tree, &l.hasher)
	return g.sign(&l.tree, l.origin, l.keys.Load().Signing, l.deps.Now().UnixNano())
}

// poke wakes the writer.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

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
