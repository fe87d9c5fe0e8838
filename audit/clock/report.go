package clock

import (
	"iter"
	"slices"
	"time"

	"fire/audit/entry"
)

// Terms are what a day is held against.
type Terms struct {
	Class     string        // "": the class that the journal itself names
	Until     time.Time     // of a day that is not over; zero: its end
	StampedAt string        // where the stamp is applied, for RTS 25 Art. 4; "": StampedAtUsual
	Interval  time.Duration // of a journal that does not say its own; 0: a minute
}

// StampedAtUsual is where fire stamps.
const StampedAtUsual = "in the process of fire, where it takes the message from its connection or ring, before it decides and before it passes it on"

// listsMax bounds each list of a day; what is more is counted.
const listsMax = 10_000

// Day is the report of one day of one host's clock. Durations are nanoseconds.
type Day struct {
	Day          string         `json:"day"`
	Class        string         `json:"class"`
	ClassNanos   int64          `json:"class_ns"`
	From         time.Time      `json:"from"`
	Until        time.Time      `json:"until"`
	Entries      int            `json:"entries"`
	Watched      time.Duration  `json:"watched_ns"`  // what the journal covers
	InClass      time.Duration  `json:"in_class_ns"` // of that, not in a breach
	ShareInClass float64        `json:"share_in_class"`
	ShareOfDay   float64        `json:"share_of_day"` // what is not watched counts against it
	WorstNanos   *int64         `json:"worst_bound_ns"`
	Unknown      bool           `json:"bound_was_unknown"`
	Sources      []SourceTime   `json:"sources"`
	Breaches     []Breach       `json:"breaches"`
	Steps        []StepSeen     `json:"steps"`
	Missing      []Missing      `json:"missing"`
	Omitted      int            `json:"omitted,omitempty"` // beyond 10,000 of a list
	Traceability []Traceability `json:"traceability"`
}

// SourceTime is how long one source disciplined the clock.
type SourceTime struct {
	Source     string        `json:"source"`
	InSync     time.Duration `json:"in_sync_ns"`
	OutOfSync  time.Duration `json:"out_of_sync_ns"`
	WorstNanos *int64        `json:"worst_bound_ns"` // null: never known
	References []string      `json:"references"`
	name       entry.ClockSource
}

// Breach is a time in which the bound was beyond the class, or nobody knew it.
type Breach struct {
	Begin      time.Time     `json:"begin"`
	End        time.Time     `json:"end"`
	Duration   time.Duration `json:"duration_ns"`
	WorstNanos *int64        `json:"worst_bound_ns"` // null: nobody knew it
	Before     bool          `json:"began_before,omitempty"`
	Open       bool          `json:"open,omitempty"` // it went on at the end of what is reported
}

// StepSeen is one jump of the clock.
type StepSeen struct {
	At    time.Time `json:"at"`
	What  string    `json:"what"`
	Nanos int64     `json:"offset_ns"`
	TAI   string    `json:"tai,omitempty"`
}

// Missing is a time of which the journal says nothing.
type Missing struct {
	Begin    time.Time     `json:"begin"`
	End      time.Time     `json:"end"`
	Duration time.Duration `json:"duration_ns"`
}

// Traceability is one line of RTS 25 Art. 4.
type Traceability struct {
	What string `json:"what"`
	Says string `json:"says"`
}

// referencesMax bounds how many references of one source are listed.
const referencesMax = 64

// Report reads the journal of one UTC day. Entries come in their order; of other kinds they are
// passed over, from before the day they say how it began, and what comes after it is not read.
func Report(day time.Time, t Terms, entries iter.Seq[entry.View]) Day {
	y, m, d := day.UTC().Date()
	from := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	until := from.AddDate(0, 0, 1)
	if !t.Until.IsZero() && t.Until.Before(until) {
		until = t.Until.UTC()
		if until.Before(from) {
			until = from
		}
	}
	r := reporter{day: Day{Day: from.Format(time.DateOnly), Class: t.Class, From: from, Until: until}, from: from.UnixNano(), until: until.UnixNano(), terms: t}
	r.interval = int64(time.Minute)
	if t.Interval > 0 {
		r.interval = int64(t.Interval)
	}
	for v := range entries {
		if v.Head().Time >= r.until {
			break
		}
		switch v.Kind() {
		case entry.Clock:
			r.clock(v)
		case entry.Drift:
			r.drift(v)
		case entry.Step:
			r.step(v)
		}
	}
	return r.finish()
}

// reporter walks a journal. Times are nanoseconds since 1970.
type reporter struct {
	day         Day
	terms       Terms
	from, until int64
	interval    int64
	sources     []SourceTime

	seen    bool // a Clock entry before this one, in this run of the process
	last    entry.Head
	ref     string
	worst   int64
	counted int64 // until when the day's time is given to something
	open    bool  // a breach
	opened  int64
	bad     int64 // its worst
}

// clock takes one entry of the journal: what the one before said held until now.
func (r *reporter) clock(v entry.View) {
	h, text := v.Head(), v.Str(entry.Detail)
	if n, ok := detailNanos(text, "interval_ns"); ok && n > 0 {
		r.interval = min(n, int64(time.Hour)) // what a configuration may say at most
	}
	worst, ok := detailNanos(text, "worst_ns")
	if !ok {
		worst = boundOf(h)
	}
	if r.day.Class == "" {
		r.day.Class = v.Str(entry.Object)
	}
	if r.seen {
		r.hold(h.Time)
	} else {
		r.lost(h.Time)
	}
	if h.Time >= r.from {
		r.day.Entries++
		r.saw(h, worst)
	}
	if v.Str(entry.Object) != r.day.Class { // it was watched for another class: no finer than its entries
		r.judge(h.Time, worst)
	}
	r.last, r.ref, r.seen, r.worst = h, v.Str(entry.Reference), v.Str(entry.Verb) != Ended, worst
	if h.Time >= r.from {
		r.source(h.Clock).note(r.ref)
	}
}

// hold gives the time since the last entry to what it said, or calls it missing where that is
// more than two intervals: somebody looked until the last entry, and until no later.
func (r *reporter) hold(now int64) {
	end := now
	if end-r.last.Time > 2*r.interval {
		end = r.last.Time
		r.missing(end, now)
	}
	took := r.account(r.last.Time, end)
	r.day.Watched += took
	s := r.source(r.last.Clock)
	if r.last.Sync == entry.Synchronised {
		s.InSync += took
	} else {
		s.OutOfSync += took
	}
	if took > 0 {
		s.note(r.ref)
	}
}

// lost is the time before the first entry, or since the process ended.
func (r *reporter) lost(now int64) {
	since := r.from
	if r.last.Time > since {
		since = r.last.Time
	}
	if now-since > 2*r.interval || r.last.Time == 0 && now > since {
		r.missing(since, now)
	} else {
		took := r.account(since, now) // a restart, shorter than two intervals
		r.day.Watched += took
		r.source(entry.ClockUnknown).OutOfSync += took
	}
}

// account is how much of a span is of the day and was not counted yet: a clock that is set back
// goes through the same hours again.
func (r *reporter) account(begin, end int64) time.Duration {
	begin, end = max(begin, r.from, r.counted), min(end, r.until)
	r.counted = max(r.counted, end)
	return time.Duration(max(0, end-begin))
}

func (r *reporter) missing(begin, end int64) {
	begin = max(begin, r.from, r.counted)
	if took := r.account(begin, end); took > 0 {
		if len(r.day.Missing) == listsMax {
			r.day.Omitted++
			return
		}
		r.day.Missing = append(r.day.Missing, Missing{at(begin), at(begin + int64(took)), took})
	}
}

// saw takes the worst bound since the entry before.
func (r *reporter) saw(h entry.Head, worst int64) {
	who := r.last.Clock // it was in force while that was measured
	if !r.seen {
		who = h.Clock
	}
	s := r.source(who)
	if worst < 0 {
		r.day.Unknown = true
		return
	}
	r.day.WorstNanos, s.WorstNanos = larger(r.day.WorstNanos, worst), larger(s.WorstNanos, worst)
}

// judge opens and closes breaches of a class that the journal was not held to.
func (r *reporter) judge(now, worst int64) {
	allowed, ok := ClassBound(r.day.Class)
	switch beyond := ok && (worst < 0 || worst > int64(allowed)); {
	case beyond && !r.open:
		begin := now
		if r.seen {
			begin = max(r.last.Time, now-2*r.interval)
		}
		r.open, r.opened, r.bad = true, begin, worst
	case beyond:
		r.bad = worse(r.bad, worst)
	case r.open:
		r.close(now, false)
	}
}

// drift takes an entry of kind Drift, if it is of the class that is asked for.
func (r *reporter) drift(v entry.View) {
	h := v.Head()
	if r.day.Class == "" {
		r.day.Class = v.Str(entry.Object)
	}
	if v.Str(entry.Object) != r.day.Class {
		return
	}
	worst, ok := detailNanos(v.Str(entry.Detail), "worst_ns")
	if !ok {
		worst = boundOf(h)
	}
	if h.Time >= r.from {
		r.day.Entries++
	}
	switch v.Str(entry.Verb) {
	case Passed:
		if r.open { // of a process that ended before it came back: nobody saw when
			r.bad = worse(r.bad, worst)
			return
		}
		r.open, r.opened, r.bad = true, h.Time, worst
	case Returned:
		end := h.Time
		if settled, ok := detailNanos(v.Str(entry.Detail), "settled_ns"); ok {
			end -= settled
		}
		if !r.open {
			r.opened = end - int64(min(v.Uint(entry.Elapsed), uint64(farthest)))
		}
		r.bad = worse(r.bad, worst)
		r.close(end, false)
	}
}

// close ends the breach that is open.
func (r *reporter) close(end int64, open bool) {
	r.open = false
	if end < r.from && r.opened < r.from {
		return // of yesterday
	}
	begin, end := min(max(r.opened, r.from), r.until), min(end, r.until)
	end = max(begin, end) // set back meanwhile: its length cannot be told by this clock
	b := Breach{Begin: at(begin), End: at(end), Duration: time.Duration(end - begin), Before: r.opened < r.from, Open: open}
	if r.bad >= 0 {
		bad := r.bad
		b.WorstNanos = &bad
	}
	if len(r.day.Breaches) == listsMax {
		r.day.Omitted++
		return
	}
	r.day.Breaches = append(r.day.Breaches, b)
}

func (r *reporter) step(v entry.View) {
	h := v.Head()
	if h.Time < r.from {
		return
	}
	r.day.Entries++
	s := StepSeen{At: at(h.Time), What: v.Str(entry.Verb), Nanos: v.Int(entry.Offset)}
	if b, a := v.Str(entry.Before), v.Str(entry.After); b != "" || a != "" {
		s.TAI = b + " to " + a
	}
	if len(r.day.Steps) == listsMax {
		r.day.Omitted++
		return
	}
	r.day.Steps = append(r.day.Steps, s)
}

// finish closes what is open at the end of the day.
func (r *reporter) finish() Day {
	if r.seen {
		r.hold(min(r.until, max(r.last.Time, r.until)))
	} else {
		r.lost(r.until)
	}
	if r.open {
		r.close(r.until, true)
	}
	d := r.day
	if allowed, ok := ClassBound(d.Class); ok {
		d.ClassNanos = int64(allowed)
	}
	d.InClass = max(0, d.Watched-max(0, breached(d)))
	if d.Watched > 0 {
		d.ShareInClass = float64(d.InClass) / float64(d.Watched)
	}
	if r.until > r.from {
		d.ShareOfDay = float64(d.InClass) / float64(r.until-r.from)
	}
	slices.SortFunc(r.sources, func(a, b SourceTime) int { return int(b.name) - int(a.name) })
	for _, s := range r.sources {
		if s.InSync+s.OutOfSync > 0 || s.WorstNanos != nil {
			d.Sources = append(d.Sources, s)
		}
	}
	d.Traceability = traceability(d, r.terms)
	return d
}

// breached is the time in breaches that was watched: what is missing is not counted twice.
func breached(d Day) (sum time.Duration) {
	for _, b := range d.Breaches {
		sum += b.Duration
		for _, m := range d.Missing {
			if from, to := later(b.Begin, m.Begin), earlier(b.End, m.End); to.After(from) {
				sum -= to.Sub(from)
			}
		}
	}
	return sum
}

func (r *reporter) source(c entry.ClockSource) *SourceTime {
	for i := range r.sources {
		if r.sources[i].name == c {
			return &r.sources[i]
		}
	}
	r.sources = append(r.sources, SourceTime{Source: c.String(), name: c})
	return &r.sources[len(r.sources)-1]
}

func (s *SourceTime) note(ref string) {
	if ref != "" && !slices.Contains(s.References, ref) && len(s.References) < referencesMax {
		s.References = append(s.References, ref)
	}
}

func boundOf(h entry.Head) int64 {
	if h.Bound == entry.BoundUnknown {
		return unknownNanos
	}
	return int64(h.Bound)
}

func larger(p *int64, n int64) *int64 {
	if p != nil && *p >= n {
		return p
	}
	return &n
}

func at(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
