package proxy

import (
	"errors"
	"io"
	"sync"

	"fire/policy/reason"
	"fire/transport"
)

// relay copies both ways until both ends have finished, or one has failed. near is
// the application of this host, far the mesh. It returns when nothing of it runs.
//
// Nothing is queued here: a receiver that does not read fills its socket or its QUIC
// window, the write blocks, and the sender's socket fills in turn.
func (p *Proxy) relay(f *flow, near, far transport.Stream) {
	client, server := near, far
	if f.side == sideIn {
		client, server = far, near
	}
	slab := make([]byte, 2*smallBytes)
	var other sync.WaitGroup
	other.Go(func() { p.pump(f, &f.down, server, client, slab[smallBytes:], false) })
	p.pump(f, &f.up, client, server, slab[:smallBytes:smallBytes], true)
	other.Wait()
}

const (
	smallBytes = 2 << 10  // what an idle direction holds; above a segment and an order
	largeBytes = 32 << 10 // what a busy one borrows
)

// largeBufs lends; it holds nothing that matters.
var largeBufs = sync.Pool{New: func() any { return new([largeBytes]byte) }}

// pump moves one direction. Per message it takes one read, one write and some atomic
// stores: no allocation, no lock of ours, no deadline, and the clock is read only
// where a turn begins or ends. Time-outs are found by the sweep.
func (p *Proxy) pump(f *flow, w *way, from, to transport.Stream, small []byte, asks bool) {
	buf, messages, tap := small, tallyOf(f.protocol), f.taps.of(asks)
	if tap != nil && tap.frame != nil {
		messages = tally{} // the tap finds them, too
	}
	var large *[largeBytes]byte
	defer func() {
		if large != nil {
			largeBufs.Put(large)
		}
	}()
	for {
		n, err := from.Read(buf)
		if n > 0 {
			f.turn(p, asks)
			w.bytes.Add(uint64(n))
			if messages.on() {
				w.messages.Add(messages.count(buf[:n]))
			}
			if tap != nil {
				recorded, err := tap.pass(buf[:n])
				w.messages.Add(recorded)
				if err != nil {
					f.end(broken(err))
					return
				}
			}
			now := p.tick.Load()
			w.moved.Store(now)
			w.busy.Store(now)
			_, werr := to.Write(buf[:n])
			w.busy.Store(0)
			if werr != nil {
				f.fail(werr, !asks)
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				f.fail(err, asks)
			} else if err := to.CloseWrite(); err != nil {
				f.fail(err, !asks)
			}
			return
		}
		switch {
		case n == len(buf) && large == nil:
			large = largeBufs.Get().(*[largeBytes]byte)
			buf = large[:]
		case n < smallBytes && large != nil:
			largeBufs.Put(large)
			large, buf = nil, small
		}
	}
}

// turn measures the turn-around of an opaque protocol: from the first bytes of the
// client to the first bytes that come back.
func (f *flow) turn(p *Proxy, asks bool) {
	began := f.asked.Load()
	switch {
	case asks && began == 0:
		f.asked.Store(int64(p.now()) | 1) // never zero
	case !asks && began != 0:
		f.asked.Store(0)
		f.turns.Add(1)
		f.edge.Latency.Record(p.now() - durationOf(began))
	}
}

// fail ends the flow after an error of one end. A client that goes away, even by a
// reset, is a fact and no fault of the edge: wrk and pgbench leave like that.
func (f *flow) fail(err error, ofClient bool) {
	why := broken(err)
	if f.doom(why) && ofClient && why.Code == reason.AppReset {
		f.left.Store(true)
	}
	f.end(why)
}

// broken gives an error of either end its reason.
func broken(err error) *reason.Error {
	if e, ok := errors.AsType[*reason.Error](err); ok {
		return e
	}
	return &reason.Error{Code: reason.AppReset, Detail: err.Error(), Cause: err}
}
