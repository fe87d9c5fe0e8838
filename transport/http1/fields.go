package http1

import (
	"bytes"

	"fire/policy/reason"
)

// Limits of a head. A head is also bounded by the caller's limit in bytes.
const (
	HeadBytesMax    = 64<<10 - 1 // offsets are 16 bits wide
	FieldsMax       = 128
	TargetBytesMax  = 8 << 10
	HostBytesMax    = 255
	ConnectionsMax  = 16 // options in all Connection fields together
	TrailerBytesMax = 4 << 10
	methodBytesMax  = 32
	lengthDigitsMax = 18
	chunkDigitsMax  = 16
	shownBytesMax   = 40 // of a client's text in an error
	ownPrefix       = "x-fire"
)

// kind says what the proxy does with a field.
type kind uint8

const (
	plain            kind = iota // forwarded as it is
	hop                          // of this hop only: dropped (RFC 9110 section 7.6.1)
	own                          // one of ours in any spelling: dropped
	hostField                    // re-made
	contentLength                // re-made
	transferEncoding             // re-made
	connection                   // re-made
	upgrade                      // re-made for a WebSocket, else the message is refused
	expect                       // re-made
	traceParent                  // re-made
	traceState                   // dropped unless a good traceparent stands beside it
	disguised                    // folds to a framing field in servers that fold: refused
)

// kindOf classifies a field by its name.
func kindOf(name []byte) kind {
	switch len(name) {
	case 2:
		if equalFold(name, "te") {
			return hop
		}
	case 4:
		if equalFold(name, "host") {
			return hostField
		}
	case 6:
		if equalFold(name, "expect") {
			return expect
		}
	case 7:
		if equalFold(name, "upgrade") {
			return upgrade
		}
	case 10:
		switch {
		case equalFold(name, "connection"):
			return connection
		case equalFold(name, "keep-alive"):
			return hop
		case equalFold(name, "tracestate"):
			return traceState
		}
	case 11:
		if equalFold(name, "traceparent") {
			return traceParent
		}
	case 14:
		switch {
		case equalFold(name, "content-length"):
			return contentLength
		case equalFold(name, "http2-settings"):
			return hop
		case foldsTo(name, "content-length"):
			return disguised
		}
	case 16:
		if equalFold(name, "proxy-connection") {
			return hop
		}
	case 17:
		switch {
		case equalFold(name, "transfer-encoding"):
			return transferEncoding
		case foldsTo(name, "transfer-encoding"):
			return disguised
		}
	case 18:
		if equalFold(name, "proxy-authenticate") {
			return hop
		}
	case 19:
		if equalFold(name, "proxy-authorization") {
			return hop
		}
	}
	if len(name) >= len(ownPrefix) && foldsTo(name[:len(ownPrefix)], ownPrefix) &&
		(len(name) == len(ownPrefix) || fold(name[len(ownPrefix)]) == '-') {
		return own
	}
	return plain
}

// fold maps a name's byte as CGI-like servers do: letters to one case, everything
// that is neither letter nor digit to one mark.
func fold(c byte) byte {
	if classes[c]&host != 0 && c != '.' && c != '_' {
		return lower(c)
	}
	return '-'
}

func foldsTo(name []byte, s string) bool {
	if len(name) != len(s) {
		return false
	}
	for i := range len(s) {
		if fold(name[i]) != s[i] {
			return false
		}
	}
	return true
}

// field is one header line as offsets into the head.
type field struct {
	nameStart, nameEnd, valueStart, valueEnd uint16
	kind                                     kind
}

// fields is a parsed header section. It aliases the caller's buffer.
type fields struct {
	head  []byte
	list  [FieldsMax]field
	n     int
	first [disguised]int16 // 1 + index of the first field of a kind, 0 = none
}

func (f *fields) name(i int) []byte  { return f.head[f.list[i].nameStart:f.list[i].nameEnd] }
func (f *fields) value(i int) []byte { return f.head[f.list[i].valueStart:f.list[i].valueEnd] }

// Fields calls yield with each field in order: the name as it was spelled and the
// value without the white space around it.
func (f *fields) Fields(yield func(name, value []byte) bool) {
	for i := range f.n {
		if !yield(f.name(i), f.value(i)) {
			return
		}
	}
}

// Get returns the value of the first field of that lower-case name, or nil.
func (f *fields) Get(name string) []byte {
	for i := range f.n {
		if equalFold(f.name(i), name) {
			return f.value(i)
		}
	}
	return nil
}

// only returns the value of the one field of a kind; two of them are refused.
func (f *fields) only(k kind, name string) (value []byte, found bool, err error) {
	if f.first[k] == 0 {
		return nil, false, nil
	}
	i := int(f.first[k] - 1)
	for j := i + 1; j < f.n; j++ {
		if f.list[j].kind == k {
			return nil, false, malformed("%s stands twice", name)
		}
	}
	return f.value(i), true, nil
}

// parse reads field lines from head[at:], which ends with the empty line.
func (f *fields) parse(head []byte, at int) error {
	f.head, f.n = head, 0
	f.first = [disguised]int16{}
	for {
		line := head[at:]
		end := bytes.IndexByte(line, '\n') // the scanner proved that CR precedes each LF
		if end == 1 {
			return nil
		}
		if f.n == FieldsMax {
			return reason.New(reason.HTTPHeaderTooLarge, "more than %d fields", FieldsMax)
		}
		if err := f.parseLine(line[:end-1], at); err != nil {
			return err
		}
		at += end + 1
	}
}

func (f *fields) parseLine(line []byte, at int) error {
	colon := 0
	for colon < len(line) && classes[line[colon]]&token != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return badLine(line, colon)
	}
	v := line[colon+1:]
	if !all(v, value) {
		return malformed("field %s holds a control byte", show(line[:colon]))
	}
	k := kindOf(line[:colon])
	if k == disguised {
		return malformed("field %s passes for a framing field in some servers", show(line[:colon]))
	}
	start, end := 0, len(v)
	for start < end && (v[start] == ' ' || v[start] == '\t' && k != transferEncoding) {
		start++
	}
	for k != transferEncoding && end > start && (v[end-1] == ' ' || v[end-1] == '\t') {
		end-- // "chunked\t" is read as chunked by some and as unknown by others, so it stays
	}
	valueAt := at + colon + 1
	f.list[f.n] = field{uint16(at), uint16(at + colon), uint16(valueAt + start), uint16(valueAt + end), k}
	f.n++
	if f.first[k] == 0 {
		f.first[k] = int16(f.n)
	}
	return nil
}

// badLine says what is wrong with a line whose name ends at colon.
func badLine(line []byte, colon int) error {
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return malformed("a field is folded over two lines")
	case colon == len(line):
		return malformed("field line %s has no colon", show(line))
	case line[colon] == ':':
		return malformed("a field has no name")
	case line[colon] == ' ' || line[colon] == '\t':
		return malformed("white space before the colon of %s", show(line[:colon]))
	}
	return malformed("field name %s holds a byte that no name may hold", show(line))
}

// options reads the Connection fields: it marks the fields they name as of this
// hop and returns the options that matter. Names of fields that the proxy makes
// anew have no effect, so nobody can have ours dropped by naming them.
func (f *fields) options() (closing, upgrading bool, err error) {
	if f.first[connection] == 0 {
		return false, false, nil
	}
	seen := 0
	for i := int(f.first[connection] - 1); i < f.n; i++ {
		if f.list[i].kind != connection {
			continue
		}
		for rest := f.value(i); len(rest) > 0; {
			option := rest
			if comma := bytes.IndexByte(rest, ','); comma >= 0 {
				option, rest = rest[:comma], rest[comma+1:]
			} else {
				rest = nil
			}
			option = trim(option)
			if seen++; seen > ConnectionsMax {
				return false, false, reason.New(reason.HTTPHeaderTooLarge, "more than %d Connection options", ConnectionsMax)
			}
			switch {
			case !all(option, token):
				return false, false, malformed("Connection option %s is no token", show(option))
			case equalFold(option, "close"):
				closing = true
			case equalFold(option, "upgrade"):
				upgrading = true
			case equalFold(option, "keep-alive"): // the usual one; its field is of this hop already
			case len(option) > 0:
				f.drop(option)
			}
		}
	}
	return closing, upgrading, nil
}

// drop marks the fields of a name as of this hop.
func (f *fields) drop(option []byte) {
	for j := range f.n {
		name := f.name(j)
		if len(name) != len(option) {
			continue
		}
		same := true
		for i := range name {
			same = same && lower(name[i]) == lower(option[i])
		}
		if k := &f.list[j].kind; same && (*k == plain || *k == traceState) {
			*k = hop
		}
	}
}

// framing reads Content-Length and Transfer-Encoding; length is -1 without one.
func (f *fields) framing(http10 bool) (chunked bool, length int64, err error) {
	te, hasTE, err := f.only(transferEncoding, "Transfer-Encoding")
	if err != nil {
		return false, -1, err
	}
	cl, hasCL, err := f.only(contentLength, "Content-Length")
	switch {
	case err != nil:
		return false, -1, err
	case hasTE && hasCL:
		return false, -1, malformed("both Content-Length and Transfer-Encoding") // RFC 9112 section 6.1
	case hasTE && http10:
		return false, -1, malformed("Transfer-Encoding in HTTP/1.0")
	case hasTE && !equalFold(te, "chunked"):
		return false, -1, malformed("Transfer-Encoding %s is not chunked", show(te))
	case hasTE:
		return true, -1, nil
	case !hasCL:
		return false, -1, nil
	}
	if len(cl) == 0 || len(cl) > lengthDigitsMax {
		return false, -1, malformed("Content-Length %s is no length", show(cl))
	}
	for _, c := range cl {
		if c < '0' || c > '9' {
			return false, -1, malformed("Content-Length %s is no length", show(cl))
		}
		length = length*10 + int64(c-'0')
	}
	return false, length, nil
}
