package fix

import (
	"encoding/binary"
	"math/bits"
)

// Fields walks fields in wire order. The zero value walks nothing.
type Fields struct {
	b    []byte
	at   int
	data int // the data tag that a length field has announced, or 0
	size int // and its length
	bad  bool
}

// Fields walks what lies between MsgType and CheckSum.
func (m *Message) Fields() Fields { return Fields{b: m.Raw[m.after:m.end]} }

// All walks every field, BeginString to CheckSum.
func (m *Message) All() Fields { return Fields{b: m.Raw} }

// Body is the bytes that Fields walks.
func (m *Message) Body() []byte { return m.Raw[m.after:m.end] }

// FieldsOf walks fields in b, each of them ended by SOH.
func FieldsOf(b []byte) Fields { return Fields{b: b} }

// Next returns the next field; ok is false at the end and at a bad field. A value
// may be empty.
func (f *Fields) Next() (tag int, value []byte, ok bool) {
	b, at := f.b, f.at
	if at >= len(b) || f.bad {
		return 0, nil, false
	}
	start := at
	for at < len(b) && b[at]-'0' <= 9 {
		tag = tag*10 + int(b[at]-'0')
		at++
	}
	if at == start || at == len(b) || b[at] != '=' || b[start] == '0' || at-start > 9 {
		f.bad = true
		return 0, nil, false
	}
	at++
	end := at
	if f.data != 0 && tag == f.data {
		if end = at + f.size; end >= len(b) || b[end] != SOH {
			f.bad = true
			return 0, nil, false
		}
	} else if end = soh(b, at); end < 0 {
		f.bad = true
		return 0, nil, false
	}
	f.data = 0
	value = b[at:end:end]
	if isLength(tag) {
		f.announce(tag, value)
	}
	f.at = end + 1
	return tag, value, true
}

// Err is ErrField after a field that is not tag=value, else nil.
func (f *Fields) Err() error {
	if f.bad {
		return ErrField
	}
	return nil
}

// At is the offset of the next field, for messages about a bad one.
func (f *Fields) At() int { return f.at }

func (f *Fields) announce(tag int, value []byte) {
	n, ok := Int(value)
	if !ok || n < 0 || n > int64(len(f.b)) {
		return // then the data field is taken like any other
	}
	f.data, f.size = tag+1, int(n)
	if tag == 93 {
		f.data = 89
	}
}

// lengthTagMax is the highest tag that isLength knows.
const lengthTagMax = 1468

// isLength knows the length fields of FIX 4.0 to 5.0SP2 that stand before a data
// field. The data tag is one more, except SignatureLength (93) before Signature (89).
func isLength(tag int) bool {
	if uint(tag-90) > lengthTagMax-90 {
		return false
	}
	switch tag {
	case 90, 93, 95, 212, 348, 350, 352, 354, 356, 358, 360, 362, 364, 445, 618, 621,
		1184, 1277, 1280, 1282, 1397, 1401, 1403, 1468:
		return true
	}
	return false
}

// soh returns the index of the first SOH in b at or after i, or -1.
func soh(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:]) ^ ones // SOH becomes a zero byte
		if z := (w - ones) &^ w & highs; z != 0 {
			return i + bits.TrailingZeros64(z)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] == SOH {
			return i
		}
	}
	return -1
}
