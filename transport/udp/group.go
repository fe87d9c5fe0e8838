package udp

import (
	"math"
	"net/netip"
	"time"
)

// GroupConfig is what a sender needs to send to all its receivers at once.
type GroupConfig struct {
	Sender uint32 // which of the group's senders: part of every nonce
	Epoch  uint32
	Secret Secret                   // of the epoch
	To     [LinesMax]netip.AddrPort // groups
}

// Group makes the sender one of a group, before anybody has joined.
func (s *Sender) Group(now int64, c GroupConfig) error {
	k, err := newSealer(c.Secret, c.Sender, now, true, uint8(c.Epoch))
	if err != nil {
		return err
	}
	s.group = &target{sealer: k, to: c.To}
	s.stats.Epochs++
	return nil
}

// Epoch seals with the secret of the next epoch from now on. The owner has given it to
// every receiver that stays, and to none that left.
func (s *Sender) Epoch(now int64, epoch uint32, secret Secret) error {
	k, err := newKey(secret, uint8(epoch))
	if err != nil {
		return err
	}
	s.group.sealer.put(k, now)
	s.stats.Epochs++
	return nil
}

// Stale tells whether the epoch's key is due to be replaced.
func (s *Sender) Stale(now int64) bool { return s.group != nil && s.group.sealer.stale(now) }

// Epoch lets the receiver open what is sealed in the next epoch. The last one opens until
// keysOverlap after the sender has used this one, which with Check a signature shows.
func (r *Receiver) Epoch(now int64, epoch uint32, secret Secret) error {
	k, err := newKey(secret, uint8(epoch))
	if err != nil {
		return err
	}
	return r.opener.put(k, now)
}

// groupBackoff is the longest wait of a group's receiver before it asks, so that the answer
// to another's NAK may come first (RFC 5401: K times the group's round trip).
const groupBackoff = 2 * time.Millisecond

// groupSize is the assumed number of receivers that have lost the same packet.
const groupSize = 10

// backoff is a random wait, 0 but in a group: RFC 5401 section 3.2, a truncated exponential
// distribution by which mostly one of the many asks early.
func (r *Receiver) backoff() int64 {
	if !r.cfg.Group {
		return 0
	}
	const most = float64(groupBackoff)
	lambda := math.Log(groupSize) + 1
	x := r.cfg.Random.Float64()*(lambda/most) + lambda/(most*(math.Exp(lambda)-1))
	return int64(max(0, most/lambda*math.Log(x*(math.Exp(lambda)-1)*(most/lambda))))
}
