package policy

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is text ("250ms") in TOML and JSON. A bare
// integer, which TOML libraries read as nanoseconds, is refused.
type Duration time.Duration

// String is time.Duration's.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses time.ParseDuration's form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit, as \"250ms\" or \"3s\"", b)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes that is text ("4MiB") in TOML and JSON.
type Size uint64

// Bounds of a ring: 64 lines to 2^26, of 64 bytes.
const (
	SizeMin Size = 4 << 10
	SizeMax Size = 4 << 30
)

const sizeUnits = "KMG"

// String is the largest unit that leaves no rest.
func (s Size) String() string {
	unit := min(bits.TrailingZeros64(uint64(s))/10, len(sizeUnits))
	if s == 0 || unit == 0 {
		return strconv.FormatUint(uint64(s), 10) + "B"
	}
	return strconv.FormatUint(uint64(s)>>(10*unit), 10) + sizeUnits[unit-1:unit] + "iB"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number and B, KiB, MiB or GiB.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	bad := fmt.Errorf("size %q: want a whole number and a unit, as \"64KiB\" or \"4MiB\"", text)
	number, ok := strings.CutSuffix(text, "B")
	if !ok {
		return bad
	}
	unit := 0
	if short, ok := strings.CutSuffix(number, "i"); ok && short != "" {
		unit = strings.IndexByte(sizeUnits, short[len(short)-1]) + 1
		if unit == 0 {
			return bad
		}
		number = short[:len(short)-1]
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || bits.Len64(n)+10*unit > 63 {
		return bad
	}
	*s = Size(n << (10 * unit))
	return nil
}
