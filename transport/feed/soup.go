package feed

import (
	"encoding/binary"
	"time"

	"fire/policy/reason"
)

// Type is a SoupBinTCP packet type.
type Type byte

const (
	Debug           Type = '+'
	Unsequenced     Type = 'U'
	Login           Type = 'L'
	ClientHeartbeat Type = 'R'
	Logout          Type = 'O'
	LoginAccepted   Type = 'A'
	LoginRejected   Type = 'J'
	Sequenced       Type = 'S'
	ServerHeartbeat Type = 'H'
	EndOfSession    Type = 'Z'
)

// Reasons of LoginRejected.
const (
	NotAuthorized byte = 'A'
	NoSuchSession byte = 'S'
)

// The specification's times: a heartbeat after a second of silence, and a peer
// that was silent for fifteen is gone.
const (
	HeartbeatInterval = time.Second
	SilenceMax        = 15 * time.Second
)

// PacketBytesMax is the largest packet that the length field can tell.
const PacketBytesMax = 2 + 0xffff

// What Next and the parsers return. All but ErrShort end the stream. They are
// compared by identity and never changed.
var (
	ErrShort     = reason.New(reason.FrameTruncated, "soupbintcp: the packet is not whole yet")
	ErrLength    = reason.New(reason.FrameMalformed, "soupbintcp: length zero")
	ErrType      = reason.New(reason.FrameMalformed, "soupbintcp: no such packet type")
	ErrPayload   = reason.New(reason.FrameMalformed, "soupbintcp: payload of the wrong size or form for its type")
	ErrOversized = reason.New(reason.FrameOversized, "soupbintcp: packet above the bound")
)

// Packet is a view of one packet.
type Packet struct {
	Type    Type
	Payload []byte
}

// Next reads the packet at the front of b. ErrShort asks for more bytes; any other
// error ends the stream. bytesMax bounds the whole packet.
func Next(b []byte, p *Packet, bytesMax int) (n int, err error) {
	if len(b) < 2 {
		return 0, ErrShort
	}
	length := int(binary.BigEndian.Uint16(b))
	if length == 0 {
		return 0, ErrLength
	}
	if n = 2 + length; n > bytesMax {
		return 0, ErrOversized
	}
	if len(b) >= 3 {
		want, ok := payloadBytes(Type(b[2]))
		if !ok {
			return 0, ErrType
		}
		if want >= 0 && length-1 != want {
			return 0, ErrPayload
		}
	}
	if len(b) < n {
		return 0, ErrShort
	}
	*p = Packet{Type: Type(b[2]), Payload: b[3:n:n]}
	return n, nil
}

// payloadBytes is the payload size of a type, -1 for any.
func payloadBytes(t Type) (n int, ok bool) {
	switch t {
	case Debug, Unsequenced, Sequenced:
		return -1, true
	case Login:
		return 6 + 10 + 10 + 20, true
	case LoginAccepted:
		return 10 + 20, true
	case LoginRejected:
		return 1, true
	case ClientHeartbeat, Logout, ServerHeartbeat, EndOfSession:
		return 0, true
	}
	return 0, false
}

// AppendPacket appends a packet. A payload above 65534 bytes is refused.
func AppendPacket(b []byte, t Type, payload []byte) ([]byte, error) {
	if len(payload)+1 > 0xffff {
		return b, ErrOversized
	}
	b = binary.BigEndian.AppendUint16(b, uint16(1+len(payload)))
	return append(append(b, byte(t)), payload...), nil
}

// LoginRequest opens a client's session. An empty Session means the current one;
// Sequence 0 means from the newest message on.
type LoginRequest struct {
	User, Password, Session string
	Sequence                uint64
}

// AppendLogin appends a login request. Names that do not fit are refused.
func AppendLogin(b []byte, l LoginRequest) ([]byte, error) {
	if len(l.User) > 6 || len(l.Password) > 10 || len(l.Session) > 10 {
		return b, ErrPayload
	}
	b = append(b, 0, 47, byte(Login))
	b = appendText(b, l.User, 6)
	b = appendText(b, l.Password, 10)
	b = appendLeft(b, l.Session, 10)
	return appendNumber(b, l.Sequence), nil
}

// ParseLogin reads the payload of a Login packet.
func ParseLogin(payload []byte) (LoginRequest, error) {
	if len(payload) != 46 {
		return LoginRequest{}, ErrPayload
	}
	n, ok := number(payload[26:46])
	if !ok {
		return LoginRequest{}, ErrPayload
	}
	return LoginRequest{User: text(payload[:6]), Password: text(payload[6:16]), Session: text(payload[16:26]), Sequence: n}, nil
}

// AppendAccepted appends a login answer: the session and the number of the next
// sequenced packet.
func AppendAccepted(b []byte, session string, next uint64) ([]byte, error) {
	if len(session) > 10 {
		return b, ErrPayload
	}
	b = append(b, 0, 31, byte(LoginAccepted))
	return appendNumber(appendLeft(b, session, 10), next), nil
}

// ParseAccepted reads the payload of a LoginAccepted packet.
func ParseAccepted(payload []byte) (session string, next uint64, err error) {
	if len(payload) != 30 {
		return "", 0, ErrPayload
	}
	next, ok := number(payload[10:])
	if !ok || next == 0 {
		return "", 0, ErrPayload
	}
	return text(payload[:10]), next, nil
}

// AppendRejected appends a refusal of a login.
func AppendRejected(b []byte, why byte) []byte { return append(b, 0, 2, byte(LoginRejected), why) }

// appendText pads on the right, appendLeft and appendNumber on the left.
func appendText(b []byte, s string, width int) []byte {
	b = append(b, s...)
	for range width - len(s) {
		b = append(b, ' ')
	}
	return b
}

func appendLeft(b []byte, s string, width int) []byte {
	for range width - len(s) {
		b = append(b, ' ')
	}
	return append(b, s...)
}

func appendNumber(b []byte, n uint64) []byte {
	var d [20]byte
	at := len(d)
	for at == len(d) || n > 0 {
		at--
		d[at] = byte('0' + n%10)
		n /= 10
	}
	for i := range at {
		d[i] = ' '
	}
	return append(b, d[:]...)
}

func text(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return string(b)
}

// number reads a padded number; all spaces mean 0, as servers take it.
func number(b []byte) (n uint64, ok bool) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	for _, c := range b {
		c -= '0'
		if c > 9 || n > (1<<64-1-9)/10 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return n, true
}
