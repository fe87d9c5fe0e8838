package audit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// queue gathers entries that are appended one by one, framed, until the writer takes it whole.
// Who waits for an entry waits for its queue.
type queue struct {
	buf     []byte
	offsets []uint32
	first   int64         // index of its first entry, once written
	err     error         // set before done is closed
	done    chan struct{} // closed when all of it is durable, or will never be
}

// inbox is where entries are queued. Many append, one takes.
type inbox struct {
	mu     sync.Mutex
	now    *queue
	room   chan struct{} // closed when the queue was taken, for who found it full
	spare  *queue        // one that was written: its memory is used again
	closed error
	wake   func()
	count  atomic.Uint64 // entries that were queued
}

// queueBytesMax bounds what waits for the writer. Who finds it full waits.
const queueBytesMax = 4 << 20

func newInbox(wake func()) *inbox {
	return &inbox{now: newQueue(), room: make(chan struct{}), wake: wake}
}

func newQueue() *queue { return &queue{done: make(chan struct{})} }

// ErrClosed is of a log that has ended.
var ErrClosed = errors.New("audit: the log is closed")

// put queues an entry and says where: its queue, and its place there.
func (b *inbox) put(ctx context.Context, e []byte) (*queue, int, error) {
	for {
		b.mu.Lock()
		switch {
		case b.closed != nil:
			err := b.closed
			b.mu.Unlock()
			return nil, 0, err
		case len(b.now.buf)+len(e)+frameBytes <= queueBytesMax:
			q, at := b.now, len(b.now.offsets)
			from := len(q.buf)
			q.buf = append(append(q.buf, 0, 0, 0, 0, 0, 0, 0, 0), e...)
			putFrame(q.buf[from:], frameEntry)
			q.offsets = append(q.offsets, uint32(from))
			b.count.Add(1)
			b.mu.Unlock()
			if at == 0 {
				b.wake()
			}
			return q, at, nil
		}
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// take is everything that was queued, nil for nothing.
func (b *inbox) take() *queue {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.now.offsets) == 0 {
		return nil
	}
	q := b.now
	b.now = newQueue()
	if b.spare != nil {
		b.now.buf, b.now.offsets, b.spare = b.spare.buf, b.spare.offsets, nil
	}
	close(b.room)
	b.room = make(chan struct{})
	return q
}

// close refuses what comes after.
func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = err
}

func (q *queue) finish(first int64, err error) {
	q.first, q.err = first, err
	close(q.done)
}

// reuse takes the memory of a queue that is finished.
func (b *inbox) reuse(q *queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spare = &queue{buf: q.buf[:0], offsets: q.offsets[:0]}
}
