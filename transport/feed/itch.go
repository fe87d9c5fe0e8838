package feed

import (
	"encoding/binary"
	"time"

	"fire/policy/reason"
)

// Kind is an ITCH 5.0 message type.
type Kind byte

const (
	SystemEvent    Kind = 'S'
	StockDirectory Kind = 'R'
	AddOrder       Kind = 'A'
	OrderExecuted  Kind = 'E'
	OrderCancel    Kind = 'X'
	OrderDelete    Kind = 'D'
	OrderReplace   Kind = 'U'
	Trade          Kind = 'P'
)

// PriceScale is the number of fraction digits of Message.Price.
const PriceScale = 4

// Message is what a book needs of an ITCH message; which fields count depends on
// Kind.
type Message struct {
	Kind   Kind
	Locate uint16        // the stock's number for this day
	At     time.Duration // since midnight; the wire has 48 bits
	Order  uint64        // order reference
	New    uint64        // OrderReplace: the new reference
	Match  uint64        // OrderExecuted, Trade
	Side   byte          // 'B' or 'S'
	Shares uint32
	Price  uint32 // times 10^-PriceScale
	Stock  [8]byte
	Event  byte // SystemEvent: 'O' 'S' 'Q' 'M' 'E' 'C'
}

// ErrMessage is what ParseMessage returns for a length or type it does not know.
var ErrMessage = reason.New(reason.FrameMalformed, "itch: no such message, or of the wrong length")

// messageBytes is the wire size of a kind, 0 for one that is not known here.
func messageBytes(k Kind) int {
	switch k {
	case SystemEvent:
		return 12
	case StockDirectory:
		return 39
	case AddOrder:
		return 36
	case OrderExecuted:
		return 31
	case OrderCancel:
		return 23
	case OrderDelete:
		return 19
	case OrderReplace:
		return 35
	case Trade:
		return 44
	}
	return 0
}

// AppendMessage appends m's wire form; an unknown kind appends nothing.
func AppendMessage(b []byte, m *Message) []byte {
	if messageBytes(m.Kind) == 0 {
		return b
	}
	be := binary.BigEndian
	b = append(b, byte(m.Kind))
	b = be.AppendUint16(b, m.Locate)
	b = be.AppendUint16(b, 0) // tracking number
	b = be.AppendUint16(b, uint16(m.At>>32))
	b = be.AppendUint32(b, uint32(m.At))
	switch m.Kind {
	case SystemEvent:
		return append(b, m.Event)
	case StockDirectory:
		b = append(b, m.Stock[:]...)
		b = append(b, 'Q', 'N')                                    // market category, financial status normal
		b = be.AppendUint32(b, 100)                                // round lot
		b = append(b, 'N', 'C', 'Z', ' ', 'T', 'N', 'N', '1', 'N') // not round lots only, common stock, sub-type, test, short sale, IPO, LULD tier, ETP
		b = be.AppendUint32(b, 0)                                  // ETP leverage
		return append(b, 'N')                                      // inverse
	}
	if m.Kind != Trade {
		b = be.AppendUint64(b, m.Order)
	}
	switch m.Kind {
	case AddOrder:
		b = append(b, m.Side)
		b = be.AppendUint32(b, m.Shares)
		b = append(b, m.Stock[:]...)
		b = be.AppendUint32(b, m.Price)
	case OrderExecuted:
		b = be.AppendUint32(b, m.Shares)
		b = be.AppendUint64(b, m.Match)
	case OrderCancel:
		b = be.AppendUint32(b, m.Shares)
	case OrderReplace:
		b = be.AppendUint64(b, m.New)
		b = be.AppendUint32(b, m.Shares)
		b = be.AppendUint32(b, m.Price)
	case Trade:
		b = be.AppendUint64(b, 0) // order reference: zero since 2010 (ITCH 5.0 section 1.6.1)
		b = append(b, m.Side)
		b = be.AppendUint32(b, m.Shares)
		b = append(b, m.Stock[:]...)
		b = be.AppendUint32(b, m.Price)
		b = be.AppendUint64(b, m.Match)
	}
	return b
}

// ParseMessage reads one whole message.
func ParseMessage(b []byte, m *Message) error {
	if len(b) == 0 || messageBytes(Kind(b[0])) != len(b) {
		return ErrMessage
	}
	be := binary.BigEndian
	*m = Message{Kind: Kind(b[0]), Locate: be.Uint16(b[1:]), At: time.Duration(be.Uint16(b[5:]))<<32 | time.Duration(be.Uint32(b[7:]))}
	b = b[11:]
	switch m.Kind {
	case SystemEvent:
		m.Event = b[0]
		return nil
	case StockDirectory:
		copy(m.Stock[:], b)
		return nil
	}
	if m.Kind != Trade {
		m.Order = be.Uint64(b)
	}
	b = b[8:]
	switch m.Kind {
	case AddOrder, Trade:
		m.Side, m.Shares, m.Price = b[0], be.Uint32(b[1:]), be.Uint32(b[13:])
		copy(m.Stock[:], b[5:13])
		if m.Kind == Trade {
			m.Match = be.Uint64(b[17:])
		}
	case OrderExecuted:
		m.Shares, m.Match = be.Uint32(b), be.Uint64(b[4:])
	case OrderCancel:
		m.Shares = be.Uint32(b)
	case OrderReplace:
		m.New, m.Shares, m.Price = be.Uint64(b), be.Uint32(b[8:]), be.Uint32(b[12:])
	}
	return nil
}
