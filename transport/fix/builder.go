package fix

import (
	"strconv"
	"time"
)

// Builder makes messages one after another in one buffer. The zero value works;
// once the buffer has grown to its working size nothing allocates.
type Builder struct {
	buf   []byte
	start int // of the message that is being built
	body  int // of its body: "35="
}

// Begin starts a message: BeginString, room for BodyLength, MsgType.
func (m *Builder) Begin(version, msgType string) {
	m.start = len(m.buf)
	m.buf = append(m.buf, "8="...)
	m.buf = append(m.buf, version...)
	m.buf = append(m.buf, "\x019=000\x01"...)
	m.body = len(m.buf)
	m.String(35, msgType)
}

// End writes BodyLength and CheckSum and returns the message, which is valid until
// the next call.
func (m *Builder) End() []byte {
	length := len(m.buf) - m.body
	width := 1
	for n := length; n >= 10; n /= 10 {
		width++
	}
	if shift := width - 3; shift != 0 { // the guess of three digits was wrong
		for range shift {
			m.buf = append(m.buf, 0)
		}
		copy(m.buf[m.body+shift:], m.buf[m.body:m.body+length])
		m.body += shift
		m.buf = m.buf[:m.body+length]
		m.buf[m.body-1] = SOH
	}
	for at := m.body - 2; width > 0; at, width = at-1, width-1 {
		m.buf[at] = byte('0' + length%10)
		length /= 10
	}
	sum := CheckSum(m.buf[m.start:])
	m.buf = append(m.buf, '1', '0', '=', '0'+sum/100, '0'+sum/10%10, '0'+sum%10, SOH)
	return m.buf[m.start:]
}

// Abandon drops the message that was begun.
func (m *Builder) Abandon() { m.buf = m.buf[:m.start] }

// Raw is all finished messages, in order.
func (m *Builder) Raw() []byte { return m.buf }

// Len is how many bytes Raw has.
func (m *Builder) Len() int { return len(m.buf) }

// Reset forgets all messages and keeps the memory.
func (m *Builder) Reset() { m.buf, m.start, m.body = m.buf[:0], 0, 0 }

// Append adds a finished message as it is.
func (m *Builder) Append(raw []byte) { m.buf = append(m.buf, raw...) }

func (m *Builder) tag(tag int) {
	m.buf = append(strconv.AppendInt(m.buf, int64(tag), 10), '=')
}

// String adds a field. The value must hold no SOH; use Data for that.
func (m *Builder) String(tag int, v string) {
	m.tag(tag)
	m.buf = append(append(m.buf, v...), SOH)
}

// Bytes adds a field. The value must hold no SOH; use Data for that.
func (m *Builder) Bytes(tag int, v []byte) {
	m.tag(tag)
	m.buf = append(append(m.buf, v...), SOH)
}

// Data adds a length field and the data field behind it.
func (m *Builder) Data(lengthTag, tag int, v []byte) {
	m.Int(lengthTag, int64(len(v)))
	m.Bytes(tag, v)
}

// Char adds a one-byte field.
func (m *Builder) Char(tag int, v byte) {
	m.tag(tag)
	m.buf = append(m.buf, v, SOH)
}

// Int adds a number.
func (m *Builder) Int(tag int, v int64) {
	m.tag(tag)
	m.buf = append(strconv.AppendInt(m.buf, v, 10), SOH)
}

// Decimal adds v times 10^-scale with all its fraction digits.
func (m *Builder) Decimal(tag int, v int64, scale int) {
	m.tag(tag)
	u := uint64(v)
	if v < 0 {
		m.buf = append(m.buf, '-')
		u = -u
	}
	unit := uint64(1)
	for range scale {
		unit *= 10
	}
	m.buf = strconv.AppendUint(m.buf, u/unit, 10)
	if scale > 0 {
		m.buf = append(m.buf, '.')
		m.buf = appendPadded(m.buf, int(u%unit), scale)
	}
	m.buf = append(m.buf, SOH)
}

// Time adds a UTCTimestamp with milliseconds.
func (m *Builder) Time(tag int, t time.Time) {
	m.tag(tag)
	m.buf = append(AppendTime(m.buf, t), SOH)
}

// Fields adds fields that are already in wire form, each of them ended by SOH.
func (m *Builder) Fields(raw []byte) { m.buf = append(m.buf, raw...) }
