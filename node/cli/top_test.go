package cli

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"fire/node/admin"
)

func TestTopSortsFiltersAndStops(t *testing.T) {
	s := &topScreen{call: &call{env: func(string) string { return "" }}, order: "rate", width: 100, height: 6}
	s.Update(looked{edges: []admin.Edge{
		{Src: "a", Dst: "x", RatePerSecond: 1, P99NS: 900}, {Src: "b", Dst: "x", RatePerSecond: 9, P99NS: 100, State: "error"}, {Src: "c", Dst: "y", RatePerSecond: 5, ErrorsPerSecond: 2},
	}})
	first := func() string { return strings.Fields(strings.Split(s.text(), "\n")[3])[0] }
	press := func(keys ...string) {
		for _, k := range keys {
			s.key(k)
		}
	}
	for _, row := range []struct {
		keys []string
		want string
	}{{nil, "b"}, {[]string{"r"}, "a"}, {[]string{"l"}, "a"}, {[]string{"e"}, "c"}, {[]string{"n"}, "a"}, {[]string{"n"}, "c"},
		{[]string{"/", "y", "enter", "r"}, "c"}, {[]string{"esc", "r", "r"}, "b"}} {
		if press(row.keys...); first() != row.want {
			t.Errorf("after %v the first is %s, want %s:\n%s", row.keys, first(), row.want, s.text())
		}
	}
	if n := strings.Count(s.text(), "\n"); n != 5 {
		t.Errorf("a window of 6 lines is drawn with %d", n+1)
	}
	press("space")
	if s.Update(looked{edges: nil}); len(s.edges) != 3 || !strings.Contains(s.text(), "stopped") {
		t.Error("a stopped screen takes new figures")
	}
	if _, cmd := s.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil {
		t.Error("q does not end it")
	}
	if got := cut("\x1b[32mhealthy\x1b[0m", 3); got != "\x1b[32mhea\x1b[0m" {
		t.Errorf("cut: %q", got)
	}
}
