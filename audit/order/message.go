package order

import (
	"errors"
	"math"

	"fire/audit/entry"
	"fire/transport/fix"
)

// TextBytesMax is the longest value that becomes a field of an entry: half an identifier would
// be another one, so a longer one is left to the entry's content.
const TextBytesMax = 1024

// trailBytesMax is the same for the trail of hops.
const trailBytesMax = 4096

// ErrFollowed is of bytes that go on after the message.
var ErrFollowed = errors.New("order: more bytes follow the message; give one at a time")

// Message is what the log keeps of one FIX message. The slices lie in the bytes that were read;
// a field that is not there, or empty, has none. The zero value works, and is used again and again.
type Message struct {
	Type        []byte // 35
	Sender      []byte // 49
	Target      []byte // 56
	ClOrdID     []byte // 11
	OrigClOrdID []byte // 41
	OrderID     []byte // 37
	ExecID      []byte // 17
	Symbol      []byte // 55
	ExecType    []byte // 150
	OrdStatus   []byte // 39
	SentAt      []byte // 52
	FirstSentAt []byte // 122
	SeqNum      uint64 // 34; 0: not there, or no number
	NewSeqNum   uint64 // 36, of a SequenceReset
	Marks       uint64 // entry.Mark...
	Omitted     int    // values longer than TextBytesMax, which are in the content alone
	trail       trail
}

// Read takes the fields out of one whole message of any version. What cannot be read is marked as
// garbled and has nothing else, and the error says why. Where a field comes more than once, in a
// repeating group, the first counts. Nothing is allocated once the trail's memory has grown.
func (m *Message) Read(raw []byte) error {
	*m = Message{trail: m.trail.empty()}
	var f fix.Message
	n, err := fix.Next(raw, &f, math.MaxInt)
	if err == nil && n != len(raw) {
		err = ErrFollowed
	}
	if err == nil {
		err = m.fields(&f)
	}
	if err != nil {
		*m = Message{Marks: entry.MarkGarbled, trail: m.trail.empty()}
	}
	return err
}

// Append adds what was read: the fields entry.MsgType to entry.Trail. Digest and Size come
// before, Content after.
func (m *Message) Append(b *entry.Builder) {
	b.Bytes(entry.MsgType, m.Type)
	b.Uint(entry.SeqNum, m.SeqNum)
	b.Bytes(entry.Sender, m.Sender)
	b.Bytes(entry.Target, m.Target)
	b.Bytes(entry.ClOrdID, m.ClOrdID)
	b.Bytes(entry.OrigID, m.OrigClOrdID)
	b.Bytes(entry.OrderID, m.OrderID)
	b.Bytes(entry.ExecID, m.ExecID)
	b.Bytes(entry.Symbol, m.Symbol)
	b.Bytes(entry.ExecType, m.ExecType)
	b.Bytes(entry.OrdStatus, m.OrdStatus)
	b.Bytes(entry.SentAt, m.SentAt)
	b.Bytes(entry.FirstSent, m.FirstSentAt)
	b.Uint(entry.Marks, m.Marks)
	b.Uint(entry.NewSeqNum, m.NewSeqNum)
	b.Bytes(entry.Trail, m.Trail())
}

// Trail is the message's own hops (627 to 630), as entry.Trail holds them. It is valid until the
// next Read.
func (m *Message) Trail() []byte { return m.trail.text }

// Garbled says that the bytes were no message.
func (m *Message) Garbled() bool { return m.Marks&entry.MarkGarbled != 0 }

func (m *Message) fields(f *fix.Message) error {
	m.text(&m.Type, f.Type)
	gapFill, resetLogon := false, false
	walk := f.Fields()
	for {
		tag, v, ok := walk.Next()
		if !ok {
			break
		}
		switch tag {
		case 11:
			m.text(&m.ClOrdID, v)
		case 17:
			m.text(&m.ExecID, v)
		case 34:
			unsigned(&m.SeqNum, v)
		case 36:
			unsigned(&m.NewSeqNum, v)
		case 37:
			m.text(&m.OrderID, v)
		case 39:
			m.text(&m.OrdStatus, v)
		case 41:
			m.text(&m.OrigClOrdID, v)
		case 43:
			m.mark(v, entry.MarkPossDup)
		case 49:
			m.text(&m.Sender, v)
		case 52:
			m.text(&m.SentAt, v)
		case 55:
			m.text(&m.Symbol, v)
		case 56:
			m.text(&m.Target, v)
		case 97:
			m.mark(v, entry.MarkPossResend)
		case 122:
			m.text(&m.FirstSentAt, v)
		case 123:
			gapFill = gapFill || yes(v)
		case 141:
			resetLogon = resetLogon || yes(v)
		case 150:
			m.text(&m.ExecType, v)
		case 628, 629, 630:
			m.trail.add(tag, v)
		}
	}
	m.finish(gapFill, resetLogon)
	return walk.Err()
}

// finish draws what only the whole message tells. SequenceReset without GapFillFlag=Y is a reset
// (FIX session layer, "Sequence Reset - Reset"); NewSeqNo is of it alone.
func (m *Message) finish(gapFill, resetLogon bool) {
	sequenceReset := string(m.Type) == "4"
	switch {
	case sequenceReset && gapFill:
		m.Marks |= entry.MarkGapFill
	case sequenceReset, resetLogon && string(m.Type) == "A":
		m.Marks |= entry.MarkReset
	}
	if !sequenceReset {
		m.NewSeqNum = 0
	}
	m.trail.end()
	if len(m.trail.text) > trailBytesMax {
		m.trail = m.trail.empty()
		m.Omitted++
	}
}

// text takes a field's first value. One that is too long leaves an empty slice, so that no later
// value takes its place.
func (m *Message) text(to *[]byte, v []byte) {
	switch {
	case *to != nil:
	case len(v) > TextBytesMax:
		*to = v[:0]
		m.Omitted++
	default:
		*to = v
	}
}

func (m *Message) mark(v []byte, bit uint64) {
	if yes(v) {
		m.Marks |= bit
	}
}

func yes(v []byte) bool { return len(v) == 1 && v[0] == 'Y' }

func unsigned(to *uint64, v []byte) {
	if n, ok := fix.Uint(v); ok && *to == 0 {
		*to = n
	}
}
