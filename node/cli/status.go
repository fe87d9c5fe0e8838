package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fire/node/admin"
	"fire/twin"
)

func statusVerb() *verb {
	return &verb{
		name: "status", brief: "show the nodes of the mesh and what each has applied",
		about: `STATE is SYNCED (runs the newest version), STALE (an older one), REJECTED (refused a version and keeps the last good one), DRAINING, or OFFLINE (does not talk to control). SOURCE says who answered: control itself, or this node's signed snapshot when control cannot be reached.`,
		flags: askFlags(),
		examples: []example{
			{"fire status", "every node with its state"},
			{"fire status -o wide", "with zones, reasons, clocks and certificates"},
			{"fire status -o json", "the same for programs (fire.status/v1)"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			s, err := a.Status(ctx)
			if err != nil {
				return err
			}
			if c.string("output") == "jsonl" {
				return printList(c, "fire.status/v1", s.Nodes, nil, "")
			}
			return printOne(c, "fire.status/v1", s, func() { printStatus(c, s) })
		}),
	}
}

func printStatus(c *call, s admin.Status) {
	source := s.Source
	if s.Source != "control" {
		source += ", " + showMillis(s.SnapshotAgeMS) + " old"
	}
	c.printf("mesh %s  version %d  floor %d  nodes %d  source %s\n\n", oneLine(s.Domain), s.Version, s.FloorVersion, len(s.Nodes), source)
	c.printf("%s", c.table(items2rows(s.Nodes, []column[admin.NodeStatus]{
		{head: "NODE", cell: func(n admin.NodeStatus) string { return n.Node }},
		{head: "STATE", cell: func(n admin.NodeStatus) string { return n.State }},
		{head: "ROLES", cell: func(n admin.NodeStatus) string { return strings.Join(n.Roles, ",") }},
		{head: "ADDRESS", cell: func(n admin.NodeStatus) string { return n.Address }},
		{head: "VERSION", right: true, cell: func(n admin.NodeStatus) string { return fmt.Sprint(n.Version) }},
		{head: "SEEN", right: true, cell: func(n admin.NodeStatus) string { return showSeen(n.LastSeenMS) }},
		{head: "APPLY", right: true, wide: true, cell: func(n admin.NodeStatus) string { return fmt.Sprintf("%.1fms", n.ApplyMS) }},
		{head: "CLOCK", right: true, wide: true, cell: func(n admin.NodeStatus) string { return fmt.Sprintf("%+.1fms", n.ClockSkewMS) }},
		{head: "ZONE", wide: true, cell: func(n admin.NodeStatus) string { return n.Zone }},
		{head: "CERTIFICATE", wide: true, cell: func(n admin.NodeStatus) string { return showTime(n.CertExpires) }},
		{head: "RELEASE", cell: func(n admin.NodeStatus) string { return n.Release }},
		{head: "REASON", cell: func(n admin.NodeStatus) string { return n.Reason }},
		{head: "DETAIL", wide: true, cell: func(n admin.NodeStatus) string { return n.Detail }},
	}, c.wide())))
}

// showSeen is how long a node has been silent; a report that was under way is no silence.
func showSeen(ms int64) string { return showMillis(max(ms, 0)) }

func servicesVerb() *verb {
	return &verb{
		name: "services", brief: "show services and their endpoints", args: "[NAME]", most: 1,
		about: `LINKED (its node talks to control) and HEALTHY (its check passes) are separate facts. A placed node without an endpoint has not registered the service.`,
		flags: askFlags(),
		examples: []example{
			{"fire services", "one line for each endpoint"},
			{"fire services orders -o wide", "one service with epochs and placement"},
			{"fire services -o json", "for programs (fire.services/v1)"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			all, err := a.Services(ctx)
			if err != nil {
				return err
			}
			if len(c.args) == 1 {
				if all, err = oneService(all, c.args[0]); err != nil {
					return err
				}
			}
			if o := c.string("output"); o == "json" || o == "jsonl" {
				return printList(c, "fire.services/v1", all, nil, "")
			}
			return printList(c, "", endpointLines(all), endpointColumns, "the floor declares no service; `fire apply -f floor.toml` declares some")
		}),
	}
}

func oneService(all []admin.Service, name string) ([]admin.Service, error) {
	for _, s := range all {
		if s.Service == name {
			return []admin.Service{s}, nil
		}
	}
	return nil, &admin.Error{Reason: "no_such_service", Message: fmt.Sprintf("there is no service %q", name), Next: "`fire services` lists them"}
}

// endpointLine is one line of the table: an endpoint, or a service without one.
type endpointLine struct {
	admin.Service
	endpoint *admin.Endpoint
}

func endpointLines(all []admin.Service) (out []endpointLine) {
	for _, s := range all {
		if len(s.Endpoints) == 0 {
			out = append(out, endpointLine{s, nil})
		}
		for _, e := range s.Endpoints {
			out = append(out, endpointLine{s, &e})
		}
	}
	return out
}

var endpointColumns = []column[endpointLine]{
	{head: "SERVICE", cell: func(l endpointLine) string { return l.Service.Service }},
	{head: "PROTOCOL", cell: func(l endpointLine) string { return l.Protocol }},
	{head: "PORT", right: true, cell: func(l endpointLine) string { return showPort(l.Port) }},
	{head: "NODE", cell: func(l endpointLine) string { return l.of(func(e *admin.Endpoint) string { return e.Node }) }},
	{head: "LINKED", cell: func(l endpointLine) string {
		return l.of(func(e *admin.Endpoint) string { return yesNo(e.Linked) })
	}},
	{head: "HEALTHY", cell: func(l endpointLine) string {
		return l.of(func(e *admin.Endpoint) string { return yesNo(e.Healthy) })
	}},
	{head: "DRAINING", wide: true, cell: func(l endpointLine) string {
		return l.of(func(e *admin.Endpoint) string { return yesNo(e.Draining) })
	}},
	{head: "EPOCH", right: true, wide: true, cell: func(l endpointLine) string {
		return l.of(func(e *admin.Endpoint) string { return fmt.Sprint(e.Epoch) })
	}},
	{head: "CLASS", wide: true, cell: func(l endpointLine) string { return l.Class }},
	{head: "BALANCE", wide: true, cell: func(l endpointLine) string { return l.Balance }},
	{head: "PLACED", wide: true, cell: func(l endpointLine) string { return strings.Join(l.Placed, ",") }},
	{head: "WHY", cell: func(l endpointLine) string {
		if l.endpoint == nil {
			return "no endpoint is registered"
		}
		if l.endpoint.Draining && l.endpoint.Why == "" {
			return "draining"
		}
		return l.endpoint.Why
	}},
}

func (l endpointLine) of(f func(*admin.Endpoint) string) string {
	if l.endpoint == nil {
		return ""
	}
	return f(l.endpoint)
}

func edgesVerb() *verb {
	return &verb{
		name: "edges", brief: "show who talks to whom: rate, errors, latency, encryption", args: "[SERVICE]", most: 1,
		about: `One line for each pair of services that talked within the last ten seconds. With SERVICE only the edges that begin or end there.`,
		flags: askFlags(flag{name: "errors", kind: kindBool, brief: "only edges that are not ok"}),
		examples: []example{
			{"fire edges", "every edge"},
			{"fire edges risk --errors", "what is wrong around one service"},
			{"fire edges -o json", "for programs (fire.edges/v1)"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			edges, err := a.Edges(ctx)
			if err != nil {
				return err
			}
			kept := edges[:0:0]
			for _, e := range edges {
				about := len(c.args) == 0 || e.Src == c.args[0] || e.Dst == c.args[0]
				wrong := e.State == "error" || e.State == "warn"
				if about && (wrong || !c.bool("errors")) {
					kept = append(kept, e)
				}
			}
			if len(kept) == 0 && len(c.args) == 1 {
				all, err := a.Services(ctx)
				if err == nil {
					_, err = oneService(all, c.args[0])
				}
				if err != nil {
					return err
				}
			}
			return printList(c, "fire.edges/v1", kept, edgeColumns, "no traffic was seen in the last ten seconds")
		}),
	}
}

var edgeColumns = []column[admin.Edge]{
	{head: "SRC", cell: func(e admin.Edge) string { return e.Src }},
	{head: "DST", cell: func(e admin.Edge) string { return e.Dst }},
	{head: "PROTOCOL", cell: func(e admin.Edge) string { return e.Protocol }},
	{head: "STATE", cell: func(e admin.Edge) string { return e.State }},
	{head: "RATE/S", right: true, cell: func(e admin.Edge) string { return showRate(e.RatePerSecond) }},
	{head: "ERRORS", right: true, cell: func(e admin.Edge) string { return showRatio(e.ErrorRatio) }},
	{head: "P50", right: true, cell: func(e admin.Edge) string { return showNanos(e.P50NS) }},
	{head: "P99", right: true, cell: func(e admin.Edge) string { return showNanos(e.P99NS) }},
	{head: "P99.9", right: true, cell: func(e admin.Edge) string { return showNanos(e.P999NS) }},
	{head: "BYTES/S", right: true, wide: true, cell: func(e admin.Edge) string { return showBytes(e.BytesPerSecond) }},
	{head: "ACTIVE", right: true, cell: func(e admin.Edge) string { return fmt.Sprint(e.ActiveFlows) }},
	{head: "REQUESTS", right: true, wide: true, cell: func(e admin.Edge) string { return showCount(e.RequestsTotal) }},
	{head: "FAILED", right: true, wide: true, cell: func(e admin.Edge) string { return showCount(e.ErrorsTotal) }},
	{head: "PATH", wide: true, cell: func(e admin.Edge) string { return e.Path }},
	{head: "MTLS", cell: func(e admin.Edge) string {
		if e.Protocol == twin.ProtocolShm {
			return "kernel" // no TLS: the kernel has said who the processes are
		}
		return yesNo(e.Secured)
	}},
	{head: "REASON", cell: func(e admin.Edge) string {
		if e.State == "ok" || e.State == "idle" {
			return "" // one of the past; -o json has it
		}
		return e.Reason
	}},
}

func eventsVerb() *verb {
	return &verb{
		name: "events", brief: "show what happened on the mesh lately",
		flags: askFlags(),
		examples: []example{
			{"fire events", "joins, leaves, failures, policy changes"},
			{"fire events -o jsonl", "one object a line (fire.events/v1)"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			events, err := a.Events(ctx)
			if err != nil {
				return err
			}
			return printList(c, "fire.events/v1", events, []column[admin.Event]{
				{head: "AT", cell: func(e admin.Event) string { return e.At.UTC().Format("2006-01-02T15:04:05.000Z") }},
				{head: "KIND", cell: func(e admin.Event) string { return e.Kind }},
				{head: "SUBJECT", cell: func(e admin.Event) string { return e.Subject }},
				{head: "REASON", cell: func(e admin.Event) string { return e.Reason }},
				{head: "TEXT", cell: func(e admin.Event) string { return e.Text }},
			}, "nothing has happened yet")
		}),
	}
}

func flowsVerb() *verb {
	return &verb{
		name: "flows", brief: "show the live connections of this host's process",
		flags: askFlags(flag{name: "refused", kind: kindBool, brief: "show what was refused or broken lately instead"}),
		examples: []example{
			{"fire flows", "each live connection with its bytes"},
			{"fire flows --refused", "what this process refused, and why"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			if c.bool("refused") {
				list, err := a.Refusals(ctx)
				if err != nil {
					return err
				}
				return printList(c, "fire.refusals/v1", list, refusalColumns, "nothing was refused")
			}
			list, err := a.Flows(ctx)
			if err != nil {
				return err
			}
			return printList(c, "fire.flows/v1", list, flowColumns, "no connection is open")
		}),
	}
}

var flowColumns = []column[admin.Flow]{
	{head: "ID", wide: true, cell: func(f admin.Flow) string { return f.ID }},
	{head: "SIDE", cell: func(f admin.Flow) string { return f.Side }},
	{head: "SRC", cell: func(f admin.Flow) string { return f.Src }},
	{head: "DST", cell: func(f admin.Flow) string { return f.Dst }},
	{head: "PEER", cell: func(f admin.Flow) string { return f.Peer }},
	{head: "PROTOCOL", cell: func(f admin.Flow) string { return f.Protocol }},
	{head: "AGE", right: true, cell: func(f admin.Flow) string { return showAge(time.Since(f.Since)) }},
	{head: "OUT", right: true, cell: func(f admin.Flow) string { return showBytes(float64(f.BytesOut)) }},
	{head: "IN", right: true, cell: func(f admin.Flow) string { return showBytes(float64(f.BytesIn)) }},
}

var refusalColumns = []column[admin.Refusal]{
	{head: "AT", cell: func(r admin.Refusal) string { return r.At.UTC().Format("2006-01-02T15:04:05.000Z") }},
	{head: "SIDE", cell: func(r admin.Refusal) string { return r.Side }},
	{head: "SRC", cell: func(r admin.Refusal) string { return r.Src }},
	{head: "DST", cell: func(r admin.Refusal) string { return r.Dst }},
	{head: "REASON", cell: func(r admin.Refusal) string { return r.Reason }},
	{head: "RULE", cell: func(r admin.Refusal) string { return r.Rule }},
	{head: "DETAIL", cell: func(r admin.Refusal) string { return r.Detail }},
}

func whyVerb() *verb {
	return &verb{
		name: "why", brief: "say why SRC can or cannot talk to DST, and what to do", args: "SRC DST", least: 2, most: 2,
		about: `Goes through the service, policy, placement, endpoints and recent traffic in this order; the first finding that is not ok is the cause. The exit code is 3 when it does not work.`,
		flags: askFlags(),
		examples: []example{
			{"fire why strategy-a orders", "the chain of findings and the next command"},
			{"fire why strategy-a orders -o json", "for programs (fire.why/v1)"},
		},
		run: asking(func(ctx context.Context, c *call, a *admin.Client) error {
			w, err := a.Why(ctx, c.args[0], c.args[1])
			if err != nil {
				return err
			}
			if err := printOne(c, "fire.why/v1", w, func() { printWhy(c, w) }); err != nil {
				return err
			}
			if !w.Works {
				return &unhealthy{}
			}
			return nil
		}),
	}
}

func printWhy(c *call, w admin.Why) {
	paint := c.painter()
	if w.Works {
		c.printf("%s can talk to %s: %s\n\n", oneLine(w.Src), oneLine(w.Dst), paint("works"))
	} else {
		c.printf("%s cannot talk to %s: %s (`fire explain %s`)\n\n", oneLine(w.Src), oneLine(w.Dst), paint("error"), oneLine(w.Reason))
	}
	for _, f := range w.Findings {
		mark := paint("ok")
		if !f.OK {
			mark = paint("no")
		}
		c.printf("  %s  %-10s %s", mark, oneLine(f.Step), oneLine(f.Text))
		if f.Reason != "" && !f.OK {
			c.printf(" [%s]", oneLine(f.Reason))
		}
		c.printf("\n")
		if f.Next != "" && !f.OK {
			c.printf("                 next: %s\n", oneLine(f.Next))
		}
	}
	if len(w.Refusals) > 0 {
		c.printf("\nLately refused or broken:\n%s", c.table(items2rows(w.Refusals, refusalColumns, c.wide())))
	}
}
