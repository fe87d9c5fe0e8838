package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong with a configuration and where it stands.
type Problem struct {
	Position
	Key     string `json:"key,omitempty"`     // dotted, as in the reference
	Text    string `json:"text"`              // what is wrong
	Hint    string `json:"hint,omitempty"`    // what to write instead
	Excerpt string `json:"excerpt,omitempty"` // the line and a caret below it
}

// String is the problem with its excerpt, over several lines.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Position.String() + ": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	if p.Excerpt != "" {
		b.WriteString("\n" + p.Excerpt)
	}
	return b.String()
}

// Problems is everything wrong with one file, in the order of the file. It is an
// error when it is not empty.
type Problems []Problem

// ProblemsMax is how many problems are kept of one file.
const ProblemsMax = 100

// Error is every problem, one below the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err is nil when there is no problem.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func (ps Problems) inOrder() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(ps) > ProblemsMax {
		more := len(ps) - ProblemsMax
		ps = append(ps[:ProblemsMax:ProblemsMax], Problem{Position: Position{File: ps[0].File}, Text: fmt.Sprintf("and %d more problems", more)})
	}
	return ps
}

// excerptColumnsMax cuts long lines in an excerpt.
const excerptColumnsMax = 120

// excerpt is the line that holds s with carets below it. In a text that holds a
// secret anywhere, what a line sets is hidden.
func excerpt(text string, s span) string {
	start := strings.LastIndexByte(text[:s.start], '\n') + 1
	end := len(text)
	if i := strings.IndexByte(text[start:], '\n'); i >= 0 {
		end = start + i
	}
	line := strings.TrimRight(text[start:end], "\r")
	before := text[start:min(s.start, start+len(line))]
	width := utf8.RuneCountInString(text[s.start:max(s.start, min(s.end, end))])
	if holdsSecret(text) {
		name, _, _ := strings.Cut(line, "=")
		if name == line {
			return "    (hidden)"
		}
		line = name + "= (hidden)"
		if len(before) > len(name) {
			before, width = name+"= ", len("(hidden)")
		}
	}
	margin := strings.Map(func(r rune) rune {
		if r == '\t' {
			return '\t'
		}
		return ' '
	}, before)
	if r := []rune(line); len(r) > excerptColumnsMax {
		line = string(r[:excerptColumnsMax]) + "…"
	}
	if utf8.RuneCountInString(before) >= excerptColumnsMax {
		return "    " + line
	}
	width = min(max(width, 1), excerptColumnsMax-utf8.RuneCountInString(before))
	return "    " + printable(line) + "\n    " + margin + strings.Repeat("^", width)
}

// printable keeps control characters of a hostile file off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '·'
	}, s)
}

// holdsSecret finds key material and join tokens by their form.
func holdsSecret(s string) bool {
	return strings.Contains(s, "PRIVATE KEY-----") || strings.Contains(s, "fire1.")
}
