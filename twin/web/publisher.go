package web

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"fire/twin"
)

// Source is where snapshots come from; *twin.Twin is one.
type Source interface {
	Snapshot() *twin.Snapshot
	Subscribe() (changed <-chan struct{}, stop func())
}

// framesKept is how many frames a client may be behind and still get a delta: at
// four a second, the last 16 s.
const framesKept = 64

// intervalMin bounds how often frames are made; a crowded map slows to one a
// second, which keeps the stream below a megabyte a second at 2,000 edges.
const (
	intervalMin     = 250 * time.Millisecond
	intervalCrowded = time.Second
	crowdedEdges    = 300
)

// publisher turns snapshots into frames and wakes the streams. Frames are only
// made while somebody follows.
type publisher struct {
	// constant
	source Source

	// guarded by mu
	mu       sync.Mutex
	frames   []*frame // newest last
	clients  map[chan struct{}]struct{}
	topology string
	layout   json.RawMessage
	layoutID uint64
}

func newPublisher(source Source) *publisher {
	return &publisher{source: source, clients: map[chan struct{}]struct{}{}}
}

// run makes frames until ctx ends.
func (p *publisher) run(ctx context.Context) {
	changed, stop := p.source.Subscribe()
	defer stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		interval := intervalMin
		if p.followed() {
			if f := p.newest(); len(f.snapshot.Edges) > crowdedEdges {
				interval = intervalCrowded
			}
			p.wake()
		}
		// A little less than the twin's own pause, so that no beat is missed.
		pause.Reset(interval - 20*time.Millisecond)
	}
}

// newest is the frame of the source's newest snapshot, made now if need be.
func (p *publisher) newest() *frame {
	s := p.source.Snapshot()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.frames); n > 0 && p.frames[n-1].version >= s.Version {
		return p.frames[n-1]
	}
	t := topologyOf(s)
	if sign := t.signature(); sign != p.topology || p.layout == nil {
		p.topology, p.layout = sign, encode(layOut(t))
		p.layoutID++
	}
	f := newFrame(s, p.layout, p.layoutID)
	if len(p.frames) == framesKept {
		p.frames = append(p.frames[:0], p.frames[1:]...)
	}
	p.frames = append(p.frames, f)
	return f
}

// find returns the kept frame of a version, or nil.
func (p *publisher) find(version uint64) *frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.frames {
		if f.version == version {
			return f
		}
	}
	return nil
}

// follow registers a stream; nil when there are too many.
func (p *publisher) follow(limit int) (ch chan struct{}, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.clients) >= limit {
		return nil, nil
	}
	ch = make(chan struct{}, 1)
	p.clients[ch] = struct{}{}
	return ch, func() {
		p.mu.Lock()
		delete(p.clients, ch)
		p.mu.Unlock()
	}
}

func (p *publisher) followed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients) > 0
}

func (p *publisher) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ch := range p.clients {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
