package bridge

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/channel"
	"fire/transport/lines"
	"fire/transport/shm"
	"fire/transport/udp"
)

// pullKey is a channel that this host reads, and a host that publishes on it.
type pullKey struct{ channel, node string }

// pull brings a channel from another host: for each publisher there a publisher here, as
// far as the direct node of this host lets it.
type pull struct {
	b *Bridge
	pullKey
	address string
	cancel  context.CancelFunc
	over    atomic.Bool // nobody reads here any more
	until   time.Time   // of the bridge: nobody reads, but who comes before then has what is kept
	state   atomic.Pointer[[]PathState]
	why     atomic.Pointer[reason.Error]

	// of its goroutine, over its attempts
	resumes []resume // orders whose way was cut off

	// of one attempt
	want    *want
	session transport.Session
	stream  transport.Stream
	port    *lines.Port
	frames  chan frame
	out     chan []byte
	ins     []*inLane
	group   *lines.Port // multicast sockets, once a lane is of a group
	now     int64
	statAt  int64
	againAt int64 // when to ask for lanes that were refused here; 0: none was
	againIn time.Duration
}

type frame struct {
	note     *note
	datagram []byte
}

// inLane is one publisher of the other host.
type inLane struct {
	pull      *pull
	lane      *lane
	receiver  *udp.Receiver
	publisher *channel.Publisher
	since     int64
	detour    detour
	done      *reason.Error // why nothing more comes of it
	lost      uint64        // gaps that the ring had no room for: told with the next
	lostFirst uint64
	lostLast  uint64
}

const (
	pullAgainMin  = 50 * time.Millisecond
	pullAgainMost = 2 * time.Second
	framesWaiting = 1024
	insMax        = 64
	// blockedAfter is how long a lane may bring no datagram before the session carries it.
	blockedAfter = int64(700 * time.Millisecond)
)

// run pulls again and again until nobody reads here any more.
func (p *pull) run(ctx context.Context) {
	pause := time.Duration(0)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		e, ok := errors.AsType[*reason.Error](err)
		if !ok {
			e = reason.New(reason.PeerUnreachable, "%w", err)
		}
		p.why.Store(e)
		p.state.Store(nil)
		p.b.deps.Log.Warn("a channel does not come from another host", "channel", p.channel, "node", p.node, "reason", e.Code.String(), "err", e.Detail)
		if pause = max(2*pause, pullAgainMin); time.Since(began) > pullAgainMost {
			pause = pullAgainMin
		}
		t.Reset(min(pause, pullAgainMost))
	}
}

// once pulls until something ends it.
func (p *pull) once(ctx context.Context) (err error) {
	if p.session, err = p.b.links.session(ctx, p.node, p.address); err != nil {
		return err
	}
	addresses, err := p.b.addresses(p.session)
	if err != nil {
		return err
	}
	if p.port, err = lines.Open(p.b.cfg.port(addresses)); err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, dialWithin)
	p.stream, err = p.session.Open(opening)
	cancel()
	if err != nil {
		return errors.Join(err, p.port.Close())
	}
	p.want = &want{Version: protocolVersion, Channel: p.channel, To: p.port.At(), Datagrams: p.b.cfg.DatagramBytes, Window: p.b.cfg.Window, Salt: newSalt(), Resume: p.resumes}
	p.frames, p.out = make(chan frame, framesWaiting), make(chan []byte, framesMax)
	var work sync.WaitGroup
	stop := make(chan struct{})
	var readErr error
	readDone, writeDone := make(chan struct{}), make(chan struct{})
	work.Go(func() { readErr = p.read(stop); close(readDone) })
	work.Go(func() { p.write(stop); close(writeDone) })
	p.say(&note{Want: p.want})
	if p.b.rules.Load().Channels[p.channel].Kind == policy.RPC {
		err = p.calls(ctx)
	} else {
		err = p.loop(ctx)
	}
	p.end(err)
	if ctx.Err() != nil {
		bye := &leave{}
		if !p.over.Load() { // this direct node stops, and the next one goes on
			bye.Resume = p.resumes
		}
		p.say(&note{Leave: bye})
	}
	close(stop)
	<-writeDone
	if ctx.Err() != nil {
		p.leave(readDone)
	}
	p.stream.Cancel(reason.PeerClosed)
	work.Wait()
	if err == nil {
		err = readErr
	}
	return errors.Join(err, p.port.Close())
}

// leave lets the other host hear that nothing is to be kept for this one, which wants no
// more: a stream that is cut off may lose its last words.
func (p *pull) leave(read <-chan struct{}) {
	if p.stream.CloseWrite() != nil {
		return
	}
	t := time.NewTimer(leaveWithin)
	defer t.Stop()
	select {
	case <-read: // it has ended its side
	case <-t.C:
	}
}

// leaveWithin bounds a goodbye to a host that takes nothing.
const leaveWithin = 200 * time.Millisecond

// end closes what this attempt has opened here. How far orders have come is noted: a next
// attempt goes on there.
func (p *pull) end(err error) {
	p.resumes = nil
	for _, l := range p.ins {
		if !l.lane.Lossy && l.done == nil {
			packet, message := l.receiver.Boundary()
			p.resumes = append(p.resumes, resume{l.lane.Stream, packet, message})
		}
		l.close(reason.New(reason.Of(err, reason.PeerLost), "the way to %s has ended", p.node))
	}
	p.ins = nil
	p.port.Flush() // the goodbyes
	if p.group != nil {
		_ = p.group.Close()
		p.group = nil
	}
}

// read takes frames from the stream, and leaves the rest there while the loop is behind.
func (p *pull) read(stop chan struct{}) error {
	defer p.port.Ring()
	defer close(p.frames)
	for {
		n, datagram, err := readFrame(p.stream)
		if err != nil {
			return err
		}
		select {
		case p.frames <- frame{n, datagram}:
			p.port.Ring()
		case <-stop:
			return nil
		}
	}
}

func (p *pull) write(stop chan struct{}) {
	for {
		select {
		case b := <-p.out:
			if p.stream.SetWriteDeadline(time.Now().Add(writeWithin)) != nil {
				return
			}
			if _, err := p.stream.Write(b); err != nil {
				p.stream.Cancel(reason.PeerLost) // read ends, and so the loop
				return
			}
		case <-stop:
			select {
			case b := <-p.out: // last words
				if p.stream.SetWriteDeadline(time.Now().Add(leaveWithin)) == nil {
					_, _ = p.stream.Write(b)
				}
				continue
			default:
				return
			}
		}
	}
}

func (p *pull) say(n *note) {
	b, err := appendNote(nil, n)
	if err != nil {
		p.stream.Cancel(reason.FrameOversized)
		return
	}
	select {
	case p.out <- b:
	default:
		p.stream.Cancel(reason.SlowReader)
	}
}

// loop is one turn after the other: datagrams, frames, what is due.
func (p *pull) loop(ctx context.Context) error {
	stop := context.AfterFunc(ctx, p.port.Ring)
	defer stop()
	busyUntil := int64(0)
	for ctx.Err() == nil {
		p.now = time.Now().UnixNano()
		n := p.port.Receive(p.datagram)
		if p.group != nil {
			n += p.group.Receive(p.datagram)
		}
		took, err := p.take(ctx)
		if err != nil {
			return err
		}
		n += took
		next := p.tick()
		p.port.Flush()
		switch {
		case n > 0:
			busyUntil = p.now + int64(p.b.cfg.SpinMax)
		case p.now >= busyUntil:
			p.port.Wait(time.Duration(next-p.now), p.group, -1)
		}
	}
	return nil
}

// datagram is one that came by UDP.
func (p *pull) datagram(line int, b []byte) {
	if l, v := p.input(line, b); l != nil && v == udp.Opened {
		l.detour.saw(p.now)
	}
}

func (p *pull) input(line int, b []byte) (*inLane, udp.Verdict) {
	if id, ok := udp.Index(b); ok {
		if l := p.find(id); l != nil {
			return l, l.receiver.Input(p.now, line, b)
		}
	}
	return nil, udp.Malformed
}

// take handles what the stream has brought.
func (p *pull) take(ctx context.Context) (n int, err error) {
	for range framesWaiting {
		select {
		case f, ok := <-p.frames:
			if !ok {
				return n, reason.New(reason.PeerLost, "the stream from %s has ended", p.node)
			}
			n++
			if f.datagram != nil {
				p.input(0, f.datagram)
			} else if err := p.heard(ctx, f.note); err != nil {
				return n, err
			}
		default:
			return n, nil
		}
	}
	return n, nil
}

func (p *pull) heard(ctx context.Context, n *note) error {
	switch {
	case n.Lane != nil:
		return p.open(ctx, n.Lane)
	case n.Gone != nil:
		if l := p.find(n.Gone.ID); l != nil {
			l.done = &reason.Error{Code: reason.PeerClosed, Detail: "the publisher on " + p.node + " has ended"}
		}
	case n.Blocked != nil:
		if l := p.find(n.Blocked.ID); l != nil {
			l.detour.begin(p.now)
		}
	case n.Clear != nil:
		if l := p.find(n.Clear.ID); l != nil {
			l.clear(n.Clear)
		}
	case n.Epoch != nil:
		if l := p.find(n.Epoch.ID); l != nil {
			if err := l.receiver.Epoch(p.now, n.Epoch.Epoch, udp.Secret(n.Epoch.Secret)); err != nil {
				return err
			}
			p.say(&note{Taken: &taken{n.Epoch.ID, n.Epoch.Epoch}})
		}
	case n.Refused != nil:
		return &reason.Error{Code: n.Refused.Reason, Detail: p.node + ": " + n.Refused.Text}
	default:
		return reason.New(reason.FrameMalformed, "%s says what only this side may", p.node)
	}
	return nil
}

func (p *pull) find(id uint32) *inLane {
	for _, l := range p.ins {
		if l.lane.ID == id {
			return l
		}
	}
	return nil
}

// open begins to receive a lane, if this host's direct node lets its service publish here.
func (p *pull) open(ctx context.Context, k *lane) error {
	r := p.b.rules.Load()
	if len(p.ins) >= insMax || p.find(k.ID) != nil || len(k.From) > p.port.Lines() {
		return reason.New(reason.FrameMalformed, "%s offers lane %d twice, or more than %d, or more lines than were wanted", p.node, k.ID, insMax)
	}
	if !r.Placed(k.Service, p.node) {
		return reason.New(reason.NotPlaced, "%s says to be %s, which is not placed there", p.node, k.Service)
	}
	l := &inLane{pull: p, lane: k, since: p.now}
	if no := p.b.claim(p.node, l.bytes()); no != nil {
		return p.refuse(k, no)
	}
	opened := false
	defer func() {
		if !opened {
			p.b.release(p.node, l.bytes())
		}
	}()
	there, err := secretOf(p.session, p.want, k, keyThere)
	back, berr := secretOf(p.session, p.want, k, keyBack)
	if err = errors.Join(err, berr); err != nil {
		return err
	}
	cfg := udp.ReceiverConfig{DatagramBytes: k.Datagrams, Window: k.Window, Lines: len(k.From), Lossy: k.Lossy, Secret: there, Feedback: back, Index: k.Feedback,
		Packet: k.Packet, Message: k.Message}
	copy(cfg.To[:], k.From)
	cfg.Skip = k.Skip
	if g := k.Group; g != nil {
		cfg.Group, cfg.Epoch, cfg.Secret = true, g.Epoch, udp.Secret(g.Secret)
		cfg.Chain = [32]byte(g.Chain)
		public := ed25519.PublicKey(g.Public)
		cfg.Check = func(signed, signature []byte) bool { return ed25519.Verify(public, signed, signature) }
		if err := p.join(g.To); err != nil {
			p.b.deps.Log.Warn("a multicast group cannot be joined; the session carries the lane", "channel", p.channel, "err", err)
		}
	}
	if l.receiver, err = udp.NewReceiver(p.now, cfg, l, l); err != nil {
		return err
	}
	attach := func(ctx context.Context) (*channel.Wire, error) {
		w, _, err := p.b.deps.Local.Attach(ctx, policy.Publish, []End{{k.Service, p.node}})
		return w, err
	}
	if l.publisher, err = channel.OpenPublisher(ctx, channel.Options{Channel: p.channel, Dial: attach}); err != nil {
		return p.refuse(k, err)
	}
	opened = true
	p.ins = append(p.ins, l)
	p.againAt, p.againIn = 0, 0
	p.why.Store(nil)
	p.b.tell(Fact{Kind: "opened", Channel: p.channel, Service: k.Service, Node: p.node})
	return nil
}

// refuse takes no lane of one publisher, which is no reason to end the others.
func (p *pull) refuse(k *lane, err error) error {
	if p.againAt == 0 {
		p.b.tell(Fact{Kind: "refused", Channel: p.channel, Service: k.Service, Node: p.node, Reason: reason.Of(err, reason.RingUnavailable), Detail: err.Error()})
	}
	p.say(&note{Gone: &gone{k.ID}})
	p.askAgain()
	return nil
}

// bytes is the memory for what is on its way.
func (l *inLane) bytes() int { return l.lane.Window * l.lane.Datagrams }

// askAgain plans to ask for what was refused here, ever more rarely: each refusal is in the trail.
func (p *pull) askAgain() {
	p.againIn = min(max(2*p.againIn, time.Second), lanesAgainMost)
	p.againAt = p.now + int64(p.againIn)
}

const lanesAgainMost = time.Minute

// join opens sockets of the groups, a line each.
func (p *pull) join(groups []netip.AddrPort) error {
	if p.group != nil {
		return nil
	}
	g, err := p.port.Groups(p.b.cfg.port(nil), groups)
	p.group = g
	return err
}

// Send is the udp.Out of a receiver: to the sender, or over the stream.
func (l *inLane) Send(line int, to netip.AddrPort, b []byte) {
	if !l.detour.on {
		l.pull.port.Send(line, to, b)
		return
	}
	if l.detour.copies(l.pull.now, line) {
		l.pull.port.Send(line, to, b)
	}
	if line > 0 {
		return
	}
	select {
	case l.pull.out <- appendDatagram(nil, b):
	default: // lost, as any may be on its way
	}
}

// Message is told by the receiver. An orders lane that is full leaves it there, and the
// sender stops in time.
func (l *inLane) Message(typ uint16, b []byte) bool {
	if !l.tellLost() {
		return false
	}
	return l.took(l.publisher.Offer(typ, b))
}

func (l *inLane) took(r shm.Result) bool {
	switch r {
	case shm.Full:
		return false
	case shm.Shut:
		_, code := l.publisher.State()
		if code == reason.OK {
			code = reason.PeerClosed
		}
		l.done = &reason.Error{Code: code, Detail: "this host's direct node has shut the lane"}
		return false // it stays with the receiver: nobody has it here
	}
	return true
}

// Gap is told by the receiver, and goes to the readers in its place.
func (l *inLane) Gap(first, last uint64) {
	if l.lost == 0 {
		l.lostFirst = first
	}
	l.lost += last - first + 1
	l.lostLast = last
	l.tellLost()
}

func (l *inLane) tellLost() bool {
	if l.lost == 0 {
		return true
	}
	if !l.took(l.publisher.OfferLost(l.lostFirst, l.lostLast)) {
		return false
	}
	l.lost = 0
	return true
}

// tick does what is due, and says when to come again.
func (p *pull) tick() (next int64) {
	next = p.now + int64(100*time.Millisecond)
	for i := 0; i < len(p.ins); i++ {
		l := p.ins[i]
		next = min(next, l.receiver.Tick(p.now))
		l.judge()
		if l.done != nil {
			l.close(l.done)
			p.say(&note{Gone: &gone{l.lane.ID}})
			if l.done.Code != reason.PeerClosed {
				p.askAgain() // it was shut here, and may come back
			}
			p.ins = append(p.ins[:i], p.ins[i+1:]...)
			i--
		}
	}
	if p.now >= p.statAt {
		p.statAt = p.now + statEvery
		p.note()
	}
	if p.againAt != 0 && p.now >= p.againAt {
		p.askAgain() // until a lane comes and stays
		p.say(&note{Want: p.want})
	}
	return next
}

// judge looks whether the lane still brings what it should.
func (l *inLane) judge() {
	r, p := l.receiver, l.pull
	switch {
	case l.done != nil:
	case r.Betrayed():
		l.done = reason.New(reason.RingCorrupt, "packets of %s on channel %s are not its own: a member of the group has forged them", p.node, p.channel)
		p.b.tell(Fact{Kind: "forged", Channel: p.channel, Service: l.lane.Service, Node: p.node, Reason: l.done.Code, Detail: l.done.Detail})
	case r.Ended():
		l.done = &reason.Error{Code: reason.PeerClosed, Detail: "the publisher on " + p.node + " has ended"}
	case !l.detour.on && (!r.Met() && p.now-l.since > blockedAfter || r.Silent(p.now) && r.Met()):
		l.detour.begin(p.now)
		p.say(&note{Blocked: &blocked{l.lane.ID}})
		p.b.tell(Fact{Kind: "blocked", Channel: p.channel, Service: l.lane.Service, Node: p.node, Reason: reason.PeerUnreachable, Detail: "no datagram comes: the session carries the lane"})
	case l.detour.ask(p.now):
		p.say(&note{Clear: &clearing{ID: l.lane.ID}})
	}
	if s, code := l.publisher.State(); l.done == nil && s != shm.Open {
		l.done = &reason.Error{Code: code, Detail: "this host's direct node has shut the lane"}
	}
}

// clear goes back to datagrams, if they come here.
func (l *inLane) clear(c *clearing) {
	over, answer := l.detour.agree(l.pull.now, c)
	if answer {
		l.pull.say(&note{Clear: &clearing{l.lane.ID, true}})
	}
	if !over {
		return
	}
	l.pull.b.tell(Fact{Kind: "cleared", Channel: l.pull.channel, Service: l.lane.Service, Node: l.pull.node, Detail: "datagrams come again"})
}

// close ends the publisher here. What it has published stays for its readers.
func (l *inLane) close(why *reason.Error) {
	if why.Code != reason.PeerClosed && why.Code != reason.OK {
		l.pull.b.tell(Fact{Kind: "lost", Channel: l.pull.channel, Service: l.lane.Service, Node: l.pull.node, Reason: why.Code, Detail: why.Detail})
	}
	l.receiver.Close(l.pull.now)
	l.pull.b.release(l.pull.node, l.bytes())
	_ = l.publisher.Close() // nothing is to be done about it
}

func (p *pull) note() {
	out := []PathState{}
	for _, l := range p.ins {
		st := l.receiver.Stats()
		packet, _ := l.receiver.Position()
		s := PathState{Channel: p.channel, Way: "from", Node: p.node, Service: l.lane.Service, Path: "udp", Lines: len(l.lane.From), Messages: st.Messages, Packet: packet,
			Lag: st.Window, Lost: st.Lost, Repaired: st.Naks, Refused: st.Forged + st.Malformed + st.Unexpected, Socket: socketOf(p.port, p.group), Second: st.Repeated + st.Duplicates, Overrun: st.Overrun,
			LatencyP50: st.Latency.Quantile(0.5), LatencyP99: st.Latency.Quantile(0.99),
			Proofs: st.Proved, Since: time.Unix(0, l.since)}
		if l.lane.Group != nil {
			s.Path = "multicast"
		}
		if l.detour.on {
			s.Path = "quic"
		}
		out = append(out, s)
	}
	p.state.Store(&out)
}

func (p *pull) paths() []PathState {
	if s := p.state.Load(); s != nil && len(*s) > 0 {
		return *s
	}
	s := PathState{Channel: p.channel, Way: "from", Node: p.node}
	if e := p.why.Load(); e != nil {
		s.Reason = e.Error()
	}
	return []PathState{s}
}
