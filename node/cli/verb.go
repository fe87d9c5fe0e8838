package cli

import (
	"context"
	"fmt"
	"strings"
)

// verb is one word of the command line. A verb has either verbs below it or a run.
type verb struct {
	name     string
	brief    string // one line, for the list of verbs
	about    string // paragraphs, for its own help
	args     string // names of its positional arguments, such as "SRC DST"
	least    int    // of positional arguments
	most     int
	flags    []flag
	examples []example
	verbs    []*verb
	run      func(context.Context, *call) error
}

type example struct{ line, what string }

type kind uint8

const (
	kindBool kind = iota
	kindString
	kindList // may be given several times; a comma is a part of the value
	kindInt
	kindDuration
	kindNumber
)

// flag is one --name of a verb. A name has the same kind wherever it stands, so that
// flags may be given before the verb that they belong to.
type flag struct {
	name  string
	short string // one letter, or ""
	kind  kind
	value string // place holder in help: "" for kindBool
	def   string
	brief string
	words []string // the legal values, when they are few
}

// usageError is a command line that cannot be understood: exit code 2.
type usageError struct{ text, hint string }

func (e *usageError) Error() string {
	if e.hint == "" {
		return e.text
	}
	return e.text + "; " + e.hint
}

func usage(hint, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), hint}
}

// unhealthy is a verb that worked and found something wrong: exit code 3. What it
// found has been printed.
type unhealthy struct{ text string }

func (e *unhealthy) Error() string { return e.text }

// find is the verb below v with that name.
func (v *verb) find(name string) *verb {
	for _, child := range v.verbs {
		if child.name == name {
			return child
		}
	}
	return nil
}

func (v *verb) names() []string {
	out := make([]string, len(v.verbs))
	for i, child := range v.verbs {
		out[i] = child.name
	}
	return out
}

// flag finds a flag of v by its long or short name.
func (v *verb) flag(name string) (flag, bool) {
	for _, f := range v.flags {
		if name != "" && (f.name == name || f.short == name) {
			return f, true
		}
	}
	return flag{}, false
}

// anyFlag finds a flag of v or of any verb below it.
func (v *verb) anyFlag(name string) (flag, bool) {
	if f, ok := v.flag(name); ok {
		return f, true
	}
	for _, child := range v.verbs {
		if f, ok := child.anyFlag(name); ok {
			return f, true
		}
	}
	return flag{}, false
}

// walk visits v and every verb below it with the words that lead there.
func (v *verb) walk(path []string, visit func(path []string, v *verb)) {
	visit(path, v)
	for _, child := range v.verbs {
		child.walk(append(path[:len(path):len(path)], child.name), visit)
	}
}

// usageLine is "fire policy try [flags] SRC DST".
func (v *verb) usageLine(path []string) string {
	words := append([]string{}, path...)
	if len(v.verbs) > 0 {
		words = append(words, "VERB")
	}
	if len(v.flags) > 0 {
		words = append(words, "[flags]")
	}
	if v.args != "" {
		words = append(words, v.args)
	}
	return strings.Join(words, " ")
}
