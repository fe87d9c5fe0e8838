package policy

import (
	"strings"
	"testing"
)

func TestProblemsNameRuleFieldAndRemedy(t *testing.T) {
	ok := func(change func(*Rule)) Rule {
		r := Rule{From: []string{"a"}, To: []string{"b"}}
		change(&r)
		return r
	}
	paths := func(p ...string) Rule { return ok(func(r *Rule) { r.Paths = p }) }
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{ok(func(r *Rule) { r.Action = "alow" }), `policy.r.action: "alow" is neither "allow" nor "deny"; did you mean "allow"?`},
		{ok(func(r *Rule) { r.From = nil }), `policy.r.from: is empty; name services, or "*" for any`},
		{ok(func(r *Rule) { r.To = []string{} }), `policy.r.to: is empty; name services, or "*" for any`},
		{ok(func(r *Rule) { r.From = []string{"Order_Router"} }), `did you mean "order-router"?`},
		{ok(func(r *Rule) { r.To = []string{"a.b"} }), `policy.r.to: name "a.b": only a-z`},
		{ok(func(r *Rule) { r.From = []string{"a", "*"} }), `policy.r.from: "*" covers every service; drop it or the others`},
		{ok(func(r *Rule) { r.From = []string{"a", "a"} }), `policy.r.from: a stands twice`},
		{ok(func(r *Rule) { r.FromRegions = []string{"*"} }), `policy.r.from_regions: leave the list out for any region`},
		{ok(func(r *Rule) { r.ToRegions = []string{"EU"} }), `policy.r.to_regions: name "EU": only a-z, 0-9 and inner '-' are allowed; did you mean "eu"?`},
		{ok(func(r *Rule) { r.Ports = []uint16{0} }), `policy.r.ports: 0 is no port; leave the list out for any port`},
		{ok(func(r *Rule) { r.Methods = []string{"get"} }), `policy.r.methods: "get" is not a registered HTTP method; did you mean "GET"?`},
		{ok(func(r *Rule) { r.Methods = []string{"PSOT"} }), `did you mean "POST"?`},
		{ok(func(r *Rule) { r.Methods = []string{"CONNECT"} }), `never passes a proxy`},
		{ok(func(r *Rule) { r.Methods = []string{"*"} }), `leave the list out for any method`},
		{paths("x"), `policy.r.paths: "x": a path starts with "/"`},
		{paths("/a", "*"), `"*" covers every path`},
		{paths("/a*"), `"*" may only stand at the end, after a "/"`},
		{paths("/*/a"), `"*" may only stand at the end`},
		{paths("/a/../b"), `dot segments never reach a rule`},
		{paths("/./*"), `dot segments never reach a rule`},
		{paths("//a"), `empty segments never reach a rule`},
		{paths("/a//*"), `empty segments never reach a rule`},
		{paths("/a?b"), `queries and fragments are not matched`},
		{paths("/a#b"), `queries and fragments are not matched`},
		{paths("/a;b"), `requests that hold it are refused`},
		{paths(`/a\b`), `requests that hold it are refused`},
		{paths("/a%2Fb"), `"%2F" never reaches a rule`},
		{paths("/a%00"), `"%00" never reaches a rule`},
		{paths("/a%7Eb"), `write "~" for "%7E"`},
		{paths("/a%c3%a9"), `two upper-case hex digits`},
		{paths("/a%4"), `two upper-case hex digits`},
		{paths("/a%2541"), `encoded twice`},
		{paths("/a%FF"), `not UTF-8`},
		{paths("/a b"), `write "%20" for " "`},
		{paths("/é"), `write "%C3" for`},
		{paths("/" + strings.Repeat("a", PathBytesMax)), `bytes long`},
		{paths(strings.Repeat("/a", PathDepthMax+1)), `segments`},
	} {
		table, problems := Compile("floor", map[string]Rule{"r": c.rule, "good": {From: []string{"*"}, To: []string{"*"}}})
		if table != nil {
			t.Errorf("%+v compiled", c.rule)
		}
		if len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) {
			t.Errorf("%+v:\n got %v\nwant %s", c.rule, problems, c.want)
		}
	}
	if table, problems := Compile("Floor", nil); table != nil || len(problems) != 1 {
		t.Errorf("a bad mesh name: %v, %v", table, problems)
	}
	if _, problems := Compile("floor", map[string]Rule{"Bad": {From: []string{"*"}, To: []string{"*"}}}); len(problems) != 1 || problems[0].Field != "" {
		t.Errorf("a bad rule name: %v", problems)
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	_, problems := Compile("floor", map[string]Rule{
		"one": {Action: "perhaps", Ports: []uint16{0}},
		"two": {From: []string{"a"}, To: []string{"b"}, Methods: []string{"GETT"}, Paths: []string{"a", "b"}},
	})
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Rule+"."+p.Field)
	}
	want := "one.action one.from one.to one.ports two.methods two.paths two.paths"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGoodPathsCompile(t *testing.T) {
	for _, p := range []string{"/", "/*", "*", "/a", "/a/", "/a/*", "/a.b/...", "/a%20b", "/caf%C3%A9", "/x%25", "/a:b@c+d", strings.Repeat("/a", PathDepthMax)} {
		if _, problems := Compile("floor", map[string]Rule{"r": {From: []string{"*"}, To: []string{"*"}, Paths: []string{p}}}); len(problems) > 0 {
			t.Errorf("%s: %v", p, problems)
		}
	}
}

func FuzzRulePath(f *testing.F) {
	for _, s := range []string{"/", "/*", "/a/*", "/a%20b", "//", "/..", "*"} {
		f.Add(s, "/a/b")
	}
	f.Fuzz(func(t *testing.T, rule, path string) {
		table, problems := Compile("floor", map[string]Rule{"r": {From: []string{"a"}, To: []string{"b"}, Paths: []string{rule}}})
		if len(problems) > 0 {
			return
		}
		got := table.Authorize(svc("a"), svc("b"), Op{Port: 1, Method: "GET", Path: path}).Allowed
		if want := pathMatches(rule, path, false); got != want {
			t.Fatalf("rule %q, path %q: allowed %v, want %v", rule, path, got, want)
		}
	})
}
