package bridge

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/udp"
)

// puller is another host that wants a channel, as its stream here.
type puller struct {
	node    string
	ends    []End
	session transport.Session
	stream  transport.Stream
	want    *want

	frames  chan []byte // to the stream: whole frames
	stop    chan struct{}
	stopped sync.Once
	dropped atomic.Uint64               // datagrams that the stream had no room for
	state   atomic.Pointer[[]PathState] // of calls

	// of the export's goroutine
	leaves bool     // on purpose: nothing is kept for it
	places []resume // where its next direct node goes on, as it has said at its end
	lanes  map[uint32]*reach
}

// reach is one lane to one puller.
type reach struct {
	id       uint32
	out      *outLane
	puller   *puller
	peer     *udp.Peer
	to       [udp.LinesMax]netip.AddrPort
	detour   detour
	tagged   bool // the publisher waits for it
	feedback uint32
	pending  uint32 // epoch that it has been given and not said to hold; 0: none
}

const (
	framesMax   = 512             // to a stream that takes none: notes end it, datagrams are dropped
	wantWithin  = 5 * time.Second // from the stream's beginning
	writeWithin = 2 * time.Second
)

func newPuller(node string, s transport.Session, st transport.Stream, w *want, ends []End) *puller {
	return &puller{node: node, ends: ends, session: s, stream: st, want: w, frames: make(chan []byte, framesMax), stop: make(chan struct{}), lanes: map[uint32]*reach{}}
}

func readWant(st transport.Stream) (*want, error) {
	if err := st.SetReadDeadline(time.Now().Add(wantWithin)); err != nil {
		return nil, err
	}
	n, _, err := readFrame(st)
	if err != nil {
		return nil, err
	}
	if n == nil || n.Want == nil {
		return nil, reason.New(reason.FrameMalformed, "the first frame is no want")
	}
	return n.Want, st.SetReadDeadline(time.Time{})
}

func sendRefusal(st transport.Stream, err error) {
	text := err.Error()
	b, nerr := appendNote(nil, &note{Refused: &refused{reason.Of(err, reason.RingUnavailable), text[:min(len(text), 512)]}})
	if nerr == nil && st.SetWriteDeadline(time.Now().Add(writeWithin)) == nil {
		if _, werr := st.Write(b); werr == nil && st.CloseWrite() == nil {
			return
		}
	}
	st.Cancel(reason.Of(err, reason.RingUnavailable))
}

// talk writes and reads the stream until it ends.
func (p *puller) talk(e *export) {
	var writing sync.WaitGroup
	writing.Go(p.write)
	for {
		n, datagram, err := readFrame(p.stream)
		if err != nil || !e.post(func() { e.heard(p, n, datagram) }) {
			break
		}
	}
	p.end(reason.PeerClosed)
	writing.Wait()
}

func (p *puller) write() {
	for {
		select {
		case b := <-p.frames:
			if p.stream.SetWriteDeadline(time.Now().Add(writeWithin)) != nil {
				return
			}
			if _, err := p.stream.Write(b); err != nil {
				p.end(reason.PeerLost)
				return
			}
		case <-p.stop:
			return
		}
	}
}

// end cuts the stream; talk then returns.
func (p *puller) end(code reason.Code) {
	p.stopped.Do(func() {
		close(p.stop)
		p.stream.Cancel(code)
	})
}

// say queues a note. A host that leaves so many unread has ended.
func (p *puller) say(n *note) {
	b, err := appendNote(nil, n)
	if err != nil {
		p.end(reason.FrameOversized)
		return
	}
	select {
	case p.frames <- b:
	default:
		p.end(reason.SlowReader)
	}
}

// carry queues a datagram that finds no way by UDP. It may be lost, as there.
func (p *puller) carry(datagram []byte) {
	select {
	case p.frames <- appendDatagram(nil, datagram):
	default:
		p.dropped.Add(1)
	}
}

// newSalt makes the keys of a lane its own, whatever else the session has carried.
func newSalt() []byte {
	b := make([]byte, saltBytes)
	_, _ = rand.Read(b) // it does not fail
	return b
}

// What the keys of a lane are for; a crossing has four more.
const (
	keyBack  = 0 // what the receiver says
	keyThere = 1 // what it receives
)

// secretOf derives one key of a lane.
func secretOf(s transport.Session, w *want, l *lane, what byte) (out udp.Secret, err error) {
	c := append([]byte{protocolVersion, what}, w.Salt...)
	c = binary.LittleEndian.AppendUint32(append(c, l.Salt...), l.ID)
	b, err := transport.Export(s, "EXPORTER-fire-bridge", append(c, w.Channel...), len(out))
	if err != nil {
		return out, err
	}
	return udp.Secret(b), nil
}
