package udp

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Handler is told what a receiver has, in order.
type Handler interface {
	// Message takes a message, which is valid during the call only. False leaves it, and
	// everything after it, with the receiver: it is offered again at the next Input or Tick.
	Message(typ uint16, b []byte) bool
	// Gap says that messages first to last are lost for good.
	Gap(first, last uint64)
}

// ReceiverConfig bounds a receiver.
type ReceiverConfig struct {
	DatagramBytes int // as the sender's
	Window        int // packets it holds while one before them is missing, a power of two
	Lines         int // paths that carry the same datagrams: 1, or 2 for A and B
	// Lossy gives up what is not repaired in time, and says so. Otherwise only what the
	// sender keeps no more is given up.
	Lossy bool
	Group bool // sealed by a group's epoch key, given from outside
	Epoch uint32
	// Check tells whether a signature is the sender's over a checkpoint; nil: none expected.
	Check  func(signed, signature []byte) bool
	Chain  [32]byte   // with it: of the packets before the first, as the sender's Peer says
	Random *rand.Rand // of back-off; nil: of its own

	Secret   Secret // of the datagrams to it
	Feedback Secret // of what it says
	Index    uint32 // in the datagrams to the sender
	To       [LinesMax]netip.AddrPort
	Packet   uint64 // the first that it gets
	Message  uint64 // and the number of the first message in it
	Skip     uint64 // messages with lower numbers were handed over before
}

// How long a receiver waits. The last two are counted from the moment that the packet which
// is next was seen to be missing.
const (
	nakDelay     = int64(200 * time.Microsecond) // packets overtake each other
	nakAgainMin  = int64(time.Millisecond)
	nakAgainMost = int64(20 * time.Millisecond)
	lineWait     = int64(time.Millisecond) // for the other line
	repairWithin = int64(40 * time.Millisecond)
	statusMost   = int64(50 * time.Millisecond)
	offerAgain   = int64(50 * time.Microsecond)
)

// Receiver is the receiving end of one stream. It does no I/O of its own but by Out and
// Handler, reads no clock and starts nothing; it belongs to one goroutine. Times are Unix
// nanoseconds.
type Receiver struct {
	cfg  ReceiverConfig
	out  Out
	h    Handler
	room int

	opener *opener
	sealer *sealer

	slots   []byte
	held    []heldPacket
	mask    uint64
	next    uint64           // the packet that is handed over next
	high    uint64           // after the newest that is known to exist
	on      [LinesMax]uint64 // after the newest that came on this line
	offset  int              // of what the handler has left, in the packet at next
	message uint64           // number of the message that begins next, as far as handed over
	oldest  uint64           // the sender keeps nothing before
	gap     bool             // packets before next are given up, and not reported yet

	whole   []byte // fragments so far
	wholeAt uint16 // their type
	inside  bool   // a message has begun and not ended
	beganIn uint64 // the packet in which it has

	missing int64  // since when the packet at next is missing; 0: it is not
	nakAt   int64  // when to ask; 0: nothing to ask for
	asked   uint64 // packets before were asked for
	pause   int64  // until asking again

	heard    int64
	beat     beat
	statusAt int64
	told     uint64 // next in the last status
	blocked  bool
	met      bool
	end      ending
	forged   bool
	doubt    doubt
	verdicts [verdicts]uint64

	holding int // packets from next on that are here

	latency Latency
	scratch []byte
	plain   []byte
	stats   ReceiverStats
}

// beat is the newest heartbeat.
type beat struct {
	heartbeat
	here int64  // when it came
	of   uint64 // counter of the datagram that has brought it
}

// ending is where a stream ends.
type ending struct {
	known bool
	next  uint64 // the first packet that will never be
}

type heldPacket struct {
	packet uint64 // +1; 0: empty
	length uint16
}

// ReceiverStats are counts since the start.
type ReceiverStats struct {
	Messages   uint64           `json:"messages_total"`
	Packets    uint64           `json:"packets_total"`
	Bytes      uint64           `json:"bytes_total"` // of messages
	Lost       uint64           `json:"lost_messages_total"`
	Gaps       uint64           `json:"gaps_total"`
	Naks       uint64           `json:"naks_total"`
	Duplicates uint64           `json:"duplicates_total"` // genuine datagrams with a packet that was there
	Reordered  uint64           `json:"reordered_total"`
	First      [LinesMax]uint64 `json:"first_total"` // packets by the line that had them first
	Overrun    uint64           `json:"overrun_total"`
	Proved     uint64           `json:"proved_total"` // checkpoints that fit
	BadProofs  uint64           `json:"bad_proofs_total"`
	Malformed  uint64           `json:"malformed_total"`
	Unkeyed    uint64           `json:"unkeyed_total"`
	Forged     uint64           `json:"forged_total"`
	Repeated   uint64           `json:"repeated_total"`
	Unexpected uint64           `json:"unexpected_total"`
	Window     uint64           `json:"held_packets"`
	Latency    Latency          `json:"latency"`
}

// Latency counts packets by the time from their first message's offer to their arrival, in
// powers of two: bucket i is from 2^i ns on. It is the clocks' difference between two hosts.
type Latency [40]uint64

func (l *Latency) record(ns int64) { l[min(bits.Len64(uint64(max(ns, 1)))-1, len(l)-1)]++ }

// NewReceiver makes one that waits for the stream that its sender's Join has said.
func NewReceiver(now int64, cfg ReceiverConfig, out Out, h Handler) (*Receiver, error) {
	if err := checkWindow(cfg.Window); err != nil {
		return nil, err
	}
	if cfg.Random == nil {
		cfg.Random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	cfg.Lines = min(max(cfg.Lines, 1), LinesMax)
	r := &Receiver{cfg: cfg, out: out, h: h, room: cfg.DatagramBytes - OverheadBytes, mask: uint64(cfg.Window - 1),
		next: cfg.Packet, high: cfg.Packet, oldest: cfg.Packet, message: cfg.Message, heard: now, statusAt: now,
		scratch: make([]byte, cfg.DatagramBytes), plain: make([]byte, 0, cfg.DatagramBytes), whole: make([]byte, 0, MessageBytesMax)}
	r.slots = make([]byte, cfg.Window*r.room)
	r.held = make([]heldPacket, cfg.Window)
	if cfg.Check != nil {
		r.doubt.begin(&cfg)
	}
	var err error
	if r.opener, err = newOpener(cfg.Secret, cfg.Group, uint8(cfg.Epoch)); err != nil {
		return nil, err
	}
	r.sealer, err = newSealer(cfg.Feedback, cfg.Index, now, false, 0)
	return r, err
}

// Input takes a datagram that came on a line. It is decrypted in place.
func (r *Receiver) Input(now int64, line int, datagram []byte) Verdict {
	typ, body, v := r.opener.open(now, datagram)
	switch {
	case v == Opened:
		if r.cfg.Group && r.cfg.Check == nil {
			r.opener.used(now)
		}
		v = r.opened(now, line, typ, body)
	case v == Repeated && r.cfg.Group && r.cfg.Check != nil:
		v = r.again(now, line, typ, body)
	}
	r.verdicts[v]++
	return v
}

func (r *Receiver) opened(now int64, line int, typ uint8, body []byte) Verdict {
	switch typ {
	case typeData:
		if r.cfg.Check == nil {
			r.heard = now
		}
		return r.data(now, line, body)
	case typeHeartbeat, typeBye:
		h, ok := parseHeartbeat(body)
		if !ok {
			return Unexpected
		}
		r.on[line] = max(r.on[line], h.next)
		if r.cfg.Check != nil { // any member can have said so: it is asked for, and no more
			r.high = max(r.high, r.believed(h.next))
			r.after(now)
			return Opened
		}
		r.met, r.heard = true, now
		if c := r.opener.counter; c >= r.beat.of { // else it was overtaken
			r.beat = beat{h, now, c}
		}
		if typ == typeBye {
			r.end = ending{true, max(r.end.next, h.next)}
		}
		r.seen(now, h)
		r.statusAt = now // it measures the round trip, too
		return Opened
	case typeCheckpoint:
		return r.check(now, body, false)
	}
	return Unexpected
}

// data takes one packet.
func (r *Receiver) data(now int64, line int, body []byte) Verdict {
	d, _, ok := parseData(body)
	if !ok || len(body) > r.room {
		return Unexpected
	}
	r.on[line] = max(r.on[line], d.packet+1)
	if r.has(d.packet) {
		r.stats.Duplicates++
		return Opened
	}
	r.stats.First[line]++
	r.latency.record(now - d.at)
	if d.packet == r.next && r.high <= d.packet+1 && r.holding == 0 && !r.blocked { // the usual case
		r.high = max(r.high, r.believed(d.packet+1))
		r.hand(body)
		r.after(now)
		return Opened
	}
	if d.packet+1 < r.high {
		r.stats.Reordered++
	}
	if d.packet-r.next > r.mask {
		if !r.cfg.Lossy {
			r.stats.Overrun++ // a sender that respects the window sends none
			return Opened
		}
		r.leap(d.packet - r.mask)
		if d.packet-r.next > r.mask {
			r.stats.Overrun++ // the handler takes nothing
			return Opened
		}
	}
	if d.packet > r.high { // a new hole
		r.nakAt = soonest(r.nakAt, now+r.firstWait())
	}
	r.high = max(r.high, r.believed(d.packet+1))
	r.hold(d.packet, body)
	r.drain(now)
	r.after(now)
	return Opened
}

// has tells whether a packet is here, or was.
func (r *Receiver) has(packet uint64) bool {
	return packet < r.next || r.held[packet&r.mask].packet == packet+1
}

// hold keeps a packet that is not there yet.
func (r *Receiver) hold(packet uint64, body []byte) {
	slot := &r.held[packet&r.mask]
	slot.packet, slot.length = packet+1, uint16(len(body))
	copy(r.slot(packet), body)
	r.holding++
}

func (r *Receiver) slot(packet uint64) []byte {
	at := int(packet&r.mask) * r.room
	return r.slots[at : at+r.room : at+r.room]
}

// hand hands over the packet at next, which is not in its slot.
func (r *Receiver) hand(body []byte) {
	if r.unsigned() || r.overreaches(body) || !r.deliver(body) { // the rest is taken up later
		r.hold(r.next, body)
		return
	}
	r.passed(body)
}

// drain hands over what is held, as far as nothing is missing.
func (r *Receiver) drain(now int64) {
	for {
		slot := &r.held[r.next&r.mask]
		if slot.packet != r.next+1 || r.unsigned() {
			return
		}
		body := r.slot(r.next)[:slot.length]
		if r.overreaches(body) || !r.deliver(body) {
			return
		}
		slot.packet = 0
		r.holding--
		r.passed(body)
	}
}

func (r *Receiver) passed(body []byte) {
	r.next++
	r.high = max(r.high, r.next)
	r.offset, r.missing, r.pause = 0, 0, 0
	r.stats.Packets++
	r.doubted(body)
}

// deliver hands over the messages of a packet; false when the handler takes no more now.
func (r *Receiver) deliver(body []byte) bool {
	d, frames, _ := parseData(body)
	if r.offset == 0 {
		r.continues(d)
	}
	rest := frames[r.offset:]
	for len(rest) > 0 {
		f, after, ok := takeFrame(rest)
		if !ok {
			r.verdicts[Unexpected]++
			break // genuine, and wrong: the rest has no frames
		}
		if !r.take(f) {
			r.blocked = true
			return false
		}
		rest = after
		r.offset = len(frames) - len(rest)
	}
	r.blocked = false
	return true
}

// continues finds out what is lost before a packet.
func (r *Receiver) continues(d dataHead) {
	if r.gap || d.message > r.expected() { // the latter: lost before they came to the sender
		r.gap, r.inside = false, false
		r.lose(d.message)
	}
}

// expected is the number of the message that begins next, after the one that has begun.
func (r *Receiver) expected() uint64 {
	if r.inside {
		return r.message + 1
	}
	return r.message
}

// lose reports that the messages before one are lost.
func (r *Receiver) lose(upTo uint64) {
	r.inside = false
	if upTo > r.message {
		first := r.message
		r.message = upTo
		r.stats.Lost += upTo - first
		r.stats.Gaps++
		r.h.Gap(first, upTo-1)
	}
}

// take handles one frame. A message counts when it is handed over.
func (r *Receiver) take(f frame) bool {
	switch {
	case f.begin && f.end:
		r.inside = false
		if !r.offer(f.typ, f.body) {
			return false
		}
	case f.begin:
		r.whole, r.wholeAt, r.inside, r.beganIn = append(r.whole[:0], f.body...), f.typ, true, r.next
	case !r.inside:
		// the tail of a message whose beginning is lost, and reported
	case len(r.whole)+len(f.body) > MessageBytesMax:
		r.inside = false
		r.lose(r.message + 1)
	case f.end:
		n := len(r.whole)
		r.whole = append(r.whole, f.body...)
		if !r.offer(r.wholeAt, r.whole) {
			r.whole = r.whole[:n]
			return false
		}
		r.inside = false
	default:
		r.whole = append(r.whole, f.body...)
	}
	return true
}

// offer hands over a message, unless that was done before.
func (r *Receiver) offer(typ uint16, b []byte) bool {
	if r.message < r.cfg.Skip {
		r.message++
		return true
	}
	if !r.h.Message(typ, b) {
		return false
	}
	r.message++
	r.stats.Messages++
	r.stats.Bytes += uint64(len(b))
	return true
}

// seen takes note of what a heartbeat says.
func (r *Receiver) seen(now int64, h heartbeat) {
	r.high = max(r.high, h.next)
	if h.oldest > r.oldest {
		r.oldest = h.oldest
	}
	if r.next < r.oldest {
		r.leap(r.oldest)
		r.drain(now)
	}
	if r.next == h.next && h.message > r.message && !r.blocked { // nothing follows that would show it
		r.gap = false
		r.lose(h.message)
	}
	r.after(now)
}

// leap gives up packets before to, but hands over those of them that are here. It looks at
// no more of them than there are slots, however far it goes.
func (r *Receiver) leap(to uint64) {
	for to = r.reach(to); r.next < to; {
		slot := &r.held[r.next&r.mask]
		if slot.packet == r.next+1 {
			body := r.slot(r.next)[:slot.length]
			if r.unsigned() || r.overreaches(body) || !r.deliver(body) {
				return
			}
			slot.packet = 0
			r.holding--
			r.passed(body)
			continue
		}
		if r.holding == 0 { // nothing of it is here
			r.next = to
		} else {
			r.next++
		}
		r.gap, r.offset, r.missing = true, 0, 0
		r.doubted(nil)
	}
	r.high = max(r.high, r.next)
}

// after sets the timers by what is missing now.
func (r *Receiver) after(now int64) {
	if r.next-r.told >= (r.mask+1)/8 {
		r.statusAt = now
	}
	if r.next >= r.high || r.blocked || r.unsigned() {
		r.missing, r.nakAt = 0, 0
		return
	}
	if r.missing == 0 && r.next < r.reach(r.high) { // before, in a group, it may be that it is not sent yet
		r.missing = now
	}
	if r.nakAt == 0 || r.asked <= r.next { // never later than planned: holes may come faster than it
		r.nakAt = soonest(r.nakAt, now+r.firstWait())
	}
	if r.cfg.Lines > 1 && r.asked <= r.next && r.everyLinePassed() {
		r.nakAt = min(r.nakAt, now+nakDelay+r.backoff())
	}
}

// soonest is the earlier of two times, of which 0 is never.
func soonest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// everyLinePassed tells whether both lines have gone beyond the packet at next.
func (r *Receiver) everyLinePassed() bool {
	for _, on := range r.on[:r.cfg.Lines] {
		if on <= r.next+1 {
			return false
		}
	}
	return true
}

// firstWait is how long a hole may close by itself.
func (r *Receiver) firstWait() int64 {
	if r.cfg.Lines > 1 {
		return lineWait
	}
	return nakDelay + r.backoff()
}

// Tick does what is due and returns when it wants to be called next.
func (r *Receiver) Tick(now int64) (next int64) {
	if r.blocked {
		r.drain(now)
		r.after(now)
	}
	if r.nakAt != 0 && now >= r.nakAt {
		r.ask(now)
	}
	if r.cfg.Lossy && r.missing != 0 && now-r.missing >= repairWithin {
		r.leap(r.nextHeld())
		r.drain(now)
		r.after(now)
	}
	if now >= r.statusAt {
		r.tell(now)
	}
	next = r.statusAt
	if r.nakAt != 0 {
		next = min(next, r.nakAt)
	}
	if r.blocked {
		next = min(next, now+offerAgain)
	}
	return next
}

// nextHeld is the first packet after next that is here, or the newest that exists.
func (r *Receiver) nextHeld() uint64 {
	for q := r.next + 1; q < r.high && q-r.next <= r.mask; q++ {
		if r.held[q&r.mask].packet == q+1 {
			return q
		}
	}
	return r.high
}

// ask sends a NAK for everything that is missing, and plans the next.
func (r *Receiver) ask(now int64) {
	var spans [nakRangesMax]span
	n := 0
	end := min(r.high, r.next+r.mask+1)
	for q := r.next; q < end && n < nakRangesMax; q++ {
		if r.held[q&r.mask].packet == q+1 {
			continue
		}
		if n > 0 && spans[n-1].first+uint64(spans[n-1].count) == q {
			spans[n-1].count++
			continue
		}
		spans[n] = span{q, 1}
		n++
	}
	if n == 0 {
		r.nakAt = 0
		return
	}
	r.stats.Naks++
	r.plain = appendSpans(r.plain[:0], spans[:n])
	r.emit(now, typeNak, r.plain)
	r.asked = spans[n-1].first + uint64(spans[n-1].count)
	r.pause = min(max(2*r.pause, nakAgainMin), nakAgainMost)
	r.nakAt = now + r.pause + r.backoff()
}

// tell sends a status.
func (r *Receiver) tell(now int64) {
	st := status{next: r.next, window: uint32(r.mask + 1), echo: r.beat.at, held: now - r.beat.here, lost: r.stats.Lost}
	r.plain = st.append(r.plain[:0])
	r.emit(now, typeStatus, r.plain)
	r.told, r.statusAt = r.next, now+statusMost
}

func (r *Receiver) emit(now int64, typ uint8, payload []byte) {
	b, err := r.sealer.seal(now, r.scratch, typ, payload)
	if err != nil {
		return // it cannot be: its keys follow from each other
	}
	for line, to := range r.cfg.To {
		if to.IsValid() {
			r.out.Send(line, to, b)
		}
	}
}

// Close tells the sender what is here, and that this receiver leaves.
func (r *Receiver) Close(now int64) {
	r.tell(now)
	r.emit(now, typeBye, nil)
}

// Silent tells whether the sender has said nothing for SilentAfter.
func (r *Receiver) Silent(now int64) bool { return now-r.heard > int64(SilentAfter) }

// Met tells whether a heartbeat of full length, or what is signed, has ever come: the path carries data.
func (r *Receiver) Met() bool { return r.met }

// Ended tells that the sender has ended the stream and everything of it is handed over.
func (r *Receiver) Ended() bool { return r.end.known && r.next >= r.end.next }

// Betrayed tells that a checkpoint has shown packets that are not the sender's.
func (r *Receiver) Betrayed() bool { return r.forged }

// Proved is the packet before which everything that can be is proved to be the sender's.
func (r *Receiver) Proved() uint64 { return r.doubt.proved }

// Position is the packet and the message that come next.
func (r *Receiver) Position() (packet, message uint64) { return r.next, r.message }

// Boundary is where another receiver goes on in this one's place, so that nothing is lost and
// nothing comes twice: with that packet, and the messages from that number on (Skip).
func (r *Receiver) Boundary() (packet, message uint64) {
	if r.inside {
		return r.beganIn, r.message
	}
	return r.next, r.message
}

// Stats are the counts.
func (r *Receiver) Stats() ReceiverStats {
	s := r.stats
	s.Malformed, s.Unkeyed, s.Forged = r.verdicts[Malformed], r.verdicts[NoKey], r.verdicts[Forged]
	s.Repeated, s.Unexpected = r.verdicts[Repeated], r.verdicts[Unexpected]
	s.Window = uint64(r.holding)
	s.Latency = r.latency
	return s
}
