package transport

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"sync"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

const (
	pipeBytesMax   = 64 << 10 // buffered per direction of a stream
	pipeStreamsMax = 128      // opened and not yet accepted, per direction
)

// PipeEnd says who sits at one end of a Pipe.
type PipeEnd struct {
	Who    id.Principal // what the other end sees as its Peer
	Holder id.Principal // zero: Who
	Addr   net.Addr     // what the other end sees as RemoteAddr; nil: a made-up one
}

// Pipe is a pair of sessions in memory: the double that behaves as transport/quic
// does. It starts no goroutine.
func Pipe(protocol string, class Class, a, b PipeEnd) (Session, Session) {
	link := &pipeLink{done: make(chan struct{})}
	_, _ = rand.Read(link.secret[:]) // it does not fail
	left := &pipeSession{link: link, protocol: protocol, class: class, peer: b, accept: make(chan *pipeStream, pipeStreamsMax)}
	right := &pipeSession{link: link, protocol: protocol, class: class, peer: a, accept: make(chan *pipeStream, pipeStreamsMax)}
	left.other, right.other = right, left
	return left, right
}

// pipeLink is what the two ends share.
type pipeLink struct {
	done   chan struct{}
	secret [32]byte // of Export

	mu      sync.Mutex
	closed  *pipeSession // who closed first; nil while alive
	code    reason.Code
	why     string
	streams []*pipeStream // both ends of all; ended with the link
}

type pipeSession struct {
	link     *pipeLink
	protocol string
	class    Class
	peer     PipeEnd
	other    *pipeSession
	accept   chan *pipeStream
}

func (s *pipeSession) Peer() id.Principal    { return s.peer.Who }
func (s *pipeSession) Protocol() string      { return s.protocol }
func (s *pipeSession) Class() Class          { return s.class }
func (s *pipeSession) Done() <-chan struct{} { return s.link.done }
func (s *pipeSession) RTT() time.Duration    { return 0 }

// Holder is read by transport.Holder.
func (s *pipeSession) Holder() id.Principal {
	if s.peer.Holder == (id.Principal{}) {
		return s.peer.Who
	}
	return s.peer.Holder
}

// Export is read by transport.Export.
func (s *pipeSession) Export(label string, context []byte, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, s.link.secret[:], context, label, n)
}

func (s *pipeSession) RemoteAddr() net.Addr {
	if s.peer.Addr == nil {
		return pipeAddr{}
	}
	return s.peer.Addr
}

func (s *pipeSession) Err() error {
	select {
	case <-s.link.done:
		return s.link.errorAt(s)
	default:
		return nil
	}
}

func (s *pipeSession) Open(ctx context.Context) (Stream, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	mine, theirs := newPipeStream()
	if !s.link.adopt(s, mine, s.other, theirs) {
		return nil, s.Err()
	}
	select {
	case s.other.accept <- theirs:
		return mine, nil
	case <-s.link.done:
		return nil, s.Err()
	case <-ctx.Done():
		mine.Cancel(reason.TooManyStreams)
		return nil, reason.New(reason.TooManyStreams, "%d streams wait to be accepted: %w", pipeStreamsMax, context.Cause(ctx))
	}
}

func (s *pipeSession) Accept(ctx context.Context) (Stream, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	select {
	case st := <-s.accept:
		return st, nil
	case <-s.link.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *pipeSession) Close(code reason.Code, why string) error {
	l := s.link
	l.mu.Lock()
	if l.closed != nil {
		l.mu.Unlock()
		return nil
	}
	l.closed, l.code, l.why = s, code, why
	streams := l.streams
	l.streams = nil
	l.mu.Unlock()
	close(l.done)
	for _, st := range streams {
		st.end(l.errorAt(st.session))
	}
	return nil
}

// errorAt is why the link ended, as seen at one end.
func (l *pipeLink) errorAt(s *pipeSession) error {
	code := l.code
	if code == reason.OK {
		code = reason.PeerClosed
	}
	if l.closed == s {
		return &reason.Error{Code: code, Detail: "closed here: " + l.why}
	}
	return &reason.Error{Code: code, Detail: "closed by the peer: " + l.why}
}

// adopt ties a pair of streams to the link and drops those that ended long ago.
func (l *pipeLink) adopt(s *pipeSession, mine *pipeStream, o *pipeSession, theirs *pipeStream) bool {
	mine.session, theirs.session = s, o
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return false
	}
	if len(l.streams) == cap(l.streams) {
		live := l.streams[:0]
		for _, st := range l.streams {
			if !st.over() {
				live = append(live, st)
			}
		}
		clear(l.streams[len(live):])
		l.streams = live
	}
	l.streams = append(l.streams, mine, theirs)
	return true
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
