package bridge

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"

	"fire/policy/reason"
	"fire/transport/udp"
)

// What two direct nodes say to each other on a stream: one stream for a channel that one of
// them wants from the other. A frame is
//
//	length u32, little-endian; bit 31 set: a sealed datagram that found no way by UDP;
//	else a note in JSON
const (
	noteBytesMax = 16 << 10
	datagramMark = 1 << 31
)

// note is one message. Exactly one field is set.
type note struct {
	Want    *want     `json:"want,omitempty"`    // the first, from who wants
	Lane    *lane     `json:"lane,omitempty"`    // of a publisher, to who wants
	Gone    *gone     `json:"gone,omitempty"`    // the lane has ended, and nothing more of it comes
	Blocked *blocked  `json:"blocked,omitempty"` // no datagram comes: send over this stream
	Clear   *clearing `json:"clear,omitempty"`   // datagrams come again, at this end
	Epoch   *epoch    `json:"epoch,omitempty"`   // the next key of a group
	Taken   *taken    `json:"taken,omitempty"`   // the same, held
	Refused *refused  `json:"refused,omitempty"` // the end, and why
	Leave   *leave    `json:"leave,omitempty"`   // the end on purpose, from who wants: nothing is to be kept
}

// want asks for everything that is published on a channel.
type want struct {
	Version   int              `json:"version"`
	Channel   string           `json:"channel"`
	To        []netip.AddrPort `json:"to"` // by line
	Datagrams int              `json:"datagram_bytes"`
	Window    int              `json:"window_packets"`
	Salt      []byte           `json:"salt"`
	Resume    []resume         `json:"resume,omitempty"` // orders whose way was cut off
}

// resume is how far a stream had come over a session that has ended.
type resume struct {
	Stream  []byte `json:"stream"`
	Packet  uint64 `json:"packet"`
	Message uint64 `json:"message"` // the first that has not been handed over
}

// leave says goodbye: for good, or with the places where this host's next direct node goes on.
type leave struct {
	Resume []resume `json:"resume,omitempty"`
}

// lane is one publisher, and all that is needed to receive from it. Of keys it holds only
// what the session's own secret is mixed with, but for a group.
type lane struct {
	ID        uint32           `json:"lane"` // the index in the datagrams to who wants
	Feedback  uint32           `json:"feedback"`
	Service   string           `json:"service"`
	From      []netip.AddrPort `json:"from"` // by line
	Datagrams int              `json:"datagram_bytes"`
	Window    int              `json:"window_packets"`
	Lossy     bool             `json:"lossy"`
	Packet    uint64           `json:"packet"`
	Message   uint64           `json:"message"`
	Salt      []byte           `json:"salt"`
	Stream    []byte           `json:"stream"`         // names the stream over sessions
	Skip      uint64           `json:"skip,omitempty"` // messages before were handed over: it goes on where it was cut off
	Group     *group           `json:"group,omitempty"`
}

// group is how a lane is sent to many at once.
type group struct {
	To     []netip.AddrPort `json:"to"` // by line
	Epoch  uint32           `json:"epoch"`
	Secret []byte           `json:"secret"`
	Public []byte           `json:"public"` // Ed25519, of the checkpoints
	Chain  []byte           `json:"chain"`  // of the packets before the lane's first
}

type gone struct {
	ID uint32 `json:"lane"`
}

type blocked struct {
	ID uint32 `json:"lane"`
}

type clearing struct {
	ID   uint32 `json:"lane"`
	Back bool   `json:"back,omitempty"` // an answer: this end uses datagrams
}

type epoch struct {
	ID     uint32 `json:"lane"`
	Epoch  uint32 `json:"epoch"`
	Secret []byte `json:"secret"`
}

type taken struct {
	ID    uint32 `json:"lane"`
	Epoch uint32 `json:"epoch"`
}

type refused struct {
	Reason reason.Code `json:"reason"`
	Text   string      `json:"text"`
}

// protocolVersion is of notes and of what they agree on.
const protocolVersion = 2

// appendNote appends a frame.
func appendNote(b []byte, n *note) ([]byte, error) {
	body, err := json.Marshal(n)
	if err != nil {
		return b, fmt.Errorf("note: %w", err)
	}
	if len(body) > noteBytesMax {
		return b, fmt.Errorf("note of %d bytes, %d are legal", len(body), noteBytesMax)
	}
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(body))), body...), nil
}

// appendDatagram appends a sealed datagram as a frame.
func appendDatagram(b, datagram []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(datagram))|datagramMark), datagram...)
}

// readFrame reads one frame: a note, or a datagram of its own memory.
func readFrame(r io.Reader) (n *note, datagram []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, nil, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length&datagramMark != 0 {
		if length &^= datagramMark; length > udp.DatagramBytesMax || length < udp.OverheadBytes {
			return nil, nil, reason.New(reason.FrameOversized, "a datagram of %d bytes, %d to %d are legal", length, udp.OverheadBytes, udp.DatagramBytesMax)
		}
		b := make([]byte, length)
		_, err := io.ReadFull(r, b)
		return nil, b, err
	}
	if length > noteBytesMax {
		return nil, nil, reason.New(reason.FrameOversized, "a note of %d bytes, %d are legal", length, noteBytesMax)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, nil, err
	}
	n, err = parseNote(b)
	return n, nil, err
}

// parseNote checks everything that the other side could say wrong.
func parseNote(b []byte) (*note, error) {
	n := &note{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(n); err != nil {
		return nil, reason.New(reason.FrameMalformed, "note: %w", err)
	}
	if problem := n.problem(); problem != "" {
		return nil, reason.New(reason.FrameMalformed, "note: %s", problem)
	}
	return n, nil
}

const saltBytes = 16

// windowBytesMax bounds the memory that a lane costs its receiver.
const windowBytesMax = 64 << 20

func (n *note) problem() string {
	set := 0
	for _, is := range []bool{n.Want != nil, n.Lane != nil, n.Gone != nil, n.Blocked != nil, n.Clear != nil, n.Epoch != nil, n.Taken != nil, n.Refused != nil, n.Leave != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Sprintf("%d things at once", set)
	case n.Want != nil:
		return n.Want.problem()
	case n.Lane != nil:
		return n.Lane.problem()
	case n.Leave != nil:
		return n.Leave.problem()
	case n.Epoch != nil && len(n.Epoch.Secret) != len(udp.Secret{}):
		return "an epoch's secret of another length"
	case n.Refused != nil && len(n.Refused.Text) > 512:
		return "a long excuse"
	}
	return ""
}

func (w *want) problem() string {
	switch {
	case w.Version != protocolVersion:
		return fmt.Sprintf("version %d, this fire speaks %d", w.Version, protocolVersion)
	case len(w.Channel) == 0 || len(w.Channel) > 63:
		return "a channel without a name"
	case len(w.Salt) != saltBytes:
		return "a salt of another length"
	}
	if problem := places(w.Resume); problem != "" {
		return problem
	}
	return sizes(w.To, w.Datagrams, w.Window)
}

func (l *leave) problem() string { return places(l.Resume) }

func places(all []resume) string {
	if len(all) > insMax {
		return fmt.Sprintf("%d streams to be resumed", len(all))
	}
	for _, r := range all {
		if len(r.Stream) != saltBytes {
			return "a stream's name of another length"
		}
	}
	return ""
}

func (l *lane) problem() string {
	if len(l.Service) == 0 || len(l.Service) > 63 || len(l.Salt) != saltBytes || len(l.Stream) != saltBytes {
		return "a lane without a service, or a salt or a stream's name of another length"
	}
	if g := l.Group; g != nil {
		if len(g.Secret) != len(udp.Secret{}) || len(g.Public) != 32 || len(g.Chain) != 32 {
			return "a group's keys or chain of another length"
		}
		for _, a := range g.To {
			if !a.Addr().IsMulticast() {
				return fmt.Sprintf("group %v is no multicast address", a)
			}
		}
		if len(g.To) != len(l.From) {
			return "a group of other lines"
		}
	}
	return sizes(l.From, l.Datagrams, l.Window)
}

func sizes(lines []netip.AddrPort, datagrams, window int) string {
	if len(lines) == 0 || len(lines) > udp.LinesMax {
		return fmt.Sprintf("%d lines, 1 to %d are legal", len(lines), udp.LinesMax)
	}
	for _, a := range lines {
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
			return fmt.Sprintf("line %v is no address to send to", a)
		}
	}
	if datagrams*window > windowBytesMax {
		return fmt.Sprintf("a window of %d datagrams of %d bytes, above %d bytes", window, datagrams, windowBytesMax)
	}
	if datagrams < udp.DatagramBytesMin || datagrams > udp.DatagramBytesMax || window < 8 || window > 65536 || window&(window-1) != 0 {
		return fmt.Sprintf("datagrams of %d bytes, a window of %d", datagrams, window)
	}
	return ""
}
