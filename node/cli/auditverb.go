package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fire/audit/index"
	"fire/node/admin"
)

func auditVerb() *verb {
	node := flag{name: "node", kind: kindString, value: "NAME", brief: "the log of one host, where a process holds several"}
	policy := flag{name: "policy", kind: kindString, value: "FILE", brief: "whose signatures are trusted (C2SP tlog-policy), as `fire audit policy` prints it"}
	return &verb{
		name: "audit", brief: "the audit log: an order's way, proofs, verification",
		about: `Every host keeps one log: signed after each group of entries, and nobody can change, cut or reorder it without its being found. What asks for entries is for the owner of the process and root, and is an entry itself. verify and check need files alone.`,
		verbs: append([]*verb{
			{
				name: "trace", brief: "print an order's way through the floor", args: "CLORDID", least: 1, most: 1,
				about: `Finds every message of the order in all logs of the process, through cancel/replace chains, resends and resets, and says of each whether it reached the next hop unchanged. The exit code is 3 when a message was changed, or is missing at a hop.`,
				flags: askFlags(
					flag{name: "since", kind: kindString, value: "TIME", brief: "not before: 2026-11-27, 2026-11-27T09:30:00Z, or 10m ago as 10m"},
					flag{name: "until", kind: kindString, value: "TIME", brief: "before"},
					flag{name: "party", kind: kindString, value: "NAME", brief: "a CompID or service of the order's session, where several use the identifier"}),
				examples: []example{
					{"fire audit trace ORD-17", "every hop of the order"},
					{"fire audit trace ORD-17 -o json", "for programs (fire.audit.trace/v1)"},
				},
				run: asking(auditTrace),
			},
			{
				name: "search", brief: "find entries by what they say", args: "KEY=VALUE...", least: 1, most: 64,
				about: index.HelpText(),
				flags: askFlags(flag{name: "all", kind: kindBool, brief: "go on to the end instead of one page"}),
				examples: []example{
					{"fire audit search kind=refused since=1h", "who was refused"},
					{"fire audit search symbol=ACME service=strategy-a limit=20 -o json", "for programs (fire.audit.found/v1)"},
					{"fire audit search actor='uid 0' kind=admin --all", "all that an operator did"},
				},
				run: asking(auditSearch),
			},
			{
				name: "tail", brief: "print the newest entries", most: 0,
				flags: askFlags(node,
					flag{name: "lines", short: "n", kind: kindInt, value: "N", def: "20", brief: "so many of each log"},
					flag{name: "follow", short: "f", kind: kindBool, brief: "go on until interrupted"}),
				examples: []example{
					{"fire audit tail", "the newest 20 of each log"},
					{"fire audit tail -f -o jsonl", "all that comes, for programs (fire.audit.entry/v1)"},
				},
				run: asking(auditTail),
			},
			{
				name: "stat", brief: "print what each log holds, and whether it keeps up",
				flags: askFlags(),
				examples: []example{
					{"fire audit stat", "sizes, lag, gaps"},
					{"fire audit stat -o json", "for programs (fire.audit.stat/v1)"},
				},
				run: asking(auditStat),
			},
			{
				name: "prove", brief: "write the proof of entries, to be checked anywhere", args: "ID...", least: 1, most: 1000,
				about: `ID is LOG/INDEX, one entry, where LOG is a host or the log's whole name, or else an order's CLORDID: each hop of each of its messages. One file for each entry: the entry, the path to the signed head, and the head (C2SP tlog-proof).`,
				flags: askFlags(flag{name: "out", kind: kindString, value: "DIR", def: ".", brief: "where the files go"}),
				examples: []example{
					{"fire audit prove ORD-17 --out proofs", "all hops of an order"},
					{"fire audit prove host-a/4711", "one entry"},
				},
				run: asking(auditProve),
			},
			{
				name: "check", brief: "check proof files, with no network and no other process", args: "FILE...", least: 1, most: 100000,
				about: `Hashes the entry in each file, follows its path to the head, and verifies the head's signatures under the policy. Exit code 0: all are good; 3: one is not; 1: one cannot be read.`,
				flags: []flag{policy, outputFlag()},
				examples: []example{
					{"fire audit check --policy floor.policy proofs/*.tlog-proof", "on a machine that knows nothing else"},
				},
				run: auditCheck,
			},
			{
				name: "policy", brief: "print the policy that trusts the logs of this process",
				about: `The public keys of the logs, and of the witnesses that cosign their heads (C2SP tlog-policy). With --witness a head counts only when a witness has cosigned it, too: then a host cannot show somebody another past than everybody else, even with the log's own key.`,
				flags: askFlags(node, flag{name: "witness", kind: kindBool, brief: "want a witness's cosignature"}),
				examples: []example{
					{"fire audit policy > floor.policy", "for check and verify elsewhere"},
					{"fire audit policy --node host-a --witness > host-a.policy", "of one log, cosigned"},
				},
				run: asking(auditPolicy),
			},
			{
				name: "verify", brief: "read a whole log again: every hash, root and signature", args: "[DIR]", most: 1,
				about: `Without DIR: the logs of the running process, while they grow. With DIR: any folder with segments, such as a copy, under --policy. The first bad entry is named, with its file, offset and both hashes. Exit code 0: good; 3: changed; 4: something is missing or not signed; 1: cannot tell.`,
				flags: []flag{policy, outputFlag(), socketFlag(),
					{name: "head", kind: kindString, value: "DIR", brief: "the folder with the log's last head ([audit] head_dir), or FILE with a signed head; with DIR alone nobody knows whether the end was cut"}},
				examples: []example{
					{"fire audit verify", "the logs of this host"},
					{"fire audit verify /mnt/copy/audit --policy floor.policy --head head.txt", "a copy, on another machine"},
				},
				run: auditVerify,
			},
		}, auditKeepVerbs()...),
	}
}

func auditStat(ctx context.Context, c *call, a *admin.Client) error {
	all, err := a.AuditStates(ctx)
	if err != nil {
		return err
	}
	type state = admin.AuditState
	return printList(c, "fire.audit.stat/v1", all, []column[state]{
		{head: "NODE", cell: func(s state) string { return s.Node }},
		{head: "ENTRIES", right: true, cell: func(s state) string { return strconv.FormatInt(s.Size, 10) }},
		{head: "FROM", right: true, wide: true, cell: func(s state) string { return strconv.FormatInt(s.Minimum, 10) }},
		{head: "SIGNED", cell: func(s state) string {
			if s.HeadAt.IsZero() {
				return "-"
			}
			return time.Since(s.HeadAt).Round(time.Millisecond).String() + " ago"
		}},
		{head: "COSIGNED", right: true, cell: func(s state) string {
			switch {
			case s.WitnessProblem != "":
				return "no: " + s.WitnessProblem
			case s.Witness == "":
				return "-"
			}
			return strconv.FormatInt(s.Cosigned, 10)
		}},
		{head: "LAG", right: true, cell: func(s state) string { return showCount(s.Lag) }},
		{head: "UNENTERED", right: true, cell: func(s state) string { return showCount(s.Unentered) }},
		{head: "REFUSED", right: true, cell: func(s state) string { return showCount(s.Refused) }},
		{head: "GAPS", right: true, wide: true, cell: func(s state) string { return showCount(s.Gaps) }},
		{head: "GROUPS", right: true, wide: true, cell: func(s state) string { return showCount(s.Groups) }},
		{head: "SEGMENTS", right: true, wide: true, cell: func(s state) string { return strconv.Itoa(s.Segments) }},
		{head: "BYTES", right: true, cell: func(s state) string { return showCount(uint64(s.DiskBytes)) }},
		{head: "DISK", cell: func(s state) string {
			switch {
			case s.Trouble != "":
				return "fails: " + s.Trouble
			case s.StalledMS >= 1000:
				return fmt.Sprintf("hangs for %.1f s", s.StalledMS/1000)
			}
			return "ok"
		}},
		{head: "ROOT", wide: true, cell: func(s state) string { return s.Root }},
		{head: "FOLDER", wide: true, cell: func(s state) string { return s.Dir }},
	}, "this process keeps no audit log")
}

// auditEntry is one entry as a table shows it; all of it is in the JSON.
type auditEntry struct {
	Index     int64  `json:"index"`
	Node      string `json:"node"`
	Kind      string `json:"kind"`
	Time      string `json:"time"`
	Hop       string `json:"hop"`
	Direction string `json:"direction"`
	Service   string `json:"service"`
	Peer      string `json:"peer"`
	Channel   string `json:"channel"`
	MsgType   string `json:"msg_type"`
	SeqNum    uint64 `json:"msg_seq_num"`
	ClOrdID   string `json:"cl_ord_id"`
	ExecType  string `json:"exec_type"`
	Rule      string `json:"rule"`
	Reason    string `json:"reason"`
	Actor     string `json:"actor"`
	Verb      string `json:"verb"`
	Object    string `json:"object"`
	Result    string `json:"result"`
	Count     uint64 `json:"count"`
	Detail    string `json:"detail"`
}

func (e auditEntry) what() string {
	var parts []string
	add := func(format string, v string) {
		if v != "" {
			parts = append(parts, fmt.Sprintf(format, v))
		}
	}
	add("%s", e.Actor)
	add("%s", e.Verb)
	add("%s", e.Object)
	add("%s", e.Result)
	add("35=%s", e.MsgType)
	if e.SeqNum > 0 {
		add("34=%s", strconv.FormatUint(e.SeqNum, 10))
	}
	add("%s", e.ClOrdID)
	add("150=%s", e.ExecType)
	if e.Count > 0 {
		add("%s messages", strconv.FormatUint(e.Count, 10))
	}
	add("%s", e.Reason)
	add("%s", e.Detail)
	return strings.Join(parts, " ")
}

func auditEntryColumns() []column[json.RawMessage] {
	cell := func(f func(auditEntry) string) func(json.RawMessage) string {
		return func(raw json.RawMessage) string {
			var e auditEntry
			_ = json.Unmarshal(raw, &e) // of a log: what does not fit stays empty
			return dashed(f(e))
		}
	}
	return []column[json.RawMessage]{
		{head: "NODE", cell: cell(func(e auditEntry) string { return e.Node })},
		{head: "INDEX", right: true, cell: cell(func(e auditEntry) string { return strconv.FormatInt(e.Index, 10) })},
		{head: "TIME", cell: cell(func(e auditEntry) string { return strings.TrimSuffix(e.Time[min(len(e.Time), 11):], "Z") })},
		{head: "KIND", cell: cell(func(e auditEntry) string { return e.Kind })},
		{head: "HOP", cell: cell(func(e auditEntry) string { return strings.TrimSpace(e.Hop + " " + e.Direction) })},
		{head: "FROM", cell: cell(func(e auditEntry) string { return e.Service })},
		{head: "TO", cell: cell(func(e auditEntry) string { return e.Peer + e.Channel })},
		{head: "RULE", wide: true, cell: cell(func(e auditEntry) string { return e.Rule })},
		{head: "WHAT", cell: cell(auditEntry.what)},
	}
}

// followEvery is how often tail -f asks.
const followEvery = 300 * time.Millisecond

func auditTail(ctx context.Context, c *call, a *admin.Client) error {
	if n := c.int("lines"); n < 1 || n > 10000 {
		return usage("", "--lines %d is not 1 to 10000", n)
	}
	q := admin.AuditEntries{Node: c.string("node"), From: -c.int("lines"), Most: int(c.int("lines"))}
	for {
		page, err := admin.AskAudit[admin.AuditPage](ctx, a, "entries", q)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if len(page.Entries) > 0 || !c.bool("follow") {
			if err := printList(c, "fire.audit.entry/v1", page.Entries, auditEntryColumns(), "the log is empty"); err != nil {
				return err
			}
		}
		if !c.bool("follow") {
			return nil
		}
		q.After, q.Most = page.Next, 1000
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

func auditSearch(ctx context.Context, c *call, a *admin.Client) error {
	q := admin.AuditSearch{Query: query(c.args)}
	all := admin.AuditFound{Complete: true}
	for {
		page, err := admin.AskAudit[admin.AuditFound](ctx, a, "search", q)
		if err != nil {
			return err
		}
		all.Entries = append(all.Entries, page.Entries...)
		all.More, all.Cursor, all.Covered = page.More, page.Cursor, page.Covered
		all.Complete = all.Complete && page.Complete
		if !page.More || !c.bool("all") {
			break
		}
		q.Cursor = page.Cursor
	}
	var err error
	if c.string("output") == "json" {
		err = c.json(envelope{"fire.audit.found/v1", all})
	} else {
		err = printList(c, "fire.audit.entry/v1", all.Entries, auditEntryColumns(), "nothing is found")
	}
	if !all.Complete {
		for _, line := range all.Covered {
			c.say("%s", line)
		}
	}
	if all.More {
		c.say("there may be more: add --all, or cursor=%s", all.Cursor)
	}
	return err
}

// query is the text of a query of arguments that a shell has taken the quotes of.
func query(args []string) string {
	terms := make([]string, len(args))
	for i, arg := range args {
		terms[i] = arg
		if key, value, ok := strings.Cut(arg, "="); ok && strings.ContainsAny(value, " \t\"") {
			terms[i] = key + "=" + strconv.Quote(value)
		}
	}
	return strings.Join(terms, " ")
}

func auditPolicy(ctx context.Context, c *call, a *admin.Client) error {
	p, err := admin.AskAudit[admin.AuditPolicy](ctx, a, "policy", admin.AuditTrust{Node: c.string("node"), Witness: c.bool("witness")})
	if err != nil {
		return err
	}
	return printOne(c, "fire.audit.policy/v1", p, func() { c.printf("%s", p.Policy) })
}
