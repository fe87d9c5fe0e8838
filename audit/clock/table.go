package clock

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// traceability is what RTS 25 Art. 4 asks to be documented: the way from UTC to the stamp, with
// the point where it is applied, and what is not measured.
func traceability(d Day, t Terms) []Traceability {
	where := t.StampedAt
	if where == "" {
		where = StampedAtUsual
	}
	out := []Traceability{
		{"duty", classText(d.Class)},
		{"stamp", "CLOCK_REALTIME of the host, UTC, read through the vDSO in units of 1 ns"},
		{"applied", where},
	}
	for _, s := range d.Sources {
		refs := "not named"
		if len(s.References) > 0 {
			refs = strings.Join(s.References, ", ")
		}
		out = append(out, Traceability{"reference (" + s.Source + ")", refs}, Traceability{"bound (" + s.Source + ")", boundText(s.Source)})
	}
	return append(out,
		Traceability{"between samples", "the bound grows by growth_ppb of the journal's entries; each stamp carries its own"},
		Traceability{"steps", "CLOCK_REALTIME against CLOCK_BOOTTIME between two samples; a stamp after a step has an unknown bound until the next sample"},
		Traceability{"not measured", "an asymmetric path within its bound, faults that the reference hides, the time from the wire to the stamp"})
}

func classText(name string) string {
	for _, c := range classes {
		if c.name == name {
			return c.says
		}
	}
	return "none"
}

func boundText(source string) string {
	switch source {
	case "chrony":
		return "|offset| + root dispersion + root delay / 2, as chronyd reports them"
	case "ptp":
		return "|offset of ptp4l's clock from its master| + mean path delay + accuracy of the grandmaster; with a hardware clock, + |host from device| + half the reading"
	case "kernel":
		return "|offset| + maxerror of adjtimex: as good as the daemon that sets it, which the kernel does not name"
	}
	return "unknown"
}

// WriteText writes the day as a person reads it.
func (d Day) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(format string, a ...any) { fmt.Fprintf(t, format+"\n", a...) } // Flush tells the error
	line("day\t%s (UTC), %s to %s", d.Day, clockText(d.From), clockText(d.Until))
	line("class\t%s, %s", d.Class, time.Duration(d.ClassNanos))
	line("within class\t%.4f %% of the time watched, %.4f %% of all", d.ShareInClass*100, d.ShareOfDay*100)
	line("worst bound\t%s", worstText(d.WorstNanos, d.Unknown))
	line("entries\t%d", d.Entries)
	line("\nSOURCE\tIN SYNC\tOUT OF SYNC\tWORST BOUND\tREFERENCES")
	for _, s := range d.Sources {
		line("%s\t%s\t%s\t%s\t%s", s.Source, s.InSync, s.OutOfSync, worstText(s.WorstNanos, false), strings.Join(s.References, " "))
	}
	section(line, "BREACH", "FROM\tTO\tLASTED\tWORST BOUND\t", len(d.Breaches), func(i int) string {
		b := d.Breaches[i]
		note := ""
		if b.Before {
			note += "began before "
		}
		if b.Open {
			note += "goes on"
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", clockText(b.Begin), clockText(b.End), b.Duration, worstText(b.WorstNanos, false), note)
	})
	section(line, "STEP", "AT\tBY\tTAI\t", len(d.Steps), func(i int) string {
		s := d.Steps[i]
		return fmt.Sprintf("%s\t%s %s\t%s\t", clockText(s.At), s.What, time.Duration(s.Nanos), s.TAI)
	})
	section(line, "MISSING", "FROM\tTO\tLASTED\t", len(d.Missing), func(i int) string {
		m := d.Missing[i]
		return fmt.Sprintf("%s\t%s\t%s\t", clockText(m.Begin), clockText(m.End), m.Duration)
	})
	if d.Omitted > 0 {
		line("and %d more", d.Omitted)
	}
	line("\nTRACEABILITY\t(RTS 25, Art. 4)")
	for _, x := range d.Traceability {
		line("%s\t%s", x.What, x.Says)
	}
	return t.Flush()
}

func section(line func(string, ...any), name, head string, n int, row func(int) string) {
	if n == 0 {
		line("\n%s\tnone", name)
		return
	}
	line("\n%s\t%s", name, head)
	for i := range n {
		line("%d\t%s", i+1, row(i))
	}
}

func clockText(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

func worstText(n *int64, unknown bool) string {
	switch {
	case n == nil:
		return unknownText
	case unknown:
		return time.Duration(*n).String() + ", at times " + unknownText
	}
	return time.Duration(*n).String()
}
