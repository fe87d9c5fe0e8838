package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"fire/node/bench"
)

func benchRingVerbs() []*verb {
	return []*verb{{
		name: "ring", brief: "measure the shared-memory ring between two processes",
		about: `Two processes, each pinned to a core, spin. In one run: bounce is half the time of handing one word to and fro, the floor of anything between two cores; ping_pong is half a round trip of one message; fixed_rate is one way from the moment when a message was due; throughput is as much as goes through; hiccup is how long the machine held up a loop that does nothing; gc (--gc-every) is fixed_rate while both processes collect garbage again and again, which they do not in the other rows. MALLOCS/MSG and SYSCALLS/MSG are of both processes, of all messages of a row; where the kernel forbids to count, the last lines say why. Rounds are interleaved: look at ratios, not at single figures. Rivals (--aeron-jar, --disruptor) measure the same rows on the same cores, each directly before or after the ring; one that is not there, hangs or answers nonsense is shown as not run, with the reason. A jar of Aeron is io.aeron:aeron-all of Maven Central; the other program comes from ` + "`go build -o disruptor .`" + ` in node/bench/testdata/disruptor.`,
		flags: []flag{outputFlag(),
			{name: "rounds", kind: kindInt, value: "N", def: "5", brief: "rounds"},
			{name: "round-time", kind: kindDuration, value: "TIME", def: "300ms", brief: "time of one row in a round"},
			{name: "messages", kind: kindInt, value: "N", def: "100000", brief: "messages per second of the fixed_rate rows"},
			{name: "lines", kind: kindInt, value: "N", def: "4096", brief: "capacity of the rings of latency rows in lines of 64 bytes, a power of two"},
			{name: "throughput-lines", kind: kindInt, value: "N", def: "4096", brief: "the same of the throughput rows"},
			{name: "cores", kind: kindString, value: "A,B", def: "0,1", brief: "the two cores"},
			{name: "gc-every", kind: kindDuration, value: "TIME", def: "0s", brief: "add rows with a collection forced so often in both processes"},
			hgrmFlag(),
			{name: "aeron-jar", kind: kindString, value: "FILE", brief: "measure Aeron IPC beside; a jar of io.aeron:aeron-all, which needs a JDK"},
			{name: "disruptor", kind: kindString, value: "FILE", brief: "measure go-disruptor beside; the program that node/bench/testdata/disruptor builds"}},
		examples: []example{
			{"fire bench ring", "all rows"},
			{"fire bench ring --aeron-jar aeron-all-1.47.3.jar --disruptor ./disruptor", "beside both rivals, with ratios"},
			{"fire bench ring --gc-every 20ms --hgrm figures", "what the garbage collector does, and a file for HdrHistogram's plotter for each row"},
			{"fire bench ring --cores 2,3 -o json", "on two isolated cores, for programs (fire.bench.ring/v1)"},
		},
		run: benchRing,
	}, {
		name: "ring-peer", brief: "the other process, as bench ring starts it", args: "CORE", least: 1, most: 1,
		about:    `Takes the ring's memories from the descriptors that it inherits and ends when its standard input does.`,
		examples: []example{{"fire bench ring-peer 1", "on core 1; by hand it ends at once, for want of the descriptors"}},
		run:      func(ctx context.Context, c *call) error { return bench.RingPeer(ctx, c.in, c.out, c.args[0]) },
	}}
}

func benchRing(ctx context.Context, c *call) error {
	cfg := bench.DefaultRing()
	cfg.Rounds, cfg.RoundTime, cfg.Rate, cfg.Lines = int(c.int("rounds")), c.duration("round-time"), int(c.int("messages")), uint64(max(c.int("lines"), 0))
	cfg.BulkLines = uint64(max(c.int("throughput-lines"), 0))
	cfg.GCEvery = c.duration("gc-every")
	cfg.AeronJar, cfg.Disruptor = c.string("aeron-jar"), c.string("disruptor")
	a, b, ok := strings.Cut(c.string("cores"), ",")
	var errs [2]error
	cfg.Cores[0], errs[0] = strconv.Atoi(a)
	cfg.Cores[1], errs[1] = strconv.Atoi(b)
	if !ok || errs[0] != nil || errs[1] != nil {
		return usage("", "--cores %q is not two numbers such as 2,3", c.string("cores"))
	}
	if err := cfg.Check(); err != nil {
		return usage("", "%s", err)
	}
	if err := c.percentilesDir(); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start it as the other process: %w", err)
	}
	r, err := bench.RunRing(ctx, cfg, []string{program, "bench", "ring-peer"}, func(line string) { c.say("%s", line) })
	if err != nil {
		return err
	}
	if err := c.writePercentiles(r.Rows); err != nil {
		return err
	}
	return printOne(c, bench.RingSchema, r, func() { c.printRing(r) })
}

func hgrmFlag() flag {
	return flag{name: "hgrm", kind: kindString, value: "DIR", brief: "write the whole distribution of each row to a file there, as HdrHistogram's plotter reads it"}
}

// percentilesDir makes the directory that --hgrm names, before minutes are spent on its files.
func (c *call) percentilesDir() error {
	if dir := c.string("hgrm"); dir != "" {
		_, err := bench.WritePercentiles(dir, nil)
		return err
	}
	return nil
}

// writePercentiles writes what --hgrm asks for.
func (c *call) writePercentiles(rows []bench.RingRow) error {
	dir := c.string("hgrm")
	if dir == "" {
		return nil
	}
	n, err := bench.WritePercentiles(dir, rows)
	if err != nil {
		return err
	}
	c.say("%d distributions written to %s", n, dir)
	return nil
}

func (c *call) printRing(r *bench.RingResult) {
	c.printf("%s", c.table(items2rows(r.Rows, ringColumns, c.wide())))
	c.printf("\none way at 48 B is %.2f times the bounce (p50 %d and %d ns); %.1f M messages/s at 64 B\n",
		r.RatioP50ToBounce, r.RingP50NS, r.BounceP50NS, r.MessagesPerSec64B/1e6)
	if g := r.GC; g != nil {
		c.printf("%d collections, one every %s in each process, took %s (p50) and %s (most); the worst message of each %s (p50) and %s (most); %d mallocs meanwhile, those of the collections themselves among them\n",
			g.Collections, time.Duration(g.EveryNS), showNanos(g.TookP50NS), showNanos(g.TookMaxNS), showNanos(g.WorstP50NS), showNanos(g.WorstMaxNS), g.Mallocs)
	}
	for _, x := range r.Rivals {
		c.printRingRival(x, r.Rounds, r.Ratios)
	}
	c.printf("fixed_rate is %d messages/s, each timed from when it was due; rings of %d KiB, of throughput rows %d KiB\n", r.Rate, r.Bytes>>10, r.BulkBytes>>10)
	c.printNotCounted(r.NotCounted)
	c.printf("%d rounds of %s, cores %d and %d: %s; a look at the clock costs %.0f ns\n",
		r.Rounds, time.Duration(r.RoundNS), r.Cores[0], r.Cores[1], r.Topology, r.ClockNS)
}

func (c *call) printNotCounted(why string) {
	if why != "" {
		c.printf("system calls are not counted: %s\n", why)
	}
}

func (c *call) printRingRival(x bench.RingRival, rounds int, ratios []bench.RingRatio) {
	if x.NotRun != "" {
		c.printf("%s: not run: %s\n", x.Name, x.NotRun)
		return
	}
	c.printf("%s %s (%s); fire's over its, the middle of the rounds, least and most:\n", x.Name, x.Version, x.Settings)
	for _, y := range ratios {
		if y.Rival != x.Name {
			continue
		}
		what, some := "p50 of "+y.Table, ""
		if y.Table == bench.RowThroughput {
			what = "messages/s"
		}
		if y.Rounds < rounds {
			some = fmt.Sprintf(" in %d of %d rounds", y.Rounds, rounds)
		}
		c.printf("  %s at %d B: %.2f (%.2f to %.2f)%s\n", what, y.SizeBytes, y.Median, y.Min, y.Max, some)
	}
}

var ringColumns = []column[bench.RingRow]{
	{head: "TABLE", cell: func(r bench.RingRow) string { return r.Table }},
	{head: "PATH", cell: func(r bench.RingRow) string { return r.Path }},
	{head: "SIZE", right: true, cell: func(r bench.RingRow) string { return blankZero(r.SizeBytes) }},
	{head: "P50", right: true, cell: func(r bench.RingRow) string { return showSome(r.P50NS) }},
	{head: "P99", right: true, cell: func(r bench.RingRow) string { return showSome(r.P99NS) }},
	{head: "P99.9", right: true, cell: func(r bench.RingRow) string { return showSome(r.P999NS) }},
	{head: "P99.99", right: true, cell: func(r bench.RingRow) string { return showSome(r.P9999) }},
	{head: "MAX", right: true, cell: func(r bench.RingRow) string { return showSome(r.MaxNS) }},
	{head: "PER SECOND", right: true, cell: func(r bench.RingRow) string {
		if r.NotRun != "" {
			return "not run"
		}
		if r.PerSecond == 0 {
			return ""
		}
		return showRate(r.PerSecond)
	}},
	{head: "MALLOCS/MSG", right: true, cell: func(r bench.RingRow) string { return showShare(r.Counted, r.MallocsPerMessage) }},
	{head: "SYSCALLS/MSG", right: true, cell: func(r bench.RingRow) string { return showShare(r.Counted, r.CallsPerMessage) }},
	{head: "MALLOCS", right: true, wide: true, cell: func(r bench.RingRow) string { return showCountOf(r.Mallocs) }},
	{head: "SYSCALLS", right: true, wide: true, cell: func(r bench.RingRow) string { return showCountOf(r.Calls) }},
	{head: "SWITCHES", right: true, wide: true, cell: func(r bench.RingRow) string { return showCountOf(r.Switches) }},
	{head: "MESSAGES", right: true, wide: true, cell: func(r bench.RingRow) string { return showCount(r.Messages) }},
}

// showShare is a count by message: 0 is none at all, "" of a row that counts nothing.
func showShare(counted uint64, x *float64) string {
	switch {
	case counted == 0:
		return ""
	case x == nil:
		return "not counted" // why is below the table
	case *x == 0:
		return "0"
	case *x < 0.0001:
		return "<0.0001"
	}
	return strconv.FormatFloat(*x, 'f', 4, 64)
}

func blankZero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func showSome(ns int64) string {
	if ns == 0 {
		return ""
	}
	return showNanos(ns)
}

func showCountOf(n *uint64) string {
	if n == nil {
		return ""
	}
	return showCount(*n)
}
