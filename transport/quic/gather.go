package quic

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	quicgo "github.com/quic-go/quic-go"
)

// gather lets small writes of several streams of a session leave in one packet.
//
// quic-go's packer is woken by each write and runs as soon as the writer waits for
// something, so that with many streams each small write would pay for a packet of its
// own: two system calls, two passes through the network stack, and an acknowledgement.
// Here the first writer lets those run that are ready at this moment. What they write
// is handed to the packer together.
//
//	first  ─► leads ─► yields ............ takes all ─► TryWriteAll each ─► wakes all
//	others ──────────────► join, wait ────────────────────────────────────┘
//
// Nobody waits for what is not there: when nothing else is ready, the yield returns at
// once, and a stream that is the only one to write does not even yield.
type gather struct {
	last atomic.Int64 // the stream that wrote last

	mu      sync.Mutex // held over no write
	led     bool
	joined  []*joiner
	emptied []*joiner // memory of an earlier round
}

// joiner is a write that waits for the leader.
type joiner struct {
	stream *stream
	p      []byte
	err    error
	done   chan struct{}
}

const (
	gatherBytesMax = 1200     // a write above it fills a packet alone
	gatherQueueMax = 16 << 10 // bytes of a stream between two writes that wait for the packer
)

// joiners holds nothing between two writes.
var joiners = sync.Pool{New: func() any { return &joiner{done: make(chan struct{}, 1)} }}

// errNotQueued means that nothing was taken and that only an ordinary write can wait.
var errNotQueued = quicgo.ErrWouldBlock

// write queues all of p, together with what others write, or nothing.
func (g *gather) write(s *stream, p []byte) error {
	g.mu.Lock()
	if g.led {
		j := joiners.Get().(*joiner)
		j.stream, j.p = s, p
		g.joined = append(g.joined, j)
		g.mu.Unlock()
		<-j.done
		err := j.err
		j.stream, j.p, j.err = nil, nil, nil
		joiners.Put(j)
		return err
	}
	g.led = true
	g.mu.Unlock()
	runtime.Gosched()
	g.mu.Lock()
	round := g.joined
	g.joined, g.emptied, g.led = g.emptied, nil, false
	g.mu.Unlock()

	err := s.quic.TryWriteAll(p)
	for _, j := range round {
		j.err = j.stream.quic.TryWriteAll(j.p)
	}
	for i, j := range round {
		round[i] = nil
		j.done <- struct{}{} // j is its writer's from here on
	}
	g.mu.Lock()
	g.emptied = round[:0]
	g.mu.Unlock()
	return err
}

// writeTogether reports whether p went out with others' or failed for good.
func (s *stream) writeTogether(p []byte) (bool, error) {
	if id := int64(s.quic.StreamID()); len(p) > gatherBytesMax || s.session.gather.last.Swap(id) == id {
		return false, nil
	}
	// TryWriteAll queues up to the peer's window; an ordinary write waits until the
	// packer has taken what is queued.
	if s.queued.Add(int64(len(p))) > gatherQueueMax {
		s.queued.Store(0)
		return false, nil
	}
	err := s.session.gather.write(s, p)
	return !errors.Is(err, errNotQueued), err
}
