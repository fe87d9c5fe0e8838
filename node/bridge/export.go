package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/lines"
	"fire/transport/udp"
)

// export is one channel of this host on its way to others: a subscriber of all that is
// published here, and a stream for each publisher. One goroutine owns it.
type export struct {
	b    *Bridge
	name string
	spec policy.Channel

	do    chan func() // to the goroutine
	ended chan struct{}
	over  chan struct{} // ended, and forgotten by the bridge
	fail  atomic.Pointer[reason.Error]

	ringMu sync.Mutex // guards port against ring after close
	port   *lines.Port

	sub       *channel.Subscriber
	represent atomic.Pointer[func(context.Context, []End) error] // of the newest attachment
	handler   channel.Handler
	outs      []*outLane
	pullers   []*puller
	orphans   []orphan
	reaches   []*reach // by feedback index
	lastID    uint32
	now       int64
	last      *outLane // that the last message went to
	state     atomic.Pointer[[]PathState]
	statAt    int64
	since     time.Time
	tried     bool                     // a puller has come, whether it was taken in or not
	uncarried map[*channel.Source]bool // publishers that have no stream: said once
}

// outLane is one publisher's stream.
type outLane struct {
	e        *export
	from     *channel.Source
	stream   []byte // its name over sessions
	sender   *udp.Sender
	group    *groupLane
	dirty    bool
	closing  int64 // since when; 0: not
	refused  uint64
	lostHere uint64 // messages of a broadcast that were written over before they were read here
}

const (
	commandsMax = 256
	pullersMax  = 64 // of one channel
	outsMax     = 64
	batchMost   = 256         // messages, before datagrams get their turn
	lingerAfter = time.Second // for the last packets of a publisher that is gone; of orders their keep, too
	silentCut   = 5 * time.Second
	// unheardAfter is how long a host may say nothing by datagrams before the session
	// carries its lanes: what goes there may arrive, and what it says not.
	unheardAfter = 2 * time.Second
)

func newExport(b *Bridge, name string) *export {
	return &export{b: b, name: name, do: make(chan func(), commandsMax), ended: make(chan struct{}), over: make(chan struct{}), uncarried: map[*channel.Source]bool{}, since: time.Now()}
}

// post lets the export's goroutine run f; false when it has ended.
func (e *export) post(f func()) bool {
	select {
	case <-e.ended:
		return false
	case e.do <- f:
		e.ring()
		return true
	}
}

func (e *export) ring() {
	e.ringMu.Lock()
	defer e.ringMu.Unlock()
	if e.port != nil {
		e.port.Ring()
	}
}

func (e *export) err() error {
	if f := e.fail.Load(); f != nil {
		return f
	}
	return nil
}

// run carries until nobody pulls any more.
func (e *export) run(ctx context.Context, ends []End) {
	defer close(e.ended)
	err := e.open(ctx, ends)
	if err == nil {
		err = e.loop(ctx)
	}
	code := reason.Of(err, reason.PeerClosed)
	if err != nil {
		e.fail.Store(reason.New(code, "%w", err))
	}
	for _, p := range e.pullers {
		p.end(code)
	}
	if e.sub != nil {
		_ = e.sub.Close() // nothing is to be done about it
	}
	e.ringMu.Lock()
	port := e.port
	e.port = nil
	e.ringMu.Unlock()
	if port != nil {
		_ = port.Close()
	}
}

func (e *export) open(ctx context.Context, ends []End) error {
	r := e.b.rules.Load()
	e.spec = r.Channels[e.name]
	attach := func(ctx context.Context) (*channel.Wire, error) {
		w, represent, err := e.b.deps.Local.Attach(ctx, policy.Subscribe, ends)
		if err == nil {
			e.represent.Store(&represent)
		}
		return w, err
	}
	var err error
	e.sub, err = channel.OpenSubscriber(ctx, channel.Options{Channel: e.name, Dial: attach, Wait: "poll"})
	e.handler = channel.Handler{Message: e.message, Gap: e.gap, Ended: e.sourceEnded, Most: e.mayTake}
	return err
}

// loop is one turn after the other: messages, datagrams, commands, what is due.
func (e *export) loop(ctx context.Context) error {
	busyUntil := int64(0)
	for {
		e.now = time.Now().UnixNano()
		n := 0
		if len(e.pullers) > 0 {
			got, err := e.sub.Poll(batchMost, &e.handler)
			if err != nil {
				return err
			}
			n = got
			e.flush()
		}
		if e.port != nil {
			n += e.port.Receive(e.datagram)
		}
		n += e.commands()
		if e.tried && len(e.pullers) == 0 && len(e.orphans) == 0 || ctx.Err() != nil {
			return e.finish()
		}
		next := e.tick()
		if e.port != nil {
			e.port.Flush()
		}
		switch {
		case n > 0:
			busyUntil = e.now + int64(e.b.cfg.SpinMax)
		case e.now >= busyUntil:
			e.idle(ctx, next)
		}
	}
}

// idle sleeps until a message, a datagram, a command or the time.
func (e *export) idle(ctx context.Context, next int64) {
	e.sources()
	wait := min(time.Duration(next-e.now), 100*time.Millisecond)
	bell := -1
	if len(e.pullers) > 0 {
		if e.sub.Arm() {
			return
		}
		defer e.sub.Disarm()
		bell = int(e.sub.File().Fd())
	}
	if e.port == nil { // the first puller is on its way
		select {
		case f := <-e.do:
			f()
		case <-ctx.Done():
		}
	} else if len(e.do) == 0 { // a command that comes now rings
		e.port.Wait(wait, nil, bell)
	}
}

func (e *export) commands() (n int) {
	for range commandsMax {
		select {
		case f := <-e.do:
			f()
			n++
		default:
			return n
		}
	}
	return n
}

// mayTake is how many messages the stream of a publisher has room for, whatever their
// length. One that is full holds back its own publisher and no other.
func (e *export) mayTake(from *channel.Source) int {
	if o := e.outOf(from); o != nil {
		return o.sender.Room()
	}
	return batchMost // it is not carried: what it says is let go
}

// message takes one from the ring.
func (e *export) message(from *channel.Source, typ uint16, b []byte) {
	o := e.outOf(from)
	if o == nil {
		return
	}
	if o.sender.Offer(e.now, typ, b) != udp.Sent {
		o.refused++ // only when it is over: room was there
		return
	}
	o.dirty = true
}

func (e *export) gap(from *channel.Source, first, last uint64) {
	if o := e.outOf(from); o != nil {
		o.lostHere += last - first + 1
		o.sender.Skip(e.now, last-first+1)
		o.dirty = true
	}
}

func (e *export) sourceEnded(from *channel.Source, why *reason.Error) {
	delete(e.uncarried, from)
	for _, o := range e.outs {
		if o.from == from && o.closing == 0 {
			o.sender.Close(e.now)
			o.closing = e.now
		}
	}
}

// outOf finds or begins the stream of a publisher.
func (e *export) outOf(from *channel.Source) *outLane {
	if e.last != nil && e.last.from == from {
		return e.last
	}
	for _, o := range e.outs {
		if o.from == from {
			e.last = o
			return o
		}
	}
	if e.uncarried[from] {
		return nil
	}
	o, err := e.begin(from)
	if err != nil {
		e.uncarried[from] = true
		e.b.deps.Log.Warn("a publisher is not carried to other hosts", "channel", e.name, "svc", from.Service, "err", err)
		return nil
	}
	e.last = o
	return o
}

// sources begins the streams of publishers that have not said anything yet.
func (e *export) sources() {
	if len(e.pullers) == 0 {
		return
	}
	for _, s := range e.sub.Lanes() {
		e.outOf(s)
	}
}

func (e *export) begin(from *channel.Source) (*outLane, error) {
	if len(e.outs) >= outsMax {
		return nil, fmt.Errorf("channel %s has %d publishers here", e.name, outsMax)
	}
	o := &outLane{e: e, from: from, stream: newSalt()}
	cfg := udp.SenderConfig{DatagramBytes: e.b.cfg.DatagramBytes, Window: e.b.cfg.Window, Flow: udp.FlowMin, SnapshotType: e.spec.Snapshot}
	if e.spec.Kind == policy.Broadcast {
		cfg.Flow = udp.FlowTagged // of those that are marked, now or later; none: it waits for nobody
	}
	err := o.open(cfg)
	if err != nil {
		return nil, err
	}
	e.outs = append(e.outs, o)
	for _, p := range e.pullers {
		e.connect(o, p)
	}
	return o, nil
}

// Send carries a sealed datagram: by UDP, or over the stream of a host that it does not
// reach. It is the udp.Out of every sender here.
func (e *export) Send(line int, to netip.AddrPort, b []byte) {
	if to.Addr() == overStream {
		if k := e.reachBy(uint32(to.Port())); k != nil {
			k.puller.carry(b)
			if k.out.group == nil && e.port != nil && k.detour.probe(e.now) { // a group's datagrams go on beside it
				for line, to := range k.to {
					if to.IsValid() {
						e.port.Send(line, to, b)
					}
				}
			}
		}
		return
	}
	if e.port != nil {
		e.port.Send(line, to, b)
	}
}

// overStream stands for a puller's stream, the port being its feedback index.
var overStream = netip.AddrFrom4([4]byte{0, 0, 0, 0})

func (e *export) reachBy(feedback uint32) *reach {
	if i := feedback - 1; i < uint32(len(e.reaches)) {
		return e.reaches[i]
	}
	return nil
}

// datagram is one that came by UDP.
func (e *export) datagram(_ int, b []byte) {
	if k, v := e.input(b); k != nil && v == udp.Opened {
		k.detour.saw(e.now)
	}
}

func (e *export) input(b []byte) (*reach, udp.Verdict) {
	if i, ok := udp.Index(b); ok {
		if k := e.reachBy(i); k != nil && k.peer != nil {
			return k, k.out.sender.Input(e.now, k.peer, b)
		}
	}
	return nil, udp.Malformed
}

// block lets the session carry a lane; false: it did.
func (e *export) block(k *reach, why string) bool {
	if !k.detour.begin(e.now) {
		return false
	}
	k.out.sender.Redirect(k.peer, [udp.LinesMax]netip.AddrPort{netip.AddrPortFrom(overStream, uint16(k.feedback))})
	e.b.tell(Fact{Kind: "blocked", Channel: e.name, Service: k.out.from.Service, Node: k.puller.node, Reason: reason.PeerUnreachable, Detail: why})
	return true
}

// clear lets datagrams carry a lane again, if they come here.
func (e *export) clear(k *reach, c *clearing) {
	over, answer := k.detour.agree(e.now, c)
	if answer {
		k.puller.say(&note{Clear: &clearing{k.id, true}})
	}
	if !over {
		return
	}
	to := k.to
	if k.out.group != nil {
		to = [udp.LinesMax]netip.AddrPort{} // nothing beside what goes to all
	}
	k.out.sender.Redirect(k.peer, to)
	e.b.tell(Fact{Kind: "cleared", Channel: e.name, Service: k.out.from.Service, Node: k.puller.node, Detail: "datagrams reach it again"})
}

// heard handles a frame of a puller's stream.
func (e *export) heard(p *puller, n *note, datagram []byte) {
	switch {
	case datagram != nil:
		e.input(datagram)
	case n.Blocked != nil:
		if k := p.lanes[n.Blocked.ID]; k != nil {
			e.block(k, "no datagram reaches it: the session carries the lane")
		}
	case n.Clear != nil:
		if k := p.lanes[n.Clear.ID]; k != nil {
			e.clear(k, n.Clear)
		}
	case n.Want != nil: // what it had refused it may take now
		for _, o := range e.outs {
			if !slices.ContainsFunc(e.reaches, func(k *reach) bool { return k != nil && k.out == o && k.puller == p }) {
				e.connect(o, p)
			}
		}
	case n.Gone != nil: // it takes this lane no more
		if k := p.lanes[n.Gone.ID]; k != nil {
			e.disconnect(k)
		}
	case n.Leave != nil:
		p.leaves, p.places = len(n.Leave.Resume) == 0, n.Leave.Resume
	case n.Taken != nil:
		if k := p.lanes[n.Taken.ID]; k != nil && k.pending == n.Taken.Epoch {
			k.pending = 0
		}
	default:
		p.end(reason.FrameMalformed)
	}
}

// add takes a new puller in.
func (e *export) add(p *puller) error {
	e.tried = true
	if len(e.pullers) >= pullersMax {
		return reason.New(reason.ChannelBusy, "channel %s goes to %d hosts, which is the limit", e.name, pullersMax)
	}
	if e.port == nil {
		addresses, err := e.b.addresses(p.session)
		if err != nil {
			return reason.New(reason.RingUnavailable, "%w", err)
		}
		port, err := lines.Open(e.b.cfg.port(addresses))
		if err != nil {
			return reason.New(reason.RingUnavailable, "%w", err)
		}
		e.ringMu.Lock()
		e.port = port
		e.ringMu.Unlock()
	}
	for _, old := range slices.Clone(e.pullers) {
		if old.node == p.node { // it has begun anew before its last session was found to be over
			e.remove(old)
		}
	}
	e.pullers = append(e.pullers, p)
	e.representAll()
	for _, o := range e.outs {
		e.connect(o, p)
	}
	e.b.tell(Fact{Kind: "opened", Channel: e.name, Node: p.node})
	return nil
}

// representAll tells the direct node for whom this subscriber reads now.
func (e *export) representAll() {
	var ends []End
	for _, p := range e.pullers {
		ends = append(ends, p.ends...)
	}
	if len(ends) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), silentCut)
	defer cancel()
	if err := (*e.represent.Load())(ctx, ends); err != nil {
		e.b.deps.Log.Warn("the direct node does not answer", "channel", e.name, "err", err)
	}
}

// connect lets a puller have a lane, if any of its services may.
func (e *export) connect(o *outLane, p *puller) {
	r := e.b.rules.Load()
	if o.closing != 0 && !e.waits(o, p.node) || !r.pair(e.name, o.from.Service, services(p.ends)) {
		return
	}
	e.lastID++
	k := &reach{out: o, puller: p, feedback: e.index(), tagged: e.tagged(p)}
	n := min(len(p.want.To), e.port.Lines())
	l := &lane{ID: e.lastID, Feedback: k.feedback, Service: o.from.Service, From: e.port.At()[:n], Datagrams: e.b.cfg.DatagramBytes, Window: e.b.cfg.Window,
		Lossy: e.spec.Kind == policy.Broadcast && !k.tagged, Salt: newSalt(), Stream: o.stream}
	o.describe(l)
	k.id = l.ID
	there, err := secretOf(p.session, p.want, l, keyThere)
	back, berr := secretOf(p.session, p.want, l, keyBack)
	if err = errors.Join(err, berr); err != nil {
		p.end(reason.Of(err, reason.CertMissing))
		return
	}
	copy(k.to[:], p.want.To[:n])
	pc := udp.PeerConfig{Name: p.node, Index: k.id, Secret: there, Feedback: back, To: k.to, Tagged: k.tagged}
	if r := e.resumed(o, p); r != nil {
		pc.Resume, pc.At, l.Skip = true, r.Packet, r.Message
	}
	k.peer, l.Packet, l.Message, err = o.sender.Join(e.now, pc)
	if err != nil && pc.Resume { // it names what is kept no more
		pc.Resume, l.Skip = false, 0
		k.peer, l.Packet, l.Message, err = o.sender.Join(e.now, pc)
	}
	if err != nil {
		p.end(reason.RingUnavailable)
		return
	}
	if l.Group != nil {
		chain := k.peer.Chain()
		l.Group.Chain = chain[:]
	}
	e.adopt(o, p, pc.Resume)
	e.reaches[k.feedback-1] = k
	p.lanes[k.id] = k
	p.say(&note{Lane: l})
}

// tagged tells whether a broadcast waits for the host: some service there is marked. The
// host gets every message that was read here; its program reads a broadcast ring, which
// waits for nobody, and must keep up with that.
func (e *export) tagged(p *puller) bool {
	return slices.ContainsFunc(p.ends, func(x End) bool { return slices.Contains(e.spec.Tagged, x.Service) })
}

func services(ends []End) (out []string) {
	for _, x := range ends {
		out = append(out, x.Service)
	}
	return out
}

// index is a free feedback index, from 1.
func (e *export) index() uint32 {
	if i := slices.Index(e.reaches, nil); i >= 0 {
		return uint32(i) + 1
	}
	e.reaches = append(e.reaches, nil)
	return uint32(len(e.reaches))
}

// remove lets a puller go.
func (e *export) remove(p *puller) {
	i := slices.Index(e.pullers, p)
	if i < 0 {
		return
	}
	e.port.Receive(e.datagram) // its last words may lie there
	e.pullers = slices.Delete(e.pullers, i, i+1)
	for _, k := range p.lanes {
		if e.spec.Kind == policy.Orders && e.spec.Keep > 0 && !p.leaves {
			e.orphan(k)
		} else {
			e.disconnect(k)
		}
	}
	p.end(reason.PeerClosed)
	e.representAll()
	e.b.tell(Fact{Kind: "closed", Channel: e.name, Node: p.node})
}

func (e *export) disconnect(k *reach) {
	e.lost(k.out, k.puller.node, k.peer)
	k.out.sender.Leave(k.peer)
	e.reaches[k.feedback-1] = nil
	delete(k.puller.lanes, k.id)
	k.out.left()
}

// lost tells what orders had sent that nobody will confirm.
func (e *export) lost(o *outLane, node string, peer *udp.Peer) {
	next, _ := o.sender.Position()
	if at := peer.Stats().Packet; e.spec.Kind == policy.Orders && at < next {
		e.b.tell(Fact{Kind: "lost", Channel: e.name, Service: o.from.Service, Node: node, Reason: reason.PeerLost,
			Detail: fmt.Sprintf("packets %d to %d were sent and not confirmed", at, next-1)})
	}
}

// enforce holds every puller against new rules.
func (e *export) enforce(r *Rules) {
	if spec, ok := r.Channels[e.name]; ok {
		e.spec = spec
	}
	for _, p := range slices.Clone(e.pullers) {
		p.ends = nil
		for _, s := range r.subscribers(e.name, p.node) {
			p.ends = append(p.ends, End{s, p.node})
		}
		if len(p.ends) == 0 {
			p.say(&note{Refused: &refused{reason.PolicyChanged, "no service of that host may subscribe any more"}})
			p.leaves = true
			e.remove(p)
			continue
		}
		for _, o := range e.outs {
			has := slices.IndexFunc(e.reaches, func(k *reach) bool { return k != nil && k.out == o && k.puller == p })
			may := r.pair(e.name, o.from.Service, services(p.ends))
			if has >= 0 && (!may || e.reaches[has].tagged != e.tagged(p)) {
				k := e.reaches[has]
				e.disconnect(k)
				p.say(&note{Gone: &gone{k.id}})
				has = -1
			}
			if may && has < 0 {
				e.connect(o, p)
			}
		}
	}
	e.representAll()
}

// flush sends what the last messages have begun.
func (e *export) flush() {
	for _, o := range e.outs {
		if o.dirty {
			o.dirty = false
			o.sender.Flush(e.now)
		}
	}
}

const statEvery = int64(200 * time.Millisecond)

// tick does what is due, and says when to come again.
func (e *export) tick() (next int64) {
	next = e.now + int64(100*time.Millisecond)
	for _, o := range slices.Clone(e.outs) {
		next = min(next, o.sender.Tick(e.now))
		o.keepEpoch()
		if o.closing != 0 && (o.sender.Drained() || e.now-o.closing > e.linger()) {
			e.drop(o)
		}
	}
	e.giveUp()
	if e.now >= e.statAt {
		e.statAt = e.now + statEvery
		e.note()
		for _, k := range slices.Clone(e.reaches) {
			switch {
			case k == nil:
			case k.peer.Gone() && e.spec.Kind != policy.Orders: // of orders the stream says what is to be kept
				e.disconnect(k)
			case e.now-k.peer.Heard() > int64(silentCut):
				k.puller.end(reason.PeerLost)
			case e.now-k.peer.Heard() > int64(unheardAfter):
				if e.block(k, "no datagram comes from it: the session carries the lane") {
					k.puller.say(&note{Blocked: &blocked{k.id}})
				}
			case k.detour.ask(e.now):
				k.puller.say(&note{Clear: &clearing{ID: k.id}})
			}
		}
	}
	return next
}

// linger is how long the last packets of a publisher that is gone are kept for hosts that
// have not confirmed them: orders as long as for a session that was cut.
func (e *export) linger() int64 {
	if e.spec.Kind == policy.Orders {
		return int64(max(lingerAfter, time.Duration(e.spec.Keep)))
	}
	return int64(lingerAfter)
}

// drop forgets the stream of a publisher that is gone.
func (e *export) drop(o *outLane) {
	for _, k := range slices.Clone(e.reaches) {
		if k != nil && k.out == o {
			e.disconnect(k)
			k.puller.say(&note{Gone: &gone{k.id}})
		}
	}
	e.outs = slices.DeleteFunc(e.outs, func(x *outLane) bool { return x == o })
	e.last = nil
}

// finish tells the receivers that nothing more comes.
func (e *export) finish() error {
	for _, o := range e.outs {
		o.sender.Close(e.now)
	}
	if e.port != nil {
		e.port.Flush()
	}
	return nil
}

// note leaves what `fire channel ls` shows.
func (e *export) note() {
	out := []PathState{}
	for _, k := range e.reaches {
		if k == nil {
			continue
		}
		st := k.peer.Stats()
		next, _ := k.out.sender.Position()
		s := PathState{Channel: e.name, Way: "to", Node: k.puller.node, Service: k.out.from.Service, Path: "udp", Lines: e.port.Lines(), RTT: time.Duration(st.RTT),
			Packet: st.Packet, Lag: next - min(next, st.Packet), Lost: st.Lost, Refused: st.Refused, Socket: socketOf(e.port), Since: e.since}
		sent := k.out.sender.Stats()
		s.Messages, s.Repaired, s.Epochs, s.Proofs = sent.Messages, sent.Repaired, sent.Epochs, sent.Proofs
		if k.out.group != nil {
			s.Path = "multicast"
		}
		if k.detour.on {
			s.Path = "quic"
		}
		out = append(out, s)
	}
	e.state.Store(&out)
}
