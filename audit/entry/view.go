package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// View reads one entry in place. It is valid as long as the bytes are, and may be copied and
// used by several goroutines.
type View struct{ raw []byte }

// ErrVersion is of an entry that this version cannot read.
var ErrVersion = errors.New("entry: of a version that is not known")

// Parse checks that raw is one entry. It keeps raw.
func Parse(raw []byte) (View, error) {
	switch {
	case len(raw) < headBytes:
		return View{}, fmt.Errorf("entry: %d bytes, the head has %d", len(raw), headBytes)
	case raw[0] != FormVersion:
		return View{}, fmt.Errorf("%w: %d", ErrVersion, raw[0])
	case len(raw) > BytesMax:
		return View{}, fmt.Errorf("entry: %d bytes, %d at most", len(raw), BytesMax)
	case raw[1] == 0:
		return View{}, errors.New("entry: of kind 0")
	}
	last := Tag(0)
	for at := headBytes; at < len(raw); {
		if len(raw)-at < fieldBytes {
			return View{}, fmt.Errorf("entry: half a field at %d", at)
		}
		t, n := Tag(raw[at]), int(binary.LittleEndian.Uint16(raw[at+1:]))
		at += fieldBytes
		switch f := fields[t].form; {
		case t <= last:
			return View{}, fmt.Errorf("entry: field %v after %v", t, last)
		case n == 0:
			return View{}, fmt.Errorf("entry: field %v is empty", t)
		case n > len(raw)-at:
			return View{}, fmt.Errorf("entry: field %v goes beyond the end", t)
		case (f == unsigned || f == signed) && (n > 8 || raw[at+n-1] == 0):
			return View{}, fmt.Errorf("entry: field %v is no number in its shortest form", t)
		}
		last, at = t, at+n
	}
	return View{raw}, nil
}

// Raw is the entry's bytes.
func (v View) Raw() []byte { return v.raw }

// Head is the fixed part.
func (v View) Head() Head {
	return Head{
		Kind: Kind(v.raw[1]), Sync: Sync(v.raw[2]), Clock: ClockSource(v.raw[3]), Bound: binary.LittleEndian.Uint32(v.raw[4:]),
		Time: int64(binary.LittleEndian.Uint64(v.raw[8:])), Source: binary.LittleEndian.Uint64(v.raw[16:]), Seq: binary.LittleEndian.Uint64(v.raw[24:]),
	}
}

// Kind is what happened.
func (v View) Kind() Kind { return Kind(v.raw[1]) }

// Bytes is a field's value, nil where there is none.
func (v View) Bytes(t Tag) []byte {
	for at := headBytes; at < len(v.raw); {
		n := int(binary.LittleEndian.Uint16(v.raw[at+1:]))
		at += fieldBytes
		switch this := Tag(v.raw[at-fieldBytes]); {
		case this == t:
			return v.raw[at : at+n : at+n]
		case this > t:
			return nil
		}
		at += n
	}
	return nil
}

// Str is a field's value as text, "" where there is none.
func (v View) Str(t Tag) string { return string(v.Bytes(t)) }

// Uint is a field's number, 0 where there is none.
func (v View) Uint(t Tag) uint64 { return number(v.Bytes(t)) }

// Int is a field's signed number, 0 where there is none.
func (v View) Int(t Tag) int64 { return zigzag(v.Uint(t)) }

// All walks the fields in order.
func (v View) All() iter.Seq2[Tag, []byte] {
	return func(yield func(Tag, []byte) bool) {
		for at := headBytes; at < len(v.raw); {
			t, n := Tag(v.raw[at]), int(binary.LittleEndian.Uint16(v.raw[at+1:]))
			at += fieldBytes
			if !yield(t, v.raw[at:at+n:at+n]) {
				return
			}
			at += n
		}
	}
}

func number(b []byte) (n uint64) {
	for i, c := range b[:min(len(b), 8)] {
		n |= uint64(c) << (8 * i)
	}
	return n
}

func zigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
