package entry

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// FormVersion is the form that this package writes.
const FormVersion = 1

// BytesMax is the largest entry: the length of one in a bundle of C2SP tlog-tiles has 16 bits.
const BytesMax = 1<<16 - 1

// headBytes is where the fields begin.
const headBytes = 32

// fieldBytes is what a field costs besides its value.
const fieldBytes = 3

// BoundUnknown is the bound of a time of which nobody knows how far it is off.
const BoundUnknown = math.MaxUint32

// Head is the fixed part of an entry.
type Head struct {
	Kind   Kind
	Sync   Sync
	Clock  ClockSource
	Bound  uint32 // nanoseconds; BoundUnknown
	Time   int64  // nanoseconds since 1970, UTC
	Source uint64
	Seq    uint64
}

// Builder writes one entry after another into the caller's memory. The zero value works. It is
// for one goroutine.
type Builder struct {
	buf  []byte
	from int // of the entry that is being built
	last Tag
}

// Begin starts an entry at the end of buf, which Raw gives back, grown.
func (b *Builder) Begin(buf []byte, h Head) {
	b.buf, b.from, b.last = buf, len(buf), 0
	b.buf = append(b.buf, FormVersion, byte(h.Kind), byte(h.Sync), byte(h.Clock))
	b.buf = binary.LittleEndian.AppendUint32(b.buf, h.Bound)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, uint64(h.Time))
	b.buf = binary.LittleEndian.AppendUint64(b.buf, h.Source)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, h.Seq)
}

// Str adds a field, if v is not empty. Fields come in rising order of their tags.
func (b *Builder) Str(t Tag, v string) {
	if v = v[:min(len(v), b.room())]; v != "" {
		b.head(t, len(v))
		b.buf = append(b.buf, v...)
	}
}

// Bytes is Str of bytes.
func (b *Builder) Bytes(t Tag, v []byte) {
	if v = v[:min(len(v), b.room())]; len(v) > 0 {
		b.head(t, len(v))
		b.buf = append(b.buf, v...)
	}
}

// Uint adds a number, if it is not 0.
func (b *Builder) Uint(t Tag, v uint64) {
	n := (bits.Len64(v) + 7) / 8
	if n == 0 || b.room() < n {
		return
	}
	b.head(t, n)
	for range n {
		b.buf = append(b.buf, byte(v))
		v >>= 8
	}
}

// Int adds a signed number, if it is not 0.
func (b *Builder) Int(t Tag, v int64) { b.Uint(t, uint64(v)<<1^uint64(v>>63)) }

// Room is how many bytes the value of one more field may have.
func (b *Builder) Room() int { return b.room() }

// Raw is the caller's memory with the entry at its end.
func (b *Builder) Raw() []byte { return b.buf }

// room is what one more field may hold: an entry is never larger than BytesMax. What is cut
// for that is text; whoever has more content than Room asks first.
func (b *Builder) room() int { return max(0, BytesMax-(len(b.buf)-b.from)-fieldBytes) }

func (b *Builder) head(t Tag, n int) {
	if t <= b.last {
		panic(fmt.Sprintf("entry: field %v after %v", t, b.last)) // a mistake of the caller that every test finds
	}
	b.last = t
	b.buf = append(b.buf, byte(t), byte(n), byte(n>>8))
}

// Fields adds fields that a Builder has written before: Fields of a View, or of another Builder.
// last is the tag of the last one.
func (b *Builder) Fields(raw []byte, last Tag) {
	if len(raw) == 0 || len(raw) > b.room()+fieldBytes {
		return
	}
	if Tag(raw[0]) <= b.last {
		panic(fmt.Sprintf("entry: field %v after %v", Tag(raw[0]), b.last))
	}
	b.buf, b.last = append(b.buf, raw...), last
}

// BeginFields starts a list of fields without a head, for Fields, or goes on with one.
func (b *Builder) BeginFields(buf []byte) {
	b.buf, b.from, b.last = append([]byte(nil), buf...), 0, LastTag(buf)
}

// LastTag is the tag of the last field of those that a Builder has written, 0 for none.
func LastTag(fields []byte) (last Tag) {
	for at := 0; at+fieldBytes <= len(fields); {
		last = Tag(fields[at])
		at += fieldBytes + int(fields[at+1]) + int(fields[at+2])<<8
	}
	return last
}
