package clock

import (
	"context"
	"slices"
	"testing"
	"time"

	"fire/audit/entry"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func TestTheJournalHasEachIntervalAndEachChange(t *testing.T) {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000, Stratum: 2, Reference: "192.0.2.1", OffsetNanos: -400, FrequencyPPB: -12, Dispersion: 77}}
	b := newBench(t, nil, ntp)
	b.run(2*time.Minute + 500*time.Millisecond)
	if got := verbs(b.views(entry.Clock)); !slices.Equal(got, []string{Begun, Sampled, Sampled}) {
		t.Errorf("%v in two minutes", got)
	}
	v := b.views(entry.Clock)[1]
	if v.Int(entry.Offset) != -400 || v.Int(entry.Frequency) != -12 || v.Uint(entry.Stratum) != 2 || v.Uint(entry.Dispersion) != 77 || v.Uint(entry.Count) != 600 {
		t.Errorf("%s", v.AppendJSON(nil))
	}
	ntp.word.Stratum = 3
	b.run(200 * time.Millisecond)
	ntp.word.Reference = "192.0.2.2"
	b.run(200 * time.Millisecond)
	ntp.word.Sync, ntp.word.BoundNanos = entry.Unsynchronised, unknownNanos
	b.run(200 * time.Millisecond)
	if got := verbs(b.views(entry.Clock)); !slices.Equal(got[3:], []string{Changed, Changed, Changed}) {
		t.Errorf("%v after three changes", got[3:])
	}
}

func TestTheWorstBoundBetweenTwoEntriesIsKept(t *testing.T) {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000}}
	b := newBench(t, nil, ntp)
	b.run(time.Second)
	ntp.word.BoundNanos = 90_000
	b.run(time.Second)
	ntp.word.BoundNanos = 10_000
	b.run(time.Minute)
	views := b.views(entry.Clock)
	if n, ok := detailNanos(views[1].Str(entry.Detail), "worst_ns"); !ok || n != 90_000 || views[1].Head().Bound != 10_000 {
		t.Errorf("%q, bound %d", views[1].Str(entry.Detail), views[1].Head().Bound)
	}
}

func TestTheWorstBoundIsThatOfTheLastStampBeforeASample(t *testing.T) {
	b := newBench(t, nil)
	b.run(61 * time.Second)
	if n, _ := detailNanos(b.views(entry.Clock)[1].Str(entry.Detail), "worst_ns"); n != 20_000+50_000 {
		t.Errorf("worst %d; the kernel's 20 us have grown for 100 ms at 500 ppm", n)
	}
}

func TestAJumpBesideALeapSecondIsAJump(t *testing.T) {
	b := newBench(t, nil)
	b.run(300 * time.Millisecond)
	b.set(-3 * time.Second)
	b.kernel.TAI = 38
	b.run(300 * time.Millisecond)
	if got := verbs(b.views(entry.Step)); !slices.Equal(got, []string{Stepped, TAIMove}) {
		t.Errorf("3 s back while TAI moves by one: %v", got)
	}
}

func TestABreachHasItsBeginAndItsEnd(t *testing.T) {
	for _, class := range Classes() {
		allowed, _ := ClassBound(class)
		ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: int64(allowed)}}
		b := newBench(t, func(c *Config) { c.Class = class }, ntp)
		b.run(time.Second)
		if n := len(b.views(entry.Drift)); n != 0 {
			t.Fatalf("%s: %d breaches at what is allowed", class, n)
		}
		ntp.word.BoundNanos++
		b.run(3 * time.Second)
		if _, beyond := b.clock.State(); !beyond {
			t.Errorf("%s: the state says nothing", class)
		}
		ntp.word.BoundNanos--
		b.run(5 * time.Second)
		ntp.word.BoundNanos++ // again, before it has settled: the same breach
		b.run(time.Second)
		ntp.word.BoundNanos--
		b.run(11 * time.Second)
		got := b.views(entry.Drift)
		if !slices.Equal(verbs(got), []string{Passed, Returned}) {
			t.Fatalf("%s: %v", class, verbs(got))
		}
		if lasted := time.Duration(got[1].Uint(entry.Elapsed)); lasted < 8*time.Second || lasted > 10*time.Second {
			t.Errorf("%s: it lasted %v; 3, 5 and 1 s", class, lasted)
		}
		if n, _ := detailNanos(got[1].Str(entry.Detail), "worst_ns"); n != int64(allowed)+1 {
			t.Errorf("%s: worst %d", class, n)
		}
	}
}

func TestAnUnknownBoundIsABreach(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Class = RTS25Coarse })
	b.kernel.Unsync = true
	b.run(time.Second)
	got := b.views(entry.Drift)
	if len(got) != 1 || got[0].Head().Bound != entry.BoundUnknown || got[0].Str(entry.Object) != RTS25Coarse {
		t.Fatalf("%v", verbs(got))
	}
	if n, ok := detailNanos(got[0].Str(entry.Detail), "worst_ns"); !ok || n != unknownNanos {
		t.Errorf("%q", got[0].Str(entry.Detail))
	}
}

func TestEachJumpIsToldForWhatItIs(t *testing.T) {
	rows := []struct {
		name string
		edit func(*bench)
		want string
		size time.Duration
	}{
		{"set ahead", func(b *bench) { b.set(1500 * time.Microsecond) }, Stepped, 1500 * time.Microsecond},
		{"set back", func(b *bench) { b.set(-time.Hour) }, Stepped, -time.Hour},
		{"a leap second", func(b *bench) { b.set(-time.Second); b.kernel.TAI = 38 }, Leaped, -time.Second},
		{"a second that is none", func(b *bench) { b.set(-time.Second) }, Stepped, -time.Second},
		{"TAI is told", func(b *bench) { b.kernel.TAI = 38 }, TAIMove, time.Second},
		{"asleep", func(b *bench) { b.hands.Wall += ppb; b.hands.Boot += ppb }, Resumed, time.Second},
		{"slewed by 8 %", func(b *bench) { slew(b, 8*time.Millisecond) }, Slewed, 8 * time.Millisecond},
		{"steered as usual", func(b *bench) { slew(b, 40*time.Microsecond) }, "", 0},
		{"set by less than counts", func(b *bench) { b.set(900 * time.Microsecond) }, "", 0},
		{"a slow reading hides it until the next", func(b *bench) {
			b.set(2 * time.Millisecond)
			b.hands.Within = 30_000_000
			b.clock.look()
			b.hands.Within = 1000
		}, Stepped, 2 * time.Millisecond},
	}
	for _, r := range rows {
		b := newBench(t, nil)
		b.run(300 * time.Millisecond)
		b.pass(50 * time.Millisecond)
		r.edit(b)
		b.clock.look()
		b.run(time.Second)
		got := b.views(entry.Step)
		switch {
		case r.want == "" && len(got) != 0:
			t.Errorf("%s: %v", r.name, verbs(got))
		case r.want != "" && (len(got) != 1 || got[0].Str(entry.Verb) != r.want || time.Duration(got[0].Int(entry.Offset)) != r.size):
			t.Errorf("%s: %v", r.name, verbs(got))
		}
	}
}

// slew steers the clock by so much within no time.
func slew(b *bench, d time.Duration) {
	b.hands.Wall, b.hands.Mono, b.hands.Boot = b.hands.Wall+int64(d), b.hands.Mono+int64(d), b.hands.Boot+int64(d)
}
