package direct

import (
	"errors"
	"os"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// peer is one attached end.
type peer struct {
	wire    *channel.Wire
	process *process
	service string
	side    policy.Side
	in      *governed
	since   time.Time
	rule    string
	over    bool     // the loop is done with it
	bye     bool     // it has said that it leaves
	far     *Far     // of an end that stands for other hosts
	button  *os.File // of the doorbell of a subscriber in a poll loop; nil: it has none
}

// asking is an attach as it came in.
type asking struct {
	packet channel.Packet
	held   []held
}

// held is memory that an end holds up to a new direct node.
type held struct {
	link  uint64
	files []*os.File
}

// heldMax bounds the memories that one end may hold up.
const heldMax = 256

// serve is the goroutine of one connection: it reads, the loop decides.
func (b *Broker) serve(p *peer) {
	started := time.Now()
	a, err := b.arrival(p)
	if err == nil {
		b.awaitRules()
	}
	<-b.places
	if err == nil {
		decided := make(chan struct{})
		if b.post(func() { b.attach(p, a, started); close(decided) }) {
			<-decided
			watching := make(chan struct{})
			go func() { defer close(watching); b.watch(p) }()
			b.listen(p)
			p.wire.Close()
			b.post(func() { b.gone(p) })
			p.stopWatch()
			<-watching
		}
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		b.deps.Log.Debug("a program left before it asked", "err", err)
	}
	for _, h := range a.held {
		channel.CloseAll(h.files)
	}
	p.wire.Close()
	if p.process != nil {
		p.process.fd.Close()
	}
}

// awaitRules waits for the first catalogue, a while: programs that come back to a direct node
// which has just started must not be cut because it knows no floor yet.
func (b *Broker) awaitRules() {
	t := time.NewTimer(rulesWithin)
	defer t.Stop()
	select {
	case <-b.ruled:
	case <-b.stopped:
	case <-t.C:
	}
}

// arrival reads what the program wants, within a time.
func (b *Broker) arrival(p *peer) (a asking, err error) {
	if p.process, err = identify(p.wire.Conn()); err != nil {
		return a, err
	}
	if err := p.wire.SetReceiveDeadline(time.Now().Add(askWithin)); err != nil {
		return a, err
	}
	k, files, err := p.wire.Receive()
	channel.CloseAll(files)
	if err != nil {
		if code := reason.Of(err, reason.OK); code != reason.OK {
			_ = p.wire.TrySend(&channel.Packet{Type: channel.TypeRefused, Reason: code, Text: err.Error()})
		}
		return a, err
	}
	if k.Type != channel.TypeAttach || k.Held > heldMax {
		return a, errors.New("the first packet is no attach, or holds up too much")
	}
	a.packet = k
	for range k.Held {
		k, files, err := p.wire.Receive()
		if err != nil {
			return a, err
		}
		a.held = append(a.held, held{k.ID, files})
		if k.Type != channel.TypeHeld {
			return a, errors.New("less is held up than was said")
		}
	}
	return a, p.wire.SetReceiveDeadline(time.Time{})
}

// listen hands what the end says to the loop until its connection ends.
func (b *Broker) listen(p *peer) {
	for {
		k, files, err := p.wire.Receive()
		if err != nil {
			return
		}
		if !b.post(func() { b.heard(p, k, files) }) {
			channel.CloseAll(files)
			return
		}
	}
}

// watch waits for the end of the process: its connection may be open in a child.
func (b *Broker) watch(p *peer) {
	raw, err := p.process.fd.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool { return hasEnded(int(fd)) })
	if err == nil {
		p.wire.Close() // listen ends
	}
}

func (p *peer) stopWatch() { _ = p.process.fd.SetReadDeadline(time.Unix(1, 0)) }

// attach decides about an end. It runs in the loop.
func (b *Broker) attach(p *peer, a asking, started time.Time) {
	err := b.admit(p, a, started)
	if err == nil {
		return
	}
	b.count(a.packet.Channel, func(c *Counts) { c.Refused++ })
	e, ok := errors.AsType[*reason.Error](err)
	if !ok {
		e = reason.New(reason.RingUnavailable, "%w", err)
	}
	b.deps.Log.Warn("attach refused", "channel", a.packet.Channel, "svc", p.service, "pid", p.process.pid, "reason", e.Code.String(), "err", err)
	p.refuse(e)
}

func (b *Broker) admit(p *peer, a asking, started time.Time) error {
	k := &a.packet
	p.side = policy.Side(k.Side)
	event := Event{Kind: Refused, Channel: k.Channel, Service: k.Service, Side: p.side.String()}.of(p.process)
	refuse := func(v policy.Verdict, err error) error {
		event.Reason, event.Rule, event.Detail = reason.Of(err, reason.RingUnavailable), v.Rule, err.Error()
		b.tell(event)
		return err
	}
	if k.Hash != shm.Hash() {
		return refuse(policy.Verdict{}, reason.New(reason.LayoutMismatch, "the program's ring layout is %016x, this direct node's %016x", k.Hash, shm.Hash()))
	}
	spec, v, err := b.decide(p, k)
	event.Service, event.Node = p.service, p.node()
	if err != nil {
		return refuse(v, err)
	}
	if len(b.ends) >= b.cfg.EndsMax || b.programs[p.process.pid] >= b.cfg.EndsPerProgramMax && !p.isFar() {
		return refuse(v, reason.New(reason.ChannelBusy, "%d ends are attached, %d of this process; the limits are ends_max %d and ends_per_program_max %d",
			len(b.ends), b.programs[p.process.pid], b.cfg.EndsMax, b.cfg.EndsPerProgramMax))
	}
	g := b.channels[k.Channel]
	if g == nil {
		g = newGoverned(k.Channel)
	}
	if err := b.room(g, spec, p.side, p.isFar()); err != nil {
		return refuse(v, err)
	}
	attached := event
	attached.Kind, attached.Rule, attached.Bundle, attached.Elapsed = Attached, v.Rule, v.Bundle.Short(), int64(time.Since(started))
	if err := b.record(attached); err != nil {
		return refuse(v, err) // nothing is handed out that is not in the trail
	}
	g.spec, p.in, p.rule, p.since = spec, g, v.Rule, b.deps.Now()
	b.channels[k.Channel] = g
	b.ends[p] = struct{}{}
	b.demand.dirty = true
	b.programs[p.process.pid]++
	b.count(k.Channel, func(c *Counts) { c.Attached++ })
	if err := b.join(p, a); err != nil {
		return refuse(v, err)
	}
	return nil
}

// decide finds who asks, and whether they may.
func (b *Broker) decide(p *peer, k *channel.Packet) (spec policy.Channel, v policy.Verdict, err error) {
	var no *reason.Error
	if p.far != nil {
		p.side = p.far.Side
		p.service, spec, v, no = b.judgeFar(k.Channel, p.far)
	} else {
		if p.service, err = serviceOf(b.deps.Programs, p.process, k.Service); err != nil {
			return spec, v, err
		}
		if spec, v, no = b.rules.judge(k.Channel, p.service, p.side); no == nil {
			no = b.revocationOf(k.Channel, p.service)
		}
	}
	if no != nil {
		return spec, v, no
	}
	return spec, v, nil
}

// join gives the end what belongs to it. An error leaves nothing of it.
func (b *Broker) join(p *peer, a asking) error {
	g := p.in
	err := p.send(&channel.Packet{Type: channel.TypeWelcome, Kind: channel.KindNumber(g.spec.Kind), Wait: channel.WaitNumber(g.spec.Wait), Service: p.service})
	if err == nil {
		err = b.adopt(p, a.held)
	}
	if err == nil && p.side == policy.Publish {
		err = b.published(p)
	}
	if err == nil && p.side == policy.Subscribe {
		err = b.subscribed(p)
	}
	if err != nil {
		b.leave(p, reason.Of(err, reason.RingUnavailable))
	}
	return err
}

// heard handles one packet of an attached end. It owns the files.
func (b *Broker) heard(p *peer, k channel.Packet, files []*os.File) {
	if p.over || p.in == nil {
		channel.CloseAll(files)
		return
	}
	if len(files) == 1 && k.Type == channel.TypeMapped {
		if err := p.takeButton(files[0]); err != nil {
			b.cut(p, reason.New(reason.FrameMalformed, "%w", err), decision{})
			return
		}
	} else {
		channel.CloseAll(files) // no other packet has any
	}
	switch k.Type {
	case channel.TypeMapped:
		b.mapped(p, k.ID)
	case channel.TypeAdded:
		b.added(p, k.ID, k.Position)
	case channel.TypeDetach:
		if k.ID != 0 {
			b.uncouple(p, k.ID)
			return
		}
		p.bye = true
		b.gone(p) // before the connection ends: who closes waits for that
		p.wire.Close()
	default:
		b.deps.Log.Warn("a program broke the attach protocol", "pid", p.process.pid, "svc", p.service, "type", k.Type)
		p.wire.Close()
	}
}

// takeButton owns the button that an end gives. The first counts for all its lanes. What
// writers are handed has been looked at here: a wrong one costs its giver the end, not them.
func (p *peer) takeButton(button *os.File) error {
	err := shm.CheckButton(button)
	switch {
	case p.side != policy.Subscribe || p.in.spec.Kind == policy.RPC:
		err = errors.New("only a subscriber of orders or a broadcast has a doorbell")
	case err == nil && p.button == nil:
		p.button = button
		return nil
	}
	return errors.Join(err, button.Close())
}

// gone is told when the connection of an end is over.
func (b *Broker) gone(p *peer) {
	if p.over || p.in == nil {
		return
	}
	e := Event{Kind: Died, Channel: p.in.name, Service: p.service, Side: p.side.String(), Reason: reason.WriterDied}.of(p.process)
	if p.side == policy.Subscribe {
		e.Reason = reason.PeerLost
	}
	if p.bye {
		e.Kind, e.Reason = Detached, reason.OK
	} else {
		b.count(p.in.name, func(c *Counts) { c.Died++ })
		b.deps.Log.Warn("a program died while attached", "channel", p.in.name, "svc", p.service, "side", p.side.String(), "pid", p.process.pid)
	}
	b.tell(e)
	b.leave(p, e.Reason)
}

// decision is what somebody was cut by: a rule, or an operator's word, under the rules in force.
// It is none when the direct node could not go on with the end.
type decision struct{ rule, bundle string }

// cut ends what an end holds. After a decision it is looked who has not let go.
func (b *Broker) cut(p *peer, why *reason.Error, by decision) {
	if p.over {
		return
	}
	b.count(p.in.name, func(c *Counts) { c.Cut++ })
	b.tell(Event{Kind: Cut, Channel: p.in.name, Service: p.service, Side: p.side.String(), Reason: why.Code, Rule: by.rule, Bundle: by.bundle, Detail: why.Detail}.of(p.process))
	b.deps.Log.Info("direct end cut", "channel", p.in.name, "svc", p.service, "side", p.side.String(), "reason", why.Code.String(), "rule", by.rule, "err", why.Detail)
	if by != (decision{}) {
		b.lookAfterAll(p)
	}
	b.shut(p, shm.Revoked, why.Code) // before the words: the gate is what stops it
	p.refuse(why)
	b.leave(p, why.Code)
}

// send never waits: an end that leaves its packets in the socket loses it.
func (p *peer) send(k *channel.Packet, files ...*os.File) error {
	err := p.wire.TrySend(k, files...)
	if err != nil {
		p.wire.Close()
	}
	return err
}

func (p *peer) refuse(why *reason.Error) {
	_ = p.wire.TrySend(&channel.Packet{Type: channel.TypeRefused, Reason: why.Code, Text: why.Detail})
	p.wire.Close()
}
