package channel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// end is what publishers and subscribers have in common: one goroutine that talks to the
// direct node, as long as the end is open.
type end struct {
	o    Options
	side policy.Side
	at   string // the socket
	own  owner

	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the goroutine has ended
	ready chan struct{} // closed when the end can be used, or cannot

	mu      sync.Mutex
	wire    *Wire // nil between two
	closing bool
	err     error // why the end is over
	opened  bool  // ready is closed
	welcome Packet
	losses  uint64 // of the direct node
}

// owner is the end that the talk is about. All are called by the one goroutine.
type owner interface {
	// take handles a packet and owns its files.
	take(p *Packet, files []*os.File) error
	// held is what is to be held up to a new direct node.
	held() []holding
	// usable tells that the end can be used now.
	usable() bool
	// populate does what may come after the end can be used.
	populate()
	// shut ends what the end holds, when it is refused.
	shut(code reason.Code)
	// welcomed is told each welcome, before any lane that follows it.
	welcomed() error
	// nudge wakes who waits: something was said that no ring says.
	nudge()
}

// holding is one mapped memory.
type holding struct {
	link  uint64
	files []*os.File // of a writer data; of a reader data, cursor and, if it has one, its button
}

func newEnd(o Options, side policy.Side) (*end, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	at, err := o.socket()
	if err != nil {
		return nil, err
	}
	return &end{o: o, side: side, at: at, stop: make(chan struct{}), done: make(chan struct{}), ready: make(chan struct{})}, nil
}

// open attaches and starts the talk. It returns when the end can be used.
func (e *end) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	w, err := e.attach(ctx)
	if err != nil {
		close(e.done)
		return err
	}
	go e.run(w)
	select {
	case <-e.ready:
		return e.Err()
	case <-ctx.Done():
		e.close()
		return errors.Join(e.Err(), reason.New(reason.DirectUnreachable, "channel %s: the direct node at %s does not answer: %w", e.o.Channel, e.at, ctx.Err()))
	}
}

// attach connects and asks, holding up what there is.
func (e *end) attach(ctx context.Context) (*Wire, error) {
	dial := e.o.Dial
	if dial == nil {
		dial = func(ctx context.Context) (*Wire, error) { return Dial(ctx, e.at) }
	}
	w, err := dial(ctx)
	if err != nil {
		return nil, reason.New(reason.DirectUnreachable, "channel %s: %w; is `fire run --role direct` running on this host?", e.o.Channel, err)
	}
	holds := e.own.held()
	ask := Packet{Type: TypeAttach, Hash: shm.Hash(), Side: uint8(e.side), Held: uint16(len(holds)), Channel: e.o.Channel, Service: e.o.Service}
	err = w.Send(&ask)
	for i := 0; i < len(holds) && err == nil; i++ {
		err = w.Send(&Packet{Type: TypeHeld, ID: holds[i].link}, holds[i].files...)
	}
	if err != nil {
		return nil, errors.Join(reason.New(reason.DirectUnreachable, "channel %s: %w", e.o.Channel, err), w.Close())
	}
	return w, nil
}

// run talks until the end is over.
func (e *end) run(w *Wire) {
	defer close(e.done)
	for w != nil {
		begun := time.Now()
		e.set(w)
		err := e.talk(w)
		e.set(nil)
		w.Close()
		if over := (*overError)(nil); errors.As(err, &over) {
			e.finish(over.cause)
			return
		}
		w = e.again(begun)
	}
	e.finish(nil)
}

// overError ends the end, and not only the connection.
type overError struct{ cause error }

func (o *overError) Error() string { return o.cause.Error() }

// talk handles what the direct node says until the connection ends.
func (e *end) talk(w *Wire) error {
	for {
		p, files, err := w.Receive()
		if err != nil {
			return e.wanting(err)
		}
		switch p.Type {
		case TypeWelcome:
			CloseAll(files)
			e.mu.Lock()
			e.welcome = p
			e.mu.Unlock()
			if err := e.own.welcomed(); err != nil {
				return &overError{err}
			}
		case TypeRefused:
			CloseAll(files)
			e.own.shut(p.Reason)
			return &overError{&reason.Error{Code: p.Reason, Detail: p.Text}}
		default:
			if err := e.own.take(&p, files); err != nil {
				return e.wanting(err)
			}
		}
		if e.own.usable() {
			e.isReady()
			e.own.populate()
		}
	}
}

// wanting makes the end over when it lacks what asking again does not bring: memory or
// descriptors of this process.
func (e *end) wanting(err error) error {
	told, ok := errors.AsType[*reason.Error](err)
	if ok && told.Code == reason.RingUnavailable {
		err = errors.New(told.Detail)
	} else if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EMFILE) {
		return err
	}
	e.own.shut(reason.RingUnavailable)
	return &overError{reason.New(reason.RingUnavailable, "channel %s: %w", e.o.Channel, err)}
}

// retryEvery is the pause between two tries to reach a direct node that went away.
const retryEvery = 50 * time.Millisecond

// again attaches anew until it succeeds or the end is closed. The rings go on meanwhile. A
// talk that ended as soon as it had begun is not begun again at once.
func (e *end) again(begun time.Time) *Wire {
	e.mu.Lock()
	e.losses++
	e.mu.Unlock()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		if e.isClosing() {
			return nil
		}
		if time.Since(begun) >= retryEvery {
			ctx, cancel := context.WithTimeout(context.Background(), attachWithin)
			w, err := e.attach(ctx)
			cancel()
			if err == nil {
				return w
			}
		}
		select {
		case <-tick.C:
		case <-e.stop:
			return nil
		}
	}
}

func (e *end) isReady() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.opened {
		e.opened = true
		close(e.ready)
	}
}

func (e *end) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// set makes w the one that close ends. One that comes after Close is ended here.
func (e *end) set(w *Wire) {
	e.mu.Lock()
	e.wire = w
	late := e.closing && w != nil
	e.mu.Unlock()
	if late {
		goodbye(w)
	}
}

// goodbyeWithin bounds the wait for the direct node's answer to a goodbye.
const goodbyeWithin = time.Second

// goodbye ends a connection on purpose; the direct node answers by ending it, when it has
// taken note: whoever attaches next follows. A direct node that is gone needs none.
func goodbye(w *Wire) {
	if w.Send(&Packet{Type: TypeDetach}) != nil || w.SetReceiveDeadline(time.Now().Add(goodbyeWithin)) != nil {
		w.Close()
	}
}

func (e *end) finish(err error) {
	e.mu.Lock()
	if err != nil && e.err == nil {
		e.err = err
	}
	e.mu.Unlock()
	e.own.nudge()
	e.isReady()
}

// welcomed and nudge are nothing to most ends.
func (e *end) welcomed() error { return nil }
func (e *end) nudge()          {}

// Err is why the end is over; nil while it is not, or when Close ended it.
func (e *end) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Done is closed when the end is over: Err then says why.
func (e *end) Done() <-chan struct{} { return e.done }

// Linked tells whether a direct node governs this end now, and how often one was lost.
func (e *end) Linked() (now bool, losses uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wire != nil, e.losses
}

// Service is the name in which this end is attached.
func (e *end) Service() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.welcome.Service
}

// close says goodbye and waits for the goroutine.
func (e *end) close() {
	e.mu.Lock()
	already, w := e.closing, e.wire
	e.closing = true
	e.mu.Unlock()
	if !already {
		close(e.stop)
		if w != nil {
			goodbye(w)
		}
	}
	<-e.done
}

// say sends on the connection of the talk; its loss is found by the next Receive.
func (e *end) say(p *Packet, files ...*os.File) {
	e.mu.Lock()
	w := e.wire
	e.mu.Unlock()
	if w != nil {
		_ = w.Send(p, files...)
	}
}

// want refuses a packet with another number of descriptors than its type has.
func want(p *Packet, files []*os.File, n int) error { return wantAmong(p, files, n, n) }

func wantAmong(p *Packet, files []*os.File, least, most int) error {
	if len(files) >= least && len(files) <= most {
		return nil
	}
	CloseAll(files)
	return fmt.Errorf("packet type %d with %d descriptors, want %d to %d", p.Type, len(files), least, most)
}
