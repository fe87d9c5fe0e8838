package catalog

import "strings"

// spot is where a key stands: line and byte column from 1.
type spot struct {
	line, col, width int
}

// locate finds every key and table header of a TOML text that the TOML library
// has already accepted; the library keeps its own positions to itself. Keys are
// dotted paths as in Problem.Key. A text that is not TOML gives fewer keys.
func locate(src string) map[string]spot {
	s := scanner{src: src, line: 1, at: map[string]spot{}}
	var table string
	for s.blanks(); s.i < len(s.src); s.blanks() {
		if s.src[s.i] == '[' {
			for s.i < len(s.src) && (s.src[s.i] == '[' || s.src[s.i] == ' ' || s.src[s.i] == '\t') {
				s.i++
			}
			table = s.key("")
			s.skipTo("\n")
			continue
		}
		s.pair(table, 0)
	}
	return s.at
}

type scanner struct {
	src   string
	i     int
	line  int
	start int // offset of the line's first byte
	at    map[string]spot
}

// blanks skips white space, newlines, comments and commas.
func (s *scanner) blanks() {
	for s.i < len(s.src) {
		switch s.src[s.i] {
		case '\n':
			s.i++
			s.line, s.start = s.line+1, s.i
		case ' ', '\t', '\r', ',':
			s.i++
		case '#':
			s.skipTo("\n")
		default:
			return
		}
	}
}

// skipTo stops at the first of the bytes, on this line or any later.
func (s *scanner) skipTo(stop string) {
	for s.i < len(s.src) && !strings.Contains(stop, s.src[s.i:s.i+1]) {
		if s.src[s.i] == '\n' {
			s.line, s.start = s.line+1, s.i+1
		}
		s.i++
	}
}

// pair reads `key = value`.
func (s *scanner) pair(table string, depth int) {
	before := s.i
	path := s.key(table)
	s.spaces()
	if s.i < len(s.src) && s.src[s.i] == '=' {
		s.i++
		s.value(path, depth)
	}
	if s.i == before {
		s.i++ // not TOML: never stand still
	}
}

// key reads a dotted key and records each of its prefixes that is new.
func (s *scanner) key(path string) string {
	for {
		s.spaces()
		from := s.i
		part := s.keyPart()
		if path != "" {
			path += "."
		}
		path += part
		if _, ok := s.at[path]; !ok {
			s.at[path] = spot{s.line, from - s.start + 1, s.i - from}
		}
		s.spaces()
		if s.i >= len(s.src) || s.src[s.i] != '.' {
			return path
		}
		s.i++
	}
}

func (s *scanner) keyPart() string {
	if s.i < len(s.src) && (s.src[s.i] == '"' || s.src[s.i] == '\'') {
		from := s.i
		s.text()
		return strings.Trim(s.src[from:s.i], `"'`)
	}
	from := s.i
	for s.i < len(s.src) && !strings.Contains(".=] \t\r\n#,{}[\"'", s.src[s.i:s.i+1]) {
		s.i++
	}
	return s.src[from:s.i]
}

func (s *scanner) spaces() {
	for s.i < len(s.src) && (s.src[s.i] == ' ' || s.src[s.i] == '\t') {
		s.i++
	}
}

const nestingMax = 100

func (s *scanner) value(path string, depth int) {
	s.blanks()
	if s.i >= len(s.src) {
		return
	}
	c := s.src[s.i]
	switch {
	case c == '"' || c == '\'':
		s.text()
	case (c == '[' || c == '{') && depth < nestingMax:
		s.i++
		for s.blanks(); s.i < len(s.src) && s.src[s.i] != ']' && s.src[s.i] != '}'; s.blanks() {
			if c == '{' {
				s.pair(path, depth+1)
				continue
			}
			before := s.i
			s.value(path, depth+1)
			if s.i == before {
				s.i++
			}
		}
		if s.i < len(s.src) {
			s.i++
		}
	default:
		s.skipTo(",]}#\n")
	}
}

// text skips one string of any of the four kinds.
func (s *scanner) text() {
	quote := s.src[s.i : s.i+1]
	end := quote
	if strings.HasPrefix(s.src[s.i:], quote+quote+quote) {
		end = quote + quote + quote
	}
	s.i += len(end)
	for s.i < len(s.src) && !strings.HasPrefix(s.src[s.i:], end) {
		if s.src[s.i] == '\\' && quote == `"` {
			s.i++
		}
		if s.i < len(s.src) && s.src[s.i] == '\n' {
			s.line, s.start = s.line+1, s.i+1
		}
		s.i++
	}
	s.i = min(s.i+len(end), len(s.src))
	// A multi-line string may end in up to two more quotes that belong to it.
	for len(end) == 3 && s.i < len(s.src) && s.src[s.i:s.i+1] == quote {
		s.i++
	}
}
