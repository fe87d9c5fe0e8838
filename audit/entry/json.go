package entry

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"fire/policy/reason"
)

// AppendJSON adds the entry as one JSON object without its braces, so that the caller can put
// what it knows besides (index, log) before it: "kind", "time", "time_utc_ns", "error_bound_ns",
// "clock", "source", "seq", then the fields by name.
func (v View) AppendJSON(b []byte) []byte {
	h := v.Head()
	b = append(b, `"kind":`...)
	b = appendText(b, h.Kind.String())
	b = append(b, `,"time":"`...)
	b = time.Unix(0, h.Time).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
	b = append(b, `","time_utc_ns":`...)
	b = strconv.AppendInt(b, h.Time, 10)
	b = append(b, `,"error_bound_ns":`...)
	if h.Bound == BoundUnknown {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendUint(b, uint64(h.Bound), 10)
	}
	b = append(b, `,"clock":`...)
	b = appendText(b, h.Clock.String())
	b = append(b, `,"clock_sync":`...)
	b = appendText(b, h.Sync.String())
	b = append(b, `,"source":"`...)
	b = hex.AppendEncode(b, v.raw[16:24]) // as text: JSON's numbers have 53 bits
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, h.Seq, 10)
	for t, val := range v.All() {
		b = append(b, ',')
		b = appendText(b, t.String())
		b = append(b, ':')
		b = appendValue(b, t, val)
	}
	return b
}

// Text is a field's value as a person reads it.
func (v View) Text(t Tag) string {
	val := v.Bytes(t)
	switch {
	case val == nil:
		return ""
	case t == Reason:
		return reason.Code(number(val)).String()
	}
	switch fields[t].form {
	case unsigned:
		return strconv.FormatUint(number(val), 10)
	case signed:
		return strconv.FormatInt(zigzag(number(val)), 10)
	case text:
		return string(val)
	case blob:
		return base64.StdEncoding.EncodeToString(val)
	}
	return hex.EncodeToString(val)
}

func appendValue(b []byte, t Tag, val []byte) []byte {
	if t == Reason {
		return appendText(b, reason.Code(number(val)).String())
	}
	switch fields[t].form {
	case unsigned:
		return strconv.AppendUint(b, number(val), 10)
	case signed:
		return strconv.AppendInt(b, zigzag(number(val)), 10)
	case text:
		return appendText(b, string(val))
	case blob:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, val)
		return append(b, '"')
	}
	b = append(b, '"')
	b = hex.AppendEncode(b, val)
	return append(b, '"')
}

// appendText quotes; bytes that are no UTF-8 become the replacement character, as the field's
// bytes stay in the entry itself.
func appendText(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // of a string it cannot fail
	return append(b, q...)
}
