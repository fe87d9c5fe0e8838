package demo

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestFloorTrades(t *testing.T) {
	f := newFloor(t)
	d := time.Second
	if s := os.Getenv("DEMO_SECONDS"); s != "" {
		n, _ := strconv.Atoi(s)
		d = time.Duration(n) * time.Second
	}
	rate := 300.0 // of each: little, for a machine that has other work
	if s := os.Getenv("DEMO_RATE"); s != "" {
		rate, _ = strconv.ParseFloat(s, 64)
		rate /= 2
	}
	engine := f.start("engine", nil)
	f.start("market-data", nil)
	blotter := f.start("blotter", nil)
	f.start("risk-b", nil)
	gateway := f.start("gateway", nil)
	set := func(w *Wiring) {
		w.Rate = rate
	}
	a := f.start("strategy-a", set)
	b := f.start("strategy-b", set)
	desk := f.start("desk", nil)
	var before, after syscall.Rusage
	syscall.Getrusage(0, &before)
	begin := time.Now()
	eventually(t, "both strategies trade", func() bool {
		return counter(a, "fills") > 100 && counter(b, "fills") > 100 && time.Since(begin) > d
	})
	syscall.Getrusage(0, &after)
	wall := time.Since(begin)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("cpu %v of %v: %.0f%% of a core", cpu, wall, 100*cpu.Seconds()/wall.Seconds())
	eventually(t, "the desk sees orders", func() bool { return counter(desk, "orders_seen") > 0 })
	for _, s := range []Program{a, b} {
		for _, name := range []string{"cancels", "replaces", "rejects", "ticks"} {
			eventually(t, name, func() bool { return counter(s, name) > 0 })
		}
		if counter(s, "tick_gaps") != 0 {
			t.Error(s.Summary())
		}
	}
	f.stop("strategy-a")
	f.stop("strategy-b")
	eventually(t, "every trade makes two fills, and each is booked", func() bool {
		return 2*counter(engine, "trades") == counter(gateway, "fills") && counter(blotter, "fills") == counter(gateway, "fills")
	})
	// An order that the engine holds is one that its strategy knows to be open.
	e, live := engine.(*Engine), uint64(0)
	e.mu.Lock()
	for _, o := range e.orders {
		if o.live() {
			live++
		}
	}
	e.mu.Unlock()
	if open := counter(a, "orders") + counter(b, "orders") - counter(a, "orders_done") - counter(b, "orders_done"); live > open {
		t.Errorf("the engine holds %d orders, the strategies know of %d", live, open)
	}
	for _, p := range f.programs {
		t.Log(p.Summary())
	}
}

func TestEveryProgramStopsAtOnce(t *testing.T) {
	f := newFloor(t)
	for _, name := range []string{"engine", "market-data", "blotter", "risk-b", "risk-c", "gateway", "strategy-a", "strategy-b", "desk"} {
		f.start(name, func(w *Wiring) { w.Rate = 300 })
	}
	a := f.programs["strategy-a"]
	eventually(t, "trading", func() bool { return counter(a, "fills") > 10 })
	for _, cancel := range f.cancel {
		cancel()
	}
	begin := time.Now()
	f.stopAll() // every Run returns nil
	t.Logf("stopped in %v", time.Since(begin))
}
