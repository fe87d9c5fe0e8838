package direct

import (
	"fmt"
	"os"
	"slices"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// adopt takes over the rings that an end brings from an earlier direct node. It runs after
// the decision, which is made anew. What cannot be adopted refuses the end: it must not go
// on ungoverned.
func (b *Broker) adopt(p *peer, all []held) error {
	if p.in.spec.Kind == policy.RPC && len(all) > 0 {
		return reason.New(reason.WriterDied, "calls do not outlive the direct node: attach anew")
	}
	for _, h := range all {
		var err error
		switch {
		case p.side == policy.Publish && len(h.files) > 0:
			err = b.adoptLane(p, h)
		case p.side == policy.Subscribe && len(h.files) == 2:
			err = b.adoptReading(p, h)
		case p.side == policy.Subscribe && len(h.files) == 3:
			if err = p.adoptButton(h.files[2]); err == nil {
				err = b.adoptReading(p, h)
			}
		default:
			err = fmt.Errorf("a %sr holds up %d descriptors", p.side, len(h.files))
		}
		if err != nil {
			return reason.New(reason.RingUnavailable, "a ring that %s held cannot be adopted: %w", p.service, err)
		}
	}
	return nil
}

func (p *peer) adoptButton(f *os.File) error {
	button, err := duplicate(f)
	if err != nil {
		return err
	}
	return p.takeButton(button)
}

func (b *Broker) adoptLane(p *peer, h held) error {
	for _, l := range p.in.lanes { // more of the cursors that it respects
		if l.writer == p && shm.SameMemory(l.data, h.files[0]) {
			return l.await(h.files[1:])
		}
	}
	view, err := shm.OpenView(h.files[0])
	if err != nil {
		return err
	}
	i := view.Info()
	bytes := int(i.Lines)*64 + 4096
	l := &lane{link: b.link(), epoch: i.Epoch, service: p.service, writer: p, view: view, bytes: bytes, sealed: true,
		from: view.Stat().Position, since: i.Created, settle: b.deps.Now().Add(b.cfg.Grace), readings: map[uint64]*reading{}}
	discipline := shm.Lane
	if p.in.spec.Kind == policy.Broadcast {
		discipline = shm.Broadcast
	}
	if b.memory+bytes > b.cfg.MemoryMax {
		b.dropAll()
	}
	if err == nil && (i.Name != p.in.name || i.Discipline != discipline || b.memory+bytes > b.cfg.MemoryMax) {
		err = fmt.Errorf("it is of channel %q, discipline %d, %d bytes, and %d of memory_max %d are in use", i.Name, i.Discipline, bytes, b.memory, b.cfg.MemoryMax)
	}
	for _, g := range b.channels {
		for _, other := range g.lanes {
			if err == nil && shm.SameMemory(other.data, h.files[0]) {
				err = fmt.Errorf("%s writes it already", other.service)
			}
		}
	}
	if err == nil {
		l.gate, err = shm.CreateGate(p.in.name, l.epoch)
	}
	if err == nil {
		l.data, err = duplicate(h.files[0])
	}
	if err == nil {
		if l.pin, err = b.pin(l.data); err != nil { // it runs: better so than ended
			b.notLocked(err)
			err = nil
		}
	}
	if err != nil {
		l.close()
		return err
	}
	p.in.lanes[l.link] = l
	b.memory += bytes
	b.lastEpoch = max(b.lastEpoch, l.epoch)
	b.count(p.in.name, func(c *Counts) { c.Adopted++ })
	b.tell(Event{Kind: Adopted, Channel: p.in.name, Service: p.service, Side: p.side.String(), Link: l.link}.of(p.process))
	if err := p.send(&channel.Packet{Type: channel.TypeAdopted, ID: h.link, Link: l.link}, l.gate.File()); err != nil {
		return err
	}
	b.startTail(l, true)
	for _, r := range slices.Clone(p.in.parked) {
		if shm.SameMemory(r.lane.data, l.data) {
			p.in.unpark(r)
			b.hang(r, l)
		}
	}
	b.offerAll(l)
	return l.await(h.files[1:])
}

// adoptReading takes a reader over. Its lane may not be here yet: then it is parked.
func (b *Broker) adoptReading(p *peer, h held) error {
	data, err := shm.OpenView(h.files[0])
	if err != nil {
		return err
	}
	epoch := data.Info().Epoch
	name := data.Info().Name
	if err := data.Close(); err != nil {
		return err
	}
	if name != p.in.name {
		return fmt.Errorf("it is of channel %q", name)
	}
	r := &reading{link: b.link(), service: p.service, reader: p, state: begun, since: b.deps.Now(), keep: b.deps.Now().Add(b.cfg.Grace)}
	if r.view, err = shm.OpenCursorView(h.files[1], epoch); err == nil {
		r.cursor, err = duplicate(h.files[1])
	}
	if err == nil {
		r.gate, err = shm.CreateGate(p.in.name, epoch)
	}
	if err == nil {
		err = p.send(&channel.Packet{Type: channel.TypeAdopted, ID: h.link, Link: r.link}, r.gate.File())
	}
	if err != nil {
		r.close()
		return err
	}
	for _, l := range p.in.lanes {
		if shm.SameMemory(l.data, h.files[0]) {
			b.hang(r, l)
			return nil
		}
	}
	where, err := duplicate(h.files[0])
	if err != nil {
		r.close()
		return err
	}
	r.lane = &lane{epoch: epoch, data: where} // until its writer brings it
	p.in.parked = append(p.in.parked, r)
	return nil
}

// hang makes an adopted reading one of the lane's, if no rule keeps them apart.
func (b *Broker) hang(r *reading, l *lane) {
	if r.lane != nil {
		closeFile(r.lane.data)
	}
	r.lane = l
	l.readings[r.link] = r
	l.arrived(r.cursor)
	if v := b.verdict(l, r.service); !v.Allowed {
		b.keepApart(l)
		return
	}
	r.state = sealed // until the writer, which knows it from before, says that it respects it
	r.resumed = true
	_ = r.introduce()
}
