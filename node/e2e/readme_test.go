package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeNamesOnlyVerbsAndFlagsThatExist reads every `fire ...` of the README and
// asks the program for the help of that verb, which must know each flag.
func TestReadmeNamesOnlyVerbsAndFlagsThatExist(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	known := map[string]string{} // verb to help, "" when there is none
	help := func(verb ...string) string {
		key := strings.Join(verb, " ")
		if _, asked := known[key]; !asked {
			out, _, code := ask(t, dir, append(append([]string{}, verb...), "--help")...)
			if code != 0 {
				out = ""
			}
			known[key] = out
		}
		return known[key]
	}
	commands := regexp.MustCompile("(?m)(?:`|^\\./|^)fire ([a-z][^`\n#]*)").FindAllStringSubmatch(string(b), -1)
	if len(commands) < 25 {
		t.Fatalf("only %d commands in the README", len(commands))
	}
	for _, m := range commands {
		words := strings.Fields(m[1])
		text := help(words[0])
		if text == "" {
			t.Errorf("README: fire %s: there is no such verb", m[1])
			continue
		}
		if len(words) > 1 && strings.Contains(text, "Usage: fire "+words[0]+" VERB") {
			if text = help(words[0], words[1]); text == "" {
				t.Errorf("README: fire %s: there is no such verb", m[1])
			}
		}
		for _, f := range regexp.MustCompile(`(?:^| )(--?[a-z][a-z-]*)`).FindAllStringSubmatch(m[1], -1) {
			if !strings.Contains(text, f[1]) {
				t.Errorf("README: fire %s: there is no flag %s", m[1], f[1])
			}
		}
	}
}
