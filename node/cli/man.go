package cli

import (
	"context"
	"fmt"
	"strings"
)

func manVerb() *verb {
	return &verb{
		name: "man", brief: "print the manual page",
		examples: []example{
			{"fire man | man -l -", "read it"},
			{"fire man > /usr/share/man/man1/fire.1", "install it"},
		},
		run: func(_ context.Context, c *call) error { c.printf("%s", manPage(c.root)); return nil },
	}
}

// manPage is fire(1) in the man macros, from the tree of verbs.
func manPage(root *verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH FIRE 1 \"\" \"fire %s\" \"User Commands\"\n", roff(release()))
	fmt.Fprintf(&b, ".SH NAME\nfire \\- %s\n.SH SYNOPSIS\n.B fire\n.I VERB\n[flags] [arguments]\n", roff(root.brief))
	b.WriteString(".SH DESCRIPTION\n" + roffParagraphs(root.about) + ".SH VERBS\n")
	root.walk([]string{root.name}, func(path []string, v *verb) {
		if v.run == nil {
			return
		}
		fmt.Fprintf(&b, ".SS %s\n%s.\n", roff(v.usageLine(path)), roff(upperFirst(v.brief)))
		if v.about != "" {
			b.WriteString(".PP\n" + roffParagraphs(v.about))
		}
		for _, f := range v.flags {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(flagHead(f)), roff(flagText(f)))
		}
		for _, e := range v.examples {
			fmt.Fprintf(&b, ".PP\n%s:\n.PP\n.nf\n.RS\n%s\n.RE\n.fi\n", roff(upperFirst(e.what)), roff(e.line))
		}
	})
	b.WriteString(".SH EXIT STATUS\n")
	for _, row := range [][2]string{{"0", "done"}, {"1", "failed"}, {"2", "the command line cannot be understood"}, {"3", "the verb worked and found something wrong: unhealthy, denied, rejected, changed"}, {"4", "the verb worked and found that something is missing, or not signed"}} {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", row[0], roff(row[1]))
	}
	b.WriteString(".SH ENVIRONMENT\n")
	for _, row := range [][2]string{{"FIRE_SOCKET", "unix socket of the process to ask, as with --socket"}, {"NO_COLOR", "when set, nothing is coloured"}} {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", row[0], roff(row[1]))
	}
	return b.String()
}

func roffParagraphs(text string) string {
	var out []string
	for _, p := range strings.Split(text, "\n\n") {
		out = append(out, roff(strings.Join(strings.Fields(p), " "))+"\n")
	}
	return strings.Join(out, ".PP\n")
}

// roff escapes what troff would read as a request or a macro.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
