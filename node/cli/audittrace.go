package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fire/audit/order"
	"fire/node/admin"
)

func auditTrace(ctx context.Context, c *call, a *admin.Client) error {
	q := admin.AuditTrace{ClOrdID: c.args[0], Party: c.string("party")}
	var err error
	if q.From, err = instant(c.string("since"), time.Now()); err != nil {
		return usage("", "--since %v", err)
	}
	if q.To, err = instant(c.string("until"), time.Now()); err != nil {
		return usage("", "--until %v", err)
	}
	r, err := admin.AskAudit[order.Result](ctx, a, "trace", q)
	if err != nil {
		return err
	}
	if err := printOne(c, "fire.audit.trace/v1", r, func() { printTrace(c, r) }); err != nil {
		return err
	}
	if len(r.Orders) == 0 {
		return &unhealthy{fmt.Sprintf("no log of this process knows an order %q", q.ClOrdID)}
	}
	for _, s := range r.Orders {
		if s.Verdict == order.Changed || s.Verdict == order.Missing {
			return &unhealthy{fmt.Sprintf("a message of %s is %s", s.ClOrdID, s.Verdict)}
		}
	}
	return nil
}

// instant reads a point in time: a date, an RFC 3339 time, or how long ago. "" is 0.
func instant(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d).UnixNano(), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(form, s, time.UTC); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time; write 2026-11-27, 2026-11-27T09:30:00Z, or 10m for ten minutes ago", s)
}

func printTrace(c *call, r order.Result) {
	for i, s := range r.Orders {
		if i > 0 {
			c.printf("\n")
		}
		c.printf("order %s  %s  %s\n", s.ClOrdID, s.State, s.Verdict)
		for _, l := range s.Legs {
			c.printf("  %s to %s: %s%s\n", l.Buyer, l.Seller, l.State, filled(l))
		}
		for _, step := range s.Steps {
			printStep(c, step)
		}
		for _, n := range s.Notes {
			c.printf("  note: %s\n", n)
		}
	}
	for _, x := range r.Conflicts {
		c.printf("conflict: %s shows two entries at %d; one of them is false\n", x.Origin, x.Index)
	}
	if r.Incomplete {
		c.printf("the search had to end early: name less time with --since and --until\n")
	}
}

func filled(l order.Leg) string {
	if l.Filled == "" {
		return ""
	}
	return fmt.Sprintf(", filled %s, left %s", l.Filled, dashed(l.Leaves))
}

func printStep(c *call, s order.Step) {
	ids := s.ClOrdID
	if s.OrigClOrdID != "" {
		ids += " for " + s.OrigClOrdID
	}
	c.printf("\n%s  35=%s 34=%d  %s to %s  %s%s\n", s.Time, s.MsgType, s.SeqNum, s.Sender, s.Target, ids, marked(s))
	head := []string{"", "HOP", "NODE", "INDEX", "TIME", "+/-", "RULE", "DIGEST IN", "DIGEST OUT"}
	table := rows{cells: [][]string{head}, right: make([]bool, len(head))}
	for _, h := range s.Hops {
		index := "-"
		if h.Index != nil {
			index = strconv.FormatInt(*h.Index, 10)
		}
		table.cells = append(table.cells, []string{"  " + h.Label, h.Hop + channelOf(h), h.Node, index, clockOf(h.Time), boundOf(h.Bound), dashed(h.Rule), short(h.DigestIn), short(h.DigestOut)})
	}
	c.printf("%s", c.table(table))
	c.printf("  %s\n", s.Sentence)
	for _, n := range s.Notes {
		c.printf("  note: %s\n", n)
	}
}

func marked(s order.Step) string {
	if len(s.Marks) == 0 {
		return ""
	}
	return "  (" + strings.Join(s.Marks, ", ") + ")"
}

func channelOf(h order.Hop) string {
	if h.Channel == "" {
		return ""
	}
	return " " + h.Channel
}

func clockOf(t string) string {
	if len(t) < 12 {
		return dashed(t)
	}
	return strings.TrimSuffix(t[11:], "Z")
}

func boundOf(b *int64) string {
	if b == nil {
		return "?"
	}
	return time.Duration(*b).String()
}

// short is enough of a digest to compare two by eye.
func short(digest string) string { return dashed(digest[:min(len(digest), 16)]) }

// auditProve writes one file for each entry.
func auditProve(ctx context.Context, c *call, a *admin.Client) error {
	var places []admin.AuditPlace
	for _, arg := range c.args {
		p, err := placesOf(ctx, a, arg)
		if err != nil {
			return err
		}
		places = append(places, p...)
	}
	dir := c.string("out")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	type written struct {
		admin.AuditPlace
		File string `json:"file"`
	}
	var out []written
	for _, p := range places {
		proof, err := admin.AskAudit[admin.AuditProof](ctx, a, "prove", p)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, fmt.Sprintf("%s-%d.tlog-proof", strings.ReplaceAll(proof.Log, "/", "_"), proof.Index))
		if err := os.WriteFile(file, proof.Proof, 0o644); err != nil {
			return err
		}
		out = append(out, written{proof.AuditPlace, file})
	}
	return printList(c, "fire.audit.proofs/v1", out, []column[written]{
		{head: "LOG", cell: func(w written) string { return w.Log }},
		{head: "INDEX", right: true, cell: func(w written) string { return strconv.FormatInt(w.Index, 10) }},
		{head: "FILE", cell: func(w written) string { return w.File }},
	}, "")
}

// placesOf is LOG/INDEX, or every hop of an order.
func placesOf(ctx context.Context, a *admin.Client, arg string) ([]admin.AuditPlace, error) {
	if i := strings.LastIndexByte(arg, '/'); i > 0 {
		if n, err := strconv.ParseInt(arg[i+1:], 10, 64); err == nil {
			return []admin.AuditPlace{{Log: arg[:i], Index: n}}, nil
		}
	}
	r, err := admin.AskAudit[order.Result](ctx, a, "trace", admin.AuditTrace{ClOrdID: arg})
	if err != nil {
		return nil, err
	}
	var out []admin.AuditPlace
	for _, s := range r.Orders {
		for _, step := range s.Steps {
			for _, h := range step.Hops {
				if h.Index != nil {
					out = append(out, admin.AuditPlace{Log: h.Origin, Index: *h.Index})
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, &unhealthy{fmt.Sprintf("no log of this process knows an order %q; an entry is LOG/INDEX", arg)}
	}
	return out, nil
}
