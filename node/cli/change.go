package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"fire/node/admin"
)

// floorBytesMax bounds a floor file before it is sent: admin.BodyBytesMax less the escapes of JSON.
const floorBytesMax = 3 << 20

func waitFlag() flag {
	return flag{name: "wait", kind: kindDuration, value: "TIME", def: "2s", brief: "how long to wait for the nodes' answers"}
}

func applyVerb() *verb {
	return &verb{
		name: "apply", brief: "apply a floor file: services and policies of the whole mesh",
		about: `All or nothing: one bad line refuses the file. Prints what changes, which flows become allowed or denied, and for each node whether it received, accepted, applied or rejected the version. The exit code is 3 when a node rejected it.`,
		flags: askFlags(
			flag{name: "file", short: "f", kind: kindString, value: "FILE", brief: "the floor file, - for standard input"},
			flag{name: "allow-empty", kind: kindBool, brief: "take a file without services: it ends all traffic"},
			flag{name: "dry-run", kind: kindBool, brief: "say what would change, change nothing"}, waitFlag()),
		examples: []example{
			{"fire apply -f floor.toml --dry-run", "what would change"},
			{"fire apply -f floor.toml", "apply it and watch the nodes take it"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			name, text, err := c.readFloor()
			if err != nil {
				return err
			}
			r, err := a.Apply(ctx, admin.ApplyRequest{Name: name, Text: text, DryRun: c.bool("dry-run"), Empty: c.bool("allow-empty"), WaitMS: c.duration("wait").Milliseconds()})
			if err != nil {
				return err
			}
			return c.showApply("fire.apply/v1", r)
		}, func(c *call) error {
			if c.string("file") == "" {
				return usage("write -f floor.toml", "no floor file is named")
			}
			return nil
		}),
	}
}

// readFloor reads the file of -f, bounded.
func (c *call) readFloor() (name, text string, err error) {
	name = c.string("file")
	var from io.Reader = c.in
	switch name {
	case "-":
		name = "standard input"
	default:
		f, err := os.Open(name)
		if err != nil {
			return "", "", err
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, floorBytesMax+1))
	if err != nil {
		return "", "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > floorBytesMax {
		return "", "", fmt.Errorf("%s is larger than %d KiB", name, floorBytesMax>>10)
	}
	return name, string(b), nil
}

func (c *call) showApply(schema string, r admin.ApplyResult) error {
	if err := printOne(c, schema, r, func() { c.printApply(r) }); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return fmt.Errorf("%d %s in the floor file, nothing was applied", len(r.Problems), plural(len(r.Problems), "problem", "problems"))
	}
	for _, n := range r.Nodes {
		if n.Rejected {
			return &unhealthy{fmt.Sprintf("node %s rejected version %d: %s", n.Node, r.FloorVersion, n.Reason)}
		}
	}
	return nil
}

func (c *call) printApply(r admin.ApplyResult) {
	for _, p := range r.Problems {
		c.say("%s", p)
	}
	if len(r.Problems) > 0 {
		return
	}
	switch {
	case !r.Changed:
		c.printf("floor %d: nothing changes\n", r.FloorVersion)
	case r.DryRun:
		c.printf("floor %d would become:\n", r.FloorVersion)
	default:
		c.printf("floor %d applied:\n", r.FloorVersion)
	}
	for _, part := range []struct {
		head  string
		lines []string
	}{{"changes", r.Changes}, {"newly allowed", r.Allowed}, {"newly denied", r.Denied}} {
		if len(part.lines) == 0 {
			continue
		}
		c.printf("  %s:\n", part.head)
		for _, l := range part.lines {
			c.printf("    %s\n", oneLine(l))
		}
	}
	if len(r.Nodes) > 0 {
		c.printf("\n%s", c.table(items2rows(r.Nodes, applyColumns, c.wide())))
	}
}

var applyColumns = []column[admin.ApplyNode]{
	{head: "NODE", cell: func(n admin.ApplyNode) string { return n.Node }},
	{head: "STATE", cell: applyState},
	{head: "TIME", right: true, cell: func(n admin.ApplyNode) string {
		if !n.Applied {
			return ""
		}
		return fmt.Sprintf("%.1fms", n.ApplyMS)
	}},
	{head: "REASON", cell: func(n admin.ApplyNode) string { return n.Reason }},
	{head: "DETAIL", cell: func(n admin.ApplyNode) string { return n.Detail }},
}

func applyState(n admin.ApplyNode) string {
	switch {
	case n.Rejected:
		return "rejected"
	case n.Applied:
		return "applied"
	case n.Accepted:
		return "accepted"
	case n.Received:
		return "received"
	}
	return "waiting"
}

func rollbackVerb() *verb {
	return &verb{
		name: "rollback", brief: "apply an earlier floor version again", args: "[VERSION]", most: 1,
		about: `Without VERSION the one before the current. The old text becomes a new version; history is never rewritten.`,
		flags: askFlags(waitFlag()),
		examples: []example{
			{"fire rollback", "undo the last apply"},
			{"fire rollback 7", "go back to version 7"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			version, _ := c.floorVersion() // checked below
			r, err := a.Rollback(ctx, admin.RollbackRequest{Version: version, WaitMS: c.duration("wait").Milliseconds()})
			if err != nil {
				return err
			}
			return c.showApply("fire.rollback/v1", r)
		}, func(c *call) error { _, err := c.floorVersion(); return err }),
	}
}

// floorVersion is the argument of rollback, 0 without one.
func (c *call) floorVersion() (uint64, error) {
	if len(c.args) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.args[0], 10, 64)
	if err != nil || n == 0 {
		return 0, usage("versions count from 1", "%q is no version", c.args[0])
	}
	return n, nil
}

func tokenVerb() *verb {
	return &verb{
		name: "token", brief: "join tokens: each admits one node, once",
		verbs: []*verb{{
			name: "create", brief: "make a join token and print it, this one time",
			about: `The token carries the addresses of control and the pin of its CA, so the new host needs nothing else. On a terminal it also prints what to type there; a pipe gets the token alone.`,
			flags: askFlags(
				flag{name: "node", kind: kindString, value: "NAME", brief: "only this node may use it; else the joiner chooses its name"},
				flag{name: "ttl", kind: kindDuration, value: "TIME", def: "1h", brief: "how long it may be used"}),
			examples: []example{
				{"fire token create", "a token for any node, for one hour"},
				{"fire token create --node ldn-7 --ttl 10m", "for one node, for ten minutes"},
			},
			run: asking(createToken, func(c *call) error {
				if c.duration("ttl") <= 0 {
					return usage("", "--ttl %v is not above zero", c.duration("ttl"))
				}
				return nil
			}),
		}, {
			name: "list", brief: "list join tokens without their secrets",
			flags: askFlags(),
			examples: []example{
				{"fire token list", "which are open, used or expired"},
			},
			run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
				tokens, err := a.Tokens(ctx)
				if err != nil {
					return err
				}
				return printList(c, "fire.tokens/v1", tokens, []column[admin.TokenInfo]{
					{head: "ID", cell: func(t admin.TokenInfo) string { return t.ID }},
					{head: "STATE", cell: func(t admin.TokenInfo) string { return t.State }},
					{head: "NODE", cell: func(t admin.TokenInfo) string { return t.Node }},
					{head: "EXPIRES", cell: func(t admin.TokenInfo) string { return showTime(t.ExpiresAt) }},
					{head: "USED BY", cell: func(t admin.TokenInfo) string { return t.UsedBy }},
				}, "no token was made yet; `fire token create` makes one")
			}),
		}},
	}
}

func createToken(ctx context.Context, c *call, a *admin.Client) error {
	t, err := a.CreateToken(ctx, admin.TokenRequest{Node: c.string("node"), TTLMS: c.duration("ttl").Milliseconds()})
	if err != nil {
		return err
	}
	return printOne(c, "fire.token/v1", t, func() {
		c.printf("%s\n", t.Token)
		if !isTerminal(c.out) {
			return
		}
		who := "one new node"
		if t.Node != "" {
			who = "node " + t.Node
		}
		c.say("\nIt admits %s, once, until %s. On the new host put it in a file that only its user reads and run:", who, showTime(t.ExpiresAt))
		c.say("  fire run --role proxy --token file:PATH")
	})
}

func revokeVerb() *verb {
	return &verb{
		name: "revoke", brief: "revoke an identity and cut its live connections", args: "ID", least: 1, most: 1,
		about: `ID is a SPIFFE id, or kind/name of this mesh: node/ldn-7, svc/orders. Every reachable node cuts that identity's live connections within a second.`,
		flags: askFlags(
			flag{name: "why", kind: kindString, value: "TEXT", brief: "the reason, kept in the catalogue"},
			flag{name: "undo", kind: kindBool, brief: "lift the revocation"}),
		examples: []example{
			{"fire revoke node/ldn-7 --why 'disk stolen'", "a host and everything on it"},
			{"fire revoke --undo svc/orders", "let it in again"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			r, err := a.Revoke(ctx, admin.RevokeRequest{ID: c.args[0], Why: c.string("why"), Undo: c.bool("undo")})
			if err != nil {
				return err
			}
			return printOne(c, "fire.revoke/v1", r, func() {
				did := "is revoked"
				if r.Undo {
					did = "is no longer revoked"
				}
				c.printf("%s %s\n\n%s", oneLine(r.ID), did, c.table(items2rows(r.Nodes, applyColumns, c.wide())))
			})
		}),
	}
}

func caVerb() *verb {
	return &verb{
		name: "ca", brief: "the certificate authority of this region",
		verbs: []*verb{{
			name: "show", brief: "show roots, pin and the nodes' certificates",
			flags: askFlags(),
			examples: []example{
				{"fire ca show", "roots and who holds a certificate"},
			},
			run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
				ca, err := a.CA(ctx)
				if err != nil {
					return err
				}
				return printOne(c, "fire.ca/v1", ca, func() { printCA(c, ca) })
			}),
		}, {
			name: "rotate", brief: "rotate the root, one step at a time", args: "prepare|activate|retire", least: 1, most: 1,
			about: `prepare makes a new root that every node learns to trust; activate signs with it from now on, and is refused until every node trusts it; retire drops the old root, and is refused while a node still shows a certificate of it.`,
			flags: askFlags(),
			examples: []example{
				{"fire ca rotate prepare", "the first step"},
			},
			run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
				ca, err := a.RotateCA(ctx, admin.RotateRequest{Step: c.args[0]})
				if err != nil {
					return err
				}
				return printOne(c, "fire.ca/v1", ca, func() { printCA(c, ca) })
			}),
		}},
	}
}

func printCA(c *call, ca admin.CA) {
	c.printf("mesh %s  pin %s  bundle %d\n\n", oneLine(ca.Domain), oneLine(ca.Pin), ca.BundleVersion)
	c.printf("%s\n", c.table(items2rows(ca.Roots, []column[admin.RootInfo]{
		{head: "ROOT", cell: func(r admin.RootInfo) string { return r.Pin }},
		{head: "SIGNS", cell: func(r admin.RootInfo) string { return yesNo(r.Active) }},
		{head: "FROM", cell: func(r admin.RootInfo) string { return showTime(r.NotBefore) }},
		{head: "UNTIL", cell: func(r admin.RootInfo) string { return showTime(r.NotAfter) }},
	}, c.wide())))
	c.printf("%s", c.table(items2rows(ca.Nodes, certColumns, c.wide())))
}

var certColumns = []column[admin.CertInfo]{
	{head: "CERTIFICATE", cell: func(i admin.CertInfo) string { return i.ID }},
	{head: "FROM", wide: true, cell: func(i admin.CertInfo) string { return showTime(i.NotBefore) }},
	{head: "UNTIL", cell: func(i admin.CertInfo) string { return showTime(i.NotAfter) }},
	{head: "RENEWS", cell: func(i admin.CertInfo) string { return showTime(i.RenewAt) }},
	{head: "SERIAL", wide: true, cell: func(i admin.CertInfo) string { return i.Serial }},
}

func drainVerb() *verb {
	return &verb{
		name: "drain", brief: "take a node, or one service on it, out of use without an error", args: "NODE", least: 1, most: 1,
		about: `New flows go elsewhere; live ones end by themselves.`,
		flags: askFlags(
			flag{name: "service", kind: kindString, value: "NAME", brief: "drain only this service on the node"},
			flag{name: "undo", kind: kindBool, brief: "end the drain"}),
		examples: []example{
			{"fire drain ldn-7", "before an upgrade of the host"},
			{"fire drain ldn-7 --service orders", "one service only"},
			{"fire drain ldn-7 --undo", "back to work"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			r, err := a.Drain(ctx, admin.DrainRequest{Node: c.args[0], Service: c.string("service"), Undo: c.bool("undo")})
			if err != nil {
				return err
			}
			return printOne(c, "fire.drain/v1", r, func() {
				verb := "is draining"
				if r.Undo {
					verb = "is in use again"
				}
				c.printf("%s %s (version %d): %s\n", oneLine(r.Node), verb, r.Version, oneLine(strings.Join(r.Endpoints, ", ")))
			})
		}),
	}
}
