package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"fire/node"
	"fire/node/bench"
)

func benchVerb() *verb {
	return &verb{
		name: "bench", brief: "measure what a path through the mesh costs",
		verbs: append([]*verb{{
			name: "mesh", brief: "measure a proxy pair beside direct TCP in one run",
			about: `Two tables: ping_pong has one message on its way; fixed_rate is open loop, each latency counts from the moment when the message was due, so a stall is seen by all that fell due in it. Rounds of all paths are interleaved: look at differences and ratios, not at single figures. Without --target it starts a proxy pair and an echo server as processes of their own.`,
			flags: []flag{outputFlag(),
				{name: "size", kind: kindList, value: "BYTES", brief: "message size; may be given several times; else 64, 256 and 1024"},
				{name: "messages", kind: kindInt, value: "N", def: "2000", brief: "messages per second of the fixed_rate table, 0 leaves it out"},
				{name: "connections", kind: kindInt, value: "N", def: "4", brief: "connections of the fixed_rate table"},
				{name: "rounds", kind: kindInt, value: "N", def: "5", brief: "rounds"},
				{name: "round-time", kind: kindDuration, value: "TIME", def: "500ms", brief: "time of one path, size and table in a round"},
				{name: "warmup", kind: kindDuration, value: "TIME", def: "100ms", brief: "before each, not counted"},
				{name: "idle", kind: kindInt, value: "N", def: "0", brief: "also measure the memory of N idle connections"},
				{name: "haproxy", kind: kindBool, brief: "measure an HAProxy mTLS pair beside, when it is installed"},
				{name: "rival", kind: kindList, value: "NAME=HOST:PORT[,pid=N]", brief: "measure this path beside; may be given several times"},
				{name: "target", kind: kindString, value: "HOST:PORT[,pid=N]", brief: "measure the pair behind this address instead of an own one"},
				{name: "baseline", kind: kindString, value: "HOST:PORT", brief: "with --target: the echo server without the pair"}},
			examples: []example{
				{"fire bench mesh", "both tables, three sizes"},
				{"fire bench mesh --size 256 --haproxy", "beside HAProxy with mutual TLS"},
				{"fire bench mesh --idle 1000 -o json", "with memory, for programs (fire.bench.mesh/v1)"},
			},
			run: benchMesh,
		}, {
			name: "echo", brief: "an echo server, as bench mesh starts it", args: "[HOST:PORT]", most: 1,
			about:    `Prints "address HOST:PORT" and ends when its standard input does.`,
			examples: []example{{"fire bench echo 127.0.0.1:7777", "the end of a path to measure"}},
			run: func(ctx context.Context, c *call) error {
				listen := bench.Default().EchoListen
				if len(c.args) == 1 {
					listen = c.args[0]
				}
				return bench.EchoChild(ctx, c.in, c.out, listen)
			},
		}, {
			name: "pair", brief: "two proxies and their control in front of an address, as bench mesh starts them", args: "HOST:PORT", least: 1, most: 1,
			about:    `Prints "address HOST:PORT" and ends when its standard input does.`,
			flags:    []flag{{name: "protocol", kind: kindString, value: "WORD", def: "tcp", words: []string{"tcp", "http", "fix", "soupbin"}, brief: "what the address speaks: tcp, http, fix or soupbin"}},
			examples: []example{{"fire bench pair 127.0.0.1:7777", "a path to measure with another tool"}},
			run:      benchPair,
		}}, append(append(benchRingVerbs(), benchUDPVerbs()...), benchAuditVerb())...),
	}
}

func benchMesh(ctx context.Context, c *call) error {
	cfg, err := c.benchConfig()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start it as an echo server: %w", err)
	}
	b, err := bench.New(cfg, bench.Deps{
		StartPair: func(ctx context.Context, target string) (bench.Pair, error) {
			return bench.StartChild(ctx, program, "bench", "pair", target)
		},
		EchoCommand: []string{program, "bench", "echo"},
		Progress:    func(line string) { c.say("%s", line) },
	})
	if err != nil {
		return usage("", "%s", err)
	}
	r, err := b.Run(ctx)
	if err != nil {
		return err
	}
	return printOne(c, bench.Schema, r, func() { c.printBench(r) })
}

// benchPair tells its address when traffic can pass.
func benchPair(ctx context.Context, c *call) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := node.NewPair(ctx, c.args[0], c.string("protocol"), release(), c.loggerAt(slog.LevelWarn, "auto"))
	if err != nil {
		return err
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.Run(ctx, func() { close(ready) }) }()
	select {
	case err := <-done:
		return err
	case <-ready:
	}
	return bench.ServeChild(ctx, c.in, c.out, p.Address(), func(asked context.Context) error {
		select {
		case err := <-done:
			return err
		case <-asked.Done():
			cancel()
			return <-done
		}
	})
}

func (c *call) benchConfig() (bench.Config, error) {
	cfg := bench.Default()
	cfg.RatePerSecond, cfg.Connections, cfg.Rounds, cfg.Idle = int(c.int("messages")), int(c.int("connections")), int(c.int("rounds")), int(c.int("idle"))
	cfg.RoundTime, cfg.Warmup, cfg.HAProxy, cfg.Baseline = c.duration("round-time"), c.duration("warmup"), c.bool("haproxy"), c.string("baseline")
	if c.given("size") {
		cfg.Sizes = nil
		for _, s := range c.list("size") {
			n, err := strconv.Atoi(s)
			if err != nil {
				return cfg, usage("", "--size %q is no number", s)
			}
			cfg.Sizes = append(cfg.Sizes, n)
		}
	}
	for _, s := range c.list("rival") {
		p, err := bench.ParsePath(s)
		if err != nil {
			return cfg, usage("", "%s", err)
		}
		cfg.Rivals = append(cfg.Rivals, p)
	}
	if c.given("target") {
		p, err := bench.ParsePath("target=" + c.string("target"))
		if err != nil {
			return cfg, usage("", "%s", err)
		}
		cfg.Target = p
	}
	return cfg, nil
}

func (c *call) printBench(r *bench.Result) {
	c.printf("%s", c.table(items2rows(r.Rows, benchColumns, c.wide())))
	if len(r.Idle) > 0 {
		c.printf("\n%s", c.table(items2rows(r.Idle, idleColumns, c.wide())))
	}
	c.printf("\n%d rounds of %s on %d processors, %s; echo server: %s; quantiles within %.2g%%\n",
		r.Rounds, showNanos(r.RoundNS), r.CPUs, r.GoVersion, r.Echo, r.QuantileErrorRatio*100)
}

var benchColumns = []column[bench.Row]{
	{head: "TABLE", cell: func(r bench.Row) string { return r.Table }},
	{head: "SIZE", right: true, cell: func(r bench.Row) string { return strconv.Itoa(r.SizeBytes) }},
	{head: "PATH", cell: func(r bench.Row) string { return r.Path }},
	{head: "PER SECOND", right: true, cell: func(r bench.Row) string { return showRate(r.AchievedPerSecond) }},
	{head: "P50", right: true, cell: func(r bench.Row) string { return showNanos(r.P50NS) }},
	{head: "P99", right: true, cell: func(r bench.Row) string { return showNanos(r.P99NS) }},
	{head: "P99.9", right: true, cell: func(r bench.Row) string { return showNanos(r.P999NS) }},
	{head: "P99.99", right: true, cell: func(r bench.Row) string { return showNanos(r.P9999) }},
	{head: "MAX", right: true, wide: true, cell: func(r bench.Row) string { return showNanos(r.MaxNS) }},
	{head: "ADDED P50", right: true, cell: func(r bench.Row) string { return showMaybe(r.AddedP50NS) }},
	{head: "ADDED P99", right: true, cell: func(r bench.Row) string { return showMaybe(r.AddedP99NS) }},
	{head: "CPU/MESSAGE", right: true, cell: func(r bench.Row) string { return showMaybe(r.CPUPathNSPerMessage) }},
	{head: "ENDS CPU", right: true, wide: true, cell: func(r bench.Row) string { return showMaybe(r.CPUEndsNSPerMessage) }},
	{head: "LATE P99", right: true, wide: true, cell: func(r bench.Row) string { return showNanos(r.SendLateP99NS) }},
	{head: "MESSAGES", right: true, wide: true, cell: func(r bench.Row) string { return showCount(r.Messages) }},
	{head: "UNANSWERED", right: true, wide: true, cell: func(r bench.Row) string { return showCount(r.Unanswered) }},
}

func showMaybe(ns *int64) string {
	switch {
	case ns == nil:
		return ""
	case *ns < 0:
		return "-" + showNanos(-*ns)
	}
	return showNanos(*ns)
}

var idleColumns = []column[bench.IdleRow]{
	{head: "PATH", cell: func(r bench.IdleRow) string { return r.Path }},
	{head: "CONNECTIONS", right: true, cell: func(r bench.IdleRow) string { return strconv.Itoa(r.Connections) }},
	{head: "RSS BEFORE", right: true, cell: func(r bench.IdleRow) string { return showBytes(float64(r.RSSBeforeBytes)) }},
	{head: "RSS AFTER", right: true, cell: func(r bench.IdleRow) string { return showBytes(float64(r.RSSAfterBytes)) }},
	{head: "PER 1000", right: true, cell: func(r bench.IdleRow) string { return showBytes(float64(r.RSSPer1000Bytes)) }},
}
