package udp

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Out takes sealed datagrams on their way. b is the caller's again when Send returns. A
// datagram that cannot leave is lost, as any may be on the way: Send says nothing.
type Out interface {
	Send(line int, to netip.AddrPort, b []byte)
}

// Flow says for whom a sender waits.
type Flow uint8

const (
	// FlowMax waits for nobody: who is slow has a gap.
	FlowMax Flow = iota + 1
	// FlowMin waits for every receiver: none has a gap, and the sender says Full.
	FlowMin
	// FlowTagged waits for the receivers that are marked.
	FlowTagged
)

// Result is what became of an offer.
type Result uint8

const (
	Sent    Result = iota
	Full           // a receiver that is waited for is behind
	TooLong        // above MessageBytesMax
	Over           // the stream has ended
)

func (r Result) String() string {
	return [...]string{"sent", "full", "too_long", "over"}[min(r, Over)]
}

// LinesMax is how many paths the same datagrams may take at once: A and B.
const LinesMax = 2

// SenderConfig bounds a sender.
type SenderConfig struct {
	DatagramBytes int  // whole payload of UDP
	Window        int  // packets that are kept for repair, a power of two
	Flow          Flow // for whom it waits
	Prove         func(hash []byte) []byte
	// SnapshotType is the type of messages that say all that a newcomer must know of what
	// was before; a receiver that joins begins at the newest. 0: at what comes next.
	SnapshotType uint16
}

// Times of both ends. A heartbeat after silence comes soon, since it shows that the last
// packets are lost, and then ever later.
const (
	heartbeatFirst = int64(time.Millisecond)
	heartbeatMost  = int64(50 * time.Millisecond)
	// SilentAfter is when a peer that says nothing is taken for lost.
	SilentAfter = 500 * time.Millisecond

	repairAgainUnicast = int64(300 * time.Microsecond)
	repairAgainGroup   = int64(2 * time.Millisecond)
	repairsPerNakMax   = 256
)

// Sender is the sending end of one stream. It does no I/O of its own but by Out, reads no
// clock and starts nothing; it belongs to one goroutine. Times are Unix nanoseconds.
type Sender struct {
	cfg  SenderConfig
	out  Out
	room int // of a packet's payload

	slots  []byte
	kept   []uint16 // lengths
	mask   uint64
	next   uint64 // the packet that is being filled
	oldest uint64 // the first that is kept
	sent   uint64 // the first that was not transmitted yet
	gate   uint64 // no packet from here on may be filled: somebody is waited for
	fill   int    // bytes of the packet at next; 0: not begun

	message  uint64 // number of the message that begins next
	snapshot uint64 // packet of the newest snapshot, +1; 0: none

	peers     []*Peer
	group     *target
	proof     proof
	over      bool
	repairs   repairs // of a group: what is sent again all get
	beatAt    int64
	pause     int64    // until the next heartbeat
	beats     [8]int64 // times of the newest heartbeats, which are what a peer must echo
	beaten    int
	strangers int // peers that have not met

	scratch []byte
	plain   []byte
	stats   SenderStats
}

// target is where datagrams go, sealed with its own key.
type target struct {
	sealer *sealer
	to     [LinesMax]netip.AddrPort // valid ones are lines
}

// Peer is one receiver.
type Peer struct {
	name   string
	opener *opener
	target *target // its own; nil in a group
	tagged bool
	also   netip.AddrPort // where a group's datagrams go, too, for it

	next    uint64
	window  uint64
	heard   int64
	met     bool // it has answered what only its address can have heard
	gone    bool
	away    bool // suspended: it is waited for, and sent nothing
	rtt     int64
	lost    uint64
	refused [verdicts]uint64
	repairs repairs
	chain   [chainBytes]byte
}

// SenderStats are counts since the start.
type SenderStats struct {
	Messages   uint64 `json:"messages_total"`
	Packets    uint64 `json:"packets_total"`
	Datagrams  uint64 `json:"datagrams_total"` // one packet goes to each peer and line
	Repaired   uint64 `json:"repaired_total"`
	Naks       uint64 `json:"naks_total"`
	Unrepaired uint64 `json:"unrepaired_total"` // packets asked for that are kept no more
	Full       uint64 `json:"full_total"`
	Heartbeats uint64 `json:"heartbeats_total"`
	Proofs     uint64 `json:"proofs_total"`
	Epochs     uint64 `json:"epochs_total"`
}

var (
	errKeyUsedUp = errors.New("udp: the group's key is used up and no next one came")
	errResume    = errors.New("udp: what comes next for that receiver is kept no more")
	errWindow    = errors.New("udp: the window is no power of two from 8 to 65536 packets")
)

// NewSender makes one without receivers.
func NewSender(cfg SenderConfig, out Out) (*Sender, error) {
	if cfg.DatagramBytes < DatagramBytesMin || cfg.DatagramBytes > DatagramBytesMax {
		return nil, fmt.Errorf("udp: datagrams of %d bytes; %d to %d are legal", cfg.DatagramBytes, DatagramBytesMin, DatagramBytesMax)
	}
	if err := checkWindow(cfg.Window); err != nil {
		return nil, err
	}
	if cfg.Flow < FlowMax || cfg.Flow > FlowTagged {
		return nil, fmt.Errorf("udp: flow control %d is not known", cfg.Flow)
	}
	s := &Sender{cfg: cfg, out: out, room: cfg.DatagramBytes - OverheadBytes, mask: uint64(cfg.Window - 1),
		scratch: make([]byte, cfg.DatagramBytes), plain: make([]byte, 0, cfg.DatagramBytes), pause: heartbeatFirst}
	s.slots = make([]byte, cfg.Window*s.room)
	s.kept = make([]uint16, cfg.Window)
	s.repairs = newRepairs(cfg.Window)
	if cfg.Prove != nil {
		s.proof.hash, s.proof.before = sha256.New(), make([][chainBytes]byte, cfg.Window)
	}
	s.gate = forever
	return s, nil
}

const forever = 1<<64 - 1

func checkWindow(w int) error {
	if w < 8 || w > 65536 || w&(w-1) != 0 {
		return errWindow
	}
	return nil
}

// PeerConfig is one receiver, as the session with it has agreed.
type PeerConfig struct {
	Name     string
	Index    uint32 // in the datagrams to it
	Secret   Secret // of what goes to it; of no use in a group
	Feedback Secret // of what it says
	To       [LinesMax]netip.AddrPort
	Tagged   bool // FlowTagged waits for it
	// Resume begins with packet At, which an earlier receiver had come to (Receiver.Boundary),
	// if it is kept.
	Resume bool
	At     uint64
}

// Join adds a receiver and says with which packet and message it begins.
func (s *Sender) Join(now int64, c PeerConfig) (p *Peer, packet, message uint64, err error) {
	p = &Peer{name: c.Name, tagged: c.Tagged, heard: now, window: uint64(s.cfg.Window)}
	if s.group == nil {
		p.repairs = newRepairs(s.cfg.Window)
	}
	if p.opener, err = newOpener(c.Feedback, false, 0); err != nil {
		return nil, 0, 0, err
	}
	if s.group == nil {
		p.target = &target{to: c.To}
		if p.target.sealer, err = newSealer(c.Secret, c.Index, now, false, 0); err != nil {
			return nil, 0, 0, err
		}
	}
	s.close(now) // it begins with a packet of its own
	packet, message = s.next, s.message
	if at := s.snapshot - 1; s.snapshot > 0 && at >= s.oldest {
		head, _, _ := parseData(s.slot(at))
		packet, message = at, head.message
	}
	if c.Resume {
		if c.At < s.oldest || c.At > s.next {
			return nil, 0, 0, errResume
		}
		if packet, message = c.At, s.message; c.At < s.next {
			head, _, _ := parseData(s.slot(c.At))
			message = head.message
		}
	}
	p.next, p.chain = packet, s.chainBefore(packet)
	s.peers = append(s.peers, p)
	s.recount()
	s.recountStrangers()
	s.pause, s.proof.due = heartbeatFirst, now
	s.transmitAll(now)
	s.beat(now, true) // it asks for what it lacks of the snapshot
	return p, packet, message, nil
}

// Suspend keeps what a receiver has not confirmed, for whoever resumes in its place; until
// Leave the sender waits for it as far as it waits for anybody.
func (s *Sender) Suspend(p *Peer) {
	p.away = true
	s.recountStrangers()
}

// Leave removes a receiver.
func (s *Sender) Leave(p *Peer) {
	p.gone = true
	s.peers = slices.DeleteFunc(s.peers, func(x *Peer) bool { return x == p })
	s.recount()
	s.recountStrangers()
}

// Offer takes one message. It leaves with its packet: when that is full, at Flush, or before a
// checkpoint.
func (s *Sender) Offer(now int64, typ uint16, b []byte) Result {
	need := frameHeadBytes + len(b)
	switch {
	case len(b) > MessageBytesMax:
		return TooLong
	case s.over:
		return Over
	case s.fill > 0 && s.fill+need <= s.room && (typ != s.cfg.SnapshotType || typ == 0): // the usual case: a packet that has begun
	case !s.fits(now, need):
		s.stats.Full++
		return Full
	}
	if typ == s.cfg.SnapshotType && typ != 0 {
		s.close(now) // a snapshot begins a packet
		s.snapshot = s.next + 1
	}
	s.stats.Messages++
	if need <= s.room-dataHeadBytes {
		if s.fill+need > s.room {
			s.close(now)
		}
		s.frame(now, typ, b, frameBegin|frameEnd)
		return Sent
	}
	s.split(now, typ, b)
	return Sent
}

// fits closes the packet that is full and tells whether the message may be taken.
func (s *Sender) fits(now int64, need int) bool {
	packets := uint64(need/(s.room-dataHeadBytes-frameHeadBytes)) + 2
	return s.next+packets <= s.gate
}

// split sends a message that is longer than a packet in fragments.
func (s *Sender) split(now int64, typ uint16, b []byte) {
	s.close(now)
	most := min(s.room-dataHeadBytes-frameHeadBytes, fragmentMax)
	marks := uint16(frameBegin)
	for len(b) > most {
		s.frame(now, typ, b[:most], marks)
		s.close(now)
		b, marks = b[most:], 0
	}
	s.frame(now, typ, b, marks|frameEnd)
}

// frame appends to the packet at next, which has room.
func (s *Sender) frame(now int64, typ uint16, b []byte, marks uint16) {
	if s.fill == 0 {
		s.begin(now)
	}
	at := s.slot(s.next)[s.fill:]
	putFrameHead(at, len(b), marks, typ)
	copy(at[frameHeadBytes:], b)
	s.fill += frameHeadBytes + len(b)
	if marks&frameBegin != 0 {
		s.message++
	}
}

func (s *Sender) begin(now int64) {
	if s.next-s.oldest > s.mask {
		s.oldest++ // who has not had it yet has a gap
		s.sent = max(s.sent, s.oldest)
	}
	head := dataHead{s.next, s.message, now}
	head.put(s.slot(s.next))
	s.fill = dataHeadBytes
}

// slot is the memory of a packet.
func (s *Sender) slot(packet uint64) []byte {
	at := int(packet&s.mask) * s.room
	return s.slots[at : at+s.room : at+s.room]
}

// close ends the packet at next, if one has begun.
func (s *Sender) close(now int64) {
	if s.fill == 0 {
		return
	}
	s.kept[s.next&s.mask] = uint16(s.fill)
	s.next++
	s.fill = 0
	s.stats.Packets++
	s.transmitAll(now)
}

// Flush sends what was taken. A sender that offers one message at a time flushes after
// each; one that has many at hand, after the last.
func (s *Sender) Flush(now int64) { s.close(now) }

// transmitAll sends what is complete.
func (s *Sender) transmitAll(now int64) {
	for ; s.sent < s.next; s.sent++ {
		if s.cfg.Prove != nil {
			s.prove(now)
		}
		if s.group != nil {
			s.transmit(now, s.group, s.sent)
		} else {
			for _, p := range s.peers {
				if p.met && !p.away { // else it asks for it, when it has shown that the address is its own
					s.transmit(now, p.target, s.sent)
				}
			}
		}
		if s.strangers == 0 { // who has not met must hear heartbeats, whatever else is sent
			s.beatAt, s.pause = now+heartbeatFirst, heartbeatFirst
		}
	}
}

func (s *Sender) transmit(now int64, t *target, packet uint64) {
	s.emit(now, t, typeData, s.slot(packet)[:s.kept[packet&s.mask]])
}

// emit seals a payload and sends it on every line.
func (s *Sender) emit(now int64, t *target, typ uint8, payload []byte) {
	b, err := t.sealer.seal(now, s.scratch, typ, payload)
	if err != nil {
		return // the key is used up: nothing may leave under it, and receivers fall silent
	}
	for line, to := range t.to {
		if to.IsValid() {
			s.stats.Datagrams++
			s.out.Send(line, to, b)
		}
	}
	if t != s.group {
		return
	}
	for _, p := range s.peers {
		if p.also.IsValid() {
			s.stats.Datagrams++
			s.out.Send(0, p.also, b)
		}
	}
}

// Input takes what a receiver has said.
func (s *Sender) Input(now int64, p *Peer, datagram []byte) Verdict {
	typ, body, v := p.opener.open(now, datagram)
	if v == Opened {
		v = s.heard(now, p, typ, body)
	}
	if v != Opened {
		p.refused[v]++
	}
	return v
}

func (s *Sender) heard(now int64, p *Peer, typ uint8, body []byte) Verdict {
	p.heard = now
	switch typ {
	case typeStatus:
		st, ok := parseStatus(body)
		if !ok || st.next > s.next || st.window > 1<<16 {
			return Unexpected
		}
		if !p.met && slices.Contains(s.beats[:], st.echo) && st.echo != 0 {
			p.met = true
			s.recountStrangers()
		}
		p.next, p.window, p.lost = max(p.next, st.next), uint64(st.window), st.lost
		if rtt := now - st.echo - st.held; st.echo != 0 && rtt > 0 {
			p.rtt = rtt
		}
		s.recount()
		return Opened
	case typeNak:
		return s.nak(now, p, body)
	case typeBye:
		p.gone = true
		return Opened
	}
	return Unexpected
}

// nak sends again what is asked for, each packet once in a while and so many at most: a
// hostile receiver gets back little more than it sends.
func (s *Sender) nak(now int64, p *Peer, body []byte) Verdict {
	n, ok := nakSpans(body)
	if !ok || !p.met { // it may name an address that is somebody else's: that one gets no flood
		return Unexpected
	}
	s.stats.Naks++
	t, again, pause := p.target, &p.repairs, repairAgainUnicast
	if s.group != nil {
		t, again, pause = s.group, &s.repairs, repairAgainGroup
	}
	again.turn(now, pause)
	again.looks = int(s.mask) + 1 // an honest one asks for each packet once
	left, vain := repairsPerNakMax, false
	for i := range n {
		sp := spanAt(body, i)
		if sp.first >= s.sent {
			continue
		}
		first, end := sp.first, min(sp.first+uint64(sp.count), s.sent)
		if first < s.oldest {
			vain = true
			s.stats.Unrepaired += min(end, s.oldest) - first
			first = s.oldest
		}
		for q := first; q < end && left > 0 && again.looks > 0; q++ {
			if !again.take(q & s.mask) {
				continue
			}
			left--
			s.stats.Repaired++
			s.transmit(now, t, q)
		}
	}
	if vain {
		s.inVain(now, p)
	}
	return Opened
}

// inVain tells a receiver, and no other, that what it asks for is kept no more. A group believes
// only what is signed.
func (s *Sender) inVain(now int64, p *Peer) {
	if s.cfg.Prove != nil {
		s.proof.due = min(s.proof.due, now+proofWithin)
		return
	}
	h := s.stand(now)
	s.stats.Heartbeats++
	s.plain = h.append(s.plain[:0])
	t := p.target
	if s.group != nil {
		t = s.group
	}
	s.emit(now, t, typeHeartbeat, s.plain)
}

func (s *Sender) recountStrangers() {
	s.strangers = 0
	for _, p := range s.peers {
		if !p.met && !p.away {
			s.strangers++
		}
	}
}

// recount finds how far the sender may go.
func (s *Sender) recount() {
	s.gate = forever
	if s.cfg.Flow == FlowMax {
		return
	}
	for _, p := range s.peers {
		if s.cfg.Flow == FlowMin || p.tagged {
			s.gate = min(s.gate, p.next+min(p.window, s.mask+1))
		}
	}
}

// Tick does what is due and returns when it wants to be called next.
func (s *Sender) Tick(now int64) (next int64) {
	if s.cfg.Prove != nil && now >= s.proof.due {
		s.signProof(now)
	}
	if now >= s.beatAt {
		s.beat(now, false)
	}
	if s.cfg.Prove != nil {
		return min(s.beatAt, s.proof.due)
	}
	return s.beatAt
}

// beat says where the sender stands. A full one is as long as data may be, so that a path
// that swallows long datagrams shows it at once.
func (s *Sender) beat(now int64, full bool) {
	h := s.stand(now)
	s.remember(now)
	s.plain = h.append(s.plain[:0])
	brief := s.plain
	long := s.plain[:s.room]
	clear(long[len(brief):])
	pick := func(p *Peer) []byte {
		if full || p != nil && !p.met {
			return long
		}
		return brief
	}
	if s.group != nil {
		all := full
		for _, p := range s.peers {
			all = all || !p.met
		}
		if all {
			brief = long
		}
		s.emit(now, s.group, typeHeartbeat, brief)
	} else {
		for _, p := range s.peers {
			if !p.away {
				s.emit(now, p.target, typeHeartbeat, pick(p))
			}
		}
	}
	s.stats.Heartbeats++
	s.beatAt = now + s.pause
	s.pause = min(2*s.pause, heartbeatMost)
}

// stand is where the sender stands.
func (s *Sender) stand(now int64) heartbeat {
	h := heartbeat{s.sent, s.message, s.oldest, now}
	if s.fill > 0 || s.sent < s.next {
		h.message = 0 // messages are under way that belong to no packet before next
	}
	return h
}

// remember notes a time that receivers will echo.
func (s *Sender) remember(now int64) {
	s.beats[s.beaten%len(s.beats)] = now
	s.beaten++
}

// Close tells the receivers that nothing more comes. What is kept can be asked for as long
// as the caller still hands over what they say.
func (s *Sender) Close(now int64) {
	s.close(now)
	s.over = true
	if s.cfg.Prove != nil {
		s.signProof(now) // without a signature it is no end
	}
	h := s.stand(now)
	s.plain = h.append(s.plain[:0])
	if s.group != nil {
		s.emit(now, s.group, typeBye, s.plain)
		return
	}
	for _, p := range s.peers {
		if !p.away {
			s.emit(now, p.target, typeBye, s.plain)
		}
	}
}

// Drained tells whether every receiver has everything.
func (s *Sender) Drained() bool {
	for _, p := range s.peers {
		if p.next < s.next {
			return false
		}
	}
	return s.fill == 0
}

// Room is how many messages are taken for sure, however long they are.
func (s *Sender) Room() int {
	if s.gate == forever {
		return 1 << 20
	}
	most := uint64(PacketsMost(s.cfg.DatagramBytes))
	if s.next+most > s.gate {
		return 0
	}
	return int((s.gate - s.next) / most)
}

// Skip says that messages are lost before they came here: receivers have an exact gap.
func (s *Sender) Skip(now int64, messages uint64) {
	s.close(now)
	s.message += messages
	s.beatAt, s.pause = min(s.beatAt, now+heartbeatFirst), heartbeatFirst
}

// Redirect sends what is for a receiver elsewhere from now on; in a group, to the first
// address beside the group's, or nowhere beside it when that is none.
func (s *Sender) Redirect(p *Peer, to [LinesMax]netip.AddrPort) {
	if p.target != nil {
		p.target.to = to
	} else {
		p.also = to[0]
	}
}

// Stats are the counts.
func (s *Sender) Stats() SenderStats { return s.stats }

// Position is the packet and the message that come next.
func (s *Sender) Position() (packet, message uint64) { return s.next, s.message }

// Name is what PeerConfig called it.
func (p *Peer) Name() string { return p.name }

// Met tells whether the receiver has ever answered: the path works both ways, and for
// datagrams as long as data is.
func (p *Peer) Met() bool { return p.met }

// Chain is that of the packets before the first that the receiver gets, for its ReceiverConfig.
func (p *Peer) Chain() [32]byte { return p.chain }

// Gone tells whether it has said that it leaves, or was removed.
func (p *Peer) Gone() bool { return p.gone }

// Silent tells whether it has said nothing for SilentAfter.
func (p *Peer) Silent(now int64) bool { return now-p.heard > int64(SilentAfter) }

// Heard is when it has last said anything.
func (p *Peer) Heard() int64 { return p.heard }

// PeerStats is what a sender knows of a receiver.
type PeerStats struct {
	Name    string `json:"name"`
	Packet  uint64 `json:"packet"` // everything before is there
	RTT     int64  `json:"rtt_ns"` // 0: not known
	Lost    uint64 `json:"lost_messages_total"`
	Refused uint64 `json:"refused_datagrams_total"`
}

// Stats are the counts.
func (p *Peer) Stats() PeerStats {
	st := PeerStats{Name: p.name, Packet: p.next, RTT: p.rtt, Lost: p.lost}
	for _, n := range p.refused {
		st.Refused += n
	}
	return st
}
