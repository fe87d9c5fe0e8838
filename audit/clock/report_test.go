package clock

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"fire/audit/entry"
)

func seq(views []entry.View) iter.Seq[entry.View] {
	return func(yield func(entry.View) bool) {
		for _, v := range views {
			if !yield(v) {
				return
			}
		}
	}
}

func near(a, b, by time.Duration) bool { return a-b < by && b-a < by }

// storied is a bench with ten minutes in which much happens.
func storied(t *testing.T) *bench {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000, Stratum: 2, Reference: "192.0.2.1"}}
	b := newBench(t, nil, ntp)
	b.run(2 * time.Minute)
	ntp.word.BoundNanos = 250_000
	b.run(30 * time.Second)
	ntp.word.BoundNanos = 10_000
	b.run(90 * time.Second)
	b.set(2 * time.Millisecond) // and measured again at once
	b.run(60 * time.Second)
	b.pass(5 * time.Minute) // nobody looks
	b.run(60 * time.Second)
	return b
}

func TestTheReportTellsTheDay(t *testing.T) {
	b := storied(t)
	day := time.Unix(0, b.hands.Wall)
	d := Report(day, Terms{Until: day}, seq(b.views(entry.Clock, entry.Drift, entry.Step)))
	if d.Day != "2026-03-02" || d.Class != RTS25Fine || d.ClassNanos != 100_000 || d.From.Hour() != 0 {
		t.Errorf("%+v", d)
	}
	if len(d.Steps) != 1 || d.Steps[0].Nanos != 2_000_000 || d.Steps[0].What != Stepped {
		t.Errorf("steps %+v", d.Steps)
	}
	// the breach, then the step until chrony has measured, then the word that was too old after the pause
	if len(d.Breaches) < 2 || !near(d.Breaches[0].Duration, 30*time.Second, time.Second) || d.Breaches[0].WorstNanos == nil || *d.Breaches[0].WorstNanos != 250_000 || d.Breaches[0].Open {
		t.Errorf("breaches %+v", d.Breaches)
	}
	if got := d.Breaches[0].Begin.Sub(d.From); !near(got, 3*time.Minute, time.Second) {
		t.Errorf("it began %v after midnight", got)
	}
	if len(d.Missing) != 2 || d.Missing[0].Duration < 59*time.Second || !near(d.Missing[1].Duration, 5*time.Minute, 61*time.Second) {
		t.Errorf("missing %+v: the minute before the start, and the pause", d.Missing)
	}
	if len(d.Sources) == 0 || d.Sources[0].Source != "chrony" || !near(d.Sources[0].InSync, 5*time.Minute+30*time.Second, 31*time.Second) || d.Sources[0].References[0] != "192.0.2.1" {
		t.Errorf("sources %+v", d.Sources)
	}
	total := d.Watched
	for _, m := range d.Missing {
		total += m.Duration
	}
	if span := d.Until.Sub(d.From); !near(total, span, time.Millisecond) {
		t.Errorf("watched and missing are %v of %v", total, span)
	}
	if d.ShareInClass <= d.ShareOfDay || d.ShareInClass < 0.8 || d.ShareInClass > 0.99 {
		t.Errorf("%v within its class, %v of the day", d.ShareInClass, d.ShareOfDay)
	}
}

func TestABreachOfYesterdayGoesOnAndOneOfTodayStaysOpen(t *testing.T) {
	b := newBench(t, nil)
	b.kernel.Unsync = true
	b.run(3 * time.Second)
	b.pass(24 * time.Hour)
	b.run(2 * time.Second)
	now := time.Unix(0, b.hands.Wall)
	d := Report(now, Terms{Until: now}, seq(b.views(entry.Clock, entry.Drift)))
	if len(d.Breaches) != 1 || !d.Breaches[0].Before || !d.Breaches[0].Open || !d.Breaches[0].Begin.Equal(d.From) || d.Breaches[0].WorstNanos != nil {
		t.Errorf("%+v", d.Breaches)
	}
	if d.InClass != 0 || d.ShareInClass != 0 || d.WorstNanos != nil || !d.Unknown {
		t.Errorf("%v in class, worst %v, unknown %v", d.InClass, d.WorstNanos, d.Unknown)
	}
}

func TestADayWithoutAJournalIsMissing(t *testing.T) {
	d := Report(time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), Terms{Class: FINRA}, seq(nil))
	if len(d.Missing) != 1 || d.Missing[0].Duration != 24*time.Hour || d.ShareOfDay != 0 || d.Entries != 0 || len(d.Breaches) != 0 {
		t.Errorf("%+v", d)
	}
}

func TestAnotherClassThanTheJournalsIsJudgedByItsEntries(t *testing.T) {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 60_000_000}}
	b := newBench(t, func(c *Config) { c.Class = RTS25Coarse }, ntp)
	b.run(3 * time.Minute)
	now := time.Unix(0, b.hands.Wall)
	views := b.views(entry.Clock, entry.Drift)
	if d := Report(now, Terms{Until: now}, seq(views)); len(d.Breaches) != 0 {
		t.Errorf("its own class: %+v", d.Breaches)
	}
	if d := Report(now, Terms{Until: now, Class: FINRA}, seq(views)); len(d.Breaches) != 1 || !near(d.Breaches[0].Duration, 3*time.Minute, time.Second) {
		t.Errorf("FINRA: %+v", d.Breaches)
	}
}

func TestTheReportIsTextAndJSON(t *testing.T) {
	b := storied(t)
	now := time.Unix(0, b.hands.Wall)
	d := Report(now, Terms{Until: now, StampedAt: "at the tap of the gateway"}, seq(b.views(entry.Clock, entry.Drift, entry.Step)))
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil || m["worst_bound_ns"] == nil || m["share_in_class"].(float64) > 1 || len(m["breaches"].([]any)) != len(d.Breaches) {
		t.Errorf("%v: %s", err, raw)
	}
	var text bytes.Buffer
	if err := d.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-03-02", "100 us from UTC", "192.0.2.1", "stepped 2ms", "at the tap of the gateway", "root delay / 2", "250µs", "MISSING"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if err := d.WriteText(full{}); err == nil {
		t.Error("a writer that is full is not told")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errNo }

// FuzzReport takes whatever entries a log may hold: a report never fails, and its sums hold.
func FuzzReport(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, "interval_ns=60000000000 worst_ns=unknown settled_ns=5")
	f.Add([]byte{3, 3, 3, 3, 0, 255}, "worst_ns=9223372036854775807 settled_ns=9223372036854775807 interval_ns=9223372036854775807")
	f.Add([]byte{}, "")
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, steps []byte, text string) {
		var views []entry.View
		at := day.Add(-time.Hour).UnixNano()
		verbs := []string{Begun, Sampled, Ended, Passed, Returned, Stepped, ""}
		for i, s := range steps {
			at += (int64(s) - 20) * int64(time.Minute)
			var b entry.Builder
			b.Begin(nil, entry.Head{Kind: entry.Clock + entry.Kind(s%3), Sync: entry.Sync(s % 3), Clock: entry.ClockSource(s % 4), Bound: uint32(s) << (s % 25), Time: at})
			b.Uint(entry.Elapsed, uint64(s)<<56)
			b.Str(entry.Verb, verbs[int(s)%len(verbs)])
			b.Str(entry.Object, RTS25Fine[:int(s)%len(RTS25Fine)])
			if i%2 == 0 {
				b.Str(entry.Detail, text)
			}
			v, err := entry.Parse(b.Raw())
			if err != nil {
				t.Fatal(err)
			}
			views = append(views, v)
		}
		d := Report(day, Terms{Class: RTS25Fine}, seq(views))
		if d.ShareInClass < 0 || d.ShareInClass > 1 || d.ShareOfDay < 0 || d.ShareOfDay > 1 || math.IsNaN(d.ShareInClass) {
			t.Fatalf("shares %v %v", d.ShareInClass, d.ShareOfDay)
		}
		for _, b := range d.Breaches {
			if b.Begin.Before(d.From) || b.End.After(d.Until) || b.Duration < 0 {
				t.Fatalf("%+v", b)
			}
		}
		if err := d.WriteText(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnHourThatComesTwiceIsCountedOnce(t *testing.T) {
	ntp := &say{word: Word{Source: entry.ClockChrony, Sync: entry.Synchronised, BoundNanos: 10_000}}
	b := newBench(t, nil, ntp)
	b.run(5 * time.Minute)
	b.set(-3 * time.Minute)
	b.run(6 * time.Minute)
	now := time.Unix(0, b.hands.Wall)
	d := Report(now, Terms{Until: now}, seq(b.views(entry.Clock, entry.Drift, entry.Step)))
	if d.Watched != 8*time.Minute-100*time.Millisecond || len(d.Steps) != 1 || d.InClass > d.Watched {
		t.Errorf("watched %v of %v, in class %v", d.Watched, d.Until.Sub(d.From), d.InClass)
	}
	if len(d.Breaches) != 1 {
		t.Errorf("%+v: after the step its size is in the bound", d.Breaches)
	}
}
