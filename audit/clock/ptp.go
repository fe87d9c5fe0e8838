package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"fire/audit/entry"
)

// Management messages of PTP (IEEE 1588-2019, clause 15), as ptp4l takes them on its unix
// sockets. All integers are big-endian.
//
//	 0 type u8 (13), version u8 (2), length u16, domain u8, 27 bytes that we leave alone
//	20 who sends: clock 8, port u16; 30 sequence u16; 32 control u8 (4), interval i8
//	34 whom it is for: clock 8, port u16; 44 hops u8, hops u8, action u8, reserved u8
//	48 TLV: type u16 (1: management, 2: refused), length u16, id u16, then the data set
const (
	ptpManagement  = 13
	ptpVersion     = 2
	ptpHeadBytes   = 54
	ptpGet         = 0
	ptpResponse    = 2
	ptpTLV         = 1
	ptpCurrent     = 0x2001 // CURRENT_DATA_SET
	ptpParent      = 0x2002 // PARENT_DATA_SET
	ptpTime        = 0x2003 // TIME_PROPERTIES_DATA_SET
	ptpStatus      = 0xC000 // TIME_STATUS_NP, of linuxptp
	ptpRepliesMost = 512    // bytes; the largest we ask for has 104
)

// appendPTPGet adds a question for one data set.
func appendPTPGet(b []byte, domain uint8, sequence, id uint16) []byte {
	from := len(b)
	b = append(b, make([]byte, ptpHeadBytes)...)
	m := b[from:]
	m[0], m[1], m[4] = ptpManagement, ptpVersion, domain
	binary.BigEndian.PutUint16(m[2:], ptpHeadBytes)
	m[28], m[29] = 0, 1 // our port; our clock is 0
	binary.BigEndian.PutUint16(m[30:], sequence)
	m[32], m[33] = 4, 0x7f
	for i := range 10 {
		m[34+i] = 0xff // whoever it is
	}
	m[46] = ptpGet
	binary.BigEndian.PutUint16(m[48:], ptpTLV)
	binary.BigEndian.PutUint16(m[50:], 2)
	binary.BigEndian.PutUint16(m[52:], id)
	return b
}

// parsePTP cuts the data set out of a reply. It keeps b.
func parsePTP(b []byte, domain uint8, sequence, id uint16) ([]byte, error) {
	switch {
	case len(b) < ptpHeadBytes:
		return nil, fmt.Errorf("ptp: a reply of %d bytes, its head has %d", len(b), ptpHeadBytes)
	case b[0]&0x0f != ptpManagement || b[1]&0x0f != ptpVersion:
		return nil, fmt.Errorf("ptp: type %d of version %d is no management message of version %d", b[0]&0x0f, b[1]&0x0f, ptpVersion)
	case b[4] != domain || binary.BigEndian.Uint16(b[30:]) != sequence || b[46]&0x0f != ptpResponse:
		return nil, errOtherReply
	case binary.BigEndian.Uint16(b[48:]) != ptpTLV:
		return nil, errors.New("ptp: refused")
	case binary.BigEndian.Uint16(b[52:]) != id:
		return nil, errOtherReply
	}
	n := int(binary.BigEndian.Uint16(b[50:])) // of id and data
	if n < 2 || n > len(b)-ptpHeadBytes+2 {
		return nil, fmt.Errorf("ptp: a data set of %d bytes in a reply of %d", n-2, len(b))
	}
	return b[ptpHeadBytes : ptpHeadBytes+n-2], nil
}

// PTPState is what ptp4l says, of the data sets that were asked for.
type PTPState struct {
	OffsetNanos int64 // of the clock that ptp4l steers from its master
	DelayNanos  int64 // mean path delay to the master
	Steps       uint16
	Follows     bool // a grandmaster that is not itself
	Master      [8]byte
	Class       uint8 // of the grandmaster
	Accuracy    uint8 // the same
	UTCOffset   int16 // seconds by which PTP's time is ahead of UTC
	UTCValid    bool
	TimescaleOK bool // PTP's own timescale, not an arbitrary one
	Traceable   bool
}

// take reads one data set into the state.
func (s *PTPState) take(id uint16, b []byte) error {
	least := map[uint16]int{ptpCurrent: 18, ptpParent: 32, ptpTime: 4, ptpStatus: 50}[id]
	if len(b) < least {
		return fmt.Errorf("ptp: data set %04x of %d bytes, %d are needed", id, len(b), least)
	}
	switch id {
	case ptpCurrent:
		s.Steps = binary.BigEndian.Uint16(b)
		s.DelayNanos = int64(binary.BigEndian.Uint64(b[10:])) >> 16 // 16 bits after the point
	case ptpParent:
		s.Class, s.Accuracy = b[19], b[20]
		copy(s.Master[:], b[24:32])
	case ptpTime:
		s.UTCOffset = int16(binary.BigEndian.Uint16(b))
		s.UTCValid, s.TimescaleOK, s.Traceable = b[2]&4 != 0, b[2]&8 != 0, b[2]&16 != 0
	case ptpStatus:
		s.OffsetNanos = max(-farthest/4, min(farthest/4, int64(binary.BigEndian.Uint64(b))))
		s.Follows = binary.BigEndian.Uint32(b[38:]) != 0
	}
	return nil
}

// accuracies are what clockAccuracy promises (IEEE 1588-2019, table 5), from 0x17 on.
var accuracies = [...]time.Duration{
	0: 1, 0x18 - 0x17: 1, 0x19 - 0x17: 1, 0x1a - 0x17: 1, 0x1b - 0x17: 1, 0x1c - 0x17: 1, // picoseconds, rounded up
	0x1d - 0x17: 1, 0x1e - 0x17: 3, 0x1f - 0x17: 10, 0x20 - 0x17: 25, 0x21 - 0x17: 100, 0x22 - 0x17: 250,
	0x23 - 0x17: 1000, 0x24 - 0x17: 2500, 0x25 - 0x17: 10 * time.Microsecond, 0x26 - 0x17: 25 * time.Microsecond,
	0x27 - 0x17: 100 * time.Microsecond, 0x28 - 0x17: 250 * time.Microsecond, 0x29 - 0x17: time.Millisecond,
	0x2a - 0x17: 2500 * time.Microsecond, 0x2b - 0x17: 10 * time.Millisecond, 0x2c - 0x17: 25 * time.Millisecond,
	0x2d - 0x17: 100 * time.Millisecond, 0x2e - 0x17: 250 * time.Millisecond, 0x2f - 0x17: time.Second,
}

// accuracy is -1 for a grandmaster that does not say.
func accuracy(code uint8) int64 {
	if i := int(code) - 0x17; i >= 0 && i < len(accuracies) {
		return int64(accuracies[i])
	}
	return unknownNanos
}

// Classes of a grandmaster that is, or was until now and still is within its specification,
// locked to a primary reference (IEEE 1588-2019, table 4).
const (
	classLocked   = 6
	classHoldover = 7
)

// ptpMeasures is how old ptp4l's newest offset may be: its masters send one to 128 per second,
// and it gives one up that misses three.
const ptpMeasures = 3 * time.Second

// Hardware is the host's clock measured against a PTP hardware clock.
type Hardware struct {
	Device      string
	OffsetNanos int64 // host minus device, in the device's own timescale
	WithinNanos int64 // half the time that the reading took
}

// word is what ptp4l and the hardware clock say of the host's clock. ptp4l gives the offset of
// the clock that it steers from its master and the delay of the path, which is taken whole: how
// much slower one direction is than the other cannot be measured, and at worst it is all of it.
// The same as NTP's half of the round trip. What lies beyond the master (boundary clocks) is
// seen only in the grandmaster's own accuracy.
func (s PTPState) word(hw *Hardware, wanderPPM int, mono int64) Word {
	w := Word{
		Source: entry.ClockPTP, Sync: entry.Unsynchronised, BoundNanos: unknownNanos, RatePPB: int64(wanderPPM) * 1000, Mono: mono,
		Measured:    mono - int64(ptpMeasures),
		OffsetNanos: s.OffsetNanos, Stratum: uint64(s.Steps), Reference: fmt.Sprintf("%x", s.Master), Dispersion: max(0, s.DelayNanos),
		Note: fmt.Sprintf("gm_class=%d gm_accuracy=0x%02x delay_ns=%d", s.Class, s.Accuracy, s.DelayNanos),
	}
	off := s.OffsetNanos
	if hw != nil {
		host := hw.OffsetNanos
		if s.TimescaleOK {
			host += int64(s.UTCOffset) * int64(time.Second) // the device is ahead of UTC by so much
		}
		w.Note += fmt.Sprintf(" device=%s device_offset_ns=%d read_ns=%d", hw.Device, host, hw.WithinNanos)
		w.OffsetNanos += host
		off = magnitude(off) + magnitude(host) + hw.WithinNanos
	}
	gm := accuracy(s.Accuracy)
	switch {
	case !s.Follows:
		w.Note += " follows=nobody"
	case s.Class != classLocked && s.Class != classHoldover:
		w.Note += " grandmaster=free"
	case hw != nil && s.TimescaleOK && !s.UTCValid:
		w.Note += " utc_offset=unknown"
	case gm < 0 || s.DelayNanos < 0:
		w.Sync, w.Note = entry.Synchronised, w.Note+" grandmaster=silent" // of UTC nobody says how far
	default:
		w.Sync, w.BoundNanos = entry.Synchronised, magnitude(off)+s.DelayNanos+gm
	}
	return w
}
