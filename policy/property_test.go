package policy

import (
	"slices"
	"strings"
	"testing"

	"fire/policy/id"
	"fire/policy/reason"

	"pgregory.net/rapid"
)

// matches is the meaning of a rule, written as plainly as possible.
func matches(r Rule, src, dst id.Principal, op Op) bool {
	deny := r.Action == Deny
	in := func(list []string, v string) bool { return slices.Contains(list, "*") || slices.Contains(list, v) }
	if !in(r.From, src.Name) || !in(r.To, dst.Name) {
		return false
	}
	if len(r.FromRegions) > 0 && !in(r.FromRegions, src.Domain.Region) {
		return false
	}
	if len(r.ToRegions) > 0 && !in(r.ToRegions, dst.Domain.Region) {
		return false
	}
	if len(r.Ports) > 0 && !slices.Contains(r.Ports, op.Port) && !(op.Port == 0 && deny) {
		return false
	}
	needsRequest := len(r.Methods) > 0 || len(r.Paths) > 0 && !slices.Contains(r.Paths, "*")
	switch {
	case op.Opaque:
		return !needsRequest
	case op.Method == "":
		return !needsRequest || !deny
	}
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, op.Method) {
		return false
	}
	return len(r.Paths) == 0 || slices.ContainsFunc(r.Paths, func(p string) bool { return pathMatches(p, op.Path, deny) })
}

func pathMatches(rule, path string, deny bool) bool {
	switch {
	case rule == "*":
		return true
	case path == "*":
		return false
	case !strings.HasPrefix(path, "/"):
		return deny
	case strings.HasSuffix(rule, "/*"):
		return strings.HasPrefix(path, strings.TrimSuffix(rule, "*"))
	}
	return rule == path
}

var (
	serviceNames = []string{"a", "b", "c", "d"}
	regionNames  = []string{"eu", "us"}
	rulePaths    = []string{"/", "/*", "/x", "/x/*", "/x/y", "/x/y/*", "/x/y/z/*", "/z/", "/z/*"}
	opPaths      = []string{"", "*", "bad", "/", "/x", "/x/", "/x/y", "/x/y/", "/x/y/z", "/x/y/z/w/v", "/z", "/z/", "/zz/x", "/q"}
)

func drawRule(t *rapid.T) Rule {
	some := func(from []string, least int) []string {
		if rapid.Bool().Draw(t, "any") && least == 0 {
			return nil
		}
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), max(least, 1), 3, rapid.ID[string]).Draw(t, "list")
	}
	orStar := func(list []string) []string {
		if rapid.IntRange(0, 3).Draw(t, "star") == 0 {
			return []string{"*"}
		}
		return list
	}
	r := Rule{
		Action: rapid.SampledFrom([]Action{"", Allow, Allow, Deny}).Draw(t, "action"),
		From:   orStar(some(serviceNames, 1)), To: orStar(some(serviceNames, 1)),
		Methods: some([]string{"GET", "PUT", "POST"}, 0), Paths: some(rulePaths, 0),
		Ports: rapid.SliceOfNDistinct(rapid.Uint16Range(1, 3), 0, 2, rapid.ID[uint16]).Draw(t, "ports"),
	}
	if rapid.IntRange(0, 3).Draw(t, "regional") == 0 {
		r.FromRegions = []string{rapid.SampledFrom(regionNames).Draw(t, "region")}
	}
	if rapid.IntRange(0, 3).Draw(t, "regional") == 0 {
		r.ToRegions = []string{rapid.SampledFrom(regionNames).Draw(t, "region")}
	}
	return r
}

func drawPrincipal(t *rapid.T, label string) id.Principal {
	d := id.Domain{
		Region: rapid.SampledFrom(append([]string{"ap"}, regionNames...)).Draw(t, label),
		Mesh:   rapid.SampledFrom([]string{"floor", "floor", "floor", "floor", "roof"}).Draw(t, label),
	}
	name := rapid.SampledFrom(append([]string{"other"}, serviceNames...)).Draw(t, label)
	if rapid.IntRange(0, 9).Draw(t, label) == 0 {
		return d.Node(name)
	}
	return d.Service(name)
}

func drawOp(t *rapid.T) Op {
	op := Op{Port: rapid.Uint16Range(0, 4).Draw(t, "port")}
	switch rapid.IntRange(0, 4).Draw(t, "level") {
	case 0:
	case 1:
		op.Opaque = true
	default:
		op.Method = rapid.SampledFrom([]string{"GET", "PUT", "DELETE"}).Draw(t, "method")
		op.Path = rapid.SampledFrom(opPaths).Draw(t, "path")
	}
	return op
}

func TestTableAgreesWithThePlainMeaningOfTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := make(map[string]Rule)
		for i := range rapid.IntRange(0, 200).Draw(t, "rules") {
			rules["r"+string(rune('a'+i/26%26))+string(rune('a'+i%26))] = drawRule(t)
		}
		table, problems := Compile("floor", rules)
		if len(problems) > 0 {
			t.Fatalf("compile: %v", problems)
		}
		for range 30 {
			src, dst, op := drawPrincipal(t, "src"), drawPrincipal(t, "dst"), drawOp(t)
			compare(t, rules, table.Authorize(src, dst, op), src, dst, op)
		}
	})
}

func compare(t *rapid.T, rules map[string]Rule, got Verdict, src, dst id.Principal, op Op) {
	want := reason.DeniedByDefault
	if src.Kind == id.KindService && dst.Kind == id.KindService && src.Domain.Mesh == "floor" && dst.Domain.Mesh == "floor" {
		for _, r := range rules {
			if !matches(r, src, dst, op) {
				continue
			}
			if r.Action == Deny {
				want = reason.DeniedByRule
				break
			}
			want = reason.OK
		}
	}
	if got.Code != want || got.Allowed != (want == reason.OK) {
		t.Fatalf("%v to %v %+v: got %+v, want %v", src, dst, op, got, want)
	}
	if want == reason.DeniedByDefault {
		if got.Rule != "" {
			t.Fatalf("default deny names rule %q", got.Rule)
		}
		return
	}
	named, ok := rules[got.Rule]
	if !ok || !matches(named, src, dst, op) || (named.Action == Deny) != (want == reason.DeniedByRule) {
		t.Fatalf("%v to %v %+v: rule %q does not decide this: %+v", src, dst, op, got.Rule, named)
	}
}
