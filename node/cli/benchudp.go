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

func benchUDPVerbs() []*verb {
	return []*verb{{
		name: "udp", brief: "measure the encrypted datagrams between two processes",
		about: `Two processes, each pinned to a core, talk over loopback. In one run: go udp is an echo over net.UDPConn in the clear; raw, spins is fire's sockets in the clear; fire is the path between hosts, encrypted, in order and repaired, which sleeps when nothing came for 20 us; fire, spins never sleeps; quic stream is quic-go. round_trip is one message there and back; fixed_rate is the same from the moment when it was due; one_way_rate is as many as come through. Rounds are interleaved: look at ratios, not at single figures.`,
		flags: []flag{outputFlag(),
			{name: "rounds", kind: kindInt, value: "N", def: "5", brief: "rounds"},
			{name: "round-time", kind: kindDuration, value: "TIME", def: "300ms", brief: "time of one row in a round"},
			{name: "sizes", kind: kindString, value: "BYTES,...", def: "64,256,1024", brief: "sizes of messages"},
			{name: "messages", kind: kindInt, value: "N", def: "5000", brief: "messages per second of the fixed_rate rows"},
			hgrmFlag(),
			{name: "datagram", kind: kindInt, value: "BYTES", def: "1408", brief: "the longest datagram"},
			{name: "cores", kind: kindString, value: "A,B", def: "0,1", brief: "the two cores"}},
		examples: []example{
			{"fire bench udp", "all rows"},
			{"fire bench udp --sizes 64 --rounds 9 -o json", "one size, for programs (fire.bench.udp/v1)"},
		},
		run: benchUDP,
	}, {
		name: "udp-peer", brief: "the other process, as bench udp starts it", args: "SIZE", least: 1, most: 1,
		about:    `Takes its plan from standard input, answers, and ends when that does.`,
		examples: []example{{"fire bench udp-peer 64", "by hand it ends at once, for want of a plan"}},
		run: func(ctx context.Context, c *call) error {
			size, err := strconv.Atoi(c.args[0])
			if err != nil {
				return usage("", "size %q is no number", c.args[0])
			}
			return bench.UDPPeer(ctx, c.in, c.out, size)
		},
	}}
}

func benchUDP(ctx context.Context, c *call) error {
	cfg := bench.DefaultUDP()
	cfg.Rounds, cfg.RoundTime, cfg.Datagram, cfg.Rate = int(c.int("rounds")), c.duration("round-time"), int(c.int("datagram")), int(c.int("messages"))
	var err error
	if cfg.Sizes, err = numbers(c.string("sizes")); err != nil {
		return usage("", "--sizes %q: %v", c.string("sizes"), err)
	}
	cores, err := numbers(c.string("cores"))
	if err != nil || len(cores) != 2 {
		return usage("", "--cores %q is not two numbers such as 2,3", c.string("cores"))
	}
	cfg.Cores = [2]int(cores)
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
	r, err := bench.RunUDP(ctx, cfg, []string{program, "bench", "udp-peer"}, func(line string) { c.say("%s", line) })
	if err != nil {
		return err
	}
	if err := c.writePercentiles(r.Rows); err != nil {
		return err
	}
	return printOne(c, bench.UDPSchema, r, func() { c.printUDP(r, cfg.Sizes[0]) })
}

func numbers(list string) (out []int, err error) {
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("%q is no number", s)
		}
		out = append(out, n)
	}
	return out, nil
}

func (c *call) printUDP(r *bench.UDPResult, size int) {
	c.printf("%s", c.table(items2rows(r.Rows, ringColumns, c.wide())))
	c.printf("\nround trip at %d B, p50: go udp %s, fire %s (%.2f times), fire that spins %s (%.2f), quic stream %s (fire is %.2f of it)\n", size,
		showNanos(r.GoUDPP50NS), showNanos(r.FireP50NS), r.RatioToGoUDP, showNanos(r.FireSpinP50NS), r.RatioSpinToGoUDP, showNanos(r.QUICP50NS), r.RatioToQUIC)
	c.printNotCounted(r.NotCounted)
	offload := "GSO"
	if !r.GSO {
		offload = "no GSO: " + r.NoGSO
	}
	c.printf("%d rounds of %s, cores %d and %d: %s; datagrams of %d bytes, %s; fixed_rate is %d messages/s, each timed from when it was due\n", r.Rounds, time.Duration(r.RoundNS), r.Cores[0], r.Cores[1], r.Topology, r.Datagram, offload, r.Rate)
}
