package cli

import (
	"slices"
	"strings"

	"fire/node/config"
)

// line is a command line after sorting: which verb, its flags, its arguments.
type line struct {
	path  []string // words that lead to verb, "fire" first
	verb  *verb
	flags []string // "--name=value"
	args  []string
	help  bool
}

// sortLine reads a command line in which flags may stand anywhere, also before the
// verb and after its arguments. urfave/cli v2 takes a flag after the first argument
// for an argument, silently (urfave/cli #1177), so it only sees sorted lines.
func sortLine(root *verb, args []string) (line, error) {
	l := line{path: []string{root.name}, verb: root}
	var given []string // names as typed, for messages
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			l.args = append(l.args, args[i+1:]...)
			i = len(args)
		case len(a) > 1 && a[0] == '-':
			name, value, assigned := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(a, "-"), "-"), "=")
			if name == "help" || name == "h" {
				l.help = true
				continue
			}
			f, ok := l.verb.flag(name)
			if !ok {
				f, ok = root.anyFlag(name)
			}
			if !ok {
				return l, unknownFlag(l, a)
			}
			given = append(given, f.name)
			if f.kind == kindBool {
				if !assigned {
					value = "true"
				}
				l.flags = append(l.flags, "--"+f.name+"="+value)
				continue
			}
			if !assigned {
				if i+1 >= len(args) || len(args[i+1]) > 1 && args[i+1][0] == '-' {
					return l, usage("write --"+f.name+" "+f.value, "flag %s needs a value", a)
				}
				i++
				value = args[i]
			}
			l.flags = append(l.flags, "--"+f.name+"="+value)
		case len(l.verb.verbs) > 0 && len(l.args) == 0:
			child := l.verb.find(a)
			if child == nil {
				return l, unknownVerb(l, a)
			}
			l.verb, l.path = child, append(l.path, a)
		default:
			l.args = append(l.args, a)
		}
	}
	if l.help {
		return l, nil
	}
	for _, name := range given {
		if _, ok := l.verb.flag(name); !ok {
			return l, unknownFlag(l, "--"+name)
		}
	}
	return l, l.complete()
}

// complete checks that the verb is a whole one and has the arguments it needs.
func (l line) complete() error {
	see := "see `" + strings.Join(l.path, " ") + " --help`"
	switch n := len(l.args); {
	case l.verb.run == nil:
		return usage(see, "a verb is missing after %q: %s", strings.Join(l.path, " "), strings.Join(l.verb.names(), ", "))
	case n < l.verb.least:
		return usage(see, "%d of the arguments %s missing: %s", l.verb.least-n, plural(l.verb.least-n, "is", "are"), l.verb.usageLine(l.path))
	case n > l.verb.most:
		return usage(see, "argument %q is one too many: %s", l.args[l.verb.most], l.verb.usageLine(l.path))
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func unknownVerb(l line, word string) error {
	at := strings.Join(l.path, " ")
	if near := config.Nearest(word, l.verb.names()); near != "" {
		return usage("did you mean `"+at+" "+near+"`?", "there is no verb %q", word)
	}
	return usage("see `"+at+" --help`", "there is no verb %q after %q", word, at)
}

func unknownFlag(l line, typed string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(typed, "-"), "=")
	var names []string
	for _, f := range l.verb.flags {
		names = append(names, f.name)
	}
	at := strings.Join(l.path, " ")
	if near := config.Nearest(name, names); near != "" {
		return usage("did you mean --"+near+"?", "%s has no flag %s", at, typed)
	}
	if slices.Contains([]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, name[:min(1, len(name))]) {
		return usage("put -- before an argument that begins with a minus", "%s has no flag %s", at, typed)
	}
	return usage("see `"+at+" --help`", "%s has no flag %s", at, typed)
}
