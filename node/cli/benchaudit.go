package cli

import (
	"context"
	"fmt"
	"time"

	"fire/node/bench"
)

func benchAuditVerb() *verb {
	d := bench.DefaultAudit()
	return &verb{
		name: "audit", brief: "measure the audit log on a disk",
		about: `In one run, on the disk of --dir: durable is entries per second that so many goroutines append, each waiting until a signed head covers its own; capture is what a message costs the data path; proof is how long after it was appended the checked proof of an entry is in hand, while the log takes --rate others a second; verify is a whole log read again by one goroutine, every hash, root and signature. The rival (--tessera) appends with as many goroutines, directly after; it is counted until a published checkpoint covers its entries. The program comes from ` + "`go build -o tessera .`" + ` in node/bench/testdata/tessera.`,
		flags: []flag{outputFlag(),
			{name: "dir", kind: kindString, value: "DIR", def: ".", brief: "a folder on the disk that counts; what is made there is removed"},
			{name: "time", kind: kindDuration, value: "TIME", def: d.Time.String(), brief: "time of a row"},
			{name: "bytes", kind: kindInt, value: "N", def: fmt.Sprint(d.Bytes), brief: "size of an entry"},
			{name: "workers", kind: kindString, value: "N,...", def: "64,256,2000", brief: "goroutines of the durable rows"},
			{name: "rate", kind: kindInt, value: "N", def: fmt.Sprint(d.Rate), brief: "entries per second beside the proofs"},
			{name: "verify", kind: kindString, value: "N,...", def: "10000,100000,1000000", brief: "sizes of the logs that are read again"},
			{name: "tessera", kind: kindString, value: "FILE", brief: "measure Tessera's POSIX driver beside; the program that node/bench/testdata/tessera builds"}},
		examples: []example{
			{"fire bench audit --dir /var/lib/fire", "the disk that fire would write to"},
			{"fire bench audit --tessera ./tessera --verify 10000,10000000 -o json", "beside the rival, for programs (fire.bench.audit/v1)"},
		},
		run: benchAudit,
	}
}

func benchAudit(ctx context.Context, c *call) error {
	cfg := bench.DefaultAudit()
	cfg.Dir, cfg.Time, cfg.Bytes, cfg.Rate, cfg.Tessera = c.string("dir"), c.duration("time"), int(c.int("bytes")), int(c.int("rate")), c.string("tessera")
	var err error
	if cfg.Workers, err = numbers(c.string("workers")); err != nil {
		return usage("", "--workers %q: %v", c.string("workers"), err)
	}
	if cfg.Verify, err = numbers(c.string("verify")); err != nil {
		return usage("", "--verify %q: %v", c.string("verify"), err)
	}
	if err := cfg.Check(); err != nil {
		return usage("", "%s", err)
	}
	r, err := bench.RunAudit(ctx, cfg, func(line string) { c.say("%s", line) })
	if err != nil {
		return err
	}
	return printOne(c, bench.AuditSchema, r, func() { c.printAudit(r) })
}

func (c *call) printAudit(r *bench.AuditResult) {
	lines := rows{cells: [][]string{{"DURABLE", "ENTRIES/S", "P50", "P99", "A GROUP", "TESSERA/S", "RATIO"}}, right: []bool{true, true, true, true, true, true, true}}
	for _, d := range r.Durable {
		rival, ratio := "-", "-"
		if d.RivalCovered > 0 {
			rival, ratio = fmt.Sprintf("%.0f", d.RivalCovered), fmt.Sprintf("%.1f", d.Ratio)
		}
		lines.cells = append(lines.cells, []string{fmt.Sprint(d.Workers), fmt.Sprintf("%.0f", d.PerSecond), time.Duration(d.P50NS).String(), time.Duration(d.P99NS).String(),
			fmt.Sprintf("%.0f", d.PerGroup), rival, ratio})
	}
	c.printf("%s\n", c.table(lines))
	c.printf("capture  p50 %.0f ns, p99 %.0f ns a message, of which the clock %.0f; %.4f mallocs; %d went on without an entry\n", r.Capture.P50NS, r.Capture.P99NS, r.Capture.ClockNS, r.Capture.Mallocs, r.Capture.Dropped)
	c.printf("proof    p50 %v, p99 %v, most %v after the append, at %.0f entries/s; %d proofs\n", time.Duration(r.Proof.P50NS), time.Duration(r.Proof.P99NS), time.Duration(r.Proof.MaxNS), r.Proof.PerSecond, r.Proof.Proofs)
	for _, v := range r.Verify {
		c.printf("verify   %.0f entries/s of %d\n", v.PerSecond, v.Entries)
	}
	c.printf("disk     %.1f bytes an entry of %d, hashes included\n", r.DiskBytes, r.Bytes)
	if r.Rival != "" {
		c.say("tessera was not run: %s", r.Rival)
	}
}
