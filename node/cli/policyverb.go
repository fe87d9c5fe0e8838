package cli

import (
	"context"
	"fmt"
	"strings"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy"
	"fire/policy/id"
)

func policyVerb() *verb {
	return &verb{
		name: "policy", brief: "ask what the rules say",
		verbs: []*verb{{
			name: "try", brief: "print the verdict and the rule that decides", args: "SRC DST [PATH]", least: 2, most: 3,
			about: `Asks the running mesh, or with -f a floor file without any mesh. SRC and DST are service names. Without --http it decides a connection; with it a request. The exit code is 3 when the verdict is deny.`,
			flags: askFlags(
				flag{name: "http", kind: kindString, value: "'METHOD PATH'", brief: "decide a request, such as --http GET /orders"},
				flag{name: "port", kind: kindInt, value: "N", def: "0", brief: "port of DST, 0 for the one it declares"},
				flag{name: "file", short: "f", kind: kindString, value: "FILE", brief: "decide by this floor file, offline"},
				flag{name: "domain", kind: kindString, value: "REGION.MESH", def: "eu.floor", brief: "trust domain for -f"}),
			examples: []example{
				{"fire policy try strategy-a orders", "may it connect?"},
				{"fire policy try web risk --http GET /limits/7", "may it ask this?"},
				{"fire policy try web risk -f floor.toml", "what would this file say?"},
			},
			run: policyTry,
		}},
	}
}

func policyTry(ctx context.Context, c *call) error {
	q, err := c.policyQuery()
	if err != nil {
		return err
	}
	var v admin.PolicyVerdict
	if c.given("file") {
		v, err = c.tryOffline(q)
	} else {
		v, err = c.tryOnline(ctx, q)
	}
	if err != nil {
		return err
	}
	err = printOne(c, "fire.policy.verdict/v1", v, func() { c.printVerdict(q, v) })
	if err == nil && !v.Allowed {
		err = &unhealthy{}
	}
	return err
}

func (c *call) policyQuery() (admin.PolicyQuery, error) {
	q := admin.PolicyQuery{Src: c.args[0], Dst: c.args[1]}
	for _, name := range c.args[:2] {
		if _, err := id.ParseName(name); err != nil {
			return q, usage("SRC and DST are service names", "%s", err)
		}
	}
	q.Method, q.Path, _ = strings.Cut(strings.TrimSpace(c.string("http")), " ")
	if len(c.args) == 3 {
		if q.Method == "" || q.Path != "" {
			return q, usage("write --http GET "+c.args[2], "argument %q is one too many", c.args[2])
		}
		q.Path = c.args[2]
	}
	if q.Method != "" && !strings.HasPrefix(q.Path, "/") {
		return q, usage("write --http GET /path", "the path of --http must begin with /")
	}
	if n := c.int("port"); n < 0 || n > 65535 {
		return q, usage("", "--port %d is not between 0 and 65535", n)
	}
	q.Port = uint16(c.int("port"))
	return q, nil
}

func (c *call) tryOnline(ctx context.Context, q admin.PolicyQuery) (admin.PolicyVerdict, error) {
	a, err := c.ask(ctx)
	if err != nil {
		return admin.PolicyVerdict{}, err
	}
	defer a.Close()
	return a.PolicyTry(ctx, q)
}

// tryOffline compiles the rules of a floor file and asks them.
func (c *call) tryOffline(q admin.PolicyQuery) (admin.PolicyVerdict, error) {
	v := admin.PolicyVerdict{Src: q.Src, Dst: q.Dst}
	domain, err := id.ParseDomain(c.string("domain"))
	if err != nil {
		return v, usage("write --domain region.mesh", "%s", err)
	}
	name, text, err := c.readFloor()
	if err != nil {
		return v, err
	}
	floor, problems := catalog.ParseFloor(name, []byte(text))
	for _, p := range problems {
		c.say("%s", p)
		if p.Excerpt != "" {
			c.say("%s", p.Excerpt)
		}
	}
	if len(problems) > 0 {
		return v, fmt.Errorf("%s has %d %s", name, len(problems), plural(len(problems), "problem", "problems"))
	}
	for _, s := range []string{q.Src, q.Dst} {
		if _, ok := floor.Services[s]; !ok {
			return v, fmt.Errorf("%s declares no service %q", name, s)
		}
	}
	table, wrong := policy.Compile(domain.Mesh, floor.Policies)
	if len(wrong) > 0 {
		return v, fmt.Errorf("%s: %s", name, wrong[0])
	}
	op := floor.Services[q.Dst].Op()
	if op.Method, op.Path = q.Method, q.Path; q.Port != 0 {
		op.Port = q.Port
	}
	d := table.Authorize(domain.Service(q.Src), domain.Service(q.Dst), op)
	v.Allowed, v.Reason, v.Rule, v.Bundle = d.Allowed, d.Code.String(), d.Rule, d.Bundle.String()
	return v, nil
}

func (c *call) printVerdict(q admin.PolicyQuery, v admin.PolicyVerdict) {
	word := "denied"
	if v.Allowed {
		word = "allowed"
	}
	what := oneLine(v.Src) + " > " + oneLine(v.Dst)
	if q.Method != "" {
		what += " " + oneLine(q.Method) + " " + oneLine(q.Path)
	}
	rule := "no rule matches (default deny)"
	if v.Rule != "" {
		rule = "rule " + oneLine(v.Rule)
	}
	c.printf("%s  %s\n  %s\n  reason %s, rule set %s\n", c.painter()(word), what, rule, oneLine(v.Reason), oneLine(v.Bundle[:min(12, len(v.Bundle))]))
	if !v.Allowed {
		c.say("next: `fire explain %s`", oneLine(v.Reason))
	}
}
