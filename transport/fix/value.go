package fix

import "time"

// Int reads a FIX int: an optional minus and 1 to 18 digits.
func Int(v []byte) (n int64, ok bool) {
	minus := len(v) > 0 && v[0] == '-'
	if minus {
		v = v[1:]
	}
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	for _, c := range v {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if minus {
		n = -n
	}
	return n, true
}

// Uint reads a sequence number or length: 1 to 18 digits.
func Uint(v []byte) (uint64, bool) {
	if len(v) > 0 && v[0] == '-' {
		return 0, false
	}
	n, ok := Int(v)
	return uint64(n), ok
}

// Decimal reads a FIX float as a count of 10^-scale. More fraction digits than
// scale are refused unless they are zeros: a price is never rounded in silence.
func Decimal(v []byte, scale int) (n int64, ok bool) {
	minus := len(v) > 0 && v[0] == '-'
	if minus {
		v = v[1:]
	}
	digits, fraction := 0, -1
	for _, c := range v {
		if c == '.' && fraction < 0 {
			fraction = 0
			continue
		}
		if c -= '0'; c > 9 {
			return 0, false
		}
		digits++
		if fraction == scale {
			if c != 0 {
				return 0, false
			}
			continue
		}
		if fraction >= 0 {
			fraction++
		}
		if n > (1<<63-10)/10 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if digits == 0 {
		return 0, false
	}
	for i := max(fraction, 0); i < scale; i++ {
		if n > (1<<63-10)/10 {
			return 0, false
		}
		n *= 10
	}
	if minus {
		n = -n
	}
	return n, true
}

// Time reads a UTCTimestamp, YYYYMMDD-HH:MM:SS with up to nine fraction digits.
// The leap second :60 is taken as the next minute's first.
func Time(v []byte) (t time.Time, ok bool) {
	if len(v) < 17 || v[8] != '-' || v[11] != ':' || v[14] != ':' {
		return t, false
	}
	year, ok0 := digits(v[0:4])
	month, ok1 := digits(v[4:6])
	day, ok2 := digits(v[6:8])
	hour, ok3 := digits(v[9:11])
	minute, ok4 := digits(v[12:14])
	second, ok5 := digits(v[15:17])
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5) || month < 1 || month > 12 || day < 1 || day > 31 ||
		hour > 23 || minute > 59 || second > 60 {
		return t, false
	}
	nanos := 0
	if f := v[17:]; len(f) > 0 {
		if f[0] != '.' || len(f) == 1 || len(f) > 10 {
			return t, false
		}
		if nanos, ok = digits(f[1:]); !ok {
			return t, false
		}
		for i := len(f); i < 10; i++ {
			nanos *= 10
		}
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	return t, t.Day() == day || second == 60
}

func digits(v []byte) (n int, ok bool) {
	for _, c := range v {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}

// AppendTime appends a UTCTimestamp with milliseconds.
func AppendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendPadded(b, year, 4)
	b = appendPadded(b, int(month), 2)
	b = append(appendPadded(b, day, 2), '-')
	b = append(appendPadded(b, hour, 2), ':')
	b = append(appendPadded(b, minute, 2), ':')
	b = append(appendPadded(b, second, 2), '.')
	return appendPadded(b, t.Nanosecond()/1e6, 3)
}

func appendPadded(b []byte, n, width int) []byte {
	for range width {
		b = append(b, '0')
	}
	for i := len(b) - 1; n > 0 && width > 0; i, width = i-1, width-1 {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
