package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"fire/policy/reason"
)

// Exit codes of every verb.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitUnhealthy  = 3 // the verb worked and found something wrong
	exitIncomplete = 4 // and that something is missing, or not signed
)

// Run is the whole program: it reads the command line args (the program's name
// first), runs the verb and returns the exit code. env looks up a variable of the
// environment.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	root := tree()
	var words []string
	if len(args) > 1 {
		words = args[1:]
	}
	l, err := sortLine(root, words)
	if l.help {
		fmt.Fprint(stdout, helpText(l.verb, l.path))
		return exitOK
	}
	if err == nil {
		c := &call{root: root, in: stdin, out: stdout, err: stderr, env: env}
		err = parse(ctx, root, l, c)
	}
	return report(stderr, l, err)
}

// report prints an error once, to stderr, and turns it into the exit code.
func report(stderr io.Writer, l line, err error) int {
	if err == nil {
		return exitOK
	}
	at := strings.Join(l.path, " ")
	if u, ok := errors.AsType[*usageError](err); ok {
		if l.verb.name == "fire" && len(l.args) == 0 && l.verb.run == nil && strings.HasPrefix(u.text, "a verb is missing") {
			fmt.Fprint(stderr, helpText(l.verb, l.path))
			return exitUsage
		}
		fmt.Fprintf(stderr, "%s: %v\n", at, err)
		return exitUsage
	}
	if u, ok := errors.AsType[*unhealthy](err); ok {
		if u.text != "" {
			fmt.Fprintf(stderr, "%s: %s\n", at, u.text)
		}
		return exitUnhealthy
	}
	if u, ok := errors.AsType[*incomplete](err); ok {
		fmt.Fprintf(stderr, "%s: %s\n", at, u.text)
		return exitIncomplete
	}
	text := err.Error()
	if r, ok := errors.AsType[*reason.Error](err); ok && !namesNext(text) {
		text += "; " + r.Code.Info().Fix
	}
	fmt.Fprintf(stderr, "%s: %s\n", at, text)
	return exitFailed
}

// namesNext tells whether an error says itself what to type next, which knows more
// than the general advice of its code.
func namesNext(text string) bool {
	return strings.Contains(text, ": fire ") || strings.Contains(text, "`fire ") || strings.Contains(text, "run: ")
}
