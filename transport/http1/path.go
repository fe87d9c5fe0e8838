package http1

import (
	"bytes"
	"unicode/utf8"

	"fire/policy/reason"
)

const hexUpper = "0123456789ABCDEF"

// CanonicalPath returns the one spelling of an absolute path without its query:
// every byte that a segment may hold stands as it is, every other as upper-case
// %XX. A path that is canonical already is returned as it came; else the result
// is appended to dst and the returned slice is the new part.
//
// A path that servers read in different ways is refused with HTTPPathUnclean.
func CanonicalPath(dst, raw []byte) ([]byte, reason.Code) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, reason.HTTPPathUnclean
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if classes[c]&segment != 0 && c != '.' {
			continue
		}
		switch {
		case c == '/':
			if i+1 < len(raw) && raw[i+1] == '/' {
				return nil, reason.HTTPPathUnclean
			}
		case c == '.':
			if dotSegment(raw, i) {
				return nil, reason.HTTPPathUnclean
			}
		default:
			return respell(dst, raw, i)
		}
	}
	return raw, reason.OK
}

// dotSegment reports whether a segment "." or ".." starts at i.
func dotSegment(p []byte, i int) bool {
	if i == 0 || p[i-1] != '/' {
		return false
	}
	rest := p[i+1:]
	if len(rest) > 0 && rest[0] == '.' {
		rest = rest[1:]
	}
	return len(rest) == 0 || rest[0] == '/'
}

// respell appends the canonical form of raw, whose first n bytes are canonical.
func respell(dst, raw []byte, n int) ([]byte, reason.Code) {
	start := len(dst)
	dst = append(dst, raw[:n]...)
	var runes runeCheck
	for i := n; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) || classes[raw[i+1]]&hexRaw == 0 || classes[raw[i+2]]&hexRaw == 0 {
				return nil, reason.HTTPPathUnclean
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			if !codable(c) || !runes.add(c) {
				return nil, reason.HTTPPathUnclean
			}
			i += 2
		} else if !rawable(c) || !runes.add(c) {
			return nil, reason.HTTPPathUnclean
		}
		if classes[c]&segment != 0 || c == '/' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	path := dst[start:]
	if !runes.whole() || !clean(path) {
		return nil, reason.HTTPPathUnclean
	}
	return path, reason.OK
}

// rawable reports whether c may stand unencoded in a path that came in. "\" and ";"
// are path syntax to some servers (IIS; Tomcat cuts "..;" down to "..").
func rawable(c byte) bool {
	return c > 0x20 && c < 0x7f && c != '\\' && c != ';' && c != '#' && c != '?'
}

// codable reports whether a path may hold c as a percent code. An encoded dot,
// slash or control byte has no use but to be read in two ways.
func codable(c byte) bool {
	return c >= 0x20 && c != 0x7f && c != '.' && c != '/' && c != '\\' && c != ';'
}

// clean holds a respelled path against what only shows in the result: segments,
// and percent codes that would decode again to a percent code.
func clean(p []byte) bool {
	for i, c := range p {
		switch {
		case c == '/' && i+1 < len(p) && p[i+1] == '/':
			return false
		case c == '.' && dotSegment(p, i):
			return false
		}
	}
	for rest := p; ; {
		i := bytes.Index(rest, percentCode)
		if i < 0 {
			return true
		}
		rest = rest[i+len(percentCode):]
		if len(rest) >= 2 && classes[rest[0]]&hexRaw != 0 && classes[rest[1]]&hexRaw != 0 {
			return false
		}
	}
}

var percentCode = []byte("%25")

// runeCheck refuses bytes that are not UTF-8, overlong forms of "." and "/" first
// of all.
type runeCheck struct {
	part [utf8.UTFMax]byte
	n    int
}

func (r *runeCheck) add(c byte) bool {
	if c < utf8.RuneSelf {
		return r.n == 0
	}
	r.part[r.n] = c
	r.n++
	if !utf8.FullRune(r.part[:r.n]) {
		return true
	}
	if _, size := utf8.DecodeRune(r.part[:r.n]); size == 1 { // RuneError: overlong, surrogate or cut
		return false
	}
	r.n = 0
	return true
}

func (r *runeCheck) whole() bool { return r.n == 0 }
