package transport

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"fire/policy/reason"
)

// pipeStream is one end: it reads one half and writes the other.
type pipeStream struct {
	session *pipeSession
	in, out *pipeHalf
}

func newPipeStream() (*pipeStream, *pipeStream) {
	there, back := newPipeHalf(), newPipeHalf()
	return &pipeStream{in: back, out: there}, &pipeStream{in: there, out: back}
}

func (s *pipeStream) Read(p []byte) (int, error)  { return s.in.read(p) }
func (s *pipeStream) Write(p []byte) (int, error) { return s.out.write(p) }

func (s *pipeStream) SetReadDeadline(t time.Time) error  { return s.in.readEnd.deadline(s.in, t) }
func (s *pipeStream) SetWriteDeadline(t time.Time) error { return s.out.writeEnd.deadline(s.out, t) }

func (s *pipeStream) CloseWrite() error {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.finished = true
	s.out.changed.Broadcast()
	return s.out.writeEnd.err
}

func (s *pipeStream) Cancel(code reason.Code) {
	own := &reason.Error{Code: code, Detail: "cancelled here"}
	theirs := &reason.Error{Code: code, Detail: "cancelled by the peer"}
	s.in.reset(own, theirs)
	s.out.reset(theirs, own)
}

// end takes both halves down with the session, seen from this end alone.
func (s *pipeStream) end(err error) {
	s.in.reset(err, nil)
	s.out.reset(nil, err)
}

// over tells whether nothing can happen on this stream any more.
func (s *pipeStream) over() bool { return s.in.over() && s.out.over() }

// pipeHalf is one direction: a bounded ring of bytes and the state of its two ends.
type pipeHalf struct {
	mu       sync.Mutex
	changed  sync.Cond
	ring     []byte // grows to pipeBytesMax
	head     int
	used     int
	finished bool // the writer sent its last byte
	drained  bool // the reader saw io.EOF
	readEnd  pipeSide
	writeEnd pipeSide
}

// pipeSide is what only one end of a half sees; guarded by the half's mu.
type pipeSide struct {
	err   error
	late  time.Time
	timer *time.Timer
}

func newPipeHalf() *pipeHalf {
	h := &pipeHalf{}
	h.changed.L = &h.mu
	return h
}

func (h *pipeHalf) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.drained:
			return 0, io.EOF
		case h.readEnd.err != nil:
			return 0, h.readEnd.err
		case h.readEnd.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case h.used > 0:
			n := h.take(p)
			h.changed.Broadcast()
			return n, nil
		case h.finished:
			h.drained = true
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *pipeHalf) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writeEnd.err != nil:
			return n, h.writeEnd.err
		case h.finished:
			return n, fmt.Errorf("write after CloseWrite: %w", io.ErrClosedPipe)
		case h.writeEnd.passed():
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		if m := h.put(p); m > 0 {
			n, p = n+m, p[m:]
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// reset ends the half: reader and writer each get their own error, the first one stays.
func (h *pipeHalf) reset(reader, writer error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readEnd.err == nil && reader != nil {
		h.readEnd.err = reader
	}
	if h.writeEnd.err == nil && writer != nil {
		h.writeEnd.err = writer
	}
	if !h.drained {
		h.ring, h.used = nil, 0
	}
	h.changed.Broadcast()
}

func (h *pipeHalf) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drained || h.readEnd.err != nil && h.writeEnd.err != nil
}

// put copies as much of p as fits.
func (h *pipeHalf) put(p []byte) (n int) {
	if h.used == len(h.ring) && len(h.ring) < pipeBytesMax {
		grown := make([]byte, max(1024, min(2*len(h.ring), pipeBytesMax)))
		h.used, h.head = h.take(grown), 0
		h.ring = grown
	}
	for len(p) > 0 && h.used < len(h.ring) {
		tail := (h.head + h.used) % len(h.ring)
		end := len(h.ring)
		if tail < h.head {
			end = h.head
		}
		m := copy(h.ring[tail:end], p)
		h.used, n, p = h.used+m, n+m, p[m:]
	}
	return n
}

// take moves bytes out of the ring.
func (h *pipeHalf) take(p []byte) (n int) {
	for len(p) > 0 && h.used > 0 {
		m := copy(p, h.ring[h.head:min(h.head+h.used, len(h.ring))])
		h.head, h.used, n, p = (h.head+m)%len(h.ring), h.used-m, n+m, p[m:]
	}
	return n
}

func (s *pipeSide) passed() bool { return !s.late.IsZero() && !time.Now().Before(s.late) }

// deadline sets the moment and wakes whoever waits then, or now when it has passed.
func (s *pipeSide) deadline(h *pipeHalf, t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.late = t; !t.IsZero() {
		s.timer = time.AfterFunc(time.Until(t), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changed.Broadcast()
		})
	}
	h.changed.Broadcast()
	return nil
}
