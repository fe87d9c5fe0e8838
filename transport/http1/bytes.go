package http1

// class holds what RFC 9110 and RFC 3986 let one byte be.
type class uint8

const (
	token   class = 1 << iota // tchar of a field name (RFC 9110 section 5.6.2)
	value                     // field content: visible, space, tab, obs-text
	segment                   // pchar of a path without ";" and "%": stands as it is
	query                     // what we forward in a query: visible ASCII but "#"
	hexRaw                    // 0-9 a-f A-F
	host                      // reg-name of a host we route to, any case
)

// classes is the one table of all bytes; the framer looks up each byte once.
var classes = classTable()

func classTable() (t [256]class) {
	set := func(bytes string, c class) {
		for i := range len(bytes) {
			t[bytes[i]] |= c
		}
	}
	const digits = "0123456789"
	const lower, upper = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	set(digits+lower+upper, token|segment|host)
	set("!#$%&'*+-.^_`|~", token)
	set("-._~!$&'()*+,=:@", segment)
	set("-._", host)
	set(digits+"abcdefABCDEF", hexRaw)
	for c := 0x21; c <= 0x7e; c++ {
		t[c] |= value | query
	}
	t['#'] &^= query
	t[' '] |= value
	t['\t'] |= value
	for c := 0x80; c <= 0xff; c++ {
		t[c] |= value
	}
	return t
}

func all(b []byte, c class) bool {
	for _, x := range b {
		if classes[x]&c == 0 {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// equalFold reports whether b is s in any case of ASCII; s is lower-case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		if lower(b[i]) != s[i] {
			return false
		}
	}
	return true
}

// unhex is the value of a hex digit; the caller has checked the class.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// trim drops optional white space, SP and HTAB, at both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
