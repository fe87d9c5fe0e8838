package cli

import (
	"context"
	"strings"

	"fire/node/check"
	"fire/node/config"
	"fire/policy/reason"
)

func explainVerb() *verb {
	return &verb{
		name: "explain", brief: "explain a code of `fire check` or a reason, offline", args: "[CODE]", most: 1,
		about: `CODE is one of ` + "`fire check`" + ` (FIRE-CLOCK-001) or a reason as it stands in logs, metrics and on the map (denied_by_default), also by its number. Without CODE it lists them all.`,
		flags: []flag{outputFlag()},
		examples: []example{
			{"fire explain denied_by_default", "what it means and what to do"},
			{"fire explain FIRE-CLOCK-001", "the same for a check"},
			{"fire explain", "every code there is"},
		},
		run: explain,
	}
}

// explanation is a check or a reason.
type explanation struct {
	Code   string `json:"code"`
	Kind   string `json:"kind"` // check, reason
	Group  string `json:"group"`
	Number int    `json:"number,omitempty"` // of a reason, on the wire
	Title  string `json:"title"`
	Cause  string `json:"cause"`
	Fix    string `json:"fix"`
}

func explanations() []explanation {
	var out []explanation
	for _, k := range check.Checks() {
		out = append(out, explanation{k.Code, "check", k.Group, 0, k.Title, k.Cause, k.Fix})
	}
	for _, r := range reason.All() {
		out = append(out, explanation{r.Name, "reason", r.Group, int(r.Code), r.Title, r.Cause, r.Fix})
	}
	return out
}

func explain(_ context.Context, c *call) error {
	all := explanations()
	if len(c.args) == 0 {
		return printList(c, "fire.codes/v1", all, []column[explanation]{
			{head: "CODE", cell: func(e explanation) string { return e.Code }},
			{head: "KIND", cell: func(e explanation) string { return e.Kind }},
			{head: "GROUP", cell: func(e explanation) string { return e.Group }},
			{head: "TITLE", cell: func(e explanation) string { return e.Title }},
			{head: "FIX", wide: true, cell: func(e explanation) string { return e.Fix }},
		}, "")
	}
	want := c.args[0]
	var codes []string
	for _, e := range all {
		if strings.EqualFold(e.Code, want) || e.Kind == "reason" && want == showCount(uint64(e.Number)) {
			return printOne(c, "fire.explain/v1", e, func() {
				c.printf("%s: %s\n\nCause: %s\nFix:   %s\n", e.Code, e.Title, e.Cause, e.Fix)
			})
		}
		codes = append(codes, e.Code)
	}
	hint := "`fire explain` lists them all"
	if near := config.Nearest(want, codes); near != "" {
		hint = "did you mean " + near + "?"
	}
	return usage(hint, "there is no code %q", want)
}
