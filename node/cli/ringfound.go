package cli

import (
	"fmt"
	"slices"
	"strings"

	"fire/node/direct"
)

// foundLine is a ring with one of its readers, or none.
type foundLine struct {
	direct.FoundRing
	reader *direct.FoundReader
}

func ringFound(c *call) error {
	if c.duration("every") != 0 {
		return usage("", "--every does not go with --offline")
	}
	all, unseen, err := direct.Find("/proc")
	if err != nil {
		return err
	}
	if len(c.args) > 0 {
		all = slices.DeleteFunc(all, func(r direct.FoundRing) bool { return r.Channel != c.args[0] })
	}
	if unseen > 0 {
		c.say("%d processes are of other users and were not looked into", unseen)
	}
	if o := c.string("output"); o == "json" || o == "jsonl" {
		return printList(c, "fire.rings.offline/v1", all, nil, "")
	}
	var lines []foundLine
	for _, r := range all {
		if len(r.Readers) == 0 {
			lines = append(lines, foundLine{r, nil})
		}
		for i := range r.Readers {
			lines = append(lines, foundLine{r, &r.Readers[i]})
		}
	}
	of := func(l foundLine, show func(*direct.FoundReader) string) string {
		if l.reader == nil {
			return "-"
		}
		return show(l.reader)
	}
	return printList(c, "", lines, []column[foundLine]{
		{head: "CHANNEL", cell: func(l foundLine) string { return l.Channel }},
		{head: "RING", cell: func(l foundLine) string { return l.Discipline }},
		{head: "EPOCH", right: true, wide: true, cell: func(l foundLine) string { return fmt.Sprint(l.Epoch) }},
		{head: "MESSAGES", right: true, cell: func(l foundLine) string { return showCount(l.Stat.Messages) }},
		{head: "BYTES", right: true, cell: func(l foundLine) string { return showBytes(float64(l.Stat.Bytes)) }},
		{head: "FULL", right: true, cell: func(l foundLine) string { return showCount(l.Stat.Full) }},
		{head: "HELD BY", cell: func(l foundLine) string { return holders(l.HeldBy) }},
		{head: "READ", right: true, cell: func(l foundLine) string {
			return of(l, func(r *direct.FoundReader) string { return showCount(r.Stat.Messages) })
		}},
		{head: "LAG", right: true, cell: func(l foundLine) string {
			return of(l, func(r *direct.FoundReader) string { return showCount(r.Lag) })
		}},
		{head: "LOST", right: true, cell: func(l foundLine) string {
			return of(l, func(r *direct.FoundReader) string { return showCount(r.Stat.Lost) })
		}},
		{head: "P50", right: true, cell: func(l foundLine) string {
			return of(l, func(r *direct.FoundReader) string { return showNanos(int64(r.P50)) })
		}},
		{head: "P99", right: true, cell: func(l foundLine) string {
			return of(l, func(r *direct.FoundReader) string { return showNanos(int64(r.P99)) })
		}},
		{head: "CURSOR HELD BY", cell: func(l foundLine) string {
			return of(l, func(r *direct.FoundReader) string { return holders(r.HeldBy) })
		}},
	}, "no process of this host that this user may look into holds a ring")
}

func holders(all []direct.Holder) string {
	var out []string
	for _, h := range all {
		out = append(out, fmt.Sprintf("%s(%d)", h.Command, h.PID))
	}
	return strings.Join(out, ",")
}
