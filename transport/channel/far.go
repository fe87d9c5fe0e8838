package channel

import (
	"encoding/binary"

	"fire/transport/shm"
)

// FarLane is the pair of a lane, not of rpc, whose publisher is on another host.
const FarLane = ^uint64(0)

// TypeLost is a message of a far lane that its direct node has written: messages were lost on
// the way here. Body: first u64, last u64, by the publisher's numbers. Elsewhere it is a type
// as any other.
const TypeLost uint16 = 0xffff

const lostBytes = 16

// OfferLost tells the readers of a far lane what is lost.
func (p *Publisher) OfferLost(first, last uint64) shm.Result {
	var b [lostBytes]byte
	binary.LittleEndian.PutUint64(b[:], first)
	binary.LittleEndian.PutUint64(b[8:], last)
	return p.Offer(TypeLost, b[:])
}

// lost reads what OfferLost has written; false for any other message.
func (l *inLane) lost(typ uint16, b []byte) (first, last uint64, ok bool) {
	if l.pair != FarLane || typ != TypeLost || len(b) != lostBytes {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), true
}
