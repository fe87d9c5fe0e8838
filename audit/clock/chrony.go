package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"fire/audit/entry"
)

// The command protocol of chronyd, version 6 (chrony's candm.h). All integers are big-endian.
//
//	request                            reply
//	 0 version 6, type 1, 0, 0          0 version 6, type 2, 0, 0
//	 4 command u16, attempt u16         4 command u16, reply u16, status u16
//	 8 sequence u32                    10 three u16 of nothing
//	12 eight bytes of nothing          16 sequence u32, eight bytes of nothing
//	20 zeros up to the reply's size    28 the tracking report
//
//	The report: 28 reference id u32, 32 address (20), 52 stratum u16, 54 leap u16, 56 time of the last
//	measurement (12), then Floats: 68 correction, 72 last offset, 76 its mean, 80 frequency, 84 what is
//	left of it, 88 skew, 92 root delay, 96 root dispersion, 100 update interval.
const (
	chronyVersion   = 6
	chronyRequest   = 1
	chronyReply     = 2
	chronyTracking  = 33 // REQ_TRACKING
	chronyReport    = 5  // RPY_TRACKING
	chronyHeadBytes = 28
	trackingBytes   = 104
)

// appendTrackingRequest adds a question for the tracking report. It is as long as its answer:
// chronyd answers no shorter one, lest it be used to amplify (candm.h, version 6).
func appendTrackingRequest(b []byte, sequence uint32) []byte {
	from := len(b)
	b = append(b, make([]byte, trackingBytes)...)
	b[from], b[from+1] = chronyVersion, chronyRequest
	binary.BigEndian.PutUint16(b[from+4:], chronyTracking)
	binary.BigEndian.PutUint32(b[from+8:], sequence)
	return b
}

// Tracking is chronyd's report of the clock. Times are nanoseconds, rates parts per billion.
type Tracking struct {
	Reference      string
	Local          bool // it follows nothing but itself ("local stratum")
	Stratum        uint16
	Leap           uint16 // 3: not synchronised
	Offset         int64  // of the system's clock, being corrected
	Frequency      int64
	Residual       int64
	Skew           int64
	RootDelay      int64
	RootDispersion int64
	MeasuredWall   int64 // when it last measured, by the clock that it speaks of
}

var errOtherReply = errors.New("the answer to another question")

// parseTracking reads a reply. It takes no byte beyond the report, and no number that cannot be.
func parseTracking(b []byte, sequence uint32) (Tracking, error) {
	switch {
	case len(b) < chronyHeadBytes:
		return Tracking{}, fmt.Errorf("chrony: a reply of %d bytes, its head has %d", len(b), chronyHeadBytes)
	case b[0] != chronyVersion || b[1] != chronyReply:
		return Tracking{}, fmt.Errorf("chrony: version %d type %d, not a reply of version %d", b[0], b[1], chronyVersion)
	case binary.BigEndian.Uint32(b[16:]) != sequence || binary.BigEndian.Uint16(b[4:]) != chronyTracking:
		return Tracking{}, errOtherReply
	case binary.BigEndian.Uint16(b[8:]) != 0:
		return Tracking{}, fmt.Errorf("chrony: refused with status %d", binary.BigEndian.Uint16(b[8:]))
	case binary.BigEndian.Uint16(b[6:]) != chronyReport || len(b) < trackingBytes:
		return Tracking{}, fmt.Errorf("chrony: reply %d of %d bytes is no tracking report", binary.BigEndian.Uint16(b[6:]), len(b))
	}
	f := func(at int) float64 { return chronyFloat(binary.BigEndian.Uint32(b[at:])) }
	id := binary.BigEndian.Uint32(b[28:])
	t := Tracking{
		Reference: chronyReference(id, b[32:52]), Local: id == localReference,
		Stratum: binary.BigEndian.Uint16(b[52:]), Leap: binary.BigEndian.Uint16(b[54:]),
		Offset:    scaled(f(68), 1e9),
		Frequency: scaled(f(80), 1e3), Residual: scaled(f(84), 1e3), Skew: scaled(f(88), 1e3),
		RootDelay: scaled(f(92), 1e9), RootDispersion: scaled(f(96), 1e9), MeasuredWall: chronyTime(b[56:68]),
	}
	if t.RootDelay < 0 || t.RootDispersion < 0 || t.Skew < 0 {
		return Tracking{}, errors.New("chrony: a delay, dispersion or skew below zero")
	}
	return t, nil
}

// chronyFloat is chrony's number: a signed exponent of 7 bits and a signed coefficient of 25,
// 2^(exponent-25) times coefficient.
func chronyFloat(x uint32) float64 {
	return math.Ldexp(float64(int32(x<<7)>>7), int(int32(x)>>25)-25)
}

// chronyTime is chrony's Timespec: seconds in two halves, of which the first may say that there
// is none (TV_NOHIGHSEC), and nanoseconds. 0 where that is no time of ours.
func chronyTime(b []byte) int64 {
	high, low, nanos := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if high != 0x7fffffff && high != 0 || nanos >= 1e9 {
		return 0
	}
	return int64(low)*ppb + int64(nanos)
}

// scaled is a number in smaller units, rounded away from 0, since a bound is never made smaller,
// and kept where sums of a few cannot overflow.
func scaled(f, by float64) int64 {
	const most = float64(1 << 58)
	return int64(max(-most, min(most, math.Copysign(math.Ceil(math.Abs(f*by)), f))))
}

// localReference is the id of a clock that follows itself: 127.127.1.1.
const localReference = 0x7f7f0101

// chronyReference is an address where chronyd follows one (IPAddr: 16 bytes, family u16, 2 of
// padding), otherwise the id, which is four letters such as PPS or PHC0.
func chronyReference(id uint32, addr []byte) string {
	switch binary.BigEndian.Uint16(addr[16:]) {
	case 1:
		return netip.AddrFrom4([4]byte(addr[:4])).String()
	case 2:
		return netip.AddrFrom16([16]byte(addr[:16])).String()
	}
	if id == 0 {
		return ""
	}
	var name []byte
	for shift := 24; shift >= 0; shift -= 8 {
		switch c := byte(id >> shift); {
		case c > ' ' && c < 0x7f:
			name = append(name, c)
		case c != 0:
			return fmt.Sprintf("%08X", id)
		}
	}
	return string(name)
}

// word is what the report says of the clock: off by at most offset + root dispersion + half of
// the root delay (chrony's manual, tracking), growing as chrony reckons: by its skew, what is
// left of the frequency, and the oscillator's own wander (reference.c, get_root_dispersion).
func (t Tracking) word(wanderPPM int, wall, mono int64) Word {
	w := Word{
		Source: entry.ClockChrony, Sync: entry.Synchronised, Mono: mono, Measured: mono - max(0, wall-t.MeasuredWall),
		BoundNanos:  magnitude(t.Offset) + t.RootDispersion + (t.RootDelay+1)/2,
		RatePPB:     min(maxRatePPB, t.Skew+magnitude(t.Residual)+int64(wanderPPM)*1000),
		OffsetNanos: t.Offset, FrequencyPPB: t.Frequency, Stratum: uint64(t.Stratum), Reference: t.Reference, Dispersion: t.RootDispersion,
	}
	switch {
	case t.Leap > 2 || t.Stratum == 0:
		w.Sync, w.BoundNanos = entry.Unsynchronised, unknownNanos
	case t.Local:
		w.Sync, w.BoundNanos, w.Note = entry.Unsynchronised, unknownNanos, "follows itself"
	}
	return w
}

// maxRatePPB bounds a rate: 10 %, above what chronyd itself slews by.
const maxRatePPB = 100_000_000
