package channel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// Publisher is the writing end of a channel. Offer, Claim, Commit and Abort belong to one
// goroutine; the rest may be called from any.
type Publisher struct {
	*end
	lane atomic.Pointer[outLane]

	mu    sync.Mutex // of lanes
	lanes []*outLane // the one in use last
}

// outLane is a ring that this end writes.
type outLane struct {
	link    uint64
	data    *os.File
	writer  *shm.Writer
	readers map[uint64]outReader // guarded by Publisher.mu

	populated bool // of the talk
}

// outReader is one that the writer respects.
type outReader struct {
	peer    *shm.Peer
	cursor  *os.File
	service string
}

// OpenPublisher attaches as a publisher of the channel. The error is a *reason.Error that
// says why not.
func OpenPublisher(ctx context.Context, o Options) (*Publisher, error) {
	e, err := newEnd(o, policy.Publish)
	if err != nil {
		return nil, err
	}
	p := &Publisher{end: e}
	p.own = p
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(err, p.free())
	}
	return p, nil
}

// Offer writes one message and publishes it. It never waits.
func (p *Publisher) Offer(typ uint16, b []byte) shm.Result { return p.lane.Load().writer.Offer(typ, b) }

// Claim gives n bytes of the ring to be filled in place, for Commit or Abort.
func (p *Publisher) Claim(n int) ([]byte, shm.Result) { return p.lane.Load().writer.Claim(n) }

// Commit publishes the first n bytes of the claim.
func (p *Publisher) Commit(typ uint16, n int) { p.lane.Load().writer.Commit(typ, n) }

// Abort gives the claim back.
func (p *Publisher) Abort() { p.lane.Load().writer.Abort() }

// State is what the direct node says of the lane, and why it is shut.
func (p *Publisher) State() (shm.State, reason.Code) {
	s, why := p.lane.Load().writer.State()
	return s, reason.Code(why)
}

// Readers are the services that read now, one entry for each end.
func (p *Publisher) Readers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	if l := p.lane.Load(); l != nil {
		for _, r := range l.readers {
			out = append(out, r.service)
		}
	}
	return out
}

// MemoryNode is the NUMA node of the lane's memory; false where the kernel does not say.
func (p *Publisher) MemoryNode() (node int, ok bool) { return p.lane.Load().writer.MemoryNode() }

// Close detaches and unmaps. What is published stays for its readers. No other method may
// be called any more, or be under way.
func (p *Publisher) Close() error {
	p.end.close()
	return p.free()
}

func (p *Publisher) free() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, l := range p.lanes {
		for _, r := range l.readers {
			errs = append(errs, r.cursor.Close())
		}
		errs = append(errs, l.writer.Close(), l.data.Close())
	}
	p.lanes = nil
	return errors.Join(errs...)
}

func (p *Publisher) usable() bool { return p.lane.Load() != nil }

// populate follows when the end can be used: who attaches does not wait for it.
func (p *Publisher) populate() {
	if l := p.lane.Load(); l == nil || l.populated {
		return
	}
	runtime.Gosched() // who waits for the end goes first
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lanes {
		if !l.populated {
			l.writer.Populate()
			l.populated = true
		}
	}
}

func (p *Publisher) held() []holding {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []holding
	for _, l := range p.lanes {
		files := []*os.File{l.data}
		for _, r := range l.readers {
			if len(files) == fdsMax {
				out, files = append(out, holding{l.link, files}), []*os.File{l.data}
			}
			files = append(files, r.cursor)
		}
		out = append(out, holding{l.link, files})
	}
	return out
}

func (p *Publisher) shut(code reason.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lanes {
		l.writer.Shut(shm.Revoked, uint32(code))
	}
}

func (p *Publisher) take(k *Packet, files []*os.File) error {
	switch k.Type {
	case TypeLane:
		return p.takeLane(k, files)
	case TypeReader:
		return p.takeReader(k, files)
	case TypeGone:
		if err := want(k, files, 0); err != nil {
			return err
		}
		p.forget(func(link uint64) bool { return link == k.ID })
		return nil
	case TypeAdopted:
		return p.adopted(k, files)
	case TypeSettled:
		if err := want(k, files, 0); err != nil {
			return err
		}
		p.forget(func(link uint64) bool { return link&heldMark != 0 })
		return nil
	}
	CloseAll(files)
	return fmt.Errorf("packet type %d is not for a publisher", k.Type)
}

func (p *Publisher) takeLane(k *Packet, files []*os.File) error {
	if err := want(k, files, 2); err != nil {
		return err
	}
	data, gate := files[0], files[1]
	defer gate.Close() // the mapping is enough
	if k.Way != Write {
		data.Close()
		return fmt.Errorf("lane %d is for reading, this end writes", k.ID)
	}
	w, err := shm.MapWriter(data, gate)
	if err != nil {
		data.Close()
		return err
	}
	l := &outLane{link: k.ID, data: data, writer: w, readers: map[uint64]outReader{}}
	p.mu.Lock()
	p.lanes = append(p.lanes, l)
	p.mu.Unlock()
	p.lane.Store(l)
	p.say(&Packet{Type: TypeMapped, ID: k.ID})
	return nil
}

func (p *Publisher) takeReader(k *Packet, files []*os.File) error {
	if err := wantAmong(k, files, 1, 2); err != nil {
		return err
	}
	cursor, button := files[0], (*os.File)(nil)
	if len(files) == 2 {
		button = files[1]
		defer button.Close() // the writer has a copy
	}
	at, err := p.respect(k, cursor, button)
	if err != nil {
		cursor.Close()
		return err
	}
	p.say(&Packet{Type: TypeAdded, ID: k.ID, Position: at})
	return nil
}

// respect adds a reader and returns where it may begin. It owns the cursor on success. One
// that is known from before the direct node was replaced keeps the button that it has.
func (p *Publisher) respect(k *Packet, cursor, button *os.File) (position uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.find(k.Lane)
	if l == nil {
		return 0, fmt.Errorf("reader %d is for lane %d, which is not here", k.ID, k.Lane)
	}
	for link, r := range l.readers {
		if shm.SameMemory(r.cursor, cursor) {
			delete(l.readers, link)
			l.readers[k.ID] = r
			return l.writer.Position(), cursor.Close()
		}
	}
	peer, err := l.add(cursor, button)
	if err != nil {
		return 0, err
	}
	l.readers[k.ID] = outReader{peer, cursor, k.Service}
	// Read after AddReader: from here on nothing is written over before that reader says so.
	return l.writer.Position(), nil
}

func (l *outLane) add(cursor, button *os.File) (*shm.Peer, error) {
	if button == nil {
		return l.writer.AddReader(cursor)
	}
	return l.writer.AddReaderWithDoorbell(cursor, button)
}

func (p *Publisher) find(link uint64) *outLane {
	for _, l := range p.lanes {
		if l.link == link {
			return l
		}
	}
	return nil
}

// forget lets the writer wait for these readers no longer.
func (p *Publisher) forget(which func(link uint64) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lanes {
		for link, r := range l.readers {
			if which(link) {
				l.writer.RemoveReader(r.peer)
				r.cursor.Close()
				delete(l.readers, link)
			}
		}
	}
}

// heldMark is set in the links that the direct node which is gone has given: the new one
// gives its own.
const heldMark = 1 << 63

// adopted takes the new direct node's link and gate for a lane that went on without one.
func (p *Publisher) adopted(k *Packet, files []*os.File) error {
	if err := want(k, files, 1); err != nil {
		return err
	}
	gate := files[0]
	defer gate.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.find(k.ID)
	if l == nil {
		return fmt.Errorf("adopted lane %d is not here", k.ID)
	}
	if err := l.writer.ReplaceGate(gate); err != nil {
		return err
	}
	l.link = k.Link
	old := l.readers
	l.readers = map[uint64]outReader{}
	for link, r := range old {
		l.readers[link|heldMark] = r
	}
	return nil
}
