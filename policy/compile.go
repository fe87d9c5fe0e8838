package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Compile checks every rule and builds the table. Any problem refuses the whole
// set, so that a mistyped deny rule cannot silently vanish.
func Compile(mesh string, rules map[string]Rule) (*Table, []Problem) {
	if problems := check(mesh, rules); len(problems) > 0 {
		return nil, problems
	}
	ordered := order(rules)
	t := &Table{mesh: mesh, hash: hash(mesh, rules), names: make([]string, len(ordered))}
	b := builder{rules: ordered}
	for i := range ordered {
		t.names[i] = ordered[i].name
		if ordered[i].Action == Deny {
			t.denies = i + 1
		}
	}
	t.nothing = setOf(len(ordered), nil)
	t.sums = len(t.nothing.sum)
	t.from = attributeOf(b, func(r *Rule) []string { return unlessStar(r.From) })
	t.to = attributeOf(b, func(r *Rule) []string { return unlessStar(r.To) })
	t.fromRegion = attributeOf(b, func(r *Rule) []string { return r.FromRegions })
	t.toRegion = attributeOf(b, func(r *Rule) []string { return r.ToRegions })
	t.port = attributeOf(b, func(r *Rule) []uint16 { return r.Ports })
	t.method = attributeOf(b, func(r *Rule) []string { return r.Methods })
	t.path = pathsOf(b)
	t.connection = b.where(func(r *Rule) bool { return r.Action == Allow || !r.http() })
	t.opaque = b.where(func(r *Rule) bool { return !r.http() })
	return t, nil
}

// named is a rule with its name, its action filled in and its lists sorted.
type named struct {
	name string
	Rule
}

// canonical copies a rule into the one form that is hashed and compiled.
func canonical(r Rule) Rule {
	r.Action = cmp.Or(r.Action, Allow)
	for _, list := range []*[]string{&r.From, &r.FromRegions, &r.To, &r.ToRegions, &r.Methods, &r.Paths} {
		*list = slices.Sorted(slices.Values(*list))
	}
	r.Ports = slices.Sorted(slices.Values(r.Ports))
	return r
}

// hash is SHA-256 over the canonical JSON: sorted keys, sorted lists.
func hash(mesh string, rules map[string]Rule) Hash {
	whole := struct {
		Mesh  string          `json:"mesh"`
		Rules map[string]Rule `json:"rules"`
	}{mesh, make(map[string]Rule, len(rules))}
	for name, r := range rules {
		whole.Rules[name] = canonical(r)
	}
	text, err := json.Marshal(whole)
	if err != nil { // strings, numbers and lists cannot fail to marshal
		text = []byte(err.Error())
	}
	return sha256.Sum256(text)
}

// order puts deny rules first and like rules side by side. The neighbourhood is
// what keeps a decision fast: the rules of one source fill few words of 64.
func order(rules map[string]Rule) []named {
	ordered := make([]named, 0, len(rules))
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		ordered = append(ordered, named{name, canonical(rules[name])})
	}
	slices.SortStableFunc(ordered, func(a, b named) int {
		return cmp.Or(
			-strings.Compare(string(a.Action), string(b.Action)), // "deny" before "allow"
			slices.Compare(a.From, b.From), slices.Compare(a.To, b.To),
			slices.Compare(a.Ports, b.Ports), slices.Compare(a.Paths, b.Paths), slices.Compare(a.Methods, b.Methods),
			slices.Compare(a.FromRegions, b.FromRegions), slices.Compare(a.ToRegions, b.ToRegions),
		)
	})
	return ordered
}

// builder turns lists of rules into sets.
type builder struct{ rules []named }

func (b builder) where(match func(*Rule) bool) set {
	var numbers []int
	for i := range b.rules {
		if match(&b.rules[i].Rule) {
			numbers = append(numbers, i)
		}
	}
	return setOf(len(b.rules), numbers)
}

// attributeOf indexes one attribute; values returns nil for a rule that accepts any.
func attributeOf[K comparable](b builder, values func(*Rule) []K) attribute[K] {
	numbers := make(map[K][]int)
	for i := range b.rules {
		for _, v := range values(&b.rules[i].Rule) {
			numbers[v] = append(numbers[v], i)
		}
	}
	a := attribute[K]{byValue: make(map[K]*set, len(numbers))}
	for v, list := range numbers {
		s := setOf(len(b.rules), list)
		a.byValue[v] = &s
	}
	a.any = b.where(func(r *Rule) bool { return len(values(r)) == 0 })
	a.unknown = b.where(func(r *Rule) bool { return r.Action == Deny && len(values(r)) > 0 })
	return a
}

// pathsOf indexes exact paths and prefixes. Each set takes in the rules of every
// shorter prefix, so that one look-up finds all rules of a path.
func pathsOf(b builder) paths {
	exact, prefix := make(map[string][]int), make(map[string][]int)
	for i := range b.rules {
		if b.rules[i].anyPath() {
			continue
		}
		for _, path := range b.rules[i].Paths {
			if p, ok := strings.CutSuffix(path, "*"); ok {
				prefix[p] = append(prefix[p], i)
			} else {
				exact[path] = append(exact[path], i)
			}
		}
	}
	p := paths{prefix: make(map[string]*set, len(prefix))}
	p.byValue = make(map[string]*set, len(exact))
	for path, own := range exact {
		p.byValue[path] = b.withPrefixes(path, own, prefix)
	}
	for path, own := range prefix {
		p.prefix[path] = b.withPrefixes(path[:len(path)-1], own, prefix)
		p.depths |= 1 << strings.Count(path, "/")
	}
	p.any = b.where((*Rule).anyPath)
	p.unknown = b.where(func(r *Rule) bool { return r.Action == Deny && !r.anyPath() })
	return p
}

// withPrefixes joins own with the rules of every prefix of path.
func (b builder) withPrefixes(path string, own []int, prefix map[string][]int) *set {
	all := slices.Clone(own)
	for i := range len(path) {
		if path[i] == '/' {
			all = append(all, prefix[path[:i+1]]...)
		}
	}
	slices.Sort(all)
	s := setOf(len(b.rules), all)
	return &s
}

func unlessStar(list []string) []string {
	if len(list) == 1 && list[0] == "*" {
		return nil
	}
	return list
}
