package channel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// Pair is one caller's two lanes to and from the server of an rpc channel. Offer, Claim,
// Commit and Abort belong to one goroutine, Poll and Wait to one; both may be the same.
type Pair struct {
	Peer string // the service at the other end
	out  *outLane
	in   *inLane
	how  shm.Strategy

	once sync.Once
	drop func(*Pair)
}

// Offer writes one message and publishes it. It never waits. Shut says that the pair is
// over.
func (p *Pair) Offer(typ uint16, b []byte) shm.Result { return p.out.writer.Offer(typ, b) }

// Claim gives n bytes to be filled in place, for Commit or Abort.
func (p *Pair) Claim(n int) ([]byte, shm.Result) { return p.out.writer.Claim(n) }

// Commit publishes the first n bytes of the claim.
func (p *Pair) Commit(typ uint16, n int) { p.out.writer.Commit(typ, n) }

// Abort gives the claim back.
func (p *Pair) Abort() { p.out.writer.Abort() }

// Poll hands over what is there, most messages at most. b is the ring's own memory, valid
// during the call. The error stays: a *reason.Error that says why no more comes.
func (p *Pair) Poll(most int, each func(typ uint16, b []byte)) (int, error) {
	n, _, err := p.in.reader.Poll(most, each)
	if err != nil {
		return n, ended(err)
	}
	return n, nil
}

// Calls makes the pair a client of calls, each with its id and deadline, at most so many in
// flight. It takes the place of Offer, Claim, Poll and Wait; Close stays the pair's.
func (p *Pair) Calls(most int) (*shm.Calls, error) {
	return shm.NewCalls(p.out.writer, p.in.reader, most)
}

// Served makes the pair the server of such calls.
func (p *Pair) Served() (*shm.Served, error) { return shm.NewServed(p.in.reader, p.out.writer) }

// Strategy is how the channel wants its readers to wait.
func (p *Pair) Strategy() shm.Strategy { return p.how }

// Wait returns true when Poll has something to say, and false after one round of the
// channel's strategy.
func (p *Pair) Wait() bool { return p.in.reader.Wait(p.how) }

// Nudge wakes a Wait that sleeps. Any goroutine may call it.
func (p *Pair) Nudge() { p.in.reader.Nudge() }

// Shut lets neither side of this end go on; the other end is not told, Close does that.
func (p *Pair) Shut(code reason.Code) {
	p.out.writer.Shut(shm.Closed, uint32(code))
	p.in.reader.Shut(shm.Closed, uint32(code))
}

// Close ends the pair for both sides, once what was written is read, and unmaps this end.
// No other method may be called any more, or be under way.
func (p *Pair) Close() (err error) {
	p.once.Do(func() {
		p.drop(p)
		err = errors.Join(p.in.close(), p.out.close())
	})
	return err
}

func (l *outLane) close() error {
	var errs []error
	for _, r := range l.readers {
		errs = append(errs, r.cursor.Close())
	}
	return errors.Join(append(errs, l.writer.Close(), l.data.Close())...)
}

// pairs is the owner of an end that holds pairs: of a caller one, of a server many.
type pairs struct {
	*end

	mu   sync.Mutex
	outs map[uint64]*outLane // by link, without their half
	ins  map[uint64]*inLane  // by link, not begun
	live map[*Pair]bool
	fits chan *Pair
}

// pairsMax bounds the pairs of one end, and those that wait to be accepted.
const pairsMax = 256

func newPairs(o Options, side policy.Side) (*pairs, error) {
	if strategyOf(o.Wait) == waitPoll {
		return nil, fmt.Errorf("channel %s: wait strategy %q is for subscribers: a pair has no doorbell", o.Channel, o.Wait)
	}
	e, err := newEnd(o, side)
	if err != nil {
		return nil, err
	}
	p := &pairs{end: e, outs: map[uint64]*outLane{}, ins: map[uint64]*inLane{}, live: map[*Pair]bool{}, fits: make(chan *Pair, pairsMax)}
	p.own = p
	return p, nil
}

func (p *pairs) usable() bool {
	p.end.mu.Lock()
	defer p.end.mu.Unlock()
	return p.welcome.Type == TypeWelcome
}

func (p *pairs) populate() {} // done by OpenWriter: pairs are small

// held is nothing: a pair is a connection, and a new direct node makes new ones. The old
// are shut then.
func (p *pairs) held() []holding {
	p.shut(reason.PeerClosed)
	return nil
}

func (p *pairs) shut(code reason.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.live {
		x.Shut(code)
	}
}

func (p *pairs) take(k *Packet, files []*os.File) error {
	switch k.Type {
	case TypeLane:
		if k.Way == Write {
			return p.takeOut(k, files)
		}
		return p.takeIn(k, files)
	case TypeReader:
		return p.takeReader(k, files)
	case TypeStart:
		if err := want(k, files, 0); err != nil {
			return err
		}
		return p.start(k)
	case TypeGone:
		return want(k, files, 0) // the gates say it
	}
	CloseAll(files)
	return fmt.Errorf("packet type %d is not for an end of an rpc channel", k.Type)
}

func (p *pairs) takeOut(k *Packet, files []*os.File) error {
	if err := want(k, files, 2); err != nil {
		return err
	}
	data, gate := files[0], files[1]
	defer gate.Close()
	w, err := shm.OpenWriter(data, gate)
	if err != nil {
		return errors.Join(err, data.Close())
	}
	p.mu.Lock()
	if len(p.outs)+len(p.live) >= pairsMax {
		p.mu.Unlock()
		return errors.Join(fmt.Errorf("more than %d pairs", pairsMax), w.Close(), data.Close())
	}
	p.outs[k.ID] = &outLane{link: k.ID, data: data, writer: w, readers: map[uint64]outReader{}}
	p.mu.Unlock()
	p.say(&Packet{Type: TypeMapped, ID: k.ID})
	return nil
}

func (p *pairs) takeIn(k *Packet, files []*os.File) error {
	l, err := openIn(k, files)
	if err != nil {
		return err
	}
	l.pair = k.Pair
	p.mu.Lock()
	if len(p.ins) >= pairsMax {
		p.mu.Unlock()
		return errors.Join(fmt.Errorf("more than %d lanes that have not begun", pairsMax), l.close())
	}
	p.ins[k.ID] = l
	p.mu.Unlock()
	p.say(&Packet{Type: TypeMapped, ID: k.ID})
	return nil
}

func (p *pairs) takeReader(k *Packet, files []*os.File) error {
	if err := want(k, files, 1); err != nil {
		return err
	}
	p.mu.Lock()
	l := p.outs[k.Lane]
	for x := range p.live {
		if x.out.link == k.Lane {
			l = x.out
		}
	}
	if l == nil {
		p.mu.Unlock()
		files[0].Close()
		return nil // the pair was closed here meanwhile
	}
	peer, err := l.writer.AddReader(files[0])
	if err != nil {
		p.mu.Unlock()
		files[0].Close()
		return err
	}
	l.readers[k.ID] = outReader{peer, files[0], k.Service}
	at := l.writer.Position()
	p.mu.Unlock()
	p.say(&Packet{Type: TypeAdded, ID: k.ID, Position: at})
	return nil
}

// start completes a pair: what it reads has begun, and what it writes is mapped.
func (p *pairs) start(k *Packet) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.ins[k.ID]
	if in == nil {
		return fmt.Errorf("lane %d cannot begin: it is not here", k.ID)
	}
	out := p.outs[in.pair]
	if out == nil {
		return fmt.Errorf("lane %d has no lane %d that goes the other way", k.ID, in.pair)
	}
	if err := in.reader.StartAt(k.Position); err != nil {
		return err
	}
	delete(p.ins, k.ID)
	delete(p.outs, in.pair)
	p.end.mu.Lock()
	number := p.welcome.Wait
	p.end.mu.Unlock()
	if p.o.Wait != "" {
		number = strategyOf(p.o.Wait)
	}
	x := &Pair{Peer: in.Service, out: out, in: in, how: strategy(number), drop: p.drop}
	p.live[x] = true
	select {
	case p.fits <- x:
	default: // nobody accepts
		x.Shut(reason.ChannelBusy)
	}
	return nil
}

func (p *pairs) drop(x *Pair) {
	p.mu.Lock()
	delete(p.live, x)
	p.mu.Unlock()
	p.say(&Packet{Type: TypeDetach, ID: x.out.link})
}

// next waits for a pair.
func (p *pairs) next(ctx context.Context) (*Pair, error) {
	select {
	case x := <-p.fits:
		return x, nil
	case <-p.done:
		if err := p.Err(); err != nil {
			return nil, err
		}
		return nil, reason.New(reason.Shutdown, "the end is closed")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close detaches: every pair is over. Those that were handed out are their owners' to
// close.
func (p *pairs) Close() error {
	p.end.close()
	p.shut(reason.PeerClosed)
	p.mu.Lock()
	var errs []error
	for _, l := range p.outs {
		errs = append(errs, l.close())
	}
	for _, l := range p.ins {
		errs = append(errs, l.close())
	}
	clear(p.outs)
	clear(p.ins)
	p.mu.Unlock()
	for {
		select {
		case x := <-p.fits:
			errs = append(errs, x.Close())
		default:
			return errors.Join(errs...)
		}
	}
}

// Server is the serving end of an rpc channel.
type Server struct{ *pairs }

// OpenServer attaches as the server of the channel.
func OpenServer(ctx context.Context, o Options) (*Server, error) {
	p, err := newPairs(o, policy.Subscribe)
	if err != nil {
		return nil, err
	}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	return &Server{p}, nil
}

// Accept waits for the next caller.
func (s *Server) Accept(ctx context.Context) (*Pair, error) { return s.next(ctx) }

// Caller is the calling end of an rpc channel.
type Caller struct{ *pairs }

// OpenCaller attaches as a caller of the channel. The server need not be there yet.
func OpenCaller(ctx context.Context, o Options) (*Caller, error) {
	p, err := newPairs(o, policy.Publish)
	if err != nil {
		return nil, err
	}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	return &Caller{p}, nil
}

// Connect waits for a server; after a pair is over, for the next one.
func (c *Caller) Connect(ctx context.Context) (*Pair, error) { return c.next(ctx) }
