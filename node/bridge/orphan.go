package bridge

import (
	"bytes"
	"slices"
	"time"

	"fire/transport/udp"
)

// orphan is a stream of orders whose way to a host was cut off. What the host has not
// confirmed is kept for a while, and the publisher held back as by a slow reader: when the
// host comes back over another session, the stream goes on where it had come to.
type orphan struct {
	out   *outLane
	node  string
	peer  *udp.Peer
	until int64
	place *resume // where the host goes on, as it has said at its end; nil: it says so when it comes
}

// orphan keeps what a host has not confirmed.
func (e *export) orphan(k *reach) {
	k.out.sender.Suspend(k.peer)
	x := orphan{out: k.out, node: k.puller.node, peer: k.peer, until: e.now + int64(time.Duration(e.spec.Keep))}
	for i := range k.puller.places {
		if bytes.Equal(k.puller.places[i].Stream, k.out.stream) {
			x.place = &k.puller.places[i]
		}
	}
	e.orphans = append(e.orphans, x)
	e.reaches[k.feedback-1] = nil
	delete(k.puller.lanes, k.id)
}

// waits tells whether something of a stream is kept for a host.
func (e *export) waits(o *outLane, node string) bool {
	return slices.ContainsFunc(e.orphans, func(x orphan) bool { return x.out == o && x.node == node })
}

// resumed is where a host goes on with a stream, if that was kept for it: as it says now, or
// has said at its end. A host that has named no place has lost its memory: it begins at what is
// new, since what it had handed over before is known to nobody, and an order that comes twice
// is worse than one that is told as lost.
func (e *export) resumed(o *outLane, p *puller) *resume {
	for i := range e.orphans {
		x := &e.orphans[i]
		if x.out != o || x.node != p.node {
			continue
		}
		place := x.place
		for k := range p.want.Resume {
			if bytes.Equal(p.want.Resume[k].Stream, o.stream) {
				place = &p.want.Resume[k]
			}
		}
		if next, _ := o.sender.Position(); place == nil || place.Packet > next {
			return nil
		}
		return place
	}
	return nil
}

// adopt ends the wait for a host that is there again.
func (e *export) adopt(o *outLane, p *puller, resumed bool) {
	e.orphans = slices.DeleteFunc(e.orphans, func(x orphan) bool {
		if x.out != o || x.node != p.node {
			return false
		}
		if !resumed {
			e.lost(o, x.node, x.peer)
		}
		o.sender.Leave(x.peer)
		return true
	})
}

// giveUp ends the waits that have lasted long enough, or that are for what is no more.
func (e *export) giveUp() {
	r := e.b.rules.Load()
	e.orphans = slices.DeleteFunc(e.orphans, func(x orphan) bool {
		if e.now < x.until && slices.Contains(e.outs, x.out) && len(r.subscribers(e.name, x.node)) > 0 {
			return false
		}
		e.lost(x.out, x.node, x.peer)
		x.out.sender.Leave(x.peer)
		return true
	})
}
