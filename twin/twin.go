package twin

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Twin is the live model of the mesh.
type Twin struct {
	// constant
	cfg   Config
	now   func() time.Time
	input chan input
	wake  chan struct{}

	// atomic
	inventory atomic.Pointer[Inventory] // a mailbox of one: the newest wins
	published atomic.Pointer[Snapshot]
	dropped   atomic.Uint64

	// guarded by mu
	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
}

// input is one thing for the writer: a report, or an event somebody else saw.
type input struct {
	report *Report
	event  *Event
}

// New makes a Twin whose Snapshot is empty until Run works. A nil now is time.Now.
func New(cfg Config, now func() time.Time) *Twin {
	if now == nil {
		now = time.Now
	}
	t := &Twin{
		cfg:         cfg,
		now:         now,
		input:       make(chan input, max(cfg.QueueReports, 1)),
		wake:        make(chan struct{}, 1),
		subscribers: map[chan struct{}]struct{}{},
	}
	at := now()
	t.published.Store(&Snapshot{At: at, Started: at})
	return t
}

// Run is the single writer. It returns nil when ctx ends.
func (t *Twin) Run(ctx context.Context) error {
	g := newGraph(t.cfg, t.now())
	tick := time.NewTicker(t.cfg.PublishEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case in := <-t.input:
			g.take(in, t.now())
		case <-t.wake:
			g.setInventory(t.inventory.Load(), t.now())
		case <-tick.C:
			t.publish(g.snapshot(t.now(), t.dropped.Load()))
		}
	}
}

// Report hands in a node's report and never blocks; the caller gives r away. The
// caller has checked that r.Node is the peer it came from. When the queue is full
// the report is dropped and counted.
func (t *Twin) Report(r Report) { t.offer(input{report: &r}) }

// Note adds an event that only its caller can see (a floor applied, a certificate
// renewed). ID is set by the Twin, At when it is zero. It never blocks.
func (t *Twin) Note(e Event) { t.offer(input{event: &e}) }

func (t *Twin) offer(in input) {
	select {
	case t.input <- in:
	default:
		t.dropped.Add(1)
	}
}

// SetInventory replaces what is known to exist. It never blocks and is never
// dropped; of several in a row only the last need take effect.
func (t *Twin) SetInventory(inv Inventory) {
	t.inventory.Store(&inv)
	notify(t.wake)
}

// Snapshot is the newest snapshot; never nil.
func (t *Twin) Snapshot() *Snapshot { return t.published.Load() }

// Subscribe returns a channel that holds one token whenever a newer Snapshot may
// be had, and a function that ends the subscription.
func (t *Twin) Subscribe() (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	t.mu.Lock()
	t.subscribers[ch] = struct{}{}
	t.mu.Unlock()
	return ch, func() {
		t.mu.Lock()
		delete(t.subscribers, ch)
		t.mu.Unlock()
	}
}

func (t *Twin) publish(s *Snapshot) {
	t.published.Store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	for ch := range t.subscribers {
		notify(ch)
	}
}

func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
