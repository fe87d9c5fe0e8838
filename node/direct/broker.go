package direct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"

	"golang.org/x/sys/unix"
)

// Deps is what the broker needs of its surroundings.
type Deps struct {
	Dir      string             // for what outlives the process; "" is nowhere
	Programs map[string]Program // by service
	// Record takes an event into the audit trail, in order, before what it tells of takes
	// effect. An error refuses what it would have told of. It must not wait long.
	Record func(Event) error
	// Noticed hears of what happens anyway (a death, a cut, what was lost), once and when it
	// happens, whether or not the trail takes it. It must not wait. nil: nobody does.
	Noticed func(Event)
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
	Audit   Audit            // nil: no message has an entry of its own
}

// Broker is the direct node: it lets programs attach, and governs what they hold.
type Broker struct {
	cfg  Config
	deps Deps
	ln   *net.UnixListener
	path string

	closing sync.Once

	do      chan func() // to the loop, which owns everything below
	stopped chan struct{}
	peers   sync.WaitGroup
	tails   sync.WaitGroup
	places  chan struct{} // of connections that have not said what they want
	ruled   chan struct{} // closed when there is a catalogue

	demand demand

	rules     *Rules
	channels  map[string]*governed
	ends      map[*peer]struct{}
	programs  map[int]int // ends by process
	lastLink  uint64
	lastEpoch uint64
	memory    int // bytes of all rings
	revoked   map[revocation]Revocation
	unsaved   time.Time // when to try again to save the cuts in force; zero: they are
	untaken   untaken
	spares    map[string]*spare // by channel
	wanting   bool              // a spare may be
	preparing bool              // one is being made
	counts    Counts
	held      []heldRing         // from which somebody was cut, until it is looked who has them
	searching bool               // for those
	unlocked  bool               // that a ring is not locked was said
	byChannel map[string]*Counts // of the floor's channels
}

// Counts is what happened since the start.
type Counts struct {
	Attached uint64 `json:"attached_total"`
	Refused  uint64 `json:"refused_total"`
	Died     uint64 `json:"died_total"`
	Cut      uint64 `json:"cut_total"`
	Adopted  uint64 `json:"adopted_total"`
	Released uint64 `json:"lanes_released_total"` // whose writer died
	LostMsgs uint64 `json:"messages_given_up_total"`
	Held     uint64 `json:"held_total"`  // processes that still had a ring when their time to let go was up
	Ended    uint64 `json:"ended_total"` // and were ended for it
}

const (
	queueMax    = 256             // commands that wait for the loop; a connection then waits
	arrivalsMax = 128             // connections that have not said what they want
	askWithin   = 2 * time.Second // to say it
	rulesWithin = 2 * time.Second // a program that comes before the catalogue waits for it
	tickEvery   = 20 * time.Millisecond
)

// New binds the socket. It starts nothing.
func New(cfg Config, deps Deps) (*Broker, error) {
	ln, err := bind(cfg.Socket)
	if err != nil {
		return nil, err
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	b := &Broker{cfg: cfg, deps: deps, ln: ln, path: cfg.Socket, do: make(chan func(), queueMax), stopped: make(chan struct{}),
		places: make(chan struct{}, arrivalsMax), ruled: make(chan struct{}), channels: map[string]*governed{}, byChannel: map[string]*Counts{}, ends: map[*peer]struct{}{},
		programs: map[int]int{}, spares: map[string]*spare{}, revoked: map[revocation]Revocation{}, demand: demand{changed: make(chan struct{})}}
	if err := b.loadRevoked(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// bind replaces a socket that a killed process has left, never one that answers.
func bind(path string) (*net.UnixListener, error) {
	if c, err := net.DialTimeout("unixpacket", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("attach socket %s: another direct node answers there; stop it, or set [direct] socket", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("attach socket's folder: %w; or set [direct] socket to another", err)
	}
	private := path + "." + strconv.Itoa(os.Getpid())
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: private, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("attach socket: %w", err)
	}
	ln.SetUnlinkOnClose(false)
	// Every user may connect: the kernel says who they are.
	if err := errors.Join(os.Chmod(private, 0o666), os.Rename(private, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("attach socket: %w", err), ln.Close(), os.Remove(private))
	}
	return ln, nil
}

// Path is where programs attach.
func (b *Broker) Path() string { return b.path }

// Run serves until ctx ends. The rings of programs that are attached go on without it.
func (b *Broker) Run(ctx context.Context) error {
	accepted := make(chan error, 1)
	go func() { accepted <- b.accept(ctx) }()
	err := b.loop(ctx, accepted)
	close(b.stopped)
	cerr := b.Close()
	if errors.Is(err, errStopped) {
		<-accepted
		err = nil
	}
	for p := range b.ends {
		p.wire.Close()
	}
	b.peers.Wait()
	b.tails.Wait()
	b.dropAll()
	for _, g := range b.channels {
		g.free()
	}
	for p := range b.ends {
		cerr = errors.Join(cerr, closeFile(p.button))
	}
	return errors.Join(err, cerr)
}

// Close gives the socket back when Run was never called; after Run it does nothing.
func (b *Broker) Close() error {
	var err error
	b.closing.Do(func() { err = errors.Join(b.ln.Close(), os.Remove(b.path)) })
	return err
}

var errStopped = errors.New("stopped")

// loop is the one owner of what the broker knows.
func (b *Broker) loop(ctx context.Context, accepted <-chan error) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case f := <-b.do:
			f()
			b.demanded()
		case <-tick.C:
			_ = b.catchUp() // the next tick tries again
			b.tick(b.deps.Now())
			b.demanded()
		case err := <-accepted:
			b.endTails()
			return fmt.Errorf("attach socket: %w", err)
		case <-ctx.Done():
			b.endTails()
			return errStopped
		}
	}
}

// endTails waits until what is read so far of all lanes is in the trail.
func (b *Broker) endTails() {
	for _, g := range b.channels {
		for _, l := range g.lanes {
			b.endTail(l)
		}
	}
	ended := make(chan struct{})
	go func() { b.tails.Wait(); close(ended) }()
	for {
		select {
		case f := <-b.do:
			f()
		case <-ended:
			if err := b.catchUp(); err != nil {
				b.deps.Log.Error("the audit trail lacks events", "events", uint64(len(b.untaken.events))+b.untaken.omitted, "err", err)
			}
			return
		}
	}
}

// post lets the loop run f; false when it has ended.
func (b *Broker) post(f func()) bool {
	select {
	case b.do <- f:
		return true
	case <-b.stopped:
		return false
	}
}

// ask lets the loop run f and waits for it.
func (b *Broker) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case b.do <- func() { f(); close(done) }:
	case <-b.stopped:
		return reason.New(reason.DirectUnreachable, "the direct node stops")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-b.stopped:
		return reason.New(reason.DirectUnreachable, "the direct node stops")
	}
}

// acceptAgain is the pause after this process had no descriptor for a new connection.
const acceptAgain = 50 * time.Millisecond

// accept takes connections until the listener is closed. For want of descriptors it waits:
// those that are attached are governed on.
func (b *Broker) accept(ctx context.Context) error {
	again := time.NewTicker(acceptAgain)
	defer again.Stop()
	for {
		c, err := b.ln.AcceptUnix()
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ECONNABORTED) {
			b.deps.Log.Warn("no program can attach", "err", err)
			select {
			case <-again.C:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case b.places <- struct{}{}:
			b.peers.Go(func() { b.serve(&peer{wire: channel.NewWire(c)}) })
		default:
			c.Close() // as many as may be have not said yet what they want
		}
	}
}

// Update puts a version of the catalogue in force. What it forbids is cut before Update
// returns.
func (b *Broker) Update(ctx context.Context, r *Rules) error {
	return b.ask(ctx, func() {
		if b.rules == nil {
			close(b.ruled)
		}
		b.rules, b.wanting = r, true
		maps.DeleteFunc(b.byChannel, func(name string, _ *Counts) bool { _, ok := r.Channels[name]; return !ok })
		for name := range b.spares {
			if _, ok := r.Channels[name]; !ok {
				b.drop(name)
			}
		}
		b.enforce()
	})
}

// count raises a counter of the broker, and of the channel if the floor has it: what is
// asked for by a name of somebody's own makes none.
func (b *Broker) count(name string, raise func(*Counts)) {
	raise(&b.counts)
	if b.rules == nil {
		return
	}
	if _, ok := b.rules.Channels[name]; !ok {
		return
	}
	if b.byChannel[name] == nil {
		b.byChannel[name] = &Counts{}
	}
	raise(b.byChannel[name])
}

// record writes to the trail; what must not happen unrecorded is refused on its error.
func (b *Broker) record(e Event) error {
	err := b.catchUp()
	if err == nil {
		err = b.deps.Record(b.stamped(e))
	}
	if err != nil {
		return reason.New(reason.DiskFull, "the audit trail takes no event: %w", err)
	}
	return nil
}

// tell records what happens anyway. What the trail does not take now it gets later.
func (b *Broker) tell(e Event) {
	e = b.stamped(e)
	if b.deps.Noticed != nil {
		b.deps.Noticed(e)
	}
	err := b.catchUp()
	if err == nil {
		if err = b.deps.Record(e); err == nil {
			return
		}
	}
	if b.untaken.none() { // once, not with each
		b.deps.Log.Error("the audit trail takes no event: no program can attach until it does", "kind", e.Kind, "err", err)
	}
	b.untaken.keep(e)
}

// stamped is the event with when it happened and by which catalogue.
func (b *Broker) stamped(e Event) Event {
	e.At = b.deps.Now()
	if r := b.rules; r != nil && e.Version == 0 {
		e.Version = r.Version
	}
	return e
}

func (b *Broker) link() uint64 {
	b.lastLink++
	return b.lastLink
}

// epoch numbers rings: above every earlier one, also of earlier direct nodes unless the
// clock went back.
func (b *Broker) epoch() uint64 {
	b.lastEpoch = max(b.lastEpoch+1, uint64(b.deps.Now().UnixNano()))
	return b.lastEpoch
}
