package udp

import "encoding/binary"

// Sizes of the wire format, which doc.go draws.
const (
	HeaderBytes = 16
	TagBytes    = 16
	// OverheadBytes is what a datagram has beside its payload.
	OverheadBytes = HeaderBytes + TagBytes

	dataHeadBytes  = 24
	frameHeadBytes = 4
	fragmentMax    = 1<<14 - 1

	// MessageBytesMax is the longest message.
	MessageBytesMax = 64 << 10

	// DatagramBytesMin and Max bound what a datagram may be set to.
	DatagramBytesMin = 256
	DatagramBytesMax = 16 << 10
)

// PacketsMost is how many packets the longest message takes with datagrams of that length,
// and one that has begun before it: a window of fewer never has room for certain.
func PacketsMost(datagramBytes int) int {
	return (frameHeadBytes+MessageBytesMax)/(datagramBytes-OverheadBytes-dataHeadBytes-frameHeadBytes) + 2
}

// What a datagram carries: the first byte of its header.
const (
	typeData       = 1
	typeHeartbeat  = 2
	typeStatus     = 3
	typeNak        = 4
	typeCheckpoint = 5
	typeBye        = 6
)

// Marks of a frame, in the two upper bits of its length.
const (
	frameBegin = 1 << 15
	frameEnd   = 1 << 14
)

// header is the 16 bytes that every datagram begins with. They are authenticated.
type header struct {
	typ        uint8
	generation uint8 // of the key, its lower 8 bits
	index      uint32
	counter    uint64
}

func (h *header) put(b []byte) {
	b[0], b[1], b[2], b[3] = h.typ, h.generation, 0, 0
	binary.LittleEndian.PutUint32(b[4:], h.index)
	binary.LittleEndian.PutUint64(b[8:], h.counter)
}

// parseHeader refuses what is too short, and reserved bytes that are not zero.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < OverheadBytes || b[2] != 0 || b[3] != 0 {
		return header{}, false
	}
	return header{b[0], b[1], binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:])}, true
}

// Index says which flow of a socket a datagram is for; false for what is none of ours.
// Nothing is proved by it.
func Index(datagram []byte) (uint32, bool) {
	h, ok := parseHeader(datagram)
	return h.index, ok
}

// heartbeat is where a sender stands.
type heartbeat struct {
	next    uint64 // the packet that comes next
	message uint64 // the message that begins next
	oldest  uint64 // the first packet that can be had again
	at      int64  // sender's clock, echoed by status
}

const heartbeatBytes = 32

func (h *heartbeat) append(b []byte) []byte {
	le := binary.LittleEndian
	return le.AppendUint64(le.AppendUint64(le.AppendUint64(le.AppendUint64(b, h.next), h.message), h.oldest), uint64(h.at))
}

// parseHeartbeat ignores the padding that tries the path's size.
func parseHeartbeat(b []byte) (h heartbeat, ok bool) {
	if len(b) < heartbeatBytes {
		return h, false
	}
	le := binary.LittleEndian
	h = heartbeat{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), int64(le.Uint64(b[24:]))}
	return h, h.oldest <= h.next
}

// status is where a receiver stands.
type status struct {
	next   uint64 // everything before is handed over, or given up
	window uint32 // packets from next on that it has room for
	echo   int64  // at of the newest heartbeat, 0 for none
	held   int64  // how long ago that was, in nanoseconds
	lost   uint64 // messages given up
}

const statusBytes = 40

func (s *status) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, s.next)
	b = le.AppendUint32(le.AppendUint32(b, s.window), 0)
	return le.AppendUint64(le.AppendUint64(le.AppendUint64(b, uint64(s.echo)), uint64(s.held)), s.lost)
}

func parseStatus(b []byte) (s status, ok bool) {
	if len(b) != statusBytes {
		return s, false
	}
	le := binary.LittleEndian
	return status{le.Uint64(b), le.Uint32(b[8:]), int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:])), le.Uint64(b[32:])}, true
}

// nakRangesMax bounds what one NAK asks for.
const nakRangesMax = 32

const rangeBytes = 12

// span is packets first to first+count-1.
type span struct {
	first uint64
	count uint32
}

func appendSpans(b []byte, spans []span) []byte {
	for _, s := range spans {
		b = binary.LittleEndian.AppendUint64(b, s.first)
		b = binary.LittleEndian.AppendUint32(b, s.count)
	}
	return b
}

// spanAt reads one of a NAK's spans; the NAK's length is checked before.
func spanAt(b []byte, i int) span {
	b = b[i*rangeBytes:]
	return span{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])}
}

func nakSpans(b []byte) (n int, ok bool) {
	n = len(b) / rangeBytes
	return n, len(b)%rangeBytes == 0 && n > 0 && n <= nakRangesMax
}

// dataHead is what a data payload begins with.
type dataHead struct {
	packet  uint64
	message uint64 // the number of the first message that begins here, or after
	at      int64  // sender's clock when the first of them was offered
}

func (d *dataHead) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, d.packet)
	le.PutUint64(b[8:], d.message)
	le.PutUint64(b[16:], uint64(d.at))
}

func parseData(b []byte) (d dataHead, frames []byte, ok bool) {
	if len(b) < dataHeadBytes {
		return d, nil, false
	}
	le := binary.LittleEndian
	return dataHead{le.Uint64(b), le.Uint64(b[8:]), int64(le.Uint64(b[16:]))}, b[dataHeadBytes:], true
}

// frame is a message, or a fragment of one.
type frame struct {
	begin, end bool
	typ        uint16
	body       []byte
}

// takeFrame reads the frame in front.
func takeFrame(b []byte) (f frame, rest []byte, ok bool) {
	if len(b) < frameHeadBytes {
		return f, nil, false
	}
	l := binary.LittleEndian.Uint16(b)
	n := int(l & fragmentMax)
	if n > len(b)-frameHeadBytes {
		return f, nil, false
	}
	f = frame{l&frameBegin != 0, l&frameEnd != 0, binary.LittleEndian.Uint16(b[2:]), b[frameHeadBytes : frameHeadBytes+n]}
	return f, b[frameHeadBytes+n:], true
}

func putFrameHead(b []byte, n int, marks uint16, typ uint16) {
	binary.LittleEndian.PutUint16(b, uint16(n)|marks)
	binary.LittleEndian.PutUint16(b[2:], typ)
}
