package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

// httpFar is one connection towards the destination: a mesh stream at the client's
// side, a connection to the application at the server's.
type httpFar struct {
	transport.Stream
	gone, slow reason.Code // what an early end and a time-out of this connection mean
	owner      httpOwner
	key        string        // of its pool
	since      time.Time     // idle since; valid in the pool
	reached    *reached      // of a mesh stream
	began      time.Duration // of the request under way, on the proxy's clock
}

// httpOwner takes a far connection back.
type httpOwner interface {
	finished(f *httpFar, end httpEnd) // its request has ended
	dropped(f *httpFar)               // it was thrown out of the pool and has been cancelled
}

// httpEnd is how a request left its far connection.
type httpEnd struct {
	reusable bool
	answered bool  // a response came
	blame    error // what was the destination's fault; nil = nothing
}

// finish ends the request's use of the connection.
func (f *httpFar) finish(end httpEnd) { f.owner.finished(f, end) }

// explain gives an error of the connection its code.
func (f *httpFar) explain(err error) error {
	if e, ok := errors.AsType[*reason.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reason.New(f.slow, "the destination did not answer in time")
	case errors.Is(err, io.EOF):
		return reason.New(f.gone, "the connection ended before the whole response")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return reason.New(reason.AppReset, "%w", err)
	}
	return reason.New(f.gone, "%w", err)
}

// httpPool keeps far connections between requests, the last used first. Each is
// looked at before it is used again: one that ended, or an application's that said
// something unasked, is thrown away, so that no request is lost on it.
type httpPool struct {
	idle   time.Duration
	keyMax int // kept per key

	mu     sync.Mutex // guards what follows; never held across I/O
	kept   map[string][]*httpFar
	timer  *time.Timer // runs while anything is kept
	closed bool
}

func newHTTPPool(idle time.Duration, keyMax int) *httpPool {
	return &httpPool{idle: idle, keyMax: keyMax, kept: map[string][]*httpFar{}}
}

// get returns a living kept connection of the key, or nil.
func (p *httpPool) get(key string) *httpFar {
	for {
		f := p.pop(key)
		if f == nil {
			return nil
		}
		if time.Since(f.since) < p.idle && quiet(f.Stream) {
			return f
		}
		f.drop()
	}
}

func (f *httpFar) drop() {
	f.Cancel(reason.OK)
	f.owner.dropped(f)
}

func (p *httpPool) pop(key string) *httpFar {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.kept[key]
	if len(list) == 0 {
		return nil
	}
	f := list[len(list)-1]
	list[len(list)-1] = nil
	p.kept[key] = list[:len(list)-1]
	return f
}

// put keeps a connection, or ends it when there are enough.
func (p *httpPool) put(f *httpFar) {
	f.since = time.Now()
	p.mu.Lock()
	full := p.closed || len(p.kept[f.key]) >= p.keyMax
	if !full {
		p.kept[f.key] = append(p.kept[f.key], f)
		if p.timer == nil {
			p.timer = time.AfterFunc(p.idle, p.sweep)
		}
	}
	p.mu.Unlock()
	if full {
		f.drop()
	}
}

// sweep ends what has been idle for too long. Idle times grow towards the front.
func (p *httpPool) sweep() {
	var old []*httpFar
	p.mu.Lock()
	for key, list := range p.kept {
		n := 0
		for n < len(list) && time.Since(list[n].since) >= p.idle {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(p.kept, key)
		} else {
			p.kept[key] = append([]*httpFar(nil), list[n:]...)
		}
	}
	p.timer = nil
	if len(p.kept) > 0 && !p.closed {
		p.timer = time.AfterFunc(p.idle/2, p.sweep)
	}
	p.mu.Unlock()
	for _, f := range old {
		f.drop()
	}
}

// close ends every kept connection and keeps no more.
func (p *httpPool) close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	kept := p.kept
	p.kept = nil
	p.mu.Unlock()
	for _, list := range kept {
		for _, f := range list {
			f.drop()
		}
	}
}

// quiet reports whether an idle connection may carry another request. A socket is
// looked into. A mesh stream knows whether it was cancelled. What else could be wrong
// with it would be the doing of the other proxy, which proved who it is.
func quiet(s transport.Stream) bool {
	switch s := s.(type) {
	case interface{ quiet() bool }:
		return s.quiet()
	case interface{ Alive() bool }:
		return s.Alive()
	}
	_ = s.SetReadDeadline(time.Unix(1, 0)) // a stream of another transport says so first
	var b [1]byte
	n, err := s.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && s.SetReadDeadline(time.Time{}) == nil
}
