package bridge

import (
	"context"
	"errors"
	"io"
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

// crossings are the calls of an rpc channel between two hosts: where the callers are, this
// host stands for the server; where the server is, for each caller.
//
//	caller ═ pair ═ crossing ─── requests ──► crossing ═ pair ═ server
//	                         ◄── responses ──
//
// Each pair of lanes is two streams of datagrams, both without loss. One goroutine owns all
// of a stream's crossings; each has a watcher that sleeps for its pair, and that is all it does.
type crossings struct {
	b       *Bridge
	channel string
	node    string // the other host
	session transport.Session
	want    *want
	port    *lines.Port
	say     func(*note)
	carry   func(datagram []byte)
	state   *atomic.Pointer[[]PathState]

	all    []*crossing
	lastID uint32
	now    int64
	statAt int64
	since  time.Time
}

// crossing is one caller's pair.
type crossing struct {
	of                *crossings
	id                uint32
	service           string // that calls
	caller            io.Closer
	pair              *channel.Pair
	sender            *udp.Sender
	peer              *udp.Peer
	receiver          *udp.Receiver
	to                [udp.LinesMax]netip.AddrPort
	window, datagrams int
	sends             uint32 // index of the stream that goes from here
	detour            detour
	began             int64
	closing           int64 // since when no more comes from the pair; 0: not
	done              *reason.Error
	each              func(typ uint16, b []byte)

	// The pair's reading side is handed to and fro between the loop and the watcher.
	rest    chan struct{} // the watcher's turn
	ready   atomic.Bool   // the loop's turn
	ended   atomic.Bool
	watched chan struct{} // closed when the watcher has ended
}

const crossingsMax = 128 // of one stream

// The two streams of a crossing have even and odd indexes, the same at both ends.
func indexes(id uint32) (requests, responses uint32) { return 2 * id, 2*id + 1 }

// begin starts to carry a pair. The side of the callers sends requests.
func (c *crossings) begin(l *lane, pair *channel.Pair, caller io.Closer, to []netip.AddrPort, requests bool) error {
	x := &crossing{of: c, id: l.ID, service: l.Service, window: l.Window, datagrams: l.Datagrams, caller: caller, pair: pair, began: c.now, rest: make(chan struct{}, 1), watched: make(chan struct{})}
	copy(x.to[:], to)
	if no := c.b.claim(c.node, x.bytes()); no != nil {
		return no
	}
	begun := false
	defer func() {
		if !begun {
			c.b.release(c.node, x.bytes())
		}
	}()
	there, back := indexes(l.ID)
	send, listen := 0, 2
	if !requests {
		there, back, send, listen = back, there, 2, 0
	}
	x.sends = there
	var secrets [4]udp.Secret
	for i := range secrets {
		var err error
		if secrets[i], err = secretOf(c.session, c.want, l, byte(2+i)); err != nil {
			return err
		}
	}
	var err error
	cfg := udp.SenderConfig{DatagramBytes: l.Datagrams, Window: l.Window, Flow: udp.FlowMin}
	if x.sender, err = udp.NewSender(cfg, x); err != nil {
		return err
	}
	if x.peer, _, _, err = x.sender.Join(c.now, udp.PeerConfig{Name: c.node, Index: there, Secret: secrets[send], Feedback: secrets[send+1], To: x.to}); err != nil {
		return err
	}
	x.receiver, err = udp.NewReceiver(c.now, udp.ReceiverConfig{DatagramBytes: l.Datagrams, Window: l.Window, Lines: len(to), Index: back,
		Secret: secrets[listen], Feedback: secrets[listen+1], To: x.to}, x, x)
	if err != nil {
		return err
	}
	x.each = func(typ uint16, b []byte) {
		if x.sender.Offer(c.now, typ, b) != udp.Sent {
			x.done = reason.New(reason.RingCorrupt, "a request found no room that was there") // cannot be: Room was asked
		}
	}
	begun = true
	x.ready.Store(true)
	go x.watch()
	c.all = append(c.all, x)
	return nil
}

// bytes is the memory for what is on its way.
func (x *crossing) bytes() int { return 2 * x.window * x.datagrams }

// watch sleeps for the pair when the loop lets it.
func (x *crossing) watch() {
	defer close(x.watched)
	for range x.rest {
		for !x.ended.Load() && !x.pair.Wait() {
		}
		x.ready.Store(true)
		x.of.port.Ring()
	}
}

// Send is the udp.Out of both streams.
func (x *crossing) Send(line int, to netip.AddrPort, b []byte) {
	switch {
	case !x.detour.on:
		x.of.port.Send(line, to, b)
	default:
		if x.detour.copies(x.of.now, line) {
			x.of.port.Send(line, to, b)
		}
		if line == 0 {
			x.of.carry(b)
		}
	}
}

// Message is told by the receiver. A full lane leaves it there.
func (x *crossing) Message(typ uint16, b []byte) bool {
	switch x.pair.Offer(typ, b) {
	case shm.Full:
		return false
	case shm.Sent:
	default:
		x.done = &reason.Error{Code: reason.PeerClosed, Detail: "the pair has ended here"}
		return false
	}
	return true
}

// Gap cannot be while a session lasts, since the senders wait.
func (x *crossing) Gap(first, last uint64) {
	x.done = reason.New(reason.PeerLost, "messages %d to %d of a call are lost", first, last)
}

// close ends both streams and the pair.
func (x *crossing) close(why *reason.Error) {
	now := x.of.now
	if x.closing == 0 {
		x.sender.Close(now)
	}
	x.receiver.Close(now)
	x.of.port.Flush()
	x.ended.Store(true)
	x.pair.Nudge()
	close(x.rest)
	<-x.watched
	_ = x.pair.Close() // nothing is to be done about it
	x.of.b.release(x.of.node, x.bytes())
	if x.caller != nil {
		_ = x.caller.Close()
	}
	if why.Code != reason.PeerClosed && why.Code != reason.OK {
		x.of.b.tell(Fact{Kind: "lost", Channel: x.of.channel, Service: x.service, Node: x.of.node, Reason: why.Code, Detail: why.Detail})
	}
}

// turn moves everything once. It returns how much, and when to come again.
func (c *crossings) turn() (n int, next int64) {
	c.now = time.Now().UnixNano()
	next = c.now + int64(100*time.Millisecond)
	for _, x := range c.all {
		n += x.read()
	}
	n += c.port.Receive(c.datagram)
	for i := 0; i < len(c.all); i++ {
		x := c.all[i]
		next = min(next, x.sender.Tick(c.now), x.receiver.Tick(c.now))
		x.judge()
		if x.done != nil {
			c.all = append(c.all[:i], c.all[i+1:]...)
			i--
			x.close(x.done)
			c.say(&note{Gone: &gone{x.id}})
		}
	}
	c.port.Flush()
	if c.now >= c.statAt {
		c.statAt = c.now + statEvery
		c.note()
	}
	return n, next
}

// read takes what the pair has, as far as the other host has room.
func (x *crossing) read() int {
	if x.closing != 0 || !x.ready.Load() {
		return 0
	}
	most := min(x.sender.Room(), batchMost)
	if most == 0 {
		return 0
	}
	n, err := x.pair.Poll(most, x.each)
	if n > 0 {
		x.sender.Flush(x.of.now)
	}
	if err != nil {
		x.sender.Close(x.of.now)
		x.closing = x.of.now
	}
	return n
}

// judge looks whether the crossing goes on.
func (x *crossing) judge() {
	c, r := x.of, x.receiver
	silent := r.Silent(c.now) && r.Met() || !r.Met() && c.now-x.began > blockedAfter
	switch {
	case x.done != nil:
	case r.Ended() || x.peer.Gone():
		x.done = &reason.Error{Code: reason.PeerClosed, Detail: "the other end on " + c.node + " has ended"}
	case x.closing != 0 && (x.sender.Drained() || c.now-x.closing > int64(lingerAfter)):
		x.done = &reason.Error{Code: reason.PeerClosed, Detail: "the pair has ended here"}
	case !x.detour.on && silent:
		c.say(&note{Blocked: &blocked{x.id}})
		x.block()
	case x.detour.ask(c.now):
		c.say(&note{Clear: &clearing{ID: x.id}})
	}
}

// clear goes back to datagrams, if they come here.
func (x *crossing) clear(c *clearing) {
	over, answer := x.detour.agree(x.of.now, c)
	if answer {
		x.of.say(&note{Clear: &clearing{x.id, true}})
	}
	if !over {
		return
	}
	x.of.b.tell(Fact{Kind: "cleared", Channel: x.of.channel, Service: x.service, Node: x.of.node, Detail: "datagrams carry the calls again"})
}

// block lets the session carry the crossing.
func (x *crossing) block() {
	if !x.detour.begin(x.of.now) {
		return
	}
	x.of.b.tell(Fact{Kind: "blocked", Channel: x.of.channel, Service: x.service, Node: x.of.node, Reason: reason.PeerUnreachable, Detail: "no datagram gets through: the session carries the calls"})
}

// datagram is one that came by UDP.
func (c *crossings) datagram(line int, b []byte) {
	if x, v := c.input(line, b); x != nil && v == udp.Opened {
		x.detour.saw(c.now)
	}
}

func (c *crossings) input(line int, b []byte) (*crossing, udp.Verdict) {
	i, ok := udp.Index(b)
	if !ok {
		return nil, udp.Malformed
	}
	x := c.find(i / 2)
	switch {
	case x == nil:
		return nil, udp.Malformed
	case i == x.sends: // what the other host says of it
		return x, x.sender.Input(c.now, x.peer, b)
	default:
		return x, x.receiver.Input(c.now, line, b)
	}
}

func (c *crossings) find(id uint32) *crossing {
	for _, x := range c.all {
		if x.id == id {
			return x
		}
	}
	return nil
}

// idle sleeps until something comes.
func (c *crossings) idle(next int64) {
	for _, x := range c.all {
		if x.closing == 0 && x.ready.Load() && x.sender.Room() > 0 {
			x.ready.Store(false)
			x.rest <- struct{}{}
		}
	}
	c.port.Wait(time.Duration(next-c.now), nil, -1)
}

// end closes what is left.
func (c *crossings) end(err error) {
	for _, x := range c.all {
		x.close(reason.New(reason.Of(err, reason.PeerClosed), "the way to %s has ended", c.node))
	}
	c.all = nil
}

func (c *crossings) note() {
	out := []PathState{}
	for _, x := range c.all {
		st, sent, peer := x.receiver.Stats(), x.sender.Stats(), x.peer.Stats()
		s := PathState{Channel: c.channel, Way: "calls", Node: c.node, Service: x.service, Path: "udp", Lines: c.port.Lines(), Messages: sent.Messages + st.Messages,
			Packet: peer.Packet, Repaired: sent.Repaired + st.Naks, Refused: st.Forged + st.Malformed + st.Unexpected + peer.Refused, Socket: socketOf(c.port),
			Second: st.Repeated + st.Duplicates, Overrun: st.Overrun, LatencyP50: st.Latency.Quantile(0.5), LatencyP99: st.Latency.Quantile(0.99), RTT: time.Duration(peer.RTT), Since: c.since}
		if x.detour.on {
			s.Path = "quic"
		}
		out = append(out, s)
	}
	c.state.Store(&out)
}

// heard handles a note that both sides may say; false for any other.
func (c *crossings) heard(n *note) bool {
	switch {
	case n.Blocked != nil:
		if x := c.find(n.Blocked.ID); x != nil {
			x.block()
		}
	case n.Clear != nil:
		if x := c.find(n.Clear.ID); x != nil {
			x.clear(n.Clear)
		}
	case n.Gone != nil:
		if x := c.find(n.Gone.ID); x != nil && x.done == nil && x.closing == 0 {
			x.done = &reason.Error{Code: reason.PeerClosed, Detail: "the other end on " + c.node + " has ended"}
		}
	default:
		return false
	}
	return true
}

// serveCalls stands for the server of another host, until its stream ends.
func (b *Bridge) serveCalls(ctx context.Context, p *puller, ends []End) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dial := func(ctx context.Context) (*channel.Wire, error) {
		w, _, err := b.deps.Local.Attach(ctx, policy.Subscribe, ends)
		return w, err
	}
	server, err := channel.OpenServer(ctx, channel.Options{Channel: p.want.Channel, Dial: dial})
	if err != nil {
		return err
	}
	addresses, err := b.addresses(p.session)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	port, err := lines.Open(b.cfg.port(addresses))
	if err != nil {
		return errors.Join(reason.New(reason.RingUnavailable, "%w", err), server.Close())
	}
	b.tell(Fact{Kind: "opened", Channel: p.want.Channel, Node: p.node})
	c := &crossings{b: b, channel: p.want.Channel, node: p.node, session: p.session, want: p.want, port: port, say: p.say, carry: p.carry, state: &p.state, since: time.Now()}
	frames, pairs := make(chan frame, framesWaiting), make(chan *channel.Pair, 1)
	var work sync.WaitGroup
	work.Go(p.write)
	work.Go(func() { readFrames(p.stream, frames, p.stop, port.Ring) })
	work.Go(func() {
		defer port.Ring()
		defer close(pairs)
		for {
			pair, err := server.Accept(ctx)
			if err != nil {
				return
			}
			select {
			case pairs <- pair:
				port.Ring()
			case <-ctx.Done():
				_ = pair.Close()
				return
			}
		}
	})
	stop := context.AfterFunc(ctx, port.Ring)
	err = c.serve(ctx, p, frames, pairs)
	stop()
	c.end(err)
	p.end(reason.Of(err, reason.PeerClosed))
	cancel()
	work.Wait()
	for pair := range pairs {
		_ = pair.Close()
	}
	b.tell(Fact{Kind: "closed", Channel: p.want.Channel, Node: p.node})
	return errors.Join(err, server.Close(), port.Close())
}

// serve is the loop of the callers' host.
func (c *crossings) serve(ctx context.Context, p *puller, frames <-chan frame, pairs <-chan *channel.Pair) error {
	busyUntil := int64(0)
	for ctx.Err() == nil {
		n, next := c.turn()
		select {
		case f, ok := <-frames:
			n++
			switch {
			case !ok:
				return nil // the other host has ended it
			case f.datagram != nil:
				c.input(0, f.datagram)
			case !c.heard(f.note):
				return reason.New(reason.FrameMalformed, "%s says what only this side may", c.node)
			}
		case pair, ok := <-pairs:
			n++
			if !ok {
				return reason.New(reason.PeerClosed, "this host's direct node has ended the channel")
			}
			if err := c.offer(pair); err != nil {
				return err
			}
		default:
		}
		if n > 0 {
			busyUntil = c.now + int64(c.b.cfg.SpinMax)
		} else if c.now >= busyUntil {
			c.idle(next)
		}
	}
	return nil
}

// offer tells the server's host of a caller.
func (c *crossings) offer(pair *channel.Pair) error {
	if len(c.all) >= crossingsMax {
		return pair.Close() // its caller tries again
	}
	c.lastID++
	n := min(len(c.want.To), c.port.Lines())
	l := &lane{ID: c.lastID, Service: pair.Peer, From: c.port.At()[:n], Datagrams: c.b.cfg.DatagramBytes, Window: c.b.cfg.callWindow(), Salt: newSalt(), Stream: newSalt()}
	if err := c.begin(l, pair, nil, c.want.To[:n], true); err != nil {
		c.refuse(l.Service, reason.Of(err, reason.RingUnavailable), err.Error())
		return pair.Close()
	}
	c.say(&note{Lane: l})
	return nil
}

// calls is the loop of the server's host.
func (p *pull) calls(ctx context.Context) error {
	c := &crossings{b: p.b, channel: p.channel, node: p.node, session: p.session, want: p.want, port: p.port, say: p.say, state: &p.state, since: time.Now(),
		carry: func(b []byte) {
			select {
			case p.out <- appendDatagram(nil, b):
			default: // lost, as any may be on its way
			}
		}}
	stop := context.AfterFunc(ctx, p.port.Ring)
	defer stop()
	met := make(chan connected, 1)
	var work sync.WaitGroup
	connecting, cancel := context.WithCancel(ctx)
	busyUntil, err, pending := int64(0), error(nil), 0
	for ctx.Err() == nil && err == nil {
		n, next := c.turn()
		select {
		case f, ok := <-p.frames:
			n++
			switch {
			case !ok:
				err = reason.New(reason.PeerLost, "the stream from %s has ended", p.node)
			case f.datagram != nil:
				c.input(0, f.datagram)
			case f.note.Lane != nil && pending+len(c.all) >= crossingsMax:
				c.say(&note{Gone: &gone{f.note.Lane.ID}})
			case f.note.Lane != nil:
				pending++
				work.Go(func() { p.connect(connecting, f.note.Lane, met) })
			case f.note.Refused != nil:
				err = &reason.Error{Code: f.note.Refused.Reason, Detail: p.node + ": " + f.note.Refused.Text}
			case !c.heard(f.note):
				err = reason.New(reason.FrameMalformed, "%s says what only this side may", p.node)
			}
		case m := <-met:
			n++
			pending--
			c.meet(m)
		default:
		}
		if n > 0 {
			busyUntil = c.now + int64(p.b.cfg.SpinMax)
		} else if c.now >= busyUntil {
			c.idle(next)
		}
	}
	c.end(err)
	cancel()
	go func() { work.Wait(); close(met) }()
	for m := range met {
		m.close()
	}
	return err
}

// connected is a caller of another host that has met the server here.
type connected struct {
	lane   *lane
	caller *channel.Caller
	pair   *channel.Pair
	err    error
}

func (m *connected) close() {
	if m.pair != nil {
		_ = m.pair.Close()
	}
	if m.caller != nil {
		_ = m.caller.Close()
	}
}

// connectWithin bounds the wait for the server, which may have left meanwhile.
const connectWithin = 5 * time.Second

// connect attaches for a caller of the other host, as far as this host's direct node lets it.
func (p *pull) connect(ctx context.Context, l *lane, met chan<- connected) {
	m := connected{lane: l}
	defer func() { // the loop takes it, also at its end
		met <- m
		p.port.Ring()
	}()
	if r := p.b.rules.Load(); !r.Placed(l.Service, p.node) {
		m.err = reason.New(reason.NotPlaced, "%s says to be %s, which is not placed there", p.node, l.Service)
		return
	}
	dial := func(ctx context.Context) (*channel.Wire, error) {
		w, _, err := p.b.deps.Local.Attach(ctx, policy.Publish, []End{{l.Service, p.node}})
		return w, err
	}
	if m.caller, m.err = channel.OpenCaller(ctx, channel.Options{Channel: p.channel, Dial: dial}); m.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	m.pair, m.err = m.caller.Connect(ctx)
}

// meet begins to carry a caller that has met the server; one that has not is told.
func (c *crossings) meet(m connected) {
	if m.err != nil || len(c.all) >= crossingsMax || c.find(m.lane.ID) != nil || len(m.lane.From) > c.port.Lines() {
		code := reason.Of(m.err, reason.ChannelBusy)
		c.refuse(m.lane.Service, code, "the caller has met no server here")
		c.say(&note{Gone: &gone{m.lane.ID}})
		m.close()
		return
	}
	if err := c.begin(m.lane, m.pair, m.caller, m.lane.From, false); err != nil {
		c.refuse(m.lane.Service, reason.Of(err, reason.RingUnavailable), err.Error())
		c.say(&note{Gone: &gone{m.lane.ID}})
		m.close()
		return
	}
	c.b.tell(Fact{Kind: "opened", Channel: c.channel, Service: m.lane.Service, Node: c.node})
}

// refuse tells of a caller that is not carried.
func (c *crossings) refuse(service string, why reason.Code, detail string) {
	c.b.tell(Fact{Kind: "refused", Channel: c.channel, Service: service, Node: c.node, Reason: why, Detail: detail})
}

// readFrames hands on what a stream brings until it ends.
func readFrames(st transport.Stream, to chan<- frame, stop <-chan struct{}, ring func()) {
	defer ring()
	defer close(to)
	for {
		n, datagram, err := readFrame(st)
		if err != nil {
			return
		}
		select {
		case to <- frame{n, datagram}:
			ring()
		case <-stop:
			return
		}
	}
}
