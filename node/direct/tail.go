package direct

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync/atomic"
	"time"

	"fire/policy"
	"fire/transport/shm"
)

// tailing follows one lane for the audit, on a goroutine of its own. Nobody waits for it.
//
// Every message of a lane, or one in sampleEvery, goes into a chain: SHA-256 over the chain
// before and the records since, each number u64, type u16, length u32, bytes, little-endian. The
// chain goes into the trail with the numbers that it covers, at least each second, so who has
// the messages of such a span can prove them, in order, to who has the trail. What was written
// over before it was read goes there as a gap. A digest for each message, as there was, proves
// one alone, and costs five times as much: a lane's p99 was then 10 to 30 % higher on two cores,
// with this 1 to 9 % (TestAuditCostOfALane).
type tailing struct {
	stop context.CancelFunc

	tail     *shm.Tail
	mode     atomic.Pointer[policy.AuditMode]
	digested atomic.Uint64
	missed   atomic.Uint64
	lag      atomic.Uint64 // lines

	tape  Tape // nil: a digest of many messages, no entry of each
	hash  hash.Hash
	chain [sha256.Size]byte
	first uint64 // of those that the next digest event covers
	count uint64
	buf   []byte
}

const (
	sampleEvery  = 1024
	tailBatch    = 4096
	tailPause    = time.Millisecond // when there is nothing to read
	digestEvery  = time.Second      // at most so long is a chain in no trail
	digestsEvery = 1 << 20          // nor so many messages
)

// startTail begins to follow a lane: one that is new from its first message, one that an
// earlier direct node has followed from where it is now.
func (b *Broker) startTail(l *lane, adopted bool) {
	tail, err := shm.OpenTail(l.data)
	if err != nil {
		b.deps.Log.Warn("a lane cannot be followed", "channel", l.writer.in.name, "err", err)
		return
	}
	if !adopted {
		tail.FromStart()
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tailing{stop: cancel, tail: tail, hash: sha256.New(), tape: b.tape(l, tail.Next())}
	mode := l.writer.in.spec.Audit
	t.mode.Store(&mode)
	l.tail = t
	base := Event{Channel: l.writer.in.name, Service: l.service, Link: l.link}
	b.tails.Go(func() {
		t.run(ctx, func(e Event) {
			e.Channel, e.Service, e.Link = base.Channel, base.Service, base.Link
			b.post(func() { b.tell(e) })
		})
	})
}

// endTail lets the tail read what is left, and end.
func (b *Broker) endTail(l *lane) {
	if l.tail != nil {
		l.tail.stop()
		l.tail = nil
	}
}

// lastWords is how long a tail goes on reading after its lane has ended: a writer that has
// been cut may write on for ever.
const lastWords = 100 * time.Millisecond

// run follows until ctx ends, and then to the end of what is there.
func (t *tailing) run(ctx context.Context, tell func(Event)) {
	defer t.tail.Close()
	if t.tape != nil {
		defer t.tape.Close()
	}
	pause := time.NewTicker(tailPause)
	defer pause.Stop()
	last, each := time.Now(), t.take
	var ending time.Time
	t.first = t.tail.Next()
	for {
		n, gap, err := t.tail.Poll(tailBatch, each)
		t.lag.Store(t.tail.LagLines())
		if gap != (shm.Gap{}) {
			t.flush(tell)
			t.missed.Add(gap.Last - gap.First + 1)
			if t.tape != nil {
				unseen(t.tape, gap.First, gap.Last)
			}
			t.first = t.tail.Next()
			if m := *t.mode.Load(); m == policy.AuditAll || m == policy.AuditEach {
				tell(Event{Kind: Unseen, First: gap.First, Last: gap.Last, Messages: gap.Last - gap.First + 1, Detail: "written over before the audit had read it"})
			}
		}
		if err != nil {
			tell(Event{Kind: Unseen, First: t.tail.Next(), Detail: err.Error()})
			t.flush(tell)
			return
		}
		if t.count >= digestsEvery || time.Since(last) >= digestEvery {
			t.flush(tell)
			last = time.Now()
		}
		if ctx.Err() != nil && ending.IsZero() {
			ending = time.Now()
		}
		if (n > 0 || gap != (shm.Gap{})) && (ending.IsZero() || time.Since(ending) < lastWords) {
			continue
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			t.flush(tell)
			return
		}
	}
}

// take is called for each message.
func (t *tailing) take(number uint64, typ uint16, p []byte) {
	if t.tape != nil {
		_ = t.tape.Message(p) // of an open source it is no error
		t.digested.Add(1)
		return
	}
	switch mode := *t.mode.Load(); {
	case mode == policy.AuditOff, mode == policy.AuditSample && number%sampleEvery != 0:
		return
	}
	t.buf = binary.LittleEndian.AppendUint64(t.buf[:0], number)
	t.buf = binary.LittleEndian.AppendUint16(t.buf, typ)
	t.buf = binary.LittleEndian.AppendUint32(t.buf, uint32(len(p)))
	t.buf = append(t.buf, p...)
	if t.count == 0 {
		t.hash.Reset()
		t.hash.Write(t.chain[:])
	}
	t.hash.Write(t.buf)
	t.count++
	t.digested.Add(1)
}

// flush puts the chain into the trail.
func (t *tailing) flush(tell func(Event)) {
	if t.count == 0 {
		return
	}
	t.hash.Sum(t.chain[:0])
	tell(Event{Kind: Digest, First: t.first, Last: t.tail.Next() - 1, Messages: t.count, Chain: hex.EncodeToString(t.chain[:])})
	t.first, t.count = t.tail.Next(), 0
}

// audits lets the tails of a channel know its mode.
func (g *governed) audits() {
	mode := g.spec.Audit
	for _, l := range g.lanes {
		if l.tail != nil {
			l.tail.mode.Store(&mode)
		}
	}
}
