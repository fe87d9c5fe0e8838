package udp

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// A group's key proves that some member has sent a datagram, not which. So the sender signs
// now and then where it stands, with a chain of hashes over its packets, and a receiver compares:
//
//	chain 0 = zeros;  chain n+1 = SHA-256(chain n, SHA-256(payload of packet n))
//	checkpoint = next packet u64, next message u64 (0: not known), oldest kept packet u64, time u64,
//	             counter u64, over u8, zero 7, chain of the packets before next 32,
//	             length of the signature u16, signature, padding
//
// What a receiver hands over it has not proved yet; what a checkpoint confirms is. One
// that does not fit ends the stream: a member has forged packets of the sender. Nothing else
// that a member could forge moves a receiver further than signed: see doubt.
const (
	proofEvery   = 64                            // packets
	proofWithin  = int64(10 * time.Millisecond)  // of the first that is not proved
	proofIdle    = int64(100 * time.Millisecond) // without any
	signatureMax = 128
	chainBytes   = sha256.Size
	signedBytes  = 48 + chainBytes
	// proofAhead is how many packets are handed over before a checkpoint has come that covers
	// their beginning. A stream of packets that nobody signs stops there.
	proofAhead = 4 * proofEvery
	// badProofsMax is how many checkpoints may have no signature of the sender: whoever has the
	// group's key made them, and goes on. It also bounds what is spent on them.
	badProofsMax = 16
)

// checkpoint is what a sender signs.
type checkpoint struct {
	heartbeat        // where it stands
	counter   uint64 // of its datagrams, the next
	over      bool   // nothing follows
	chain     [chainBytes]byte
}

func (c *checkpoint) append(b []byte) []byte {
	b = c.heartbeat.append(b)
	over := uint64(0)
	if c.over {
		over = 1
	}
	b = binary.LittleEndian.AppendUint64(b, c.counter)
	b = binary.LittleEndian.AppendUint64(b, over)
	return append(b, c.chain[:]...)
}

func appendSignature(b, signature []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(signature))), signature...)
}

// parseCheckpoint ignores the padding that tries the path's size.
func parseCheckpoint(b []byte) (c checkpoint, signed, signature []byte, ok bool) {
	if len(b) < signedBytes+2 {
		return c, nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[signedBytes:]))
	if n == 0 || n > signatureMax || n > len(b)-signedBytes-2 {
		return c, nil, nil, false
	}
	c.heartbeat, ok = parseHeartbeat(b)
	c.counter = binary.LittleEndian.Uint64(b[heartbeatBytes:])
	over := binary.LittleEndian.Uint64(b[heartbeatBytes+8:])
	c.over = over == 1
	c.chain = [chainBytes]byte(b[heartbeatBytes+16:])
	return c, b[:signedBytes], b[signedBytes+2 : signedBytes+2+n], ok && over <= 1
}

// proof is the sender's side.
type proof struct {
	hash   hash.Hash
	chain  [chainBytes]byte   // of the packets before sent
	before [][chainBytes]byte // by slot: of the packets before that one, for who begins with it
	digest [chainBytes]byte   // of the newest packet
	since  uint64             // packets not signed yet
	due    int64
}

// prove takes the packet that is about to be sent into the chain.
func (s *Sender) prove(now int64) {
	s.proof.before[s.sent&s.mask] = s.proof.chain
	digestOf(s.proof.hash, &s.proof.digest, s.slot(s.sent)[:s.kept[s.sent&s.mask]])
	link(s.proof.hash, &s.proof.chain, &s.proof.digest)
	if s.proof.since++; s.proof.since == 1 {
		s.proof.due = min(s.proof.due, now+proofWithin)
	}
	if s.proof.since >= proofEvery {
		s.proof.due = now
	}
}

// chainBefore is of the packets before one that is kept, or that comes next.
func (s *Sender) chainBefore(packet uint64) [chainBytes]byte {
	if s.cfg.Prove == nil || packet >= s.sent {
		return s.proof.chain
	}
	return s.proof.before[packet&s.mask]
}

func digestOf(h hash.Hash, to *[chainBytes]byte, payload []byte) {
	h.Reset()
	h.Write(payload)
	h.Sum(to[:0])
}

func link(h hash.Hash, chain, digest *[chainBytes]byte) {
	h.Reset()
	h.Write(chain[:])
	h.Write(digest[:])
	h.Sum(chain[:0])
}

// signProof sends a checkpoint of where the sender stands.
func (s *Sender) signProof(now int64) {
	s.close(now) // between two packets it is known how many messages have begun
	c := checkpoint{heartbeat: s.stand(now), counter: s.proofCounter(), over: s.over, chain: s.proof.chain}
	s.remember(now)
	b := c.append(s.plain[:0])
	b = appendSignature(b, s.cfg.Prove(b))
	if s.strangers > 0 && len(b) < s.room { // its time is what they echo: the path must carry data
		n := len(b)
		b = b[:s.room]
		clear(b[n:])
	}
	s.plain = b[:0]
	s.stats.Proofs++
	s.proof.since, s.proof.due = 0, now+proofIdle
	if s.strangers > 0 {
		s.proof.due = now + proofWithin
	}
	if s.group != nil {
		s.emit(now, s.group, typeCheckpoint, b)
		return
	}
	for _, p := range s.peers {
		s.emit(now, p.target, typeCheckpoint, b)
	}
}

func (s *Sender) proofCounter() uint64 {
	if s.group == nil {
		return 0
	}
	return s.group.sealer.counter
}

// doubt is the receiver's side: what the sender has signed, and what was handed over since.
type doubt struct {
	signed checkpoint // the newest; at first where the sender said to begin
	order  uint64     // of the newest, as order says; 0: none has come
	hash   hash.Hash
	chain  [chainBytes]byte
	at     uint64 // chain is of the packets before; valid while known
	known  bool   // false after a gap, until a checkpoint that can be followed
	proved uint64 // packets before are proved
	ahead  checkpoint
	waits  bool // ahead is of packets that have not all been handed over
	// messages is how many are signed to have begun: no packet may say that more are lost.
	messages uint64
	// The newest packets: the chain of those before it, for a checkpoint that comes late, and
	// their digests, to follow the chain of a checkpoint that comes after a gap.
	recent []proofStep
}

type proofStep struct {
	packet uint64 // +1 of the digest; 0: none
	digest [chainBytes]byte
	next   uint64
	chain  [chainBytes]byte
}

func (d *doubt) begin(c *ReceiverConfig) {
	d.hash, d.recent = sha256.New(), make([]proofStep, 2*proofAhead)
	d.signed = checkpoint{heartbeat: heartbeat{next: c.Packet, message: c.Message, oldest: c.Packet}, chain: c.Chain}
	d.messages = c.Message
	d.set(c.Packet, c.Chain)
}

// set lets the chain go on from here.
func (d *doubt) set(next uint64, chain [chainBytes]byte) {
	d.chain, d.at, d.known = chain, next, true
	r := &d.recent[next%uint64(len(d.recent))]
	r.next, r.chain = next, chain
}

// follow takes a packet that is handed over into the chain.
func (d *doubt) follow(packet uint64, payload []byte) {
	r := &d.recent[packet%uint64(len(d.recent))]
	r.packet = packet + 1
	digestOf(d.hash, &r.digest, payload)
	if !d.known || packet != d.at {
		d.known = false
		return
	}
	d.step()
}

// step takes the packet at d.at, whose digest is there.
func (d *doubt) step() {
	link(d.hash, &d.chain, &d.recent[d.at%uint64(len(d.recent))].digest)
	d.set(d.at+1, d.chain)
}

// compare holds what was signed against what was handed over before next. False: it is not
// what the sender has sent.
func (d *doubt) compare(c *checkpoint, next uint64) bool {
	if d.known {
		seen := &d.recent[c.next%uint64(len(d.recent))]
		if seen.next != c.next || seen.chain == c.chain { // the former: before a gap, and the chain goes on after it
			if seen.next == c.next {
				d.proved = max(d.proved, c.next)
			}
			return true
		}
		return false
	}
	for q := c.next; q < next; q++ {
		if d.recent[q%uint64(len(d.recent))].packet != q+1 {
			return true // the gap is after it: the next one tells
		}
	}
	d.set(c.next, c.chain)
	d.proved = c.next
	for d.at < next {
		d.step()
	}
	return true
}

// again takes what came with a counter that was seen: any member can have used it up before the
// sender did. What is really a repeat is known by its packet, or by what is signed.
func (r *Receiver) again(now int64, line int, typ uint8, body []byte) Verdict {
	switch typ {
	case typeCheckpoint:
		return r.check(now, body, true)
	case typeData:
		if d, _, ok := parseData(body); ok && !r.has(d.packet) {
			return r.data(now, line, body)
		}
	}
	return Repeated
}

// check takes a checkpoint; late: of a counter that was seen.
func (r *Receiver) check(now int64, body []byte, late bool) Verdict {
	c, signed, signature, ok := parseCheckpoint(body)
	d := &r.doubt
	switch {
	case r.cfg.Check == nil || !ok:
		return Unexpected
	case r.order(&c) <= d.order:
		if late {
			return Repeated // somebody plays it again
		}
		return Opened // it was overtaken: the newer one says more
	case r.forged:
		return Forged
	}
	if !r.cfg.Check(signed, signature) {
		r.stats.BadProofs++
		r.forged = r.forged || r.stats.BadProofs >= badProofsMax
		return Forged
	}
	d.signed, d.order = c, r.order(&c)
	d.messages = max(d.messages, c.message)
	r.met = true
	r.opener.used(now)
	r.heard, r.beat = now, beat{c.heartbeat, now, r.opener.counter}
	r.statusAt = min(r.statusAt, now+proofStatus)
	r.stats.Proved++
	if c.over {
		r.end = ending{true, c.next}
	}
	if c.next > r.next {
		if !d.waits {
			d.ahead, d.waits = c, true
		}
	} else {
		r.confirm(&c)
	}
	r.seen(now, c.heartbeat)
	r.drain(now)
	r.after(now)
	return Opened
}

// order is by which counter a checkpoint is newer than another. A member can seal an old one
// anew, so in a group it is the counter that is signed.
func (r *Receiver) order(c *checkpoint) uint64 {
	if r.cfg.Group {
		return c.counter + 1
	}
	return r.opener.counter + 1
}

// proofStatus is how soon a checkpoint is answered: its time measures the way.
const proofStatus = int64(time.Millisecond)

// confirm compares a checkpoint whose packets were all handed over or given up.
func (r *Receiver) confirm(c *checkpoint) {
	if !r.doubt.compare(c, r.next) {
		r.stats.BadProofs++
		r.forged = true
	}
}

// doubted is called when the packet before next was handed over, and with its payload, or
// was given up.
func (r *Receiver) doubted(payload []byte) {
	if r.cfg.Check == nil {
		return
	}
	d := &r.doubt
	if payload != nil {
		d.follow(r.next-1, payload)
	} else {
		d.known = false
	}
	if d.waits && r.next >= d.ahead.next {
		d.waits = false
		r.confirm(&d.ahead)
	}
	if !d.known && r.next == d.signed.next { // a gap ends here: the chain goes on with what is signed
		r.confirm(&d.signed)
	}
}

// unsigned tells whether so much was handed over since the newest checkpoint that the next
// one is waited for.
func (r *Receiver) unsigned() bool {
	return r.cfg.Check != nil && r.next >= r.doubt.signed.next+proofAhead
}

// overreaches tells whether the packet at next says of messages to be lost that nobody has signed:
// it waits for the checkpoint that does. When that has come and does not say so, it is forged.
func (r *Receiver) overreaches(body []byte) bool {
	if r.cfg.Check == nil || r.offset > 0 {
		return false
	}
	head, _, _ := parseData(body)
	d := &r.doubt
	if head.message <= max(d.messages, r.expected()) {
		return false
	}
	if !r.forged && d.signed.next > r.next && d.signed.message > 0 {
		r.stats.BadProofs++
		r.forged = true
	}
	return true
}

// believed is how far packets are asked for that somebody says to exist.
func (r *Receiver) believed(to uint64) uint64 {
	if r.cfg.Check == nil {
		return to
	}
	return min(to, r.doubt.signed.next+proofAhead)
}

// reach is how far a receiver may go without the packets themselves: as far as is signed, in a
// group.
func (r *Receiver) reach(to uint64) uint64 {
	if r.cfg.Check == nil {
		return to
	}
	return min(to, r.doubt.signed.next)
}
