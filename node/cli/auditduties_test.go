package cli

import (
	"strings"
	"testing"

	"fire/audit/duties"
)

// TestDutiesNameCommandsThatExist, with their flags.
func TestDutiesNameCommandsThatExist(t *testing.T) {
	for _, d := range duties.All() {
		for _, command := range d.Commands {
			v := tree()
			for _, word := range strings.Fields(command)[1:] {
				if name, ok := strings.CutPrefix(word, "--"); ok {
					if _, ok := v.flag(name); !ok {
						t.Errorf("%s: %q: no flag --%s", d.Rule, command, name)
					}
					continue
				}
				if next := v.find(word); next != nil {
					v = next
				} else if len(v.verbs) > 0 {
					t.Errorf("%s: %q: no verb %q", d.Rule, command, word)
				}
			}
			if v.run == nil {
				t.Errorf("%s: %q is no whole command", d.Rule, command)
			}
		}
	}
}
