package channel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// Subscriber is the reading end of a channel: the lanes of all publishers, merged. Poll,
// Wait and Close belong to one goroutine; the rest may be called from any.
type Subscriber struct {
	*end
	lanes atomic.Pointer[[]*inLane] // those that have begun
	turn  int                       // of the lane that Poll looks at first

	waiter  *shm.Waiter
	readers []*shm.Reader // that are waited for; of Wait and Arm

	bell    *shm.Doorbell // of the first welcome on, or never
	decided bool          // whether there is a bell; of the talk
	armed   bool          // of the goroutine that polls

	mu      sync.Mutex // of those that change lanes, and guards waiting
	waiting map[uint64]*inLane
	arrived chan struct{} // of one: a lane came
}

// inLane is a ring that this end reads.
type inLane struct {
	Source
	data, cursor *os.File
	reader       *shm.Reader
	pair         uint64 // of rpc: link of the lane that this end writes; or FarLane

	handler *Handler // of the Poll under way
	each    func(typ uint16, p []byte)
}

// Source is the lane that a message came from.
type Source struct {
	Service string // that writes it
	link    atomic.Uint64
	node    int // of the memory, or -1
}

// Link numbers the lane; it changes when the direct node is replaced.
func (s *Source) Link() uint64 { return s.link.Load() }

// MemoryNode is the NUMA node of the lane's memory; false where the kernel does not say.
func (s *Source) MemoryNode() (node int, ok bool) { return s.node, s.node >= 0 }

// Handler is told what Poll finds. Nil functions are not called.
type Handler struct {
	// Message is valid during the call only. Of an orders channel p is the ring's own
	// memory: what is checked and then used is copied first.
	Message func(from *Source, typ uint16, p []byte)
	// Gap says that messages are lost: numbers first to last of that lane. Of a lane from
	// another host it may also be what was lost on the way, by the publisher's numbers.
	Gap func(from *Source, first, last uint64)
	// Ended says that no more comes from a lane. Everything before was handed over, but
	// when the channel is revoked or the ring corrupt.
	Ended func(from *Source, why *reason.Error)
	// Most says how many messages of a lane may be handed over now, for one who passes them on
	// and has no room; nil: as many as there are. A lane with none is not waited for, either,
	// but its end is told when nothing is left in it.
	Most func(from *Source) int
}

// OpenSubscriber attaches as a subscriber of the channel. Publishers may come and go.
func OpenSubscriber(ctx context.Context, o Options) (*Subscriber, error) {
	e, err := newEnd(o, policy.Subscribe)
	if err != nil {
		return nil, err
	}
	s := &Subscriber{end: e, waiting: map[uint64]*inLane{}, arrived: make(chan struct{}, 1), waiter: shm.NewWaiter()}
	s.own = s
	s.lanes.Store(new([]*inLane))
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.free())
	}
	return s, nil
}

// Poll hands over what is there, most messages at most, fairly by lane, and returns their
// number. The error stays: why the end is over, once everything is read.
func (s *Subscriber) Poll(most int, h *Handler) (int, error) {
	if s.armed {
		s.Disarm()
	}
	lanes := *s.lanes.Load()
	if len(lanes) == 0 {
		return 0, s.Err()
	}
	n, share := 0, max(1, most/len(lanes))
	s.turn++
	for i := range lanes {
		l := lanes[(s.turn+i)%len(lanes)]
		l.handler = h
		got, gap, err := l.reader.Poll(l.room(min(share, most-n)), l.each)
		n += got
		if gap != (shm.Gap{}) && h.Gap != nil {
			h.Gap(&l.Source, gap.First, gap.Last)
		}
		if err != nil {
			s.drop(l)
			if h.Ended != nil {
				h.Ended(&l.Source, ended(err))
			}
		}
		if n >= most {
			break
		}
	}
	return n, nil
}

// room is how many of n messages may be handed over.
func (l *inLane) room(n int) int {
	if h := l.handler; h != nil && h.Most != nil {
		return min(n, h.Most(&l.Source))
	}
	return n
}

// ended is a reader's last error as a reason.
func ended(err error) *reason.Error {
	var shut *shm.ShutError
	if !errors.As(err, &shut) {
		return reason.New(reason.RingCorrupt, "%w", err)
	}
	code := reason.Code(shut.Reason)
	if code == reason.OK {
		code = reason.PeerClosed
	}
	return &reason.Error{Code: code, Detail: shut.Error(), Cause: err}
}

// Wait returns true when Poll has something to say, and false after one round of the
// channel's strategy.
func (s *Subscriber) Wait() bool {
	if s.bell != nil {
		return s.awaitBell()
	}
	lanes, how := *s.lanes.Load(), s.how()
	if len(lanes) == 0 {
		return s.await(how)
	}
	return s.waiter.Wait(s.reading(), how)
}

// willing is the readers of the lanes that may hand something over.
func (s *Subscriber) willing() []*shm.Reader {
	s.readers = s.readers[:0]
	for _, l := range *s.lanes.Load() {
		if l.room(1) > 0 {
			s.readers = append(s.readers, l.reader)
		}
	}
	return s.readers
}

// reading is the readers of the lanes, for the goroutine that waits.
func (s *Subscriber) reading() []*shm.Reader {
	s.readers = s.readers[:0]
	for _, l := range *s.lanes.Load() {
		s.readers = append(s.readers, l.reader)
	}
	return s.readers
}

func (s *Subscriber) how() shm.Strategy { return strategy(s.number()) }

// number is that of the strategy.
func (s *Subscriber) number() uint8 {
	if s.o.Wait != "" {
		return strategyOf(s.o.Wait)
	}
	s.end.mu.Lock()
	defer s.end.mu.Unlock()
	return s.welcome.Wait
}

// awaitLane is how long one round waits for a first lane.
const awaitLane = 100 * time.Millisecond

func (s *Subscriber) await(how shm.Strategy) bool {
	t := time.NewTimer(awaitLane)
	defer t.Stop()
	select {
	case <-s.arrived:
	case <-s.done:
	case <-t.C:
	}
	return len(*s.lanes.Load()) > 0 || s.Err() != nil
}

// Lanes are the sources that are read now.
func (s *Subscriber) Lanes() []*Source {
	var out []*Source
	for _, l := range *s.lanes.Load() {
		out = append(out, &l.Source)
	}
	return out
}

// Close detaches and unmaps. No other method may be called any more, or be under way.
func (s *Subscriber) Close() error {
	s.end.close()
	return s.free()
}

func (s *Subscriber) free() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range *s.lanes.Load() {
		errs = append(errs, l.close())
	}
	for _, l := range s.waiting {
		errs = append(errs, l.close())
	}
	s.lanes.Store(new([]*inLane))
	clear(s.waiting)
	if s.bell != nil {
		errs = append(errs, s.bell.Close())
	}
	return errors.Join(errs...)
}

func (l *inLane) close() error {
	return errors.Join(l.reader.Close(), l.data.Close(), l.cursor.Close())
}

// drop forgets a lane that has ended. Poll's goroutine calls it, so nobody reads there.
func (s *Subscriber) drop(l *inLane) {
	s.mu.Lock()
	now := slices.DeleteFunc(slices.Clone(*s.lanes.Load()), func(x *inLane) bool { return x == l })
	s.lanes.Store(&now)
	s.mu.Unlock()
	_ = l.close() // nothing can be done about it, and the kernel does it at exit
}

func (s *Subscriber) usable() bool {
	s.end.mu.Lock()
	defer s.end.mu.Unlock()
	return s.welcome.Type == TypeWelcome
}

func (s *Subscriber) populate() {} // readers' pages come with their map, sixteen to a fault

func (s *Subscriber) held() []holding {
	var out []holding
	for _, l := range *s.lanes.Load() {
		out = append(out, holding{l.link.Load(), append([]*os.File{l.data, l.cursor}, s.button()...)})
	}
	return out
}

func (s *Subscriber) shut(code reason.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range *s.lanes.Load() {
		l.reader.Shut(shm.Revoked, uint32(code))
	}
	s.nudge()
}

func (s *Subscriber) take(k *Packet, files []*os.File) error {
	switch k.Type {
	case TypeLane:
		return s.takeLane(k, files)
	case TypeStart:
		if err := want(k, files, 0); err != nil {
			return err
		}
		return s.start(k)
	case TypeGone:
		if err := want(k, files, 0); err != nil {
			return err
		}
		s.giveUp(k.ID)
		return nil
	case TypeAdopted:
		return s.adopted(k, files)
	}
	CloseAll(files)
	return fmt.Errorf("packet type %d is not for a subscriber", k.Type)
}

// lanesMax bounds the lanes of one end.
const lanesMax = 256

func (s *Subscriber) takeLane(k *Packet, files []*os.File) error {
	l, err := openIn(k, files)
	if err != nil {
		return err
	}
	l.each = func(typ uint16, p []byte) {
		if first, last, ok := l.lost(typ, p); ok {
			if l.handler.Gap != nil {
				l.handler.Gap(&l.Source, first, last)
			}
		} else if l.handler.Message != nil {
			l.handler.Message(&l.Source, typ, p)
		}
	}
	s.mu.Lock()
	if len(*s.lanes.Load())+len(s.waiting) >= lanesMax {
		s.mu.Unlock()
		return errors.Join(fmt.Errorf("more than %d lanes", lanesMax), l.close())
	}
	s.waiting[k.ID] = l
	s.mu.Unlock()
	s.say(&Packet{Type: TypeMapped, ID: k.ID}, s.button()...)
	return nil
}

// openIn maps a lane for reading. It owns the files.
func openIn(k *Packet, files []*os.File) (*inLane, error) {
	if err := want(k, files, 3); err != nil {
		return nil, err
	}
	data, cursor, gate := files[0], files[1], files[2]
	defer gate.Close()
	if k.Way != Read {
		return nil, errors.Join(fmt.Errorf("lane %d is not for reading", k.ID), data.Close(), cursor.Close())
	}
	r, err := shm.OpenReader(data, cursor, gate)
	if err != nil {
		return nil, errors.Join(err, data.Close(), cursor.Close())
	}
	l := &inLane{Source: Source{Service: k.Service}, data: data, cursor: cursor, reader: r, pair: k.Pair}
	l.link.Store(k.ID)
	if node, ok := r.MemoryNode(); ok {
		l.node = node
	} else {
		l.node = -1
	}
	return l, nil
}

// start lets a lane be read from where its writer has promised to keep it.
func (s *Subscriber) start(k *Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.waiting[k.ID]
	if l == nil {
		return fmt.Errorf("lane %d cannot begin: it is not here", k.ID)
	}
	if err := l.reader.StartAt(k.Position); err != nil {
		return err
	}
	delete(s.waiting, k.ID)
	now := append(slices.Clone(*s.lanes.Load()), l)
	s.lanes.Store(&now)
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	s.nudge() // it may sleep for the others
	return nil
}

// giveUp drops a lane that never began; one that has ends by its gate, when it is read.
func (s *Subscriber) giveUp(link uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.waiting[link]; l != nil {
		delete(s.waiting, link)
		_ = l.close()
	}
}

// adopted takes the new direct node's link and gate for a lane that went on without one.
func (s *Subscriber) adopted(k *Packet, files []*os.File) error {
	if err := want(k, files, 1); err != nil {
		return err
	}
	defer files[0].Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range *s.lanes.Load() {
		if l.link.Load() == k.ID {
			l.link.Store(k.Link)
			defer s.nudge() // who sleeps waits for the old gate
			return l.reader.ReplaceGate(files[0])
		}
	}
	return nil // it has ended meanwhile
}
