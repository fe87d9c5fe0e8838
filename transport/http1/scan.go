package http1

import (
	"bytes"
	"errors"

	"fire/policy/reason"
)

// ErrShort says that the buffer does not hold the whole head yet: read more and
// call again with the longer buffer.
var ErrShort = errors.New("http1: the head is not whole yet")

// scanner finds the end of a head in a growing buffer and looks at each byte once,
// so that a client that sends byte by byte costs no more than one that does not.
type scanner struct {
	line int // where the current line starts
	seen int // what has been searched
}

// end returns the length of the head with its empty line. blank is how many empty
// lines may come before it.
func (s *scanner) end(buf []byte, limit, blank int) (int, error) {
	limit = min(limit, HeadBytesMax)
	for {
		i := bytes.IndexByte(buf[s.seen:], '\n')
		if i < 0 {
			s.seen = len(buf)
			if len(buf) >= limit {
				return 0, tooLarge(limit)
			}
			return 0, ErrShort
		}
		i += s.seen
		if i >= limit {
			return 0, tooLarge(limit)
		}
		if i == s.line || buf[i-1] != '\r' {
			return 0, malformed("a line ends without CR") // RFC 9112 section 2.2 lets us refuse it
		}
		empty := i == s.line+1
		leading := i < 2*blank
		s.line, s.seen = i+1, i+1
		if empty && !leading {
			return i + 1, nil
		}
	}
}

func tooLarge(limit int) error {
	return reason.New(reason.HTTPHeaderTooLarge, "the head is larger than %d bytes", limit)
}

func malformed(format string, args ...any) error {
	return reason.New(reason.HTTPMalformed, format, args...)
}

// show quotes the beginning of a client's text for an error, never raw.
func show(b []byte) string {
	if len(b) > shownBytesMax {
		return quote(b[:shownBytesMax]) + "..."
	}
	return quote(b)
}
