package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestEveryVerbIsWhole: help with examples that the program itself understands, one
// kind for a flag name, defaults that convert.
func TestEveryVerbIsWhole(t *testing.T) {
	root := tree()
	takesValue := map[string]bool{}
	root.walk([]string{"fire"}, func(path []string, v *verb) {
		at := strings.Join(path, " ")
		if v.brief == "" || (v.run == nil) == (len(v.verbs) == 0) {
			t.Errorf("%s: brief %q, run %v, %d verbs", at, v.brief, v.run != nil, len(v.verbs))
		}
		if v.run != nil && len(v.examples) == 0 {
			t.Errorf("%s has no example", at)
		}
		for _, e := range v.examples {
			words := exampleWords(e.line)
			l, err := sortLine(root, words)
			if err != nil || v.run != nil && l.verb != v {
				t.Errorf("%s: its example %q means %v (%v)", at, e.line, l.path, err)
			}
		}
		for _, f := range v.flags {
			value := f.kind != kindBool
			if was, seen := takesValue[f.name]; seen && was != value {
				t.Errorf("%s: --%s takes a value in one verb and none in another", at, f.name)
			}
			takesValue[f.name] = value
			if value == (f.value == "") || f.brief == "" {
				t.Errorf("%s: --%s has place holder %q, brief %q", at, f.name, f.value, f.brief)
			}
			var err error
			switch f.kind {
			case kindInt:
				_, err = strconv.ParseInt(f.def, 10, 64)
			case kindDuration:
				_, err = time.ParseDuration(f.def)
			case kindNumber:
				_, err = strconv.ParseFloat(f.def, 64)
			}
			if err != nil {
				t.Errorf("%s: --%s: default: %v", at, f.name, err)
			}
		}
	})
}

// exampleWords splits an example as a shell would and keeps what fire is given.
func exampleWords(line string) []string {
	line = strings.TrimSuffix(strings.TrimPrefix(line, "source <("), ")")
	for _, end := range []string{" > ", " | "} {
		line, _, _ = strings.Cut(line, end)
	}
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words[1:]
}

func TestFlagsMayStandAnywhereAndAreNeverDropped(t *testing.T) {
	for _, row := range []struct {
		line, verb, flags, args string
	}{
		{"edges risk -o json", "edges", "--output=json", "risk"},
		{"-o json edges risk", "edges", "--output=json", "risk"},
		{"edges --output=json risk --errors", "edges", "--output=json --errors=true", "risk"},
		{"edges --errors=false", "edges", "--errors=false", ""},
		{"policy --http GET try a b /x", "policy try", "--http=GET", "a b /x"},
		{"apply -f -", "apply", "--file=-", ""},
		{"why -- -a --b", "why", "", "-a --b"},
		{"edges -- --errors", "edges", "", "--errors"},
	} {
		l, err := sortLine(tree(), strings.Fields(row.line))
		if err != nil || strings.Join(l.path[1:], " ") != row.verb || strings.Join(l.flags, " ") != row.flags || strings.Join(l.args, " ") != row.args {
			t.Errorf("%q: %v %v %v, %v", row.line, l.path, l.flags, l.args, err)
		}
	}
	for _, line := range []string{
		"", "edgse", "policy", "policy tri", "edges a b", "why a", "edges --nope", "edges a --nope", "edges -o", "edges -o --errors", "version --socket x",
		"edges -5", "config frob x", "status --errors", "unit", "token create x",
	} {
		_, err := sortLine(tree(), strings.Fields(line))
		if _, ok := err.(*usageError); !ok {
			t.Errorf("%q is taken: %v", line, err)
		}
	}
}

// TestEveryFlagReachesItsVerb runs the matrix of verbs and flags through urfave/cli,
// with the flag before the verb, after it and after the arguments.
func TestEveryFlagReachesItsVerb(t *testing.T) {
	root := tree()
	root.walk([]string{"fire"}, func(path []string, v *verb) {
		if v.run == nil {
			return
		}
		run := v.run
		defer func() { v.run = run }()
		for _, f := range v.flags {
			value := map[kind]string{kindBool: "true", kindString: "a,b", kindList: "a,b", kindInt: "7", kindDuration: "7s", kindNumber: "7.5"}[f.kind]
			if len(f.words) > 0 {
				value = f.words[len(f.words)-1]
			}
			set := "--" + f.name + "=" + value
			args := make([]string, v.least)
			for i := range args {
				args[i], _, _ = strings.Cut(v.args, "|")
			}
			for _, line := range [][]string{
				append(append([]string{set}, path[1:]...), args...),
				append(append(append([]string{}, path[1:]...), set), args...),
				append(append(append([]string{}, path[1:]...), args...), set),
			} {
				seen := ""
				v.run = func(_ context.Context, c *call) error {
					switch f.kind {
					case kindBool:
						seen = strconv.FormatBool(c.bool(f.name))
					case kindString:
						seen = c.string(f.name)
					case kindList:
						seen = strings.Join(c.list(f.name), "|")
					case kindInt:
						seen = strconv.FormatInt(c.int(f.name), 10)
					case kindDuration:
						seen = c.duration(f.name).String()
					case kindNumber:
						seen = strconv.FormatFloat(c.number(f.name), 'g', -1, 64)
					}
					if !c.given(f.name) || len(c.args) != v.least {
						seen = "lost"
					}
					return nil
				}
				l, err := sortLine(root, line)
				if err == nil {
					err = parse(context.Background(), root, l, &call{root: root})
				}
				if err != nil || seen != value {
					t.Errorf("%v: %s is %q (%v)", line, f.name, seen, err)
				}
			}
		}
	})
}

func TestAWrongFlagNameInTheProgramIsAnError(t *testing.T) {
	root := tree()
	v := root.find("version")
	v.run = func(_ context.Context, c *call) error { c.string("ouptut"); return nil }
	l, err := sortLine(root, []string{"version"})
	if err == nil {
		err = parse(context.Background(), root, l, &call{root: root})
	}
	if err == nil || !strings.Contains(err.Error(), "fault of fire") {
		t.Errorf("got %v", err)
	}
}

// TestShellsTakeTheCompletions asks the shells that are installed, and bash for
// words.
func TestShellsTakeTheCompletions(t *testing.T) {
	dir := t.TempDir()
	for shell, text := range map[string]string{"bash": completeBash(tree()), "fish": completeFish(tree())} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		file := filepath.Join(dir, shell)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), path, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s refuses its completions: %v\n%s", shell, err, out)
		}
		if shell != "bash" {
			continue
		}
		for _, row := range [][2]string{
			{"fire ed", "edges"}, {"fire policy ", "try --help"}, {"fire edges --er", "--errors"}, {"fire edges -o js", "json jsonl"},
			{"fire token cr", "create"}, {"fire ca rotate pr", "prepare"}, {"fire edges --output w", "wide"},
		} {
			words := strings.Split(row[0], " ")
			script := "source " + file + "; COMP_WORDS=(" + quoteAll(words) + "); COMP_CWORD=" + strconv.Itoa(len(words)-1) + "; _fire; echo \"${COMPREPLY[*]}\""
			out, err := exec.CommandContext(t.Context(), path, "-c", script).Output()
			if err != nil || strings.TrimSpace(string(out)) != row[1] {
				t.Errorf("%q completes to %q (%v), want %q", row[0], out, err, row[1])
			}
		}
	}
}

func quoteAll(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quote(w)
	}
	return strings.Join(out, " ")
}

func TestManPageIsTroff(t *testing.T) {
	page := manPage(tree())
	if strings.Contains(page, "\n.I'") || !strings.HasPrefix(page, ".TH FIRE 1") || !strings.Contains(page, "policy try") {
		t.Errorf("the page begins %q", page[:80])
	}
	man, err := exec.LookPath("man")
	if err != nil {
		t.Skip("man is not installed")
	}
	file := filepath.Join(t.TempDir(), "fire.1")
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-P", "cat", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "warning:") {
		t.Errorf("man: %v\n%.600s", err, out)
	}
}

// FuzzSortLine: a command line is refused or every word of it is kept, in order.
func FuzzSortLine(f *testing.F) {
	for _, s := range []string{"edges risk -o json", "policy try a b --http=GET /x", "-- -a", "why - --", "--=x y", "-o -o", "apply -f - --dry-run=false"} {
		f.Add(s)
	}
	root := tree()
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Split(text, " ")
		l, err := sortLine(root, words)
		if err != nil || l.help {
			return
		}
		kept := len(l.path) - 1 + len(l.args)
		for _, flag := range l.flags {
			name, value, ok := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
			if _, known := l.verb.flag(name); !known || !ok {
				t.Fatalf("%q: flag %q", text, flag)
			}
			if !strings.Contains(text, value) && value != "true" {
				t.Fatalf("%q: value %q was never given", text, value)
			}
			kept++
		}
		if kept > len(words) || len(l.args) < l.verb.least || len(l.args) > l.verb.most {
			t.Fatalf("%q becomes %v %v %v", text, l.path, l.flags, l.args)
		}
	})
}

func TestTablesAlignAndHideControlCharacters(t *testing.T) {
	c := &call{env: func(string) string { return "" }}
	got := c.table(rows{right: []bool{false, true, false}, cells: [][]string{{"NAME", "N", "TEXT"}, {"ü", "10", oneLine("a\x1b[2J\nb")}, {"long-name", "5", oneLine("")}}})
	want := "NAME        N  TEXT\nü          10  a·[2J·b\nlong-name   5  -\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, row := range [][2]string{{showNanos(95_300), "95.3µs"}, {showNanos(0), "-"}, {showNanos(2_500_000_000), "2.5s"}, {showRate(9.994), "9.99"},
		{showBytes(1_234_567), "1.23MB"}, {showAge(95 * time.Second), "1m35s"}, {showAge(-26 * time.Hour), "-26h00m"}, {showAge(72 * time.Hour), "3d00h"}, {showRatio(.0123), "1.2%"}} {
		if row[0] != row[1] {
			t.Errorf("got %s, want %s", row[0], row[1])
		}
	}
}
