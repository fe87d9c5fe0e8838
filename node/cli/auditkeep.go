package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fire/audit/clock"
	"fire/audit/duties"
	"fire/node/admin"
)

// auditKeepVerbs are those about how logs are kept.
func auditKeepVerbs() []*verb {
	return []*verb{
		{
			name: "clock", brief: "report what the clocks of a day were worth",
			about: `Reads the journals of the logs: how far the clock may have been off, when that was beyond what its duty allows, steps, and times that nobody watched. Exit code 3 when a clock was beyond its class.`,
			flags: askFlags(
				flag{name: "report", kind: kindString, value: "DAY", brief: "the UTC day, as 2026-11-27; today otherwise"},
				flag{name: "class", kind: kindString, value: "NAME", words: append([]string{""}, clock.Classes()...), brief: "what to hold it against, instead of [audit.clock] class: " + strings.Join(clock.Classes(), ", ")}),
			examples: []example{
				{"fire audit clock", "today"},
				{"fire audit clock --report 2026-11-26 --class finra-50ms", "yesterday, for FINRA 4590"},
			},
			run: asking(auditClock),
		},
		{
			name: "duties", brief: "print what regulations ask, and which entries and commands answer",
			about: `One row for each duty: the rule, what it asks, the kinds of entries that answer, the commands that show them, and what fire does not cover. No legal advice.`,
			flags: []flag{outputFlag()},
			examples: []example{
				{"fire audit duties", "all"},
				{"fire audit duties -o json", "for programs (fire.audit.duties/v1)"},
			},
			run: auditDuties,
		},
		{
			name: "hold", brief: "legal holds: list, set and lift",
			verbs: []*verb{
				{name: "ls", brief: "list the holds in force", flags: askFlags(), examples: []example{{"fire audit hold ls", "all"}}, run: asking(auditHoldList)},
				{name: "set", brief: "keep a span of time from being pruned, and every person from being erased", args: "NAME", least: 1, most: 1,
					flags: askFlags(
						flag{name: "since", kind: kindString, value: "TIME", brief: "2026-11-01, an RFC 3339 time, or how long ago; the beginning otherwise"},
						flag{name: "until", kind: kindString, value: "TIME", brief: "now otherwise"},
						flag{name: "why", kind: kindString, value: "TEXT", brief: "the reason, for the log"}),
					examples: []example{{"fire audit hold set case-7 --since 2026-11-01 --until 2026-11-15 --why 'inquiry 7'", "two weeks"}},
					run:      asking(auditHoldSet)},
				{name: "lift", brief: "end a hold", args: "NAME", least: 1, most: 1,
					flags:    askFlags(flag{name: "why", kind: kindString, value: "TEXT", brief: "the reason, for the log"}),
					examples: []example{{"fire audit hold lift case-7 --why closed", "end it"}},
					run:      asking(auditHoldLift)},
			},
		},
		{
			name: "erase", brief: "destroy the key of a person's values", args: "SUBJECT", least: 1, most: 1,
			about: `SUBJECT is what the first of [audit] personal_tags had as its value, such as an account. What the log holds of the person cannot be read any more; every entry stays as it was signed, and verify stays good. It is final, it is an entry, and it is refused while a legal hold is in force. Backups of the keys that were made before are not reached.`,
			flags: askFlags(flag{name: "why", kind: kindString, value: "TEXT", brief: "the reason, which must be given, for the log"}),
			examples: []example{
				{"fire audit erase ACC-1047 --why 'request of 2026-11-27, GDPR Art. 17'", "in every log of the process"},
			},
			run: asking(auditErase),
		},
		{
			name: "scrub", brief: "let the process read its logs again now, and record what it finds",
			flags:    askFlags(),
			examples: []example{{"fire audit scrub", "small logs; [audit] scrub_every does it by itself"}},
			run:      asking(auditScrub),
		},
		{
			name: "rotate", brief: "give the logs a new key, in two steps", args: "STEP", least: 1, most: 1,
			about: `begin: the new key signs together with the old one. Give the new policy (fire audit policy) to everybody who verifies, then settle: the new one signs alone. The old one stays known for what it has signed.`,
			flags: askFlags(),
			examples: []example{
				{"fire audit rotate begin", "both sign"},
				{"fire audit rotate settle", "the new one alone"},
			},
			run: asking(auditRotate),
		},
	}
}

func auditClock(ctx context.Context, c *call, a *admin.Client) error {
	day := c.string("report")
	if day == "" {
		day = time.Now().UTC().Format(time.DateOnly)
	}
	type report struct {
		Node string `json:"node"`
		clock.Day
	}
	all, err := admin.AskAudit[[]report](ctx, a, "day", admin.AuditDay{Day: day, Class: c.string("class")})
	if err != nil {
		return err
	}
	switch c.string("output") {
	case "json", "jsonl":
		err = printList(c, "fire.audit.clock/v1", all, nil, "")
	default:
		for i, r := range all {
			if i > 0 {
				c.printf("\n")
			}
			c.printf("%s\n", r.Node)
			if err := r.WriteText(c.out); err != nil {
				return err
			}
		}
	}
	for _, r := range all {
		if len(r.Breaches) > 0 && err == nil {
			return &unhealthy{fmt.Sprintf("the clock of %s was beyond %s", r.Node, r.Class)}
		}
	}
	return err
}

func auditDuties(_ context.Context, c *call) error {
	type duty = duties.Duty
	return printList(c, "fire.audit.duties/v1", duties.All(), []column[duty]{
		{head: "RULE", cell: func(d duty) string { return d.Rule }},
		{head: "ENTRIES", cell: func(d duty) string { return strings.Join(d.Entries, ",") }},
		{head: "SHOWN BY", cell: func(d duty) string { return strings.Join(d.Commands, "; ") }},
		{head: "ASKS", cell: func(d duty) string { return d.Asks }},
		{head: "NOT COVERED", cell: func(d duty) string { return d.Gap }},
	}, "")
}

func auditHoldList(ctx context.Context, c *call, a *admin.Client) error {
	return askHolds(ctx, c, a, admin.AuditHold{Do: "list"})
}

func auditHoldSet(ctx context.Context, c *call, a *admin.Client) error {
	q := admin.AuditHold{Do: "set", Name: c.args[0], Why: c.string("why")}
	from, err := instant(c.string("since"), time.Now())
	if err != nil {
		return usage("", "--since %v", err)
	}
	to, err := instant(c.string("until"), time.Now())
	if err != nil {
		return usage("", "--until %v", err)
	}
	q.From, q.To = time.Unix(0, from).UTC(), time.Unix(0, to).UTC()
	if to == 0 {
		q.To = time.Now().UTC()
	}
	return askHolds(ctx, c, a, q)
}

func auditHoldLift(ctx context.Context, c *call, a *admin.Client) error {
	return askHolds(ctx, c, a, admin.AuditHold{Do: "lift", Name: c.args[0], Why: c.string("why")})
}

func askHolds(ctx context.Context, c *call, a *admin.Client, q admin.AuditHold) error {
	all, err := admin.AskAudit[[]admin.AuditHeld](ctx, a, "hold", q)
	if err != nil {
		return err
	}
	type held = admin.AuditHeld
	return printList(c, "fire.audit.holds/v1", all, []column[held]{
		{head: "NODE", cell: func(h held) string { return h.Node }},
		{head: "NAME", cell: func(h held) string { return h.Name }},
		{head: "FROM", cell: func(h held) string { return h.From.Format(time.RFC3339) }},
		{head: "TO", cell: func(h held) string { return h.To.Format(time.RFC3339) }},
		{head: "BY", cell: func(h held) string { return h.By }},
		{head: "WHY", cell: func(h held) string { return dashed(h.Why) }},
	}, "no hold is in force")
}

func auditErase(ctx context.Context, c *call, a *admin.Client) error {
	if c.string("why") == "" {
		return usage("", "--why TEXT is missing: an erasure has a reason")
	}
	all, err := admin.AskAudit[[]admin.AuditErased](ctx, a, "erase", admin.AuditErase{Subject: c.args[0], Why: c.string("why")})
	if err != nil {
		return err
	}
	type erased = admin.AuditErased
	n := 0
	for _, e := range all {
		if e.Erased {
			n++
		}
	}
	err = printList(c, "fire.audit.erased/v1", all, []column[erased]{
		{head: "NODE", cell: func(e erased) string { return e.Node }},
		{head: "ERASED", cell: func(e erased) string { return yesNo(e.Erased) }},
		{head: "SUBJECT", cell: func(e erased) string { return dashed(e.Subject) }},
		{head: "ENTRY", right: true, cell: func(e erased) string {
			if !e.Erased {
				return "-"
			}
			return fmt.Sprint(e.Index)
		}},
	}, "")
	if err == nil && n == 0 {
		return &unhealthy{"no log of this process knows that person"}
	}
	return err
}

func auditScrub(ctx context.Context, c *call, a *admin.Client) error {
	all, err := admin.AskAudit[[]admin.AuditScrubbed](ctx, a, "scrub", struct{}{})
	if err != nil {
		return err
	}
	type scrubbed = admin.AuditScrubbed
	err = printList(c, "fire.audit.scrub/v1", all, []column[scrubbed]{
		{head: "VERDICT", cell: func(s scrubbed) string { return s.Verdict }},
		{head: "NODE", cell: func(s scrubbed) string { return s.Node }},
		{head: "READ", right: true, cell: func(s scrubbed) string { return fmt.Sprint(s.Entries) }},
		{head: "FAULT", cell: func(s scrubbed) string { return dashed(s.Fault) }},
	}, "")
	for _, s := range all {
		if s.Verdict != "good" && err == nil {
			return &unhealthy{fmt.Sprintf("the log of %s is %s", s.Node, s.Verdict)}
		}
	}
	return err
}

func auditRotate(ctx context.Context, c *call, a *admin.Client) error {
	if c.args[0] != "begin" && c.args[0] != "settle" {
		return usage("", "%q is no step; there are begin and settle", c.args[0])
	}
	all, err := admin.AskAudit[[]admin.AuditKeys](ctx, a, "rotate", admin.AuditRotate{Do: c.args[0]})
	if err != nil {
		return err
	}
	type keys = admin.AuditKeys
	return printList(c, "fire.audit.keys/v1", all, []column[keys]{
		{head: "NODE", cell: func(k keys) string { return k.Node }},
		{head: "SIGNS WITH", cell: func(k keys) string { return strings.Join(k.Signing, " and ") }},
		{head: "KNOWN", right: true, cell: func(k keys) string { return fmt.Sprint(len(k.Known)) }},
	}, "")
}
