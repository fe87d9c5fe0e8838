package clock

import (
	"strconv"
	"strings"

	"fire/audit/entry"
)

// The verbs of entries of kind Clock and Drift.
const (
	Begun    = "begun"    // the first look at the clock
	Sampled  = "sampled"  // an interval has passed
	Changed  = "changed"  // source, state, stratum or reference
	Ended    = "ended"    // nobody looks any more
	Passed   = "passed"   // the bound passed what the class allows
	Returned = "returned" // it stayed within for as long as it must settle
)

// journal writes entries of the clock. The sampler alone uses it.
type journal struct {
	out      func([]byte)
	build    entry.Builder
	buf      []byte
	source   uint64
	seq      uint64
	class    string
	allowed  int64 // nanoseconds
	interval int64
	settle   int64

	began   bool
	last    *estimate // that was written
	tai     int32
	due     int64 // mono
	samples uint64
	worst   int64
	breach  breach
}

// breach is a time beyond the class.
type breach struct {
	open   bool
	from   int64 // mono
	worst  int64
	within int64 // mono since when it is within again, 0 while it is not
}

func newJournal(c Config, d Deps) journal {
	allowed, _ := ClassBound(c.Class)
	return journal{out: d.Append, source: d.Source, class: c.Class, allowed: int64(allowed), interval: int64(c.Interval), settle: int64(c.Settle)}
}

// begin starts an entry about the moment of now, under what e says of it.
func (j *journal) begin(k entry.Kind, wall int64, e *estimate) {
	bound, sync := e.known(wall)
	j.seq++
	j.build.Begin(j.buf[:0], entry.Head{Kind: k, Sync: sync, Clock: e.Source, Bound: bound, Time: wall, Source: j.source, Seq: j.seq})
}

func (j *journal) finish() {
	j.buf = j.build.Raw()
	j.out(j.buf)
}

// steps writes what was done to the clock.
func (j *journal) steps(now Hands, e *estimate, found []change, taiBefore, taiNow int32) {
	for _, c := range found {
		j.begin(entry.Step, now.Wall, e)
		j.build.Str(entry.Verb, c.verb)
		if c.verb == Leaped || c.verb == TAIMove {
			j.build.Str(entry.Before, strconv.Itoa(int(taiBefore)))
			j.build.Str(entry.After, strconv.Itoa(int(taiNow)))
		}
		j.build.Int(entry.Offset, c.nanos)
		j.finish()
	}
}

// sample counts one look, worst the largest bound that a stamp has had since the one before.
func (j *journal) sample(now Hands, e *estimate, worst int64, kernel Kernel) {
	j.samples++
	j.tai = kernel.TAI
	j.worst = worse(j.worst, worst)
	j.judge(now, e, worst)
	switch {
	case !j.began:
		j.began = true
		j.write(Begun, now.Wall, now.Mono, e)
	case !sameState(j.last.Word, e.Word):
		j.write(Changed, now.Wall, now.Mono, e)
	case now.Mono >= j.due:
		j.write(Sampled, now.Wall, now.Mono, e)
	}
	j.last = e
}

// judge holds the bound against the class. What nobody knows is beyond it.
func (j *journal) judge(now Hands, e *estimate, worst int64) {
	beyond := worst < 0 || worst > j.allowed
	b := &j.breach
	switch {
	case beyond && !b.open:
		*b = breach{open: true, from: now.Mono, worst: worst}
		j.drift(Passed, now, e, 0)
	case beyond:
		b.worst, b.within = worse(b.worst, worst), 0
	case b.open && b.within == 0:
		b.within = now.Mono
	case b.open && now.Mono-b.within >= j.settle:
		j.drift(Returned, now, e, b.within-b.from)
		*b = breach{}
	}
}

func (j *journal) drift(verb string, now Hands, e *estimate, lasted int64) {
	j.begin(entry.Drift, now.Wall, e)
	j.build.Uint(entry.Elapsed, uint64(max(0, lasted)))
	j.build.Str(entry.Verb, verb)
	j.build.Str(entry.Object, j.class)
	j.build.Str(entry.Detail, detail("worst_ns", nanosText(j.breach.worst), "class_ns", nanosText(j.allowed), "settled_ns", nanosText(now.Mono-max(j.breach.within, j.breach.from))))
	j.build.Int(entry.Offset, e.OffsetNanos)
	j.build.Str(entry.Reference, e.Reference)
	j.finish()
}

// write is one entry of the journal; it tells of all samples since the one before.
func (j *journal) write(verb string, wall, mono int64, e *estimate) {
	j.begin(entry.Clock, wall, e)
	j.build.Uint(entry.Count, j.samples)
	j.build.Str(entry.Verb, verb)
	j.build.Str(entry.Object, j.class)
	j.build.Str(entry.Detail, detail("interval_ns", nanosText(j.interval), "worst_ns", nanosText(j.worst), "growth_ppb", nanosText(e.RatePPB), "tai", strconv.Itoa(int(j.tai)), e.Note))
	j.build.Int(entry.Offset, e.OffsetNanos)
	j.build.Int(entry.Frequency, e.FrequencyPPB)
	j.build.Uint(entry.Stratum, e.Stratum)
	j.build.Str(entry.Reference, e.Reference)
	j.build.Uint(entry.Dispersion, uint64(max(0, e.Dispersion)))
	j.finish()
	j.due, j.samples, j.worst = mono+j.interval, 0, 0
}

// end is the last entry.
func (j *journal) end(wall, mono int64) {
	if j.began {
		j.write(Ended, wall, mono, j.last)
	}
}

// worse is the larger of two bounds; unknown is the largest.
func worse(a, b int64) int64 {
	if a < 0 || b < 0 {
		return unknownNanos
	}
	return max(a, b)
}

const unknownText = "unknown"

func nanosText(n int64) string {
	if n < 0 {
		return unknownText
	}
	return strconv.FormatInt(n, 10)
}

// detail is a line of names and values, and at its end what is a line already.
func detail(pairs ...string) string {
	var b strings.Builder
	for i, s := range pairs {
		switch {
		case i > 0 && i%2 == 1:
			b.WriteByte('=')
		case i > 0 && s != "":
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

// detailNanos reads one value of such a line; ok is false where there is none.
func detailNanos(line, name string) (n int64, ok bool) {
	for word := range strings.FieldsSeq(line) {
		if v, found := strings.CutPrefix(word, name+"="); found {
			if v == unknownText {
				return unknownNanos, true
			}
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}
