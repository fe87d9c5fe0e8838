package frame

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"fire/policy/reason"
)

// Reply answers an Open.
type Reply struct {
	Code   reason.Code // OK: accepted, the application's bytes follow
	Detail string      // for a person; may be empty
}

// DetailBytesMax is the longest detail; AppendReply cuts a longer one.
const DetailBytesMax = 512

const (
	replyCode    = 12
	replyDetail  = 14
	replyStrings = 16
)

// AppendReply appends r's bytes to b. A detail is a person's text from anywhere, so
// it is made fit instead of refused: cut at a character, control characters and
// broken UTF-8 replaced.
func AppendReply(b []byte, r *Reply) ([]byte, error) {
	from := len(b)
	b = appendPrefix(b, kindReply, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(r.Code))
	b = append(b, 0, 0)
	for _, c := range r.Detail {
		if unicode.IsControl(c) {
			c = ' '
		}
		if len(b)-from-replyStrings+utf8.RuneLen(c) > DetailBytesMax {
			break
		}
		b = utf8.AppendRune(b, c)
	}
	msg := b[from:]
	binary.LittleEndian.PutUint16(msg[replyDetail:], uint16(len(msg)-replyStrings))
	binary.LittleEndian.PutUint16(msg[offTotal:], uint16(len(msg)))
	seal(msg)
	return b, nil
}

// ParseReply reads the message at the start of b into r and returns its length.
// ErrShort asks for more bytes; any other error is a *reason.Error. r is changed
// only on success.
func ParseReply(b []byte, r *Reply) (int, error) {
	msg, err := whole(b, kindReply, replyStrings)
	if err != nil {
		return 0, err
	}
	n := int(binary.LittleEndian.Uint16(msg[replyDetail:]))
	if n > DetailBytesMax || n > len(msg)-replyStrings {
		return 0, reason.New(reason.FrameMalformed, "detail of %d bytes in a reply of %d", n, len(msg))
	}
	detail := msg[replyStrings : replyStrings+n]
	if !text(detail) {
		return 0, reason.New(reason.FrameMalformed, "detail is not plain UTF-8 text")
	}
	r.Code = reason.Code(binary.LittleEndian.Uint16(msg[replyCode:]))
	r.Detail = keep(r.Detail, detail)
	return len(msg), nil
}

// text tells whether b is UTF-8 without control characters: it will be logged.
func text(b []byte) bool {
	for len(b) > 0 {
		c, size := utf8.DecodeRune(b)
		if c == utf8.RuneError && size == 1 || unicode.IsControl(c) {
			return false
		}
		b = b[size:]
	}
	return true
}
