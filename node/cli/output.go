package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// outputFlag chooses the form of what a verb prints; every verb that shows things has it.
func outputFlag() flag {
	return flag{name: "output", short: "o", kind: kindString, value: "FORM", def: "table",
		words: []string{"table", "wide", "json", "jsonl"}, brief: "table, wide, json or jsonl"}
}

// envelope is the outermost JSON object of every verb. Data is an object or a list;
// with jsonl each line is an envelope with one element of the list.
type envelope struct {
	Schema string `json:"schema"` // "fire.edges/v1": a change that breaks readers counts up
	Data   any    `json:"data"`
}

// column is one column of a table of T.
type column[T any] struct {
	head  string
	cell  func(T) string
	right bool // numbers
	wide  bool // with -o wide only
}

// printList prints items in the form that -o asks for; empty is said instead of an
// empty table.
func printList[T any](c *call, schema string, items []T, columns []column[T], empty string) error {
	switch c.string("output") {
	case "json":
		if items == nil {
			items = []T{}
		}
		return c.json(envelope{schema, items})
	case "jsonl":
		e := json.NewEncoder(c.out)
		for _, item := range items {
			if err := e.Encode(envelope{schema, item}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(items) == 0 {
		c.say("%s", empty)
		return nil
	}
	_, err := fmt.Fprint(c.out, c.table(items2rows(items, columns, c.string("output") == "wide")))
	return err
}

// printOne prints one thing: JSON of v, or what text prints.
func printOne(c *call, schema string, v any, text func()) error {
	switch c.string("output") {
	case "json":
		return c.json(envelope{schema, v})
	case "jsonl":
		return json.NewEncoder(c.out).Encode(envelope{schema, v})
	}
	text()
	return nil
}

func (c *call) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// wide says whether -o wide was asked for.
func (c *call) wide() bool { return c.string("output") == "wide" }

// rows is a table before it is aligned; the first row is the head.
type rows struct {
	cells [][]string
	right []bool
}

func items2rows[T any](items []T, columns []column[T], wide bool) rows {
	var r rows
	var head []string
	for _, col := range columns {
		if !col.wide || wide {
			head, r.right = append(head, col.head), append(r.right, col.right)
		}
	}
	r.cells = append(r.cells, head)
	for _, item := range items {
		var line []string
		for _, col := range columns {
			if !col.wide || wide {
				line = append(line, oneLine(col.cell(item)))
			}
		}
		r.cells = append(r.cells, line)
	}
	return r
}

// table aligns rows, two blanks between columns, and paints the words of a state.
func (c *call) table(r rows) string {
	widths := make([]int, len(r.right))
	for _, line := range r.cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	paint := c.painter()
	var b strings.Builder
	for n, line := range r.cells {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if n > 0 {
				cell = paint(cell)
			}
			switch {
			case r.right[i]:
				b.WriteString(pad + cell)
			case i == len(line)-1:
				b.WriteString(cell)
			default:
				b.WriteString(cell + pad)
			}
			if i < len(line)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// oneLine keeps what other hosts chose to send from moving the cursor.
func oneLine(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f {
			return '·'
		}
		return r
	}, s)
}

// colours of the words that say how something fares.
var colours = map[string]string{
	"ok": "32", "yes": "32", "SYNCED": "32", "allowed": "32", "healthy": "32", "works": "32", "applied": "32",
	"warn": "33", "STALE": "33", "DRAINING": "33", "draining": "33", "idle": "2", "skip": "2",
	"error": "31", "fail": "31", "no": "31", "REJECTED": "31", "OFFLINE": "31", "denied": "31", "unhealthy": "31", "rejected": "31",
}

// painter colours words on a terminal; NO_COLOR (no-color.org) and TERM=dumb forbid it.
func (c *call) painter() func(string) string {
	if c.env("NO_COLOR") != "" || c.env("TERM") == "dumb" || !isTerminal(c.out) {
		return func(s string) string { return s }
	}
	return func(s string) string {
		if code, ok := colours[strings.TrimSpace(s)]; ok {
			return "\x1b[" + code + "m" + s + "\x1b[0m"
		}
		return s
	}
}

// isTerminal says whether w shows to a person.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// How figures are written in tables; JSON has the plain numbers.

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func showNanos(ns int64) string {
	d := float64(ns)
	switch {
	case ns == 0:
		return "-"
	case ns < 1_000:
		return fmt.Sprintf("%.0fns", d)
	case ns < 1_000_000:
		return fmt.Sprintf("%.3gµs", d/1e3)
	case ns < 1_000_000_000:
		return fmt.Sprintf("%.3gms", d/1e6)
	}
	return fmt.Sprintf("%.3gs", d/1e9)
}

func showRate(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func showBytes(v float64) string {
	const units = "kMGTP"
	if v < 1000 {
		return fmt.Sprintf("%.0fB", v)
	}
	i := -1
	for v >= 1000 && i < len(units)-1 {
		v /= 1000
		i++
	}
	return fmt.Sprintf("%.3g%cB", v, units[i])
}

func showRatio(v float64) string {
	switch {
	case v == 0:
		return "0%"
	case v >= 0.0995:
		return fmt.Sprintf("%.0f%%", v*100)
	}
	return fmt.Sprintf("%.2g%%", v*100)
}

func showCount(n uint64) string { return fmt.Sprintf("%d", n) }

func showTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// showAge is a duration with its two coarsest units at most.
func showAge(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + showAge(-d)
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func showMillis(ms int64) string { return showAge(time.Duration(ms) * time.Millisecond) }

// showPort is "-" for a service that only calls others.
func showPort(p uint16) string {
	if p == 0 {
		return ""
	}
	return fmt.Sprint(p)
}
