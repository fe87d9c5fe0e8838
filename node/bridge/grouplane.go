package bridge

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"fire/transport/udp"
)

// groupLane is a publisher's stream that goes to all hosts at once.
type groupLane struct {
	sender uint32
	to     []netip.AddrPort
	epoch  uint32
	secret udp.Secret
	public ed25519.PublicKey
	next   *udp.Secret // is being given to the members; nil: none is due
	nextAt int64       // when it is used, whoever has said to hold it
	due    bool        // somebody has left who knows the newest key
}

// epochWithin is how long members may take to say that they hold the next key. After that
// it is used: who left must not read on because somebody is slow. Who leaves while a key is
// on its way has that one too, so a further one follows: both together stay below 1 s.
const epochWithin = int64(400 * time.Millisecond)

// open makes the sender, for a group if the channel has one.
func (o *outLane) open(cfg udp.SenderConfig) (err error) {
	groups := o.e.spec.GroupAddresses()
	if len(groups) == 0 || o.e.port == nil {
		o.sender, err = udp.NewSender(cfg, o.e)
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	cfg.Prove = func(b []byte) []byte { return ed25519.Sign(private, b) }
	if o.sender, err = udp.NewSender(cfg, o.e); err != nil {
		return err
	}
	g := &groupLane{to: groups[:min(len(groups), o.e.port.Lines())], epoch: 1, secret: newSecret(), public: public}
	var b [4]byte
	_, _ = rand.Read(b[:])
	g.sender = binary.LittleEndian.Uint32(b[:]) | 1<<31 // no lane of its own has such a number
	o.group = g
	var to [udp.LinesMax]netip.AddrPort
	copy(to[:], g.to)
	return o.sender.Group(o.e.now, udp.GroupConfig{Sender: g.sender, Epoch: g.epoch, Secret: g.secret, To: to})
}

func newSecret() (s udp.Secret) {
	_, _ = rand.Read(s[:]) // it does not fail
	return s
}

// describe says how a member receives.
func (o *outLane) describe(l *lane) {
	g := o.group
	if g == nil {
		return
	}
	l.Group = &group{To: g.to[:len(l.From)], Epoch: g.epoch, Secret: g.secret[:], Public: g.public}
	if g.next != nil { // it comes in between two
		l.Group.Epoch, l.Group.Secret = g.epoch+1, g.next[:]
	}
	l.ID = g.sender
}

// left makes a new key due when a member has gone: it knows the newest one. Of all that
// leave in one turn it is the same.
func (o *outLane) left() {
	if o.group != nil {
		o.group.due = true
	}
}

// renew gives the next key to every member.
func (o *outLane) renew() {
	g := o.group
	s := newSecret()
	g.next, g.nextAt, g.due = &s, o.e.now+epochWithin, false
	for _, k := range o.e.reaches {
		if k != nil && k.out == o {
			k.pending = g.epoch + 1
			k.puller.say(&note{Epoch: &epoch{k.id, g.epoch + 1, s[:]}})
		}
	}
}

// keepEpoch uses the next key when all hold it, or the time is up.
func (o *outLane) keepEpoch() {
	g := o.group
	if g == nil {
		return
	}
	if g.next == nil {
		if g.due || o.sender.Stale(o.e.now) {
			o.renew()
		}
		return
	}
	for _, k := range o.e.reaches {
		if k != nil && k.out == o && k.pending != 0 && o.e.now < g.nextAt {
			return
		}
	}
	if err := o.sender.Epoch(o.e.now, g.epoch+1, *g.next); err != nil {
		o.e.b.deps.Log.Error("a group got no new key", "channel", o.e.name, "err", err)
		return
	}
	g.epoch, g.secret, g.next = g.epoch+1, *g.next, nil
}
