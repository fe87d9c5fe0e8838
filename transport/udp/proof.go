package udp

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// A group's key proves that some member has sent a datagram, not which. So the sender signs
// a chain of hashes over its packets now and then, and a receiver compares:
//
//	chain 0 = zeros;  chain n+1 = SHA-256(chain n, payload of packet n)
//	checkpoint = next u64, chain of the packets before it 32, signature 64
//
// What a receiver hands over it has not proved yet; what a checkpoint confirms is. One
// that does not fit ends the stream: a member has forged packets of the sender.
const (
	proofEvery   = 64                            // packets
	proofWithin  = int64(10 * time.Millisecond)  // of the first that is not proved
	proofIdle    = int64(100 * time.Millisecond) // without any
	signatureMax = 128
	chainBytes   = sha256.Size
	proofBytes   = 8 + chainBytes
)

// proof is the sender's side.
type proof struct {
	hash  hash.Hash
	chain [chainBytes]byte
	since uint64 // packets not signed yet
	due   int64
}

// prove takes the packet that is about to be sent into the chain.
func (s *Sender) prove(now int64) {
	if s.proof.hash == nil {
		s.proof.hash = sha256.New()
	}
	link(s.proof.hash, &s.proof.chain, s.slot(s.sent)[:s.kept[s.sent&s.mask].length])
	if s.proof.since++; s.proof.since == 1 {
		s.proof.due = min(s.proof.due, now+proofWithin)
	}
	if s.proof.since >= proofEvery {
		s.proof.due = now
	}
}

func link(h hash.Hash, chain *[chainBytes]byte, payload []byte) {
	h.Reset()
	h.Write(chain[:])
	h.Write(payload)
	h.Sum(chain[:0])
}

// signProof sends a checkpoint of the chain so far.
func (s *Sender) signProof(now int64) {
	b := appendProof(s.plain[:0], s.sent, &s.proof.chain)
	b = append(b, s.cfg.Prove(b)...)
	s.plain = b[:0]
	s.stats.Proofs++
	s.proof.since, s.proof.due = 0, now+proofIdle
	if s.group != nil {
		s.emit(now, s.group, typeCheckpoint, b)
		return
	}
	for _, p := range s.peers {
		s.emit(now, p.target, typeCheckpoint, b)
	}
}

func appendProof(b []byte, next uint64, chain *[chainBytes]byte) []byte {
	return append(binary.LittleEndian.AppendUint64(b, next), chain[:]...)
}

// doubt is the receiver's side.
type doubt struct {
	hash   hash.Hash
	chain  [chainBytes]byte
	at     uint64 // chain is of the packets before; valid while known
	known  bool   // false after a gap, until the next checkpoint
	proved uint64 // packets before are proved
	// Recent chains, for a checkpoint that comes late.
	recent [4 * proofEvery]struct {
		next  uint64
		chain [chainBytes]byte
	}
}

// follow takes a packet that is handed over into the chain.
func (d *doubt) follow(packet uint64, payload []byte) {
	if !d.known || packet != d.at {
		d.known = false
		return
	}
	link(d.hash, &d.chain, payload)
	d.at++
	r := &d.recent[d.at%uint64(len(d.recent))]
	r.next, r.chain = d.at, d.chain
}

// check holds a checkpoint against the chain. An error in the signature is a forgery of a
// member; so is another chain.
func (r *Receiver) check(body []byte) Verdict {
	if len(body) <= proofBytes || len(body) > proofBytes+signatureMax || r.cfg.Check == nil {
		return Unexpected
	}
	if !r.cfg.Check(body[:proofBytes], body[proofBytes:]) {
		r.stats.BadProofs++
		return Forged
	}
	next := binary.LittleEndian.Uint64(body)
	chain := [chainBytes]byte(body[8:])
	d := &r.doubt
	switch {
	case d.known && next <= d.at:
		seen := &d.recent[next%uint64(len(d.recent))]
		if seen.next != next {
			break // older than what is remembered, or before this receiver began
		}
		if seen.chain != chain {
			r.stats.BadProofs++
			r.forged = true
			return Forged
		}
		d.proved = max(d.proved, next)
		r.stats.Proved++
	case !d.known && next == r.next: // a gap, or the beginning: the chain goes on from here
		d.chain, d.at, d.known, d.proved = chain, next, true, next
		seen := &d.recent[next%uint64(len(d.recent))]
		seen.next, seen.chain = next, chain
	}
	return Opened
}
