package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fire/policy/reason"
)

// TestEveryReasonIsGivenAndProvoked keeps the vocabulary honest: a code that nothing
// gives is a promise, and one that no test provokes may never come.
func TestEveryReasonIsGivenAndProvoked(t *testing.T) {
	constants, err := os.ReadFile(filepath.Join(tree, "policy/reason/codes.go"))
	if err != nil {
		t.Fatal(err)
	}
	identifier := map[string]string{} // by number
	for _, m := range regexp.MustCompile(`(?m)^\s+(\w+)\s+Code = (\d+)`).FindAllStringSubmatch(string(constants), -1) {
		identifier[m[2]] = m[1]
	}
	var code, tests strings.Builder
	for _, s := range sources(t, tree) {
		switch {
		case s.room == "policy/reason":
		case s.test:
			tests.WriteString(withoutCases(s.text))
		default:
			code.WriteString(s.text)
		}
	}
	scripts, err := filepath.Glob(filepath.Join(tree, "testdata/script/*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts %v, %v", scripts, err)
	}
	for _, path := range scripts {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(b)
	}
	for _, row := range reason.All() {
		name := identifier[strconv.Itoa(int(row.Code))]
		given := regexp.MustCompile(`\breason\.` + name + `\b`)
		provoked := regexp.MustCompile(`\breason\.` + name + `\b|\b` + row.Name + `\b`)
		if !given.MatchString(code.String()) {
			t.Errorf("%s: nothing gives it", row.Name)
		}
		if !provoked.MatchString(tests.String()) {
			t.Errorf("%s: no test provokes it", row.Name)
		}
	}
}

// withoutCases drops the labels of switches: what a test sorts answers by, it has not
// provoked.
func withoutCases(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "case ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
