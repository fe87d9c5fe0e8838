package clock

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fire/audit/entry"
)

func TestTheBoundGrowsFromTheSampleOn(t *testing.T) {
	b := newBench(t, nil)
	b.clock.look()
	b.pass(80 * time.Millisecond)
	at, bound, sync, source := b.clock.Stamp()
	if at != b.hands.Wall || bound != 20_000+40_000 || sync != entry.Synchronised || source != entry.ClockKernel {
		t.Errorf("%d ±%d %v %v; 20 us and 500 ppm of 80 ms are 60 us", at, bound, sync, source)
	}
	if got, _, _ := b.clock.Bound(at); got != bound {
		t.Errorf("Bound says %d, Stamp %d", got, bound)
	}
	b.pass(sampleStale)
	if _, bound, sync, _ := b.clock.Stamp(); bound != entry.BoundUnknown || sync != entry.SyncUnknown {
		t.Errorf("nobody has looked for 10 s, and yet ±%d %v", bound, sync)
	}
}

func TestNobodyIsBelievedWhoSaysNothing(t *testing.T) {
	b := newBench(t, nil)
	if _, bound, sync, _ := b.clock.Stamp(); bound != entry.BoundUnknown || sync != entry.SyncUnknown {
		t.Errorf("before the first sample: ±%d %v", bound, sync)
	}
	b.kernel.Unsync = true
	b.clock.look()
	if _, bound, sync, _ := b.clock.Stamp(); bound != entry.BoundUnknown || sync != entry.Unsynchronised {
		t.Errorf("the kernel is unsynchronised: ±%d %v", bound, sync)
	}
	b.broken = errNo
	b.clock.look()
	if _, bound, sync, source := b.clock.Stamp(); bound != entry.BoundUnknown || sync != entry.SyncUnknown || source != entry.ClockUnknown {
		t.Errorf("the kernel does not answer: ±%d %v %v", bound, sync, source)
	}
}

func TestAStampNoticesAStepThatNoSampleHasSeen(t *testing.T) {
	b := newBench(t, nil)
	b.clock.look()
	b.pass(10 * time.Millisecond)
	b.set(-3 * time.Millisecond)
	if at, bound, sync, _ := b.clock.Stamp(); at != b.hands.Wall || bound != entry.BoundUnknown || sync != entry.SyncUnknown {
		t.Errorf("±%d %v after the clock was set", bound, sync)
	}
	b.clock.look()
	if _, bound, _, _ := b.clock.Stamp(); bound < 3_000_000 || bound == entry.BoundUnknown {
		t.Errorf("±%d: the kernel's 20 us are from before it was set by 3 ms", bound)
	}
}

func TestTheFirstSynchronisedWordOfTheOrderCounts(t *testing.T) {
	ptp := &say{word: Word{Source: entry.ClockPTP, Sync: entry.Synchronised, BoundNanos: 900, RatePPB: 1000, Stratum: 1, Reference: "gm"}}
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 50_000, RatePPB: 2000, Stratum: 2, Reference: "192.0.2.1"}}
	b := newBench(t, nil, ptp, ntp)
	rows := []struct {
		name   string
		edit   func()
		sync   entry.Sync
		source entry.ClockSource
		known  bool
	}{
		{"all well", func() {}, entry.Synchronised, entry.ClockPTP, true},
		{"the grandmaster does not say", func() { ptp.word.BoundNanos = unknownNanos }, entry.Synchronised, entry.ClockChrony, true},
		{"chrony is lost too", func() { ntp.word.Sync, ntp.word.BoundNanos = entry.Unsynchronised, unknownNanos }, entry.Synchronised, entry.ClockKernel, true},
		{"the kernel as well", func() { b.kernel.Unsync = true }, entry.Synchronised, entry.ClockPTP, false},
		{"ptp has lost it", func() { ptp.word.Sync = entry.Unsynchronised }, entry.Unsynchronised, entry.ClockPTP, false},
	}
	for _, r := range rows {
		r.edit()
		b.run(200 * time.Millisecond)
		_, bound, sync, source := b.clock.Stamp()
		if sync != r.sync || source != r.source || (bound != entry.BoundUnknown) != r.known {
			t.Errorf("%s: ±%d %v %v", r.name, bound, sync, source)
		}
	}
	ptp.err, ntp.err = errNo, errNo
	b.run(wordStale + time.Second)
	if _, _, sync, source := b.clock.Stamp(); sync != entry.Unsynchronised || source != entry.ClockKernel {
		t.Errorf("both are gone: %v %v; their last words are too old", sync, source)
	}
}

func TestAWordAges(t *testing.T) {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000, RatePPB: 2000}}
	b := newBench(t, nil, ntp)
	b.run(100 * time.Millisecond)
	ntp.err = errNo
	b.run(3 * time.Second)
	if _, bound, _, source := b.clock.Stamp(); source != entry.ClockChrony || bound != 16_000 {
		t.Errorf("±%d of %v: 10 us, and 2 ppm of 3 s", bound, source)
	}
}

func TestAWordFromBeforeAStepIsWorthLess(t *testing.T) {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000}}
	b := newBench(t, nil, ntp)
	b.kernel.Unsync = true
	b.run(100 * time.Millisecond)
	ntp.err = errNo
	b.set(5 * time.Millisecond)
	b.run(100 * time.Millisecond)
	if _, bound, _, _ := b.clock.Stamp(); bound != 5_010_000 {
		t.Errorf("±%d; 10 us and the step of 5 ms", bound)
	}
	ntp.err = nil
	b.run(200 * time.Millisecond)
	if _, bound, _, _ := b.clock.Stamp(); bound != 10_000 {
		t.Errorf("±%d after it was measured again", bound)
	}
}

func TestStampsAreWithoutAllocationAndSafeBesideTheSampler(t *testing.T) {
	b := newBench(t, nil)
	b.clock.system = host{time.Now()}
	b.clock.look()
	if n := testing.AllocsPerRun(200, func() {
		at, _, _, _ := b.clock.Stamp()
		b.clock.Bound(at)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := int64(0)
			for range 2000 {
				at, _, _, _ := b.clock.Stamp()
				if at < last {
					t.Error("time goes back")
				}
				last = at
			}
		})
	}
	for range 200 {
		b.clock.look()
	}
	wg.Wait()
}

func TestRunWatchesAndLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000, Stratum: 3, Reference: "192.0.2.1"}}
		b := newBench(t, func(c *Config) { c.Interval = time.Second }, ntp)
		ctx, stop := contextOf(t)
		done := make(chan error, 1)
		go func() { done <- b.clock.Run(ctx) }()
		for range 35 {
			time.Sleep(100 * time.Millisecond)
			b.pass(100 * time.Millisecond)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got := verbs(b.views(entry.Clock, entry.Drift))
		if len(got) != 5 || got[0] != Begun || got[4] != Ended || got[1] != Sampled {
			t.Errorf("%v; one a second between begun and ended, and no breach at the start", got)
		}
		if v := b.views(entry.Clock)[1]; v.Str(entry.Reference) != "192.0.2.1" || v.Uint(entry.Stratum) != 3 || v.Uint(entry.Count) < 9 {
			t.Errorf("%s", v.AppendJSON(nil))
		}
	})
}

func TestTheRealKernelAnswers(t *testing.T) {
	h := host{time.Now()}
	k, err := h.Kernel()
	if err != nil {
		t.Skip("adjtimex is not allowed here:", err)
	}
	if !k.Known || k.MaxErrorNanos < 0 || !k.Unsync && k.MaxErrorNanos > int64(17*time.Second) {
		t.Errorf("%+v", k)
	}
	a, err := h.Hands()
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Hands()
	if err != nil {
		t.Fatal(err)
	}
	if b.Raw <= a.Raw || b.Boot <= a.Boot || b.Mono <= a.Mono || a.Boot < a.Mono-int64(time.Since(h.base)) || a.Within < 0 {
		t.Errorf("%+v then %+v", a, b)
	}
	if found := changes(a, b, k.TAI, k.TAI, int64(time.Second), 500); len(found) != 0 {
		t.Errorf("between two readings of a host that is left alone: %+v", found)
	}
}

func TestTheDefaultsAreWholeAndFaultsAreNamed(t *testing.T) {
	c := Default()
	c.Check(func(key, problem string) { t.Errorf("%s %s", key, problem) })
	c = Config{Class: "rts25", Chrony: []string{"localhost", "/" + strings.Repeat("x", 90), "a:1", "b:2", "c:3"}, PTP: []string{"ptp"}, PTPDomain: 256}
	var keys []string
	c.Check(func(key, _ string) { keys = append(keys, key) })
	for _, want := range []string{"class", "sample", "ask", "interval", "settle", "step", "drift", "wander", "chrony", "ptp", "ptp_domain"} {
		if !slices.Contains(keys, want) {
			t.Errorf("nothing is said of %s", want)
		}
	}
	if _, err := New(c, Deps{}); err == nil || !strings.Contains(err.Error(), "class") || !strings.Contains(err.Error(), "journal") {
		t.Error("a clock of a bad configuration:", err)
	}
}
