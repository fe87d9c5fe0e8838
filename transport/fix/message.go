package fix

import (
	"bytes"
	"encoding/binary"

	"fire/policy/reason"
)

// SOH ends every field.
const SOH = 0x01

// MessageBytesMax is a bound for Next that fits every sane application message.
const MessageBytesMax = 1 << 16

// What Next returns. All but ErrShort mean a garbled message. They are compared
// by identity and never changed.
var (
	ErrShort       = reason.New(reason.FrameTruncated, "fix: the message is not whole yet")
	ErrBeginString = reason.New(reason.FrameMalformed, "fix: no BeginString at the start")
	ErrBodyLength  = reason.New(reason.FrameMalformed, "fix: BodyLength is missing or leads to no CheckSum")
	ErrMsgType     = reason.New(reason.FrameMalformed, "fix: MsgType is not the third field")
	ErrCheckSum    = reason.New(reason.FrameMalformed, "fix: CheckSum is wrong")
	ErrOversized   = reason.New(reason.FrameOversized, "fix: BodyLength is above the bound")
	ErrField       = reason.New(reason.FrameMalformed, "fix: a field is not tag=value")
)

// Message is a view of one message. It is valid as long as the bytes are.
type Message struct {
	Raw     []byte // from "8=" to the last SOH
	Version []byte // value of BeginString
	Type    []byte // value of MsgType
	after   int    // offset of the field that follows MsgType
	end     int    // offset of "10="
}

// Next finds the message at the front of b.
//
//	n > 0, nil          m is set and spans b[:n]
//	0, ErrShort         b may begin a message: come back with more bytes
//	n > 0, other error  b[:n] is garbled: pass over it, m is not set
//
// bytesMax bounds the whole message.
func Next(b []byte, m *Message, bytesMax int) (n int, err error) {
	versionEnd, at, err := opening(b)
	if err != nil {
		return resync(b, err)
	}
	length, start := 0, at
	for ; ; at++ {
		if at == len(b) {
			if at-start > 9 {
				return resync(b, ErrBodyLength)
			}
			return 0, ErrShort
		}
		c := b[at] - '0'
		if c > 9 {
			break
		}
		if length = length*10 + int(c); at-start >= 9 {
			return resync(b, ErrBodyLength)
		}
	}
	if at == start || b[at] != SOH {
		return resync(b, ErrBodyLength)
	}
	body := at + 1
	end := body + length
	if end+trailerBytes > bytesMax {
		return resync(b, ErrOversized)
	}
	if rest := b[body:]; len(rest) >= 3 && (rest[0] != '3' || rest[1] != '5' || rest[2] != '=') {
		return resync(b, ErrMsgType)
	}
	if len(b) < end+trailerBytes {
		return 0, ErrShort
	}
	return whole(b[:end+trailerBytes:end+trailerBytes], m, versionEnd, body, end)
}

// trailerBytes is the length of "10=ddd|".
const trailerBytes = 7

// whole checks the body's start, its end and the sum.
func whole(b []byte, m *Message, versionEnd, body, end int) (int, error) {
	if end-body < len("35=0|") || b[end-1] != SOH {
		return resync(b, ErrBodyLength)
	}
	t := b[end : end+trailerBytes]
	d0, d1, d2 := t[3]-'0', t[4]-'0', t[5]-'0'
	if t[0] != '1' || t[1] != '0' || t[2] != '=' || d0 > 9 || d1 > 9 || d2 > 9 || t[6] != SOH {
		return resync(b, ErrBodyLength)
	}
	typeEnd := body + 3
	for b[typeEnd] != SOH { // b[end-1] is SOH
		typeEnd++
	}
	if typeEnd == body+3 {
		return len(b), ErrMsgType
	}
	if int(d0)*100+int(d1)*10+int(d2) != int(CheckSum(b[:end])) {
		return len(b), ErrCheckSum
	}
	*m = Message{Raw: b, Version: b[2:versionEnd], Type: b[body+3 : typeEnd], after: typeEnd + 1, end: end}
	return len(b), nil
}

// opening reads "8=FIX.d.d|9=" or "8=FIXT.d.d|9=" and returns where the version
// ends and where the digits of BodyLength begin.
func opening(b []byte) (versionEnd, at int, err error) {
	if len(b) >= 12 && binary.LittleEndian.Uint64(b) == fix4 && b[9] == SOH && b[10] == '9' && b[11] == '=' && b[8]-'0' <= 9 {
		return 9, 12, nil
	}
	return openingSlow(b)
}

// fix4 is "8=FIX.4." as a little-endian word.
const fix4 = uint64('8') | '='<<8 | 'F'<<16 | 'I'<<24 | 'X'<<32 | '.'<<40 | '4'<<48 | '.'<<56

func openingSlow(b []byte) (versionEnd, at int, err error) {
	pattern := "8=FIX.0.0\x019="
	if len(b) > 5 && b[5] == 'T' {
		pattern = "8=FIXT.0.0\x019="
	}
	for i := range len(pattern) {
		if i == len(b) {
			return 0, 0, ErrShort
		}
		if digit := pattern[i] == '0'; b[i] != pattern[i] && !(digit && b[i]-'0' <= 9) {
			if i < len(pattern)-2 {
				return 0, 0, ErrBeginString
			}
			return 0, 0, ErrBodyLength
		}
	}
	return len(pattern) - 3, len(pattern), nil
}

// resync turns a garbled front into the count of bytes to pass over: up to the
// next "8=FIX", or to what may be the beginning of one.
func resync(b []byte, err error) (int, error) {
	if err == ErrShort {
		return 0, err
	}
	const mark = "8=FIX"
	if i := bytes.Index(b[1:], []byte(mark)); i >= 0 {
		return 1 + i, err
	}
	for keep := min(len(mark)-1, len(b)-1); keep > 0; keep-- {
		if string(b[len(b)-keep:]) == mark[:keep] {
			return len(b) - keep, err
		}
	}
	return len(b), err
}

// CheckSum is the sum of b's bytes modulo 256.
func CheckSum(b []byte) byte {
	const even = 0x00ff00ff00ff00ff
	var total uint64
	for len(b) >= 32 {
		// Four words add at most 8*255 to a 16-bit lane; 16 rounds stay below 65536.
		var lanes uint64
		for round := 0; round < 16 && len(b) >= 32; round++ {
			w0 := binary.LittleEndian.Uint64(b)
			w1 := binary.LittleEndian.Uint64(b[8:])
			w2 := binary.LittleEndian.Uint64(b[16:])
			w3 := binary.LittleEndian.Uint64(b[24:])
			lanes += (w0 & even) + (w0 >> 8 & even) + (w1 & even) + (w1 >> 8 & even) +
				(w2 & even) + (w2 >> 8 & even) + (w3 & even) + (w3 >> 8 & even)
			b = b[32:]
		}
		total += lanes&0xffff + lanes>>16&0xffff + lanes>>32&0xffff + lanes>>48
	}
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		lanes := (w & even) + (w >> 8 & even)
		total += lanes * 0x0001000100010001 >> 48
		b = b[8:]
	}
	for _, c := range b {
		total += uint64(c)
	}
	return byte(total)
}
