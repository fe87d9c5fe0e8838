package cli

import (
	"fmt"
	"strings"
)

// helpText is what --help prints for a verb.
func helpText(v *verb, path []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage: %s\n", v.brief, v.usageLine(path))
	if v.about != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(wrap(v.about, 88), "\n"))
	}
	if len(v.verbs) > 0 {
		b.WriteString("\nVerbs:\n")
		for _, child := range v.verbs {
			fmt.Fprintf(&b, "  %-12s %s\n", child.name, child.brief)
		}
	}
	if len(v.flags) > 0 {
		b.WriteString("\nFlags (before or after the arguments):\n")
		for _, f := range v.flags {
			fmt.Fprintf(&b, "  %-26s %s\n", flagHead(f), flagText(f))
		}
	}
	if len(v.examples) > 0 {
		b.WriteString("\nExamples:\n")
		for _, e := range v.examples {
			fmt.Fprintf(&b, "  %-44s # %s\n", e.line, e.what)
		}
	}
	if len(v.verbs) > 0 {
		fmt.Fprintf(&b, "\n`%s VERB --help` tells more. Exit codes: 0 done, 1 failed, 2 usage, 3 found something wrong.\n", strings.Join(path, " "))
	}
	return b.String()
}

func flagHead(f flag) string {
	head := "--" + f.name
	if f.short != "" {
		head = "-" + f.short + ", " + head
	}
	if f.value != "" {
		head += " " + f.value
	}
	return head
}

func flagText(f flag) string {
	text := f.brief
	if f.def != "" {
		text += " (default " + f.def + ")"
	}
	return text
}

// wrap breaks paragraphs, which blank lines part, to width columns.
func wrap(text string, width int) []string {
	var out []string
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			out = append(out, "")
		}
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			if line != "" && len(line)+1+len(word) > width {
				out, line = append(out, line), ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		out = append(out, line)
	}
	return out
}
