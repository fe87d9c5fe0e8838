package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Position is a place in a file; Line and Column count from 1, Column in characters.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String is file:line:column, the form that editors jump to.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// span is a piece of the source, as byte offsets.
type span struct{ start, end int }

// place is where a key stands and where its value does; a table has no value.
type place struct{ key, value span }

// locator finds where every key of a TOML text stands. It reads only text that
// the TOML library has accepted, so it needs no error of its own; on anything
// else it may miss keys but always ends. The library keeps positions to itself
// (BurntSushi/toml v1.6 MetaData), and a fuzz test holds the two against each other.
type locator struct {
	text   string
	at     int
	places map[string]place
}

// nestingMax bounds the locator's recursion. Nothing in mesh.toml nests deeper than four.
const nestingMax = 64

// pathKey joins a key path; the separator cannot stand in a bare key.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

func locate(text string) map[string]place {
	l := &locator{text: text, places: map[string]place{}}
	var table []string
	for l.skip(true); l.at < len(l.text); l.skip(true) {
		before := l.at
		if l.peek() == '[' {
			table = l.header()
		} else {
			l.pair(table, 0)
		}
		if l.at == before {
			break // not TOML
		}
	}
	return l.places
}

// header reads [a.b] or [[a.b]].
func (l *locator) header() []string {
	for l.peek() == '[' {
		l.at++
	}
	path := l.dotted(nil)
	for l.peek() == ']' {
		l.at++
	}
	return path
}

// pair reads key = value below a table.
func (l *locator) pair(table []string, depth int) {
	path := l.dotted(table)
	if l.peek() != '=' {
		return
	}
	l.at++
	l.skip(false)
	v := l.value(path, depth)
	k := pathKey(path)
	p := l.places[k]
	p.value = v
	l.places[k] = p
}

// dotted reads a.b."c" and records every prefix that is new.
func (l *locator) dotted(table []string) []string {
	path := append([]string(nil), table...)
	for {
		l.skip(false)
		start := l.at
		name := l.name()
		path = append(path, name)
		if k := pathKey(path); l.places[k] == (place{}) {
			l.places[k] = place{key: span{start, l.at}}
		}
		l.skip(false)
		if l.peek() != '.' {
			return path
		}
		l.at++
	}
}

func (l *locator) name() string {
	start := l.at
	if c := l.peek(); c == '"' || c == '\'' {
		l.quoted(c)
		raw := l.text[start:l.at]
		if c == '"' {
			if s, err := strconv.Unquote(raw); err == nil {
				return s
			}
		}
		return strings.Trim(raw, string(rune(c)))
	}
	for l.at < len(l.text) && !strings.ContainsRune(" \t\r\n.=]#", rune(l.text[l.at])) {
		l.at++
	}
	return l.text[start:l.at]
}

func (l *locator) value(path []string, depth int) span {
	start := l.at
	switch c := l.peek(); {
	case depth > nestingMax:
		l.at = len(l.text)
	case c == '"' || c == '\'':
		l.quoted(c)
	case c == '[':
		l.list(path, depth)
	case c == '{':
		l.inline(path, depth)
	default:
		for l.at < len(l.text) && !strings.ContainsRune(",]}#\r\n", rune(l.text[l.at])) {
			l.at++
		}
		return span{start, start + len(strings.TrimRight(l.text[start:l.at], " \t"))}
	}
	return span{start, l.at}
}

// list reads [v, v]; element i is recorded as path.i.
func (l *locator) list(path []string, depth int) {
	l.at++
	for i := 0; l.at < len(l.text); i++ {
		if l.skip(true); l.peek() == ']' {
			l.at++
			return
		}
		before := l.at
		element := append(path[:len(path):len(path)], strconv.Itoa(i))
		v := l.value(element, depth+1)
		l.places[pathKey(element)] = place{key: v, value: v}
		if l.skip(true); l.peek() == ',' {
			l.at++
		}
		if l.at == before {
			return
		}
	}
}

// inline reads { k = v, k = v }.
func (l *locator) inline(path []string, depth int) {
	l.at++
	for l.at < len(l.text) {
		if l.skip(true); l.peek() == '}' {
			l.at++
			return
		}
		before := l.at
		l.pair(path, depth+1)
		if l.skip(true); l.peek() == ',' {
			l.at++
		}
		if l.at == before {
			return
		}
	}
}

// quoted passes over a string in quotes c, of one line or many.
func (l *locator) quoted(c byte) {
	q := string(rune(c))
	if long := strings.Repeat(q, 3); strings.HasPrefix(l.text[l.at:], long) {
		l.at += 3
		for l.at < len(l.text) && !strings.HasPrefix(l.text[l.at:], long) {
			l.at += l.step(c)
		}
		for l.at < len(l.text) && l.text[l.at] == c { // up to two quotes may stand before the end
			l.at++
		}
		return
	}
	for l.at++; l.at < len(l.text) && l.text[l.at] != c; {
		l.at += l.step(c)
	}
	l.at = min(l.at+1, len(l.text))
}

// step is the width of one character or escape inside a string in quotes c.
func (l *locator) step(c byte) int {
	if c == '"' && l.text[l.at] == '\\' {
		return min(2, len(l.text)-l.at)
	}
	return 1
}

// skip passes over blanks, and over line ends and comments when lines is set.
func (l *locator) skip(lines bool) {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == ' ' || c == '\t':
			l.at++
		case lines && (c == '\n' || c == '\r'):
			l.at++
		case lines && c == '#':
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

func (l *locator) peek() byte {
	if l.at < len(l.text) {
		return l.text[l.at]
	}
	return 0
}

// position turns a byte offset into line and column.
func position(file, text string, offset int) Position {
	offset = min(max(offset, 0), len(text))
	line := 1 + strings.Count(text[:offset], "\n")
	start := strings.LastIndexByte(text[:offset], '\n') + 1
	return Position{file, line, 1 + utf8.RuneCountInString(text[start:offset])}
}
