package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Hands are the host's clocks, read together. Only Wall is a date; the others count from some
// start. All in nanoseconds.
type Hands struct {
	Wall   int64 // CLOCK_REALTIME: what stamps say
	Mono   int64 // CLOCK_MONOTONIC: steered like Wall, never set, stands still while the host sleeps
	Boot   int64 // CLOCK_BOOTTIME: Mono, and the sleep
	Raw    int64 // CLOCK_MONOTONIC_RAW: the oscillator as it is, steered by nobody
	Within int64 // all were read within so long
}

// Kernel is what the kernel says of its clock (adjtimex(2)).
type Kernel struct {
	Known         bool
	OffsetNanos   int64 // left to be corrected
	MaxErrorNanos int64 // what the daemon said it may be off, and 500 ppm since then
	EstErrorNanos int64
	FrequencyPPB  int64
	Unsync        bool // STA_UNSYNC, or the state TIME_ERROR
	TAI           int32
}

// system is the host's clock.
type system interface {
	Now() (wall, mono int64)
	Hands() (Hands, error)
	Kernel() (Kernel, error)
}

// host is the system that runs us.
type host struct{ base time.Time }

// Now reads both clocks by one call, through the vDSO.
func (h host) Now() (wall, mono int64) {
	t := time.Now()
	return t.UnixNano(), int64(t.Sub(h.base))
}

// readingsMax bounds how often hands are read again when somebody else had the processor
// between them; handsNear is what is near enough to stop.
const (
	readingsMax = 4
	handsNear   = int64(20 * time.Microsecond)
)

// Hands reads the clocks between two looks at the oscillator, and keeps the nearest reading.
func (h host) Hands() (Hands, error) {
	var best Hands
	for n := range readingsMax {
		before, err := gettime(unix.CLOCK_MONOTONIC_RAW)
		if err != nil {
			return Hands{}, err
		}
		wall, mono := h.Now()
		boot, err := gettime(unix.CLOCK_BOOTTIME)
		if err != nil {
			return Hands{}, err
		}
		after, err := gettime(unix.CLOCK_MONOTONIC_RAW)
		if err != nil {
			return Hands{}, err
		}
		if now := (Hands{wall, mono, boot, before, after - before}); n == 0 || now.Within < best.Within {
			best = now
		}
		if best.Within <= handsNear {
			break
		}
	}
	return best, nil
}

func gettime(clock int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("clock_gettime(%d): %w", clock, err)
	}
	return ts.Nano(), nil
}

// Kernel asks without changing anything: modes 0 needs no privilege.
func (h host) Kernel() (Kernel, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Kernel{}, fmt.Errorf("adjtimex: %w", err)
	}
	offset := int64(t.Offset)
	if t.Status&unix.STA_NANO == 0 {
		offset *= 1000
	}
	return Kernel{
		Known: true, OffsetNanos: offset, MaxErrorNanos: int64(t.Maxerror) * 1000, EstErrorNanos: int64(t.Esterror) * 1000,
		FrequencyPPB: int64(t.Freq) * 1000 >> 16, // parts per million with 16 bits after the point
		Unsync:       t.Status&unix.STA_UNSYNC != 0 || state == unix.TIME_ERROR,
		TAI:          t.Tai,
	}, nil
}
