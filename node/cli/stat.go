package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fire/node/admin"
	"fire/policy/reason"
	"fire/transport/meter"
)

func statVerb() *verb {
	return &verb{
		name: "stat", brief: "read a process's counters from its meter page, also while it hangs", args: "[PAGE]", most: 1,
		about: `The counters lie in a file that the process maps; reading it needs nothing from the process, so it works while that is stopped or stuck. Without PAGE every page in the runtime folder is read. With --every the figures are of each interval.`,
		flags: []flag{outputFlag(),
			{name: "every", kind: kindDuration, value: "TIME", def: "0s", brief: "print the difference again and again, until interrupted"},
			{name: "count", kind: kindInt, value: "N", def: "0", brief: "with --every: stop after N intervals"}},
		examples: []example{
			{"fire stat", "totals since the start"},
			{"fire stat --every 1s", "what happens now"},
			{"fire stat -o wide", "with refusals, connect times and bytes"},
		},
		run: stat,
	}
}

// cell is one edge of one page, as printed.
type cell struct {
	Node          string            `json:"node"`
	Role          string            `json:"role"`
	PID           int               `json:"pid"`
	Src           string            `json:"src"`
	Dst           string            `json:"dst"`
	Side          string            `json:"side"`
	ActiveFlows   int64             `json:"active_flows"`
	OpenedTotal   uint64            `json:"opened_total"`
	RefusedTotal  uint64            `json:"refused_total"`
	RequestsTotal uint64            `json:"requests_total"`
	ErrorsTotal   uint64            `json:"errors_total"`
	OutBytes      uint64            `json:"out_bytes_total"`
	InBytes       uint64            `json:"in_bytes_total"`
	P50NS         int64             `json:"p50_ns"`
	P99NS         int64             `json:"p99_ns"`
	P999NS        int64             `json:"p999_ns"`
	ConnectP99NS  int64             `json:"connect_p99_ns"`
	LastAt        time.Time         `json:"last_at"`
	Reasons       map[string]uint64 `json:"reasons"`
	key           string
	snapshot      meter.EdgeSnapshot
}

var cellColumns = []column[cell]{
	{head: "NODE", cell: func(l cell) string { return l.Node }},
	{head: "SIDE", cell: func(l cell) string { return l.Side }},
	{head: "SRC", cell: func(l cell) string { return l.Src }},
	{head: "DST", cell: func(l cell) string { return l.Dst }},
	{head: "ACTIVE", right: true, cell: func(l cell) string { return fmt.Sprint(l.ActiveFlows) }},
	{head: "REQUESTS", right: true, cell: func(l cell) string { return showCount(l.RequestsTotal) }},
	{head: "ERRORS", right: true, cell: func(l cell) string { return showCount(l.ErrorsTotal) }},
	{head: "REFUSED", right: true, wide: true, cell: func(l cell) string { return showCount(l.RefusedTotal) }},
	{head: "OPENED", right: true, wide: true, cell: func(l cell) string { return showCount(l.OpenedTotal) }},
	{head: "P50", right: true, cell: func(l cell) string { return showNanos(l.P50NS) }},
	{head: "P99", right: true, cell: func(l cell) string { return showNanos(l.P99NS) }},
	{head: "P99.9", right: true, cell: func(l cell) string { return showNanos(l.P999NS) }},
	{head: "CONNECT", right: true, wide: true, cell: func(l cell) string { return showNanos(l.ConnectP99NS) }},
	{head: "OUT", right: true, cell: func(l cell) string { return showBytes(float64(l.OutBytes)) }},
	{head: "IN", right: true, cell: func(l cell) string { return showBytes(float64(l.InBytes)) }},
	{head: "LAST", wide: true, cell: func(l cell) string { return showTime(l.LastAt) }},
	{head: "REASONS", cell: func(l cell) string { return showReasons(l.Reasons) }},
}

func showReasons(m map[string]uint64) string {
	var out []string
	for name, n := range m {
		out = append(out, fmt.Sprintf("%s=%d", name, n))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func stat(ctx context.Context, c *call) error {
	every := c.duration("every")
	if every < 0 || every > 0 && every < 10*time.Millisecond {
		return usage("", "--every %v is below 10ms", every)
	}
	now, err := c.readPages()
	if err != nil || every == 0 {
		if err == nil {
			err = printList(c, "fire.stat/v1", now, cellColumns, "no traffic was counted yet")
		}
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := int64(0); c.int("count") == 0 || n < c.int("count"); n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := now
		if now, err = c.readPages(); err != nil {
			return err
		}
		if err := printList(c, "fire.stat/v1", since(now, before), cellColumns, "no traffic"); err != nil {
			return err
		}
	}
	return nil
}

// readPages reads every meter page that the arguments or the runtime folder name.
func (c *call) readPages() ([]cell, error) {
	paths := c.args
	if len(paths) == 0 {
		paths = pages()
	}
	if len(paths) == 0 {
		return nil, &admin.Error{Reason: "not_running", Message: "there is no meter page in " + admin.RuntimeDir(), Next: "start a fire with `fire dev` or `fire run`, or name the page"}
	}
	var out []cell
	for _, path := range paths {
		cells, ended, err := readPage(path)
		if err != nil {
			return nil, fmt.Errorf("read meter page %s: %w", path, err)
		}
		if ended {
			c.say("fire stat: %s is of a process that has ended", path)
			if len(c.args) == 0 {
				continue // it is shown when it is named
			}
		}
		out = append(out, cells...)
	}
	return out, nil
}

// pages finds the page files in the runtime folders; that needs nobody's answer.
func pages() []string {
	var out []string
	for _, dir := range admin.RuntimeDirs() {
		found, _ := filepath.Glob(filepath.Join(dir, "*.meter")) // the pattern is right
		out = append(out, found...)
	}
	return out
}

func readPage(path string) (cells []cell, ended bool, err error) {
	r, err := meter.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	facts, err := r.Facts()
	if err != nil {
		return nil, false, err
	}
	edges, err := r.Snapshot()
	if err != nil {
		return nil, false, err
	}
	out := make([]cell, 0, len(edges))
	for _, e := range edges {
		l := cell{Node: facts.Node, Role: facts.Role, PID: int(facts.PID), key: path + "\x00" + e.Src + "\x00" + e.Dst + "\x00" + e.Side, snapshot: e}
		l.fill(e)
		out = append(out, l)
	}
	return out, !r.Alive(), nil
}

func (l *cell) fill(e meter.EdgeSnapshot) {
	l.Src, l.Dst, l.Side, l.ActiveFlows = e.Src, e.Dst, e.Side, e.Active
	l.OpenedTotal, l.RefusedTotal, l.RequestsTotal, l.ErrorsTotal = e.Opened, e.Refused, e.Requests, e.Errors
	l.OutBytes, l.InBytes = e.BytesOut, e.BytesIn
	l.P50NS, l.P99NS, l.P999NS = int64(e.Latency.Quantile(.5)), int64(e.Latency.Quantile(.99)), int64(e.Latency.Quantile(.999))
	l.ConnectP99NS = int64(e.Connect.Quantile(.99))
	if e.LastUnixNanos > 0 {
		l.LastAt = time.Unix(0, e.LastUnixNanos).UTC()
	}
	l.Reasons = map[string]uint64{}
	for code, n := range e.Reasons {
		l.Reasons[reason.Code(code).String()] += n
	}
}

// since is what happened between two readings; a page that began anew counts whole.
func since(now, before []cell) []cell {
	old := map[string]meter.EdgeSnapshot{}
	for _, l := range before {
		old[l.key] = l.snapshot
	}
	var out []cell
	for _, l := range now {
		e, was := l.snapshot, old[l.key]
		less := func(a, b uint64) uint64 {
			if b > a {
				return a
			}
			return a - b
		}
		e.Opened, e.Refused = less(e.Opened, was.Opened), less(e.Refused, was.Refused)
		e.Requests, e.Errors = less(e.Requests, was.Requests), less(e.Errors, was.Errors)
		e.BytesOut, e.BytesIn = less(e.BytesOut, was.BytesOut), less(e.BytesIn, was.BytesIn)
		e.Latency, e.Connect = e.Latency.Sub(was.Latency), e.Connect.Sub(was.Connect)
		reasons := map[uint16]uint64{}
		for code, n := range e.Reasons {
			if d := less(n, was.Reasons[code]); d > 0 {
				reasons[code] = d
			}
		}
		e.Reasons = reasons
		if e.Active != 0 || e.Requests+e.Opened+e.Refused+e.BytesOut+e.BytesIn > 0 {
			l.fill(e)
			out = append(out, l)
		}
	}
	return out
}
