package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fire/node/admin"
	"fire/node/bridge"
	"fire/node/direct"
	"fire/policy/reason"
)

func channelVerb() *verb {
	node := nodeFlag()
	return &verb{
		name: "channel", brief: "the direct paths of the floor: list, cut and try them",
		verbs: []*verb{
			{
				name: "ls", brief: "list the channels and who is attached on this host",
				flags: askFlags(node),
				examples: []example{
					{"fire channel ls", "every channel of the floor"},
					{"fire channel ls -o json", "the same for programs (fire.channels/v1)"},
				},
				run: askingDirect(channelList),
			},
			{
				name: "events", brief: "list what happened to the channels of this host, newest last", most: 1, args: "[CHANNEL]",
				about: `What the trail was told of late: who attached, was refused, left, died or was cut, and by which rule; what got lost; what became of paths to other hosts. The whole trail is in the directory of the node's state, direct/. KIND filters: --kind died,cut.`,
				flags: askFlags(node,
					flag{name: "kind", kind: kindString, value: "KIND,...", brief: "only these kinds"},
					flag{name: "last", kind: kindInt, value: "N", def: "50", brief: "at most so many; 0: all that are kept"}),
				examples: []example{
					{"fire channel events", "the newest 50"},
					{"fire channel events orders --kind died,cut,lost", "what went wrong with one channel"},
					{"fire channel events --last 0 -o jsonl", "all, for programs (fire.channel.events/v1)"},
				},
				run: askingDirect(channelEvents),
			},
			{
				name: "paths", brief: "list what comes from and goes to other hosts", most: 1, args: "[CHANNEL]",
				about: `One line for each publisher and host. PATH is udp, multicast, or quic: datagrams do not get through, and the session between the hosts carries them, slower. PROVED counts the sender's signatures over what went to a group.`,
				flags: askFlags(node),
				examples: []example{
					{"fire channel paths", "all"},
					{"fire channel paths md-nyse -o json", "one channel, for programs (fire.channel.paths/v1)"},
				},
				run: askingDirect(channelPaths),
			},
			{
				name: "revoke", brief: "cut a channel on this host, or one service on it", args: "CHANNEL [SERVICE]", least: 1, most: 2,
				about: `Both ends see it with their next message, nobody may attach until it is lifted, and the cut is in the trail. A program that does not look and keeps the ring is told of after cut_grace, and ended where [direct] after_cut says so. It holds on the host that is asked, also over restarts. To cut a channel everywhere, change the floor: take it out, or write a deny rule, and fire apply.`,
				flags: askFlags(node,
					flag{name: "undo", kind: kindBool, brief: "lift the cut"},
					flag{name: "why", kind: kindString, value: "TEXT", brief: "the reason, for those who are cut and for the trail"}),
				examples: []example{
					{"fire channel revoke md-nyse --why 'bad ticks'", "everybody on it"},
					{"fire channel revoke orders strategy-b", "one service"},
					{"fire channel revoke --undo md-nyse", "lift it"},
				},
				run: askingDirect(channelRevoke),
			},
			{
				name: "try", brief: "print whether a service may attach, and the rule that decides", args: "CHANNEL SERVICE", least: 2, most: 2,
				about: `Decides as the direct node of this host would, and attaches nobody. The exit code is 3 when the verdict is deny.`,
				flags: askFlags(node,
					flag{name: "side", kind: kindString, value: "SIDE", def: "publish", words: []string{"publish", "subscribe"}, brief: "the end that it wants"}),
				examples: []example{
					{"fire channel try md-nyse market-data", "may it publish?"},
					{"fire channel try md-nyse strategy-a --side subscribe", "may it read?"},
				},
				run: askingDirect(channelTry),
			},
			{
				name: "publish", brief: "attach as a publisher and send lines", args: "CHANNEL", least: 1, most: 1,
				about: `Attaches like any program of this host: [program.NAME] of mesh.toml must let this user be the service. Sends each line of standard input as one message and ends with it. A full lane is waited for.`,
				flags: attachFlags(flag{name: "type", kind: kindInt, value: "N", def: "1", brief: "type of the messages, 0 to 65535"}),
				examples: []example{
					{"fire channel publish md-nyse --as market-data", "type lines, end with Ctrl-D"},
				},
				run: channelPublish,
			},
			{
				name: "subscribe", brief: "attach as a subscriber and print messages", args: "CHANNEL", least: 1, most: 1,
				about: `Attaches like any program of this host: [program.NAME] of mesh.toml must let this user be the service. Messages that were lost are said with their numbers, and so is the end of a lane.`,
				flags: attachFlags(outputFlag(), flag{name: "count", kind: kindInt, value: "N", def: "0", brief: "stop after N messages"},
					flag{name: "wait", kind: kindString, value: "STRATEGY", def: "channel", words: []string{"channel", "spin", "spin-yield", "adaptive", "poll"}, brief: "how to wait for messages: as the channel says, spin, spin-yield, adaptive or poll"}),
				examples: []example{
					{"fire channel subscribe md-nyse --as strategy-a", "until interrupted"},
					{"fire channel subscribe md-nyse --count 1 -o json", "one message for a program (fire.channel.message/v1)"},
				},
				run: channelSubscribe,
			},
		},
	}
}

func channelList(ctx context.Context, c *call, a *admin.Client) error {
	all, err := admin.AskDirect[[]direct.At[direct.ChannelState]](ctx, a, "channels", url.Values{"node": {c.string("node")}})
	if err != nil {
		return err
	}
	type state = direct.At[direct.ChannelState]
	return printList(c, "fire.channels/v1", all, []column[state]{
		{head: "CHANNEL", cell: func(s state) string { return s.Value.Name }},
		{head: "NODE", cell: func(s state) string { return s.Node }},
		{head: "KIND", cell: func(s state) string { return string(s.Value.Kind) }},
		{head: "HERE", cell: func(s state) string { return yesNo(s.Value.Here) }},
		{head: "PUBLISHERS", cell: func(s state) string { return strings.Join(s.Value.Publishers, ",") }},
		{head: "SUBSCRIBERS", cell: func(s state) string { return strings.Join(s.Value.Subscribers, ",") }},
		{head: "ATTACHED", cell: func(s state) string { return endNames(s.Value.Attached) }},
		{head: "MESSAGES", right: true, cell: func(s state) string { return showCount(s.Value.Messages) }},
		{head: "DIED", right: true, cell: func(s state) string { return showCount(s.Value.Counts.Died) }},
		{head: "CUT", right: true, cell: func(s state) string { return showCount(s.Value.Counts.Cut) }},
		{head: "HELD", right: true, wide: true, cell: func(s state) string { return showCount(s.Value.Counts.Held) }},
		{head: "REFUSED", right: true, wide: true, cell: func(s state) string { return showCount(s.Value.Counts.Refused) }},
		{head: "GIVEN UP", right: true, wide: true, cell: func(s state) string { return showCount(s.Value.Counts.LostMsgs) }},
		{head: "SIZE", right: true, wide: true, cell: func(s state) string { return s.Value.Size.String() }},
		{head: "WAIT", wide: true, cell: func(s state) string { return string(s.Value.Wait) }},
		{head: "AUDIT", wide: true, cell: func(s state) string { return string(s.Value.Audit) }},
		{head: "REVOKED", cell: func(s state) string { return revocations(s.Value.Revocations) }},
	}, "the floor declares no channel; write [channel.NAME] into the floor file and `fire apply` it")
}

func endNames(ends []direct.End) string {
	var out []string
	for _, e := range ends {
		if e.Far {
			out = append(out, e.Service+"@"+e.Node)
			continue
		}
		out = append(out, fmt.Sprintf("%s(%d)", e.Service, e.PID))
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ",")
}

func revocations(all []direct.Revocation) string {
	var out []string
	for _, r := range all {
		who := r.Service
		if who == "" {
			who = "all"
		}
		out = append(out, strings.TrimSpace(who+" by "+r.By+" "+r.Why))
	}
	return strings.Join(out, "; ")
}

func channelEvents(ctx context.Context, c *call, a *admin.Client) error {
	last := c.int("last")
	if last < 0 {
		return usage("", "--last %d is below 0", last)
	}
	all, err := admin.AskDirect[[]direct.At[direct.Event]](ctx, a, "events", url.Values{"node": {c.string("node")}})
	if err != nil {
		return err
	}
	var kinds []string
	if k := c.string("kind"); k != "" {
		kinds = strings.Split(k, ",")
	}
	type event = direct.At[direct.Event]
	all = slices.DeleteFunc(all, func(e event) bool {
		return len(c.args) > 0 && e.Value.Channel != c.args[0] || kinds != nil && !slices.Contains(kinds, string(e.Value.Kind))
	})
	slices.SortStableFunc(all, func(x, y event) int { return x.Value.At.Compare(y.Value.At) })
	if last > 0 {
		all = all[max(0, len(all)-int(last)):]
	}
	return printList(c, "fire.channel.events/v1", all, []column[event]{
		{head: "AT", cell: func(e event) string { return e.Value.At.Format("15:04:05.000") }},
		{head: "NODE", cell: func(e event) string { return e.Node }},
		{head: "KIND", cell: func(e event) string { return string(e.Value.Kind) }},
		{head: "CHANNEL", cell: func(e event) string { return dashed(e.Value.Channel) }},
		{head: "SERVICE", cell: func(e event) string { return dashed(e.Value.Service) }},
		{head: "SIDE", wide: true, cell: func(e event) string { return dashed(e.Value.Side) }},
		{head: "PEER", cell: func(e event) string { return dashed(e.Value.Peer + e.Value.Node) }},
		{head: "PID", right: true, wide: true, cell: func(e event) string { return blankZero(e.Value.PID) }},
		{head: "USER", wide: true, cell: func(e event) string { return dashed(e.Value.User) }},
		{head: "MESSAGES", right: true, wide: true, cell: func(e event) string { return showCount(e.Value.Messages) }},
		{head: "REASON", cell: func(e event) string {
			if e.Value.Reason == reason.OK {
				return "-"
			}
			return e.Value.Reason.String()
		}},
		{head: "RULE", cell: func(e event) string { return dashed(e.Value.Rule) }},
		{head: "DETAIL", cell: func(e event) string { return e.Value.Detail }},
	}, "nothing has happened to a channel of this host")
}

func channelRevoke(ctx context.Context, c *call, a *admin.Client) error {
	q := direct.ChangeRequest{Node: c.string("node"), Channel: c.args[0], Why: c.string("why")}
	if len(c.args) == 2 {
		q.Service = c.args[1]
	}
	what, verb := "everybody", "revoke"
	if q.Service != "" {
		what = q.Service
	}
	if c.bool("undo") {
		verb = "restore"
	}
	all, err := admin.TellDirect[[]direct.At[direct.RevokeAnswer]](ctx, a, verb, q)
	if err != nil {
		return err
	}
	if o := c.string("output"); o == "json" || o == "jsonl" {
		return printList(c, "fire.channel.revoke/v1", all, nil, "")
	}
	for _, r := range all {
		if c.bool("undo") {
			c.printf("%s: channel %s is open again for %s\n", r.Node, q.Channel, what)
			continue
		}
		c.printf("%s: channel %s is cut for %s; %d %s ended\n", r.Node, q.Channel, what, r.Value.Cut, plural(r.Value.Cut, "end was", "ends were"))
	}
	return nil
}

func channelTry(ctx context.Context, c *call, a *admin.Client) error {
	q := url.Values{"node": {c.string("node")}, "channel": {c.args[0]}, "service": {c.args[1]}, "side": {c.string("side")}}
	all, err := admin.AskDirect[[]direct.At[direct.Verdict]](ctx, a, "try", q)
	if err != nil {
		return err
	}
	err = printList(c, "fire.channel.verdict/v1", all, []column[direct.At[direct.Verdict]]{
		{head: "NODE", cell: func(v direct.At[direct.Verdict]) string { return v.Node }},
		{head: "VERDICT", cell: func(v direct.At[direct.Verdict]) string {
			if v.Value.Allowed {
				return "allow"
			}
			return "deny"
		}},
		{head: "RULE", cell: func(v direct.At[direct.Verdict]) string {
			if v.Value.Rule == "" {
				return "-"
			}
			return v.Value.Rule
		}},
		{head: "REASON", cell: func(v direct.At[direct.Verdict]) string { return v.Value.Reason.String() }},
		{head: "KEPT APART FROM", cell: func(v direct.At[direct.Verdict]) string { return strings.Join(v.Value.Apart, ",") }},
		{head: "DETAIL", cell: func(v direct.At[direct.Verdict]) string { return v.Value.Detail }},
	}, "")
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.Value.Allowed {
			return nil
		}
	}
	return &unhealthy{fmt.Sprintf("no host of this process lets %s %s on channel %s", c.args[1], c.string("side"), c.args[0])}
}

// printableHead is the first bytes of a message as text when they are, else as hex.
func printableHead(head string) string {
	b, err := hex.DecodeString(head)
	if err != nil {
		return head
	}
	for _, x := range b {
		if x < 0x20 && x != 1 || x > 0x7e { // FIX separates its fields by 0x01
			return head
		}
	}
	return strings.ReplaceAll(string(b), "\x01", "|")
}

// nodeFlag picks one of the hosts that a process runs.
func nodeFlag() flag {
	return flag{name: "node", kind: kindString, value: "NAME", brief: "one host, where a process runs several"}
}

func channelPaths(ctx context.Context, c *call, a *admin.Client) error {
	all, err := admin.AskDirect[[]direct.At[bridge.PathState]](ctx, a, "paths", url.Values{"node": {c.string("node")}})
	if err != nil {
		return err
	}
	if len(c.args) > 0 {
		all = slices.DeleteFunc(all, func(p direct.At[bridge.PathState]) bool { return p.Value.Channel != c.args[0] })
	}
	type path = direct.At[bridge.PathState]
	return printList(c, "fire.channel.paths/v1", all, []column[path]{
		{head: "CHANNEL", cell: func(p path) string { return p.Value.Channel }},
		{head: "NODE", cell: func(p path) string { return p.Node }},
		{head: "WAY", cell: func(p path) string { return p.Value.Way + " " + p.Value.Node }},
		{head: "PUBLISHER", cell: func(p path) string { return dashed(p.Value.Service) }},
		{head: "PATH", cell: func(p path) string { return dashed(p.Value.Path) }},
		{head: "MESSAGES", right: true, cell: func(p path) string { return showCount(p.Value.Messages) }},
		{head: "LOST", right: true, cell: func(p path) string { return showCount(p.Value.Lost) }},
		{head: "REPAIRED", right: true, cell: func(p path) string { return showCount(p.Value.Repaired) }},
		{head: "RTT", right: true, cell: func(p path) string { return showSome(int64(p.Value.RTT)) }},
		{head: "LINES", right: true, wide: true, cell: func(p path) string { return blankZero(p.Value.Lines) }},
		{head: "LAG", right: true, wide: true, cell: func(p path) string { return showCount(p.Value.Lag) }},
		{head: "REFUSED", right: true, wide: true, cell: func(p path) string { return showCount(p.Value.Refused) }},
		{head: "UNSENT", right: true, wide: true, cell: func(p path) string { return showCount(p.Value.Socket.Unsent) }},
		{head: "DROPPED", right: true, wide: true, cell: func(p path) string { return showCount(p.Value.Socket.Dropped) }},
		{head: "PROVED", right: true, wide: true, cell: func(p path) string { return showCount(p.Value.Proofs) }},
		{head: "WHY NOT", cell: func(p path) string { return p.Value.Reason }},
	}, "no channel comes from or goes to another host now")
}

func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
