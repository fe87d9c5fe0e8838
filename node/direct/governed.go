package direct

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// governed is a channel with what is attached to it on this host.
type governed struct {
	name  string
	spec  policy.Channel
	lanes map[uint64]*lane
	// parked are readings that an earlier direct node had governed and whose writer has
	// not come back yet.
	parked []*reading
}

// lane is one ring: one writer, and readers.
type lane struct {
	link    uint64
	epoch   uint64
	service string // that writes
	writer  *peer
	only    *peer // of rpc: the one reader; nil is every subscriber
	pair    *lane // of rpc: the one that goes the other way
	back    bool  // of rpc: the server writes it
	data    *os.File
	pin     *shm.Pinned // nil: its memory is not locked
	gate    *shm.Gate
	view    *shm.View
	bytes   int
	sealed  bool   // the writer has mapped it: readers may come
	from    uint64 // where a reader begins that is the only one: what was written since is kept for it
	ended   bool   // its gates say so already
	since   time.Time
	settle  time.Time // when readers of an earlier direct node are given up; zero: never
	tail    *tailing

	readings map[uint64]*reading
	awaited  []*awaited // of an earlier direct node, until settle
}

// reading is one reader of one lane.
type reading struct {
	link    uint64
	lane    *lane
	service string
	reader  *peer // nil: it is gone, and what it has not read is kept until keep
	cursor  *os.File
	gate    *shm.Gate
	view    *shm.CursorView
	state   readingState
	after   *reading  // whose place it takes
	resumed bool      // adopted: it reads already, and is told of no start
	instead *awaited  // whose place a far reader takes, of the direct node before
	keep    time.Time // of one that is gone
	since   time.Time
}

type readingState uint8

const (
	offered readingState = iota // its reader maps it
	sealed                      // the writer is asked to respect it
	begun
)

func newGoverned(name string) *governed { return &governed{name: name, lanes: map[uint64]*lane{}} }

// endsPerChannelMax bounds publishers and subscribers of one channel on one host. A writer
// looks at each reader after each message and takes 32 of them: half are for those that are
// there, half for those that are gone and kept, or about to be replaced.
const endsPerChannelMax = 16

// room refuses an end that the channel has no place for.
func (b *Broker) room(g *governed, spec policy.Channel, side policy.Side, far bool) error {
	most := endsPerChannelMax
	if spec.Kind == policy.RPC && side == policy.Subscribe {
		most = 1 // its server
	}
	n := 0
	for p := range b.ends {
		if p.in != g || p.side != side {
			continue
		}
		if most == 1 && !far && p.isFar() { // a server of this host is nearer
			b.cut(p, &reason.Error{Code: reason.PeerClosed, Detail: "a server of this host has come"}, decision{})
			continue
		}
		n++
	}
	if n >= most {
		return reason.New(reason.ChannelBusy, "channel %s has %d %s on this host, which is the limit", g.name, n, endWord(spec.Kind, side))
	}
	return nil
}

func endWord(kind policy.ChannelKind, side policy.Side) string {
	switch {
	case kind == policy.RPC && side == policy.Subscribe:
		return "server"
	case side == policy.Subscribe:
		return "subscribers"
	}
	return "publishers"
}

// published gives a new publisher its lane, unless it has brought one.
func (b *Broker) published(p *peer) error {
	if p.in.spec.Kind == policy.RPC {
		b.recouple(p.in)
		return nil
	}
	for _, l := range p.in.lanes {
		if l.writer == p {
			return nil
		}
	}
	l, err := b.newLane(p, nil)
	if err != nil {
		return err
	}
	return b.hand(l)
}

// couple makes the two lanes between a caller and the server. An error is for want of
// memory; an end that does not take its lane loses its connection, and nobody else is to
// blame.
func (b *Broker) couple(caller, server *peer) error {
	if caller.isFar() && server.isFar() {
		return nil // what comes from one host to another goes there by itself
	}
	if v := b.rules.pair(caller.in.name, caller.service, server.service); !v.Allowed {
		b.tell(Event{Kind: KeptApart, Channel: caller.in.name, Service: caller.service, Peer: server.service, Reason: v.Code, Rule: v.Rule, Bundle: v.Bundle.Short()}.of(caller.process))
		return nil
	}
	there, err := b.newLane(caller, server)
	if err != nil {
		return err
	}
	back, err := b.newLane(server, caller)
	if err != nil {
		b.endLane(there, shm.Closed, reason.RingUnavailable)
		return err
	}
	there.pair, back.pair, back.back = back, there, true
	_, _ = b.hand(there), b.hand(back)
	return nil
}

// recouple makes the pairs that are wanting: a rule that stood between them may be gone.
func (b *Broker) recouple(g *governed) {
	var server *peer
	callers := map[*peer]bool{}
	for p := range b.ends {
		switch {
		case p.in != g:
		case p.side == policy.Subscribe:
			server = p
		default:
			callers[p] = true
		}
	}
	for _, l := range g.lanes {
		delete(callers, l.writer)
	}
	for p := range callers {
		if server == nil {
			return
		}
		if err := b.couple(p, server); err != nil {
			b.cut(p, reason.New(reason.RingUnavailable, "%w", err), decision{})
		}
	}
}

// uncouple ends the pair whose lane p writes.
func (b *Broker) uncouple(p *peer, link uint64) {
	l := p.in.lanes[link]
	if l == nil || l.writer != p || l.pair == nil {
		return
	}
	b.endPair(l, shm.Closed, reason.PeerClosed)
}

// endPair ends both lanes of a pair.
func (b *Broker) endPair(l *lane, s shm.State, code reason.Code) {
	for _, x := range []*lane{l, l.pair} {
		if x.writer.in.lanes[x.link] == x {
			b.endLane(x, s, code)
		}
	}
}

// newLane makes a ring, for hand to give to its writer.
func (b *Broker) newLane(p *peer, only *peer) (*lane, error) {
	g := p.in
	lines, bytes := linesOf(g.spec)
	ready := b.spares[g.name].fits(lines)
	if !ready && b.memory+bytes > b.cfg.MemoryMax {
		b.dropAll()
	}
	if !ready && b.memory+bytes > b.cfg.MemoryMax {
		return nil, reason.New(reason.RingUnavailable, "the rings of this host have %d bytes, one of %d more is above memory_max %d", b.memory, bytes, b.cfg.MemoryMax)
	}
	if !ready {
		if err := roomFor(g.name, bytes); err != nil {
			return nil, err
		}
	}
	discipline := shm.Lane
	if g.spec.Kind == policy.Broadcast {
		discipline = shm.Broadcast
	}
	l := &lane{link: b.link(), epoch: b.epoch(), service: p.service, writer: p, only: only, bytes: bytes, since: b.deps.Now(), readings: map[uint64]*reading{}}
	var err error
	l.data, l.pin, err = b.dataOf(shm.Spec{Name: g.name, Discipline: discipline, Lines: lines, Epoch: l.epoch, Created: l.since})
	if err == nil {
		l.gate, err = shm.CreateGate(g.name, l.epoch)
	}
	if err != nil {
		l.close()
		return nil, reason.New(reason.RingUnavailable, "%w", err)
	}
	g.lanes[l.link] = l
	b.memory += bytes
	return l, nil
}

// hand gives a lane to its writer.
func (b *Broker) hand(l *lane) error {
	k := channel.Packet{Type: channel.TypeLane, ID: l.link, Epoch: l.epoch, Way: channel.Write, Service: l.service}
	if l.pair != nil {
		k.Pair, k.Service = l.pair.link, l.only.service
	}
	err := l.writer.send(&k, l.data, l.gate.File())
	if err != nil {
		b.endLane(l, shm.Closed, reason.PeerLost)
	}
	return err
}

// mapped is told that an end has mapped what it writes: nobody else may write it now.
func (b *Broker) mapped(p *peer, link uint64) {
	if l := p.in.lanes[link]; l != nil && l.writer == p && !l.sealed {
		if err := b.sealLane(l); err != nil {
			b.cut(p, reason.New(reason.RingUnavailable, "%w", err), decision{})
		}
		return
	}
	for _, l := range p.in.lanes {
		if r := l.readings[link]; r != nil && r.reader == p && r.state == offered {
			if err := b.sealReading(r); err != nil {
				b.cut(p, reason.New(reason.RingUnavailable, "%w", err), decision{})
			}
			return
		}
	}
}

func (b *Broker) sealLane(l *lane) error {
	if err := shm.Seal(l.data); err != nil {
		return err
	}
	view, err := shm.OpenView(l.data)
	if err != nil {
		return err
	}
	l.view, l.sealed = view, true
	b.startTail(l, false)
	b.offerAll(l)
	return nil
}

// offerAll offers a lane to everybody whom it is for.
func (b *Broker) offerAll(l *lane) {
	for p := range b.ends {
		if p.in == l.writer.in && (p == l.only || l.only == nil && p.side == policy.Subscribe) {
			b.offer(l, p)
		}
	}
}

func (b *Broker) sealReading(r *reading) error {
	if err := shm.Seal(r.cursor); err != nil {
		return err
	}
	view, err := shm.OpenCursorView(r.cursor, r.lane.epoch)
	if err != nil {
		return err
	}
	r.view, r.state = view, sealed
	return r.introduce()
}

// introduce asks the writer to respect the reader, and says how that is woken.
func (r *reading) introduce() error {
	files := []*os.File{r.cursor}
	if r.reader != nil && r.reader.button != nil {
		files = append(files, r.reader.button)
	}
	return r.lane.writer.send(&channel.Packet{Type: channel.TypeReader, ID: r.link, Lane: r.lane.link, Service: r.service}, files...)
}

// shut sets the reader's gate and wakes it.
func (r *reading) shut(s shm.State, code reason.Code) {
	r.gate.Set(s, uint32(code))
	if r.reader != nil && r.reader.button != nil {
		_ = shm.RingDoorbell(r.reader.button) // full: it is readable; gone: so is its reader
	}
}

// added is told that a writer respects a reader from now on.
func (b *Broker) added(p *peer, link, position uint64) {
	for _, l := range p.in.lanes {
		r := l.readings[link]
		if l.writer != p || r == nil || r.state != sealed || r.reader == nil {
			continue
		}
		r.state = begun
		switch {
		case r.after != nil:
			position = r.after.position()
			b.forget(r.after)
			r.after = nil
		case r.instead != nil: // its cursor is respected still
			position = r.instead.view.Stat().Position
			b.resolve(l, r.instead.cursor)
			r.instead = nil
		case !l.hasBegun(r): // the writer could not pass what was kept: every cursor that it knows is there
			position = l.from
		}
		if r.resumed {
			return
		}
		if r.reader.send(&channel.Packet{Type: channel.TypeStart, ID: r.link, Position: position}) == nil {
			b.tell(Event{Kind: Paired, Channel: p.in.name, Service: l.service, Peer: r.service, Link: l.link, Rule: "channel." + p.in.name}.of(r.reader.process))
		}
		return
	}
}

// hasBegun tells whether a reading other than r has begun. Which one is the first is not
// known before: the one that was offered the lane first may map it last.
func (l *lane) hasBegun(r *reading) bool {
	for _, x := range l.readings {
		if x != r && x.state == begun {
			return true
		}
	}
	return false
}

// position is where a reading that has a cursor stands.
func (r *reading) position() uint64 { return r.view.Stat().Position }

// subscribed offers a new subscriber every lane of the channel.
func (b *Broker) subscribed(p *peer) error {
	if p.in.spec.Kind == policy.RPC {
		b.recouple(p.in)
		return nil
	}
	for _, l := range slices.SortedFunc(values(p.in.lanes), func(x, y *lane) int { return cmp.Compare(x.link, y.link) }) {
		if l.sealed {
			b.offer(l, p)
		}
	}
	return nil
}

// offer gives a subscriber a lane, if no rule keeps them apart and it has none of it.
func (b *Broker) offer(l *lane, p *peer) {
	if l.only != nil && l.only != p || p.over || p.isFar() && l.writer.isFar() {
		return // what comes from one host to another goes there by itself
	}
	for _, r := range l.readings {
		if r.reader == p {
			return
		}
	}
	if v := b.pairEnd(l, p); !v.Allowed {
		b.tell(Event{Kind: KeptApart, Channel: p.in.name, Service: l.service, Peer: p.service, Reason: v.Code, Rule: v.Rule, Bundle: v.Bundle.Short()}.of(p.process))
		return
	}
	if err := b.newReading(l, p); err != nil {
		b.deps.Log.Warn("a lane could not be offered", "channel", p.in.name, "svc", p.service, "err", err)
		b.cut(p, reason.New(reason.RingUnavailable, "%w", err), decision{})
	}
}

// verdict is that of the pair, whichever way the lane goes.
func (b *Broker) verdict(l *lane, reader string) policy.Verdict {
	if l.back {
		return b.rules.pair(l.writer.in.name, reader, l.service)
	}
	return b.rules.pair(l.writer.in.name, l.service, reader)
}

func (b *Broker) newReading(l *lane, p *peer) error {
	r := &reading{link: b.link(), lane: l, service: p.service, reader: p, since: b.deps.Now()}
	for _, old := range l.readings { // the one of its service that is gone the longest
		if old.reader == nil && old.service == p.service && !old.taken() && (r.after == nil || old.keep.Before(r.after.keep)) {
			r.after = old
		}
	}
	name := p.in.name
	if p.isFar() {
		name += farCursor
		if r.after == nil {
			r.instead = l.awaitedFar()
		}
	}
	if r.after == nil {
		b.makePlace(l)
	}
	at := l.from
	switch {
	case r.after != nil:
		at = r.after.position()
	case r.instead != nil:
		at = r.instead.view.Stat().Position
	case l.hasBegun(nil):
		at = l.view.Stat().Position
	}
	var err error
	r.cursor, err = shm.CreateCursor(name, l.epoch, at)
	if err == nil {
		r.gate, err = shm.CreateGate(p.in.name, l.epoch)
	}
	if err != nil {
		r.close()
		return err
	}
	l.readings[r.link] = r
	k := channel.Packet{Type: channel.TypeLane, ID: r.link, Epoch: l.epoch, Way: channel.Read, Service: l.service}
	switch {
	case l.pair != nil:
		k.Pair = l.pair.link
	case l.writer.isFar():
		k.Pair = channel.FarLane
	}
	return p.send(&k, l.data, r.cursor, r.gate.File())
}

// makePlace gives up the reading that is gone the longest when the lane has as many as its
// writer can take beside those that are there.
func (b *Broker) makePlace(l *lane) {
	var oldest *reading
	gone := 0
	for _, r := range l.readings {
		if r.reader == nil && !r.taken() {
			gone++
			if oldest == nil || r.keep.Before(oldest.keep) {
				oldest = r
			}
		}
	}
	if gone >= endsPerChannelMax {
		b.giveUp(oldest)
	}
}

// taken tells whether another reading is about to take the place.
func (r *reading) taken() bool {
	for _, x := range r.lane.readings {
		if x.after == r {
			return true
		}
	}
	return false
}

// leave takes an end out of the broker. What others still read stays.
func (b *Broker) leave(p *peer, code reason.Code) {
	if p.over {
		return
	}
	p.over = true
	delete(b.ends, p)
	b.demand.dirty = true
	if b.programs[p.process.pid]--; b.programs[p.process.pid] <= 0 {
		delete(b.programs, p.process.pid)
	}
	g := p.in
	for _, l := range g.lanes {
		for _, r := range l.readings {
			if r.reader == p {
				b.readerGone(r)
			}
		}
		if l.writer == p || l.only == p {
			state := shm.Orphaned
			if code == reason.OK || l.only == p {
				state = shm.Closed
			}
			b.endLane(l, state, code)
		}
	}
	for _, r := range slices.Clone(g.parked) {
		if r.reader == p {
			g.unpark(r)
			r.close()
		}
	}
	if len(g.lanes) == 0 && !b.attachedTo(g) {
		g.free()
		delete(b.channels, g.name)
	}
	_ = closeFile(p.button) // nothing is to be done about it
	p.button = nil
}

func (b *Broker) attachedTo(g *governed) bool {
	for p := range b.ends {
		if p.in == g {
			return true
		}
	}
	return false
}

// readerGone keeps what a reader of orders has not read, for a while, for the next one of
// its service; a broadcast's writer forgets it at once.
func (b *Broker) readerGone(r *reading) {
	r.reader = nil
	keep := time.Duration(r.lane.writer.in.spec.Keep)
	if r.lane.writer.in.spec.Kind != policy.Orders || r.state != begun || keep == 0 {
		b.giveUp(r)
		return
	}
	r.keep = b.deps.Now().Add(keep)
}

// giveUp lets the writer forget a reader, and says what that costs.
func (b *Broker) giveUp(r *reading) {
	b.tellLost(r, "the reader went and did not come back in time")
	b.forget(r)
}

// tellLost counts what a reader had not read that will not come back to it.
func (b *Broker) tellLost(r *reading, why string) {
	l := r.lane
	if r.state != begun || l.writer.in.spec.Kind == policy.Broadcast {
		return
	}
	if unread := l.view.Unread(r.position()); unread > 0 {
		b.count(l.writer.in.name, func(c *Counts) { c.LostMsgs += unread })
		b.tell(Event{Kind: Lost, Channel: l.writer.in.name, Service: l.service, Peer: r.service, Link: l.link, Reason: reason.PeerLost, Messages: unread, Detail: why})
	}
}

// forget removes a reading from its lane. What is written from here on waits for the next
// one, if there is no other.
func (b *Broker) forget(r *reading) {
	l := r.lane
	if r.state == begun {
		l.from = l.view.Stat().Position
	}
	delete(l.readings, r.link)
	if r.state >= sealed && !l.writer.over {
		_ = l.writer.send(&channel.Packet{Type: channel.TypeGone, ID: r.link})
	}
	r.close()
}

// endLane shuts a lane for good; its readers take what is left.
func (b *Broker) endLane(l *lane, s shm.State, code reason.Code) {
	g := l.writer.in
	delete(g.lanes, l.link)
	b.memory -= l.bytes
	b.wanting = true
	if !l.ended {
		if s == shm.Orphaned {
			b.count(g.name, func(c *Counts) { c.Released++ })
		}
		l.shut(s, code)
	}
	for _, r := range l.readings {
		if r.reader != nil {
			_ = r.reader.send(&channel.Packet{Type: channel.TypeGone, ID: r.link})
		} else {
			b.tellLost(r, "the reader went, and then the writer")
		}
		r.close()
	}
	b.giveUpAwaited(l)
	b.endTail(l)
	l.close()
}

// shut tells by the gates of everything that an end holds, and of what others hold of it.
func (b *Broker) shut(p *peer, s shm.State, code reason.Code) {
	for _, l := range p.in.lanes {
		if l.writer == p {
			l.shut(s, code)
		}
		for _, r := range l.readings {
			if r.reader == p {
				r.shut(s, code)
			}
		}
	}
}

// shut sets the gates of both sides.
func (l *lane) shut(s shm.State, code reason.Code) {
	l.ended = true
	l.gate.Set(s, uint32(code))
	for _, r := range l.readings {
		r.shut(s, code)
	}
}

// tick gives up what has been kept long enough, and saves what could not be saved.
func (b *Broker) tick(now time.Time) {
	b.saveLate(now)
	b.prepare()
	b.watchHeld()
	for _, g := range b.channels {
		for _, l := range g.lanes {
			for _, r := range l.readings {
				if r.reader == nil && now.After(r.keep) && !r.taken() {
					b.giveUp(r)
				}
			}
			if !l.settle.IsZero() && now.After(l.settle) {
				l.settle = time.Time{}
				b.giveUpAwaited(l)
				_ = l.writer.send(&channel.Packet{Type: channel.TypeSettled, ID: l.link})
			}
		}
		for _, r := range slices.Clone(g.parked) {
			if now.After(r.keep) {
				g.unpark(r)
				r.shut(shm.Orphaned, reason.WriterDied)
				r.close()
			}
		}
	}
}

func (l *lane) close() error {
	var errs []error
	for _, a := range l.awaited {
		errs = append(errs, a.close())
	}
	if l.view != nil {
		errs = append(errs, l.view.Close())
	}
	if l.gate != nil {
		errs = append(errs, l.gate.Close())
	}
	return errors.Join(append(errs, l.pin.Close(), closeFile(l.data))...)
}

func (r *reading) close() error {
	var errs []error
	if r.lane != nil && r.lane.writer == nil { // parked: the lane is only a name
		errs = append(errs, closeFile(r.lane.data))
	}
	if r.view != nil {
		errs = append(errs, r.view.Close())
	}
	if r.gate != nil {
		errs = append(errs, r.gate.Close())
	}
	return errors.Join(append(errs, closeFile(r.cursor))...)
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// free gives back what the broker has of the channel; the ends keep theirs.
func (g *governed) free() {
	for _, l := range g.lanes {
		for _, r := range l.readings {
			r.close()
		}
		l.close()
	}
	for _, r := range g.parked {
		r.close()
	}
}

func (g *governed) unpark(r *reading) {
	g.parked = slices.DeleteFunc(g.parked, func(x *reading) bool { return x == r })
}

func values[K comparable, V any](m map[K]V) func(yield func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}
