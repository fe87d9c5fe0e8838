package channel

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"fire/policy/reason"
)

// Bounds of the attach protocol; doc.go draws its bytes.
const (
	ProtocolVersion = 1
	PacketBytesMax  = 1024
	fdsMax          = 4

	headBytes = 16
	nameMax   = 63
	textMax   = 512
)

// Type is what a packet says.
type Type uint16

const (
	TypeAttach Type = 1
	TypeHeld   Type = 2
	TypeMapped Type = 3
	TypeAdded  Type = 4
	TypeDetach Type = 5

	TypeWelcome Type = 16
	TypeLane    Type = 17
	TypeReader  Type = 18
	TypeStart   Type = 19
	TypeGone    Type = 20
	TypeRefused Type = 21
	TypeAdopted Type = 22
	TypeSettled Type = 23
)

// Way says which end of a lane one holds.
type Way uint8

const (
	Write Way = 1
	Read  Way = 2
)

// Packet is any message; a type uses the fields that doc.go names for it.
type Packet struct {
	Type     Type
	ID       uint64
	Hash     uint64 // attach: of the ring's layout
	Side     uint8  // attach: policy.Side
	Held     uint16 // attach: how many held packets follow
	Kind     uint8  // welcome
	Wait     uint8  // welcome
	Way      Way    // lane
	Epoch    uint64 // lane
	Pair     uint64 // lane
	Lane     uint64 // reader
	Position uint64 // added, start
	Link     uint64 // adopted
	Channel  string // attach
	Service  string // attach, welcome, reader, and lane: of the other end
	Reason   reason.Code
	Text     string // refused
}

// Append appends the packet's bytes. Names longer than the protocol's are an error.
func (p *Packet) Append(b []byte) ([]byte, error) {
	if len(p.Channel) > nameMax || len(p.Service) > nameMax {
		return b, fmt.Errorf("channel %.80q or service %.80q is longer than %d bytes", p.Channel, p.Service, nameMax)
	}
	from := len(b)
	le := binary.LittleEndian
	b = le.AppendUint16(b, uint16(p.Type))
	b = le.AppendUint16(b, ProtocolVersion)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, p.ID)
	switch p.Type {
	case TypeAttach:
		b = le.AppendUint64(b, p.Hash)
		b = append(b, p.Side, 0)
		b = le.AppendUint16(b, p.Held)
		b = appendName(appendName(b, p.Channel), p.Service)
	case TypeWelcome:
		b = append(b, p.Kind, p.Wait, 0, 0)
		b = appendName(b, p.Service)
	case TypeLane:
		b = le.AppendUint64(le.AppendUint64(b, p.Epoch), p.Pair)
		b = appendName(append(b, byte(p.Way)), p.Service)
	case TypeReader:
		b = appendName(le.AppendUint64(b, p.Lane), p.Service)
	case TypeAdded, TypeStart:
		b = le.AppendUint64(b, p.Position)
	case TypeAdopted:
		b = le.AppendUint64(b, p.Link)
	case TypeRefused:
		text := clip(p.Text, textMax)
		b = le.AppendUint16(b, uint16(p.Reason))
		b = append(le.AppendUint16(b, uint16(len(text))), text...)
	case TypeHeld, TypeMapped, TypeDetach, TypeGone, TypeSettled:
	default:
		return b[:from], fmt.Errorf("packet type %d is not known", p.Type)
	}
	le.PutUint32(b[from+4:], uint32(len(b)-from-headBytes))
	return b, nil
}

func appendName(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// clip is at most n bytes of s, and ends at a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Parse reads one packet, whole and with nothing behind it.
func Parse(b []byte) (Packet, error) {
	if len(b) < headBytes || len(b) > PacketBytesMax {
		return Packet{}, fmt.Errorf("packet of %d bytes, %d to %d are legal", len(b), headBytes, PacketBytesMax)
	}
	le := binary.LittleEndian
	if v := le.Uint16(b[2:]); v != ProtocolVersion {
		return Packet{}, reason.New(reason.FrameVersion, "the peer speaks attach protocol %d, this fire speaks %d", v, ProtocolVersion)
	}
	p := Packet{Type: Type(le.Uint16(b)), ID: le.Uint64(b[8:])}
	if n := le.Uint32(b[4:]); uint64(n) != uint64(len(b)-headBytes) {
		return Packet{}, fmt.Errorf("packet type %d says a body of %d bytes and has %d", p.Type, n, len(b)-headBytes)
	}
	r := body{left: b[headBytes:]}
	switch p.Type {
	case TypeAttach:
		p.Hash, p.Side = r.u64(), r.u8()
		r.u8()
		p.Held, p.Channel, p.Service = r.u16(), r.name(), r.name()
	case TypeWelcome:
		p.Kind, p.Wait = r.u8(), r.u8()
		r.u16()
		p.Service = r.name()
	case TypeLane:
		p.Epoch, p.Pair, p.Way, p.Service = r.u64(), r.u64(), Way(r.u8()), r.name()
	case TypeReader:
		p.Lane, p.Service = r.u64(), r.name()
	case TypeAdded, TypeStart:
		p.Position = r.u64()
	case TypeAdopted:
		p.Link = r.u64()
	case TypeRefused:
		p.Reason = reason.Code(r.u16())
		p.Text = r.text(int(r.u16()), textMax)
	case TypeHeld, TypeMapped, TypeDetach, TypeGone, TypeSettled:
	default:
		return Packet{}, fmt.Errorf("packet type %d is not known", p.Type)
	}
	if r.short || len(r.left) > 0 {
		return Packet{}, fmt.Errorf("packet type %d has a body of %d bytes that is not its own", p.Type, len(b)-headBytes)
	}
	return p, nil
}

// body reads fields from the front; short stays set once something was missing.
type body struct {
	left  []byte
	short bool
}

func (r *body) take(n int) []byte {
	if n > len(r.left) {
		r.short = true
		n = len(r.left)
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b
}

func (r *body) u8() uint8 {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *body) u16() uint16 {
	if b := r.take(2); len(b) == 2 {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *body) u64() uint64 {
	if b := r.take(8); len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *body) name() string { return r.text(int(r.u8()), nameMax) }

func (r *body) text(n, most int) string {
	b := r.take(n)
	if n > most || !utf8.Valid(b) {
		r.short = true
		return ""
	}
	return string(b)
}
