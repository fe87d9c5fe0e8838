package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"fire/node/admin"
	"fire/node/direct"
)

func ringVerb() *verb {
	node := nodeFlag()
	return &verb{
		name: "ring", brief: "look into the rings of the direct path on this host",
		verbs: []*verb{
			{
				name: "ls", brief: "list the rings with their writers and readers",
				about: `One line for each reader of each ring. LAG is how far the reader is behind, in lines of 64 bytes. The figures are read from the rings themselves: asking costs nobody on the path anything.`,
				flags: askFlags(node),
				examples: []example{
					{"fire ring ls", "who is attached to what"},
					{"fire ring ls -o wide", "with processes, users and epochs"},
					{"fire ring ls -o json", "the same for programs (fire.rings/v2)"},
				},
				run: askingDirect(ringList),
			},
			{
				name: "stat", brief: "show the counters of rings", args: "[CHANNEL]", most: 1,
				about: `FULL counts messages that a lane refused since a reader was that far behind; LOST those that a broadcast's reader was too slow for. The latencies are of one message in 1,024 and of those that follow a wake, from its publication to its reading, as upper bounds within a factor of two. UNSEEN are messages that the audit came too late for. DIED counts the lanes of the channel that went with their writer: what it had published is read to the end, what it had begun is dropped, and nothing has to be unblocked. With --every the figures are of each interval. The counters live in the rings: --offline reads them there, through the descriptors of the programs that hold them, when the direct node is stopped, hangs or is gone; it shows processes in place of services, and only those that this user may look into.`,
				flags: askFlags(node,
					flag{name: "every", kind: kindDuration, value: "TIME", def: "0s", brief: "print the difference again and again, until interrupted"},
					flag{name: "offline", kind: kindBool, brief: "ask nobody: read the rings that programs of this host hold"},
					flag{name: "count", kind: kindInt, value: "N", def: "0", brief: "with --every: stop after N intervals"}),
				examples: []example{
					{"fire ring stat", "totals of all rings"},
					{"fire ring stat md-nyse --every 1s", "what happens now on one channel"},
					{"fire ring stat --offline", "the same totals while no direct node answers"},
				},
				run: func(ctx context.Context, c *call) error {
					if c.bool("offline") {
						return ringFound(c)
					}
					return askingDirect(ringStat)(ctx, c)
				},
			},
			{
				name: "tail", brief: "print the messages of a ring as they come", args: "RING", least: 1, most: 1,
				about: `RING is the number that ring ls shows, or the channel's name when it has one ring. Prints number, type, length and the first 48 bytes of each message; what was written over before it could be read is said with its count. Nobody on the path waits for it. Only the owner of the process and root may look.`,
				flags: askFlags(node,
					flag{name: "count", kind: kindInt, value: "N", def: "0", brief: "stop after N messages"},
					flag{name: "for", kind: kindDuration, value: "TIME", def: "0s", brief: "stop after a time; 0 goes on until interrupted"}),
				examples: []example{
					{"fire ring tail md-nyse", "until interrupted"},
					{"fire ring tail 3 --count 10 -o jsonl", "ten messages for a program (fire.ring.tail/v1)"},
				},
				run: askingDirect(ringTail),
			},
		},
	}
}

// ringLine is a ring with one of its readers, or none.
type ringLine struct {
	direct.At[direct.Ring]
	reader *direct.RingReader
}

func ringLines(rings []direct.At[direct.Ring]) (out []ringLine) {
	for _, r := range rings {
		if len(r.Value.Readers) == 0 {
			out = append(out, ringLine{r, nil})
		}
		for i := range r.Value.Readers {
			out = append(out, ringLine{r, &r.Value.Readers[i]})
		}
	}
	return out
}

func (l ringLine) of(show func(*direct.RingReader) string) string {
	if l.reader == nil {
		return "-"
	}
	return show(l.reader)
}

func rings(ctx context.Context, c *call, a *admin.Client) ([]direct.At[direct.Ring], error) {
	all, err := admin.AskDirect[[]direct.At[direct.Ring]](ctx, a, "rings", url.Values{"node": {c.string("node")}})
	if err != nil || len(c.args) == 0 {
		return all, err
	}
	out := []direct.At[direct.Ring]{}
	for _, r := range all {
		if r.Value.Channel == c.args[0] || strconv.FormatUint(r.Value.Link, 10) == c.args[0] {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return nil, &admin.Error{Reason: "no_such_channel", Message: fmt.Sprintf("no ring or channel %q has a ring on this host", c.args[0]), Next: "`fire ring ls` lists them"}
	}
	return out, nil
}

const noRings = "no program of this host is attached to a channel; `fire channel ls` shows the channels"

func ringList(ctx context.Context, c *call, a *admin.Client) error {
	all, err := rings(ctx, c, a)
	if err != nil {
		return err
	}
	if o := c.string("output"); o == "json" || o == "jsonl" {
		return printList(c, "fire.rings/v2", all, nil, "")
	}
	return printList(c, "", ringLines(all), []column[ringLine]{
		{head: "RING", right: true, cell: func(l ringLine) string { return fmt.Sprint(l.Value.Link) }},
		{head: "NODE", wide: true, cell: func(l ringLine) string { return l.Node }},
		{head: "CHANNEL", cell: func(l ringLine) string { return l.Value.Channel }},
		{head: "KIND", cell: func(l ringLine) string { return string(l.Value.Kind) }},
		{head: "WRITER", cell: func(l ringLine) string { return l.Value.Writer.Service }},
		{head: "PID", right: true, wide: true, cell: func(l ringLine) string { return fmt.Sprint(l.Value.Writer.PID) }},
		{head: "USER", wide: true, cell: func(l ringLine) string { return l.Value.Writer.User }},
		{head: "SIZE", right: true, cell: func(l ringLine) string { return showBytes(float64(l.Value.Bytes)) }},
		{head: "MESSAGES", right: true, cell: func(l ringLine) string { return showCount(l.Value.Stat.Messages) }},
		{head: "READER", cell: func(l ringLine) string { return l.of(func(r *direct.RingReader) string { return r.Service }) }},
		{head: "STATE", cell: func(l ringLine) string { return l.of(func(r *direct.RingReader) string { return r.State }) }},
		{head: "READER PID", right: true, wide: true, cell: func(l ringLine) string {
			return l.of(func(r *direct.RingReader) string { return fmt.Sprint(r.PID) })
		}},
		{head: "LAG", right: true, cell: func(l ringLine) string { return l.of(func(r *direct.RingReader) string { return showCount(r.Lag) }) }},
		{head: "LOCKED", wide: true, cell: func(l ringLine) string { return yesNo(l.Value.Locked) }},
		{head: "EPOCH", right: true, wide: true, cell: func(l ringLine) string { return fmt.Sprint(l.Value.Epoch) }},
	}, noRings)
}

var ringStatColumns = []column[ringLine]{
	{head: "RING", right: true, cell: func(l ringLine) string { return fmt.Sprint(l.Value.Link) }},
	{head: "NODE", wide: true, cell: func(l ringLine) string { return l.Node }},
	{head: "CHANNEL", cell: func(l ringLine) string { return l.Value.Channel }},
	{head: "WRITER", cell: func(l ringLine) string { return l.Value.Writer.Service }},
	{head: "MESSAGES", right: true, cell: func(l ringLine) string { return showCount(l.Value.Stat.Messages) }},
	{head: "BYTES", right: true, cell: func(l ringLine) string { return showBytes(float64(l.Value.Stat.Bytes)) }},
	{head: "FULL", right: true, cell: func(l ringLine) string { return showCount(l.Value.Stat.Full) }},
	{head: "BELLS", right: true, wide: true, cell: func(l ringLine) string { return showCount(l.Value.Stat.Bells) }},
	{head: "PADDING", right: true, wide: true, cell: func(l ringLine) string { return showCount(l.Value.Stat.PaddingLines) }},
	{head: "DIGESTED", right: true, wide: true, cell: func(l ringLine) string { return showCount(l.Value.Digested) }},
	{head: "UNSEEN", right: true, cell: func(l ringLine) string { return showCount(l.Value.Unseen) }},
	{head: "DIED", right: true, cell: func(l ringLine) string { return showCount(l.Value.Released) }},
	{head: "READER", cell: func(l ringLine) string { return l.of(func(r *direct.RingReader) string { return r.Service }) }},
	{head: "READ", right: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showCount(r.Stat.Messages) })
	}},
	{head: "LAG", right: true, cell: func(l ringLine) string { return l.of(func(r *direct.RingReader) string { return showCount(r.Lag) }) }},
	{head: "LAPS", right: true, wide: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showCount(r.Stat.Laps) })
	}},
	{head: "LOST", right: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showCount(r.Stat.Lost) })
	}},
	{head: "WAITS", right: true, wide: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showCount(r.Stat.Waits) })
	}},
	{head: "P50", right: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showNanos(int64(r.P50)) })
	}},
	{head: "P99", right: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showNanos(int64(r.P99)) })
	}},
	{head: "MAX", right: true, wide: true, cell: func(l ringLine) string {
		return l.of(func(r *direct.RingReader) string { return showNanos(int64(r.Max)) })
	}},
}

func ringStat(ctx context.Context, c *call, a *admin.Client) error {
	before, err := rings(ctx, c, a)
	if err != nil {
		return err
	}
	every := c.duration("every")
	if every <= 0 {
		states, err := admin.AskDirect[[]direct.At[direct.ChannelState]](ctx, a, "channels", url.Values{"node": {c.string("node")}})
		if err == nil {
			err = c.printRingStat(before)
			c.sayReleased(states)
		}
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; c.int("count") == 0 || n < int(c.int("count")); n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := rings(ctx, c, a)
		if err != nil {
			return err
		}
		if err := c.printRingStat(direct.Since(before, now)); err != nil {
			return err
		}
		before = now
	}
	return nil
}

func (c *call) printRingStat(all []direct.At[direct.Ring]) error {
	if o := c.string("output"); o == "json" || o == "jsonl" {
		return printList(c, "fire.ring.stat/v2", all, nil, "")
	}
	return printList(c, "", ringLines(all), ringStatColumns, noRings)
}

// sayReleased tells of lanes that died and left no ring behind to be listed with.
func (c *call) sayReleased(states []direct.At[direct.ChannelState]) {
	for _, s := range states {
		if n := s.Value.Counts.Released; n > 0 && s.Value.Rings == 0 {
			c.say("%s: %d %s of channel %s died with the writer, and no ring is there now; `fire channel events %s` says whose", s.Node, n,
				plural(int(min(n, 1<<30)), "lane", "lanes"), s.Value.Name, s.Value.Name)
		}
	}
}

// tailRound bounds one question of ring tail: what comes is printed at least so often.
const tailRound = 500 * time.Millisecond

func ringTail(ctx context.Context, c *call, a *admin.Client) error {
	all, err := rings(ctx, c, a)
	if err != nil {
		return err
	}
	if own := slices.DeleteFunc(slices.Clone(all), func(r direct.At[direct.Ring]) bool { return r.Value.Writer.Far }); len(all) > 1 && len(own) == 1 {
		all = own // the others are what other hosts have of it
	}
	if len(all) > 1 {
		return usage("`fire ring ls -o wide` shows their hosts and numbers", "channel %q has %d rings here; name one by its number, or its host with --node", c.args[0], len(all))
	}
	q := direct.ChangeRequest{Node: all[0].Node, Link: all[0].Value.Link, WithinMS: tailRound.Milliseconds()}
	var end <-chan time.Time
	if d := c.duration("for"); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		end = t.C
	}
	for shown := 0; c.int("count") == 0 || shown < int(c.int("count")); {
		q.Most = 1000
		if n := c.int("count"); n > 0 {
			q.Most = int(n) - shown
		}
		seen, err := admin.TellDirect[[]direct.Seen](ctx, a, "tail", q)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		shown += len(seen)
		if err := c.printSeen(seen); err != nil {
			return err
		}
		if len(seen) > 0 {
			q.From = seen[len(seen)-1].Number + 1
		}
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		default:
		}
	}
	return nil
}

func (c *call) printSeen(seen []direct.Seen) error {
	if o := c.string("output"); o == "json" || o == "jsonl" {
		return printList(c, "fire.ring.tail/v1", seen, nil, "")
	}
	for _, m := range seen {
		if m.Missed > 0 {
			c.printf("... %d %s written over before they could be read\n", m.Missed, plural(int(m.Missed), "message was", "messages were"))
		}
		c.printf("%10d  type %-5d %6d B  %s\n", m.Number, m.Type, m.Length, strings.TrimSpace(printableHead(m.Head)))
	}
	return nil
}
