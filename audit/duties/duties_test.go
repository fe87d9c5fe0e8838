package duties

import (
	"strings"
	"testing"

	"fire/audit/entry"
)

func TestEveryDutyNamesEntriesThatThereAre(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range All() {
		if seen[d.Rule] || d.Rule == "" || d.Asks == "" || d.Gap == "" || len(d.Commands) == 0 || len(d.Kinds) == 0 {
			t.Errorf("%+v", d)
		}
		seen[d.Rule] = true
		for _, name := range d.Entries {
			if _, ok := entry.KindOf(name); !ok {
				t.Errorf("%s names entries of kind %q", d.Rule, name)
			}
		}
		for _, c := range d.Commands {
			if !strings.HasPrefix(c, "fire audit ") {
				t.Errorf("%s: %q is no command of the audit log", d.Rule, c)
			}
		}
	}
	for _, rule := range []string{"17a-4", "4590", "6820", "RTS 6", "RTS 24", "RTS 25", "DORA", "Reg SCI", "GDPR", "MAR"} {
		found := false
		for r := range seen {
			found = found || strings.Contains(r, rule)
		}
		if !found {
			t.Errorf("no row is about %s", rule)
		}
	}
}
