package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

var eu = id.Domain{Region: "eu", Mesh: "floor"}

func svc(name string) id.Principal { return eu.Service(name) }

func compile(t testing.TB, rules map[string]Rule) *Table {
	t.Helper()
	table, problems := Compile("floor", rules)
	if len(problems) > 0 {
		t.Fatalf("compile: %v", problems)
	}
	return table
}

func TestAuthorizeDecidesByEveryAttribute(t *testing.T) {
	table := compile(t, map[string]Rule{
		"orders":     {From: []string{"router", "blotter"}, To: []string{"orders"}, Ports: []uint16{8080}},
		"read-risk":  {From: []string{"*"}, To: []string{"risk"}, Methods: []string{"GET"}, Paths: []string{"/v1/*", "/health"}},
		"eu-only":    {From: []string{"feed"}, FromRegions: []string{"eu"}, To: []string{"book"}, ToRegions: []string{"eu", "us"}},
		"no-secrets": {Action: Deny, From: []string{"*"}, To: []string{"risk"}, Paths: []string{"/v1/secret/*"}},
		"ban":        {Action: Deny, From: []string{"mallory"}, To: []string{"*"}},
		"no-port":    {Action: Deny, From: []string{"blotter"}, To: []string{"orders"}, Ports: []uint16{9}},
	})
	us := id.Domain{Region: "us", Mesh: "floor"}
	get := func(path string) Op { return Op{Port: 80, Method: "GET", Path: path} }
	for _, c := range []struct {
		name     string
		src, dst id.Principal
		op       Op
		code     reason.Code
		rule     string
	}{
		{"literal pair and port", svc("router"), svc("orders"), Op{Port: 8080}, reason.OK, "orders"},
		{"a request is held to the same rule", svc("router"), svc("orders"), Op{8080, "PUT", "/x", false}, reason.OK, "orders"},
		{"another port", svc("router"), svc("orders"), Op{Port: 8081}, reason.DeniedByDefault, ""},
		{"unknown port does not allow", svc("router"), svc("orders"), Op{}, reason.DeniedByDefault, ""},
		{"unknown port does deny", svc("blotter"), svc("orders"), Op{}, reason.DeniedByRule, "no-port"},
		{"direction matters", svc("orders"), svc("router"), Op{Port: 8080}, reason.DeniedByDefault, ""},
		{"star source", svc("anyone"), svc("risk"), get("/v1/limits"), reason.OK, "read-risk"},
		{"exact path", svc("anyone"), svc("risk"), get("/health"), reason.OK, "read-risk"},
		{"exact path is no prefix", svc("anyone"), svc("risk"), get("/health/x"), reason.DeniedByDefault, ""},
		{"prefix does not cover its bare name", svc("anyone"), svc("risk"), get("/v1"), reason.DeniedByDefault, ""},
		{"prefix covers its folder", svc("anyone"), svc("risk"), get("/v1/"), reason.OK, "read-risk"},
		{"prefix ends at a slash", svc("anyone"), svc("risk"), get("/v1x/y"), reason.DeniedByDefault, ""},
		{"methods are case-sensitive", svc("anyone"), svc("risk"), Op{80, "get", "/health", false}, reason.DeniedByDefault, ""},
		{"longer prefix keeps the shorter one's rules", svc("anyone"), svc("risk"), get("/v1/secret/"), reason.DeniedByRule, "no-secrets"},
		{"unknown path denies", svc("anyone"), svc("risk"), get(""), reason.DeniedByRule, "no-secrets"},
		{"options star is a known path", svc("anyone"), svc("risk"), Op{80, "OPTIONS", "*", false}, reason.DeniedByDefault, ""},
		{"connection may carry an allowed request", svc("anyone"), svc("risk"), Op{Port: 80}, reason.OK, "read-risk"},
		{"an http rule opens no opaque connection", svc("anyone"), svc("risk"), Op{Port: 80, Opaque: true}, reason.DeniedByDefault, ""},
		{"opaque by a plain rule", svc("router"), svc("orders"), Op{Port: 8080, Opaque: true}, reason.OK, "orders"},
		{"deny overrides", svc("mallory"), svc("risk"), get("/health"), reason.DeniedByRule, "ban"},
		{"deny overrides at connection level", svc("mallory"), svc("risk"), Op{Port: 80}, reason.DeniedByRule, "ban"},
		{"regions", svc("feed"), us.Service("book"), Op{Port: 1}, reason.OK, "eu-only"},
		{"wrong source region", us.Service("feed"), us.Service("book"), Op{Port: 1}, reason.DeniedByDefault, ""},
		{"wrong destination region", svc("feed"), id.Domain{Region: "ap", Mesh: "floor"}.Service("book"), Op{Port: 1}, reason.DeniedByDefault, ""},
		{"another mesh", id.Domain{Region: "eu", Mesh: "other"}.Service("anyone"), svc("risk"), get("/health"), reason.DeniedByDefault, ""},
		{"a node is not the service of its name", eu.Node("router"), svc("orders"), Op{Port: 8080}, reason.DeniedByDefault, ""},
		{"a control is not the service of its name", svc("router"), eu.Control("orders"), Op{Port: 8080}, reason.DeniedByDefault, ""},
		{"nobody", id.Principal{}, id.Principal{}, Op{}, reason.DeniedByDefault, ""},
	} {
		v := table.Authorize(c.src, c.dst, c.op)
		if v.Code != c.code || v.Rule != c.rule || v.Allowed != (c.code == reason.OK) || v.Bundle != table.Hash() {
			t.Errorf("%s: %+v, want %v by %q", c.name, v, c.code, c.rule)
		}
	}
}

func TestEmptyRuleSetDeniesEverything(t *testing.T) {
	v := compile(t, nil).Authorize(svc("a"), svc("b"), Op{Port: 1})
	if v.Allowed || v.Code != reason.DeniedByDefault {
		t.Fatalf("got %+v", v)
	}
}

func TestHashNamesTheMeaningNotTheSpelling(t *testing.T) {
	base := map[string]Rule{"r": {From: []string{"a", "b"}, To: []string{"c"}, Ports: []uint16{2, 1}}}
	same := map[string]Rule{"r": {Action: Allow, From: []string{"b", "a"}, To: []string{"c"}, Ports: []uint16{1, 2}}}
	if compile(t, base).Hash() != compile(t, same).Hash() {
		t.Error("order of lists and the default action changed the hash")
	}
	if base["r"].From[0] != "a" || base["r"].Ports[0] != 2 {
		t.Error("compiling sorted the caller's lists")
	}
	for name, other := range map[string]map[string]Rule{
		"action": {"r": {Action: Deny, From: []string{"a", "b"}, To: []string{"c"}, Ports: []uint16{1, 2}}},
		"name":   {"s": {From: []string{"a", "b"}, To: []string{"c"}, Ports: []uint16{1, 2}}},
		"list":   {"r": {From: []string{"a"}, To: []string{"c"}, Ports: []uint16{1, 2}}},
	} {
		if compile(t, base).Hash() == compile(t, other).Hash() {
			t.Errorf("another %s has the same hash", name)
		}
	}
	other, _ := Compile("roof", base)
	if other.Hash() == compile(t, base).Hash() {
		t.Error("another mesh has the same hash")
	}
	h := other.Hash()
	text, _ := h.MarshalText()
	var back Hash
	if err := back.UnmarshalText(text); err != nil || back != h {
		t.Errorf("hash text round trip: %v, %v", back, err)
	}
	if back.UnmarshalText([]byte("zz")) == nil || back != h {
		t.Error("a bad hash text must fail and leave the value alone")
	}
}

// shapes are rule sets of 10,000 rules that stress the table in different ways; ask
// returns an operation and whether it is to be allowed.
var shapes = map[string]func() (rules map[string]Rule, src, dst id.Principal, op Op, allowed bool){
	"pairs, hit": func() (map[string]Rule, id.Principal, id.Principal, Op, bool) {
		return pairs(), svc("s17"), svc("s9"), Op{Port: 8080, Method: "GET", Path: "/v1/orders/17"}, true
	},
	"pairs, miss": func() (map[string]Rule, id.Principal, id.Principal, Op, bool) {
		return pairs(), svc("s17"), svc("s777"), Op{Port: 8080, Method: "GET", Path: "/v1/orders/17"}, false
	},
	"one pair, 10,000 paths": func() (map[string]Rule, id.Principal, id.Principal, Op, bool) {
		rules := make(map[string]Rule)
		for i := range 10_000 {
			rules[fmt.Sprintf("r%d", i)] = Rule{From: []string{"a"}, To: []string{"b"}, Paths: []string{fmt.Sprintf("/v%d/x/*", i)}}
		}
		return rules, svc("a"), svc("b"), Op{Port: 1, Method: "GET", Path: "/v9999/x/y/z"}, true
	},
	"any to any, 10,000 ports": func() (map[string]Rule, id.Principal, id.Principal, Op, bool) {
		rules := make(map[string]Rule)
		for i := range 10_000 {
			rules[fmt.Sprintf("r%d", i)] = Rule{From: []string{"*"}, To: []string{"*"}, Ports: []uint16{uint16(i + 1)}}
		}
		return rules, svc("a"), svc("b"), Op{Port: 10_001, Opaque: true}, false
	},
	"half by source, half by destination": func() (map[string]Rule, id.Principal, id.Principal, Op, bool) {
		rules := make(map[string]Rule)
		for i := range 5000 {
			rules[fmt.Sprintf("r%d", 2*i)] = Rule{From: []string{"a"}, To: []string{fmt.Sprintf("d%d", i)}}
			rules[fmt.Sprintf("r%d", 2*i+1)] = Rule{From: []string{fmt.Sprintf("d%d", i)}, To: []string{"b"}}
		}
		return rules, svc("a"), svc("b"), Op{Port: 1, Opaque: true}, false
	},
}

// pairs is the shape of a real floor: a thousand services with ten rules each.
func pairs() map[string]Rule {
	random := rand.New(rand.NewPCG(1, 2))
	rules := make(map[string]Rule, 10_000)
	for i := range 10_000 {
		r := Rule{
			From: []string{fmt.Sprintf("s%d", i%1000)}, To: []string{fmt.Sprintf("s%d", random.IntN(1000)/2)},
			Ports: []uint16{8080}, Methods: []string{"GET", "POST"}, Paths: []string{"/v1/orders/*", "/health"},
		}
		if i%50 == 0 {
			r.Action = Deny
			r.Methods = []string{"DELETE"}
		}
		rules[fmt.Sprintf("r%d", i)] = r
	}
	rules["known"] = Rule{From: []string{"s17"}, To: []string{"s9"}, Paths: []string{"/v1/*"}}
	return rules
}

// The budget is a ratio to a plain map look-up with a key of the same two names,
// measured in the same rounds, so it holds on a slow or busy machine too.
func TestAuthorizeStaysWithinTwelveMapLookUps(t *testing.T) {
	type key struct {
		src, dst string
		port     uint16
	}
	plain := make(map[key]int)
	for i := range 10_000 {
		plain[key{fmt.Sprintf("s%d", i%1000), fmt.Sprintf("s%d", i/10), 8080}] = i
	}
	const ratioMax = 12
	for name, shape := range shapes {
		rules, src, dst, op, allowed := shape()
		table := compile(t, rules)
		if v := table.Authorize(src, dst, op); v.Allowed != allowed {
			t.Fatalf("%s: %+v", name, v)
		}
		sink := 0
		lookUp := func() { sink += plain[key{src.Name, dst.Name, op.Port}] }
		decide := func() {
			if table.Authorize(src, dst, op).Allowed {
				sink++
			}
		}
		if allocs := testing.AllocsPerRun(100, decide); allocs != 0 {
			t.Errorf("%s: %v allocations per decision", name, allocs)
		}
		base, cost := best(lookUp), best(decide)
		t.Logf("%-38s %4d ns, %.1f map look-ups of %d ns", name, cost.Nanoseconds(), float64(cost)/float64(base), base.Nanoseconds())
		if !raceEnabled && cost > ratioMax*base {
			t.Errorf("%s: a decision costs %v, a map look-up %v; the budget is %d look-ups", name, cost, base, ratioMax)
		}
		_ = sink
	}
}

// best is the time of one call in the best of many short rounds.
func best(f func()) time.Duration {
	const rounds, calls = 40, 2000
	least := time.Hour
	for range rounds {
		start := time.Now()
		for range calls {
			f()
		}
		least = min(least, time.Since(start))
	}
	return max(least/calls, 1)
}

func BenchmarkAuthorize(b *testing.B) {
	for name, shape := range shapes {
		rules, src, dst, op, _ := shape()
		table := compile(b, rules)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Authorize(src, dst, op)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	rules := pairs()
	b.ReportAllocs()
	for b.Loop() {
		compile(b, rules)
	}
}
