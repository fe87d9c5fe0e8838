package order

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"fire/transport/fix"
)

// PersonalTagsMax bounds how many FIX tags may be personal.
const PersonalTagsMax = 256

// Personal is a set of FIX tags whose values are of persons. It never changes, so any number of
// goroutines may use it.
type Personal struct{ tags []int }

// Redaction is a message without its personal values, and these values. Its memory is used again.
type Redaction struct {
	Redacted []byte // as long as the message, each personal value overwritten by as many '*'
	Values   []byte // what was there, with tags and places, for Restore; empty: there was nothing
	end      int    // of the last value
}

// ErrNotTheirs is of values that were not taken out of these bytes.
var ErrNotTheirs = errors.New("order: the values were not taken from these bytes")

// NewPersonal makes the set. It refuses tags without which the bytes are no message any more.
func NewPersonal(tags []int) (*Personal, error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(tags)))
	if len(sorted) > PersonalTagsMax {
		return nil, fmt.Errorf("order: %d personal tags, at most %d are taken", len(sorted), PersonalTagsMax)
	}
	for _, t := range sorted {
		switch {
		case t < 1 || t > 999_999_999:
			return nil, fmt.Errorf("order: %d is no FIX tag", t)
		case t == 8 || t == 9 || t == 10 || t == 35 || isLength(t):
			return nil, fmt.Errorf("order: tag %d cannot be personal: it holds the message together", t)
		}
	}
	return &Personal{sorted}, nil
}

// isLength asks the framer itself whether a tag announces the length of a data field.
func isLength(tag int) bool {
	data := tag + 1
	if tag == 93 {
		data = 89
	}
	f := fix.FieldsOf(fmt.Appendf(nil, "%d=3\x01%d=a\x01b\x01", tag, data))
	f.Next()
	_, v, _ := f.Next()
	return len(v) == 3
}

// Has says whether a tag's values are personal.
func (p *Personal) Has(tag int) bool {
	_, yes := slices.BinarySearch(p.tags, tag)
	return yes
}

// Redact fills r with a copy of raw without personal values, which is what an entry's fields are
// read from, too, and what its digest is of. The CheckSum becomes the one of the
// copy, since the true one tells 8 bits of what was overwritten; a wrong one stays wrong. Of bytes
// that are no message every piece between two SOH that is no field is overwritten, too (tag 0).
// Nothing is allocated once r's memory has grown.
func (p *Personal) Redact(raw []byte, r *Redaction) {
	r.Redacted = append(r.Redacted[:0], raw...)
	r.Values, r.end = r.Values[:0], 0
	walk, from := fix.FieldsOf(raw), 0
	for from < len(raw) {
		tag, v, ok := walk.Next()
		if ok {
			if end := from + walk.At() - 1; len(v) > 0 && p.Has(tag) {
				r.overwrite(tag, end-len(v), end)
			}
			continue
		}
		if from += walk.At(); from == len(raw) {
			break
		}
		end := from
		for end < len(raw) && raw[end] != fix.SOH {
			end++
		}
		if end > from {
			p.piece(raw[from:end], from, r)
		}
		if from = end + 1; from < len(raw) {
			walk = fix.FieldsOf(raw[from:])
		}
	}
	if len(r.Values) > 0 {
		r.checkSum(raw)
	}
}

// piece is what lies between two SOH and was refused as a field. It may be one all the same, with
// no SOH behind it, or after a length that leads astray: then only its value goes.
func (p *Personal) piece(b []byte, from int, r *Redaction) {
	n, tag := 0, 0
	for n < len(b) && n < 9 && b[n]-'0' <= 9 {
		tag = tag*10 + int(b[n]-'0')
		n++
	}
	switch field := n > 0 && n < len(b) && b[n] == '=' && b[0] != '0'; {
	case !field:
		r.overwrite(0, from, from+len(b))
	case p.Has(tag) && n+1 < len(b):
		r.overwrite(tag, from+n+1, from+len(b))
	}
}

// overwrite keeps one value: its tag, how far it lies behind the one before, its length, as
// varints, and its bytes.
func (r *Redaction) overwrite(tag, from, to int) {
	r.keep(tag, from, r.Redacted[from:to])
	for i := from; i < to; i++ {
		r.Redacted[i] = '*'
	}
}

func (r *Redaction) keep(tag, from int, v []byte) {
	r.Values = binary.AppendUvarint(r.Values, uint64(tag))
	r.Values = binary.AppendUvarint(r.Values, uint64(from-r.end))
	r.Values = binary.AppendUvarint(r.Values, uint64(len(v)))
	r.Values = append(r.Values, v...)
	r.end = from + len(v)
}

// checkSum keeps the message's and puts the copy's in its place, as far off as that one was.
func (r *Redaction) checkSum(raw []byte) {
	const trailer = len("\x0110=ddd\x01")
	at := len(raw) - trailer
	if at < r.end || raw[at] != fix.SOH || string(raw[at+1:at+4]) != "10=" || raw[len(raw)-1] != fix.SOH {
		return
	}
	sum := 0
	for _, c := range raw[at+4 : at+7] {
		if c -= '0'; c > 9 {
			return
		}
		sum = sum*10 + int(c)
	}
	if sum > 255 {
		return
	}
	fresh := byte(sum) - fix.CheckSum(raw[:at+1]) + fix.CheckSum(r.Redacted[:at+1])
	r.keep(10, at+4, raw[at+4:at+7])
	r.Redacted[at+4], r.Redacted[at+5], r.Redacted[at+6] = '0'+fresh/100, '0'+fresh/10%10, '0'+fresh%10
}

// Restore appends the message that redacted and values were made of.
func Restore(dst, redacted, values []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, redacted...)
	end := 0
	for len(values) > 0 {
		v, rest, ok := cutValue(values)
		if !ok || v.gap > len(redacted)-end || len(v.bytes) > len(redacted)-end-v.gap {
			return dst[:start], ErrNotTheirs
		}
		from := end + v.gap
		end = from + len(v.bytes)
		if !v.fits(redacted, from, end) {
			return dst[:start], ErrNotTheirs
		}
		copy(dst[start+from:], v.bytes)
		values = rest
	}
	return dst, nil
}

// Values walks the tags and values in the order of the message; tag 10 is its true CheckSum, tag
// 0 what was no field. It ends at bytes that are no values.
func Values(values []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(values) > 0 {
			v, rest, ok := cutValue(values)
			if !ok || !yield(v.tag, v.bytes) {
				return
			}
			values = rest
		}
	}
}

type value struct {
	tag, gap int
	bytes    []byte
}

// fits says whether Redact can have left what stands at the value's place.
func (v value) fits(redacted []byte, from, end int) bool {
	if v.tag == 10 {
		return len(v.bytes) == 3 && end == len(redacted)-1 && from >= 4 && string(redacted[from-4:from]) == "\x0110="
	}
	for _, c := range redacted[from:end] {
		if c != '*' {
			return false
		}
	}
	return true
}

func cutValue(b []byte) (v value, rest []byte, ok bool) {
	var n [3]int
	for i := range n {
		u, size := binary.Uvarint(b)
		if size <= 0 || u > 1<<30 {
			return v, nil, false
		}
		n[i], b = int(u), b[size:]
	}
	if n[2] == 0 || n[2] > len(b) {
		return v, nil, false
	}
	return value{n[0], n[1], b[:n[2]:n[2]]}, b[n[2]:], true
}
