package clock

import "fire/audit/entry"

// change is what happened to the host's clock between two samples.
type change struct {
	verb  string
	nanos int64 // by how much it is ahead now of where it would have been
}

// The verbs of entries of kind Step.
const (
	Stepped = "stepped" // it was set
	Leaped  = "leap"    // a leap second: set by one second while TAI's distance changed by one
	Slewed  = "slewed"  // it was steered faster than a clock drifts
	Resumed = "resumed" // the host slept; the clock went on
	TAIMove = "tai"     // the distance from TAI changed, and not for a leap second
)

// changes compares two samples. Wall and Boot are steered alike and both go on while the host
// sleeps: only setting the clock moves one against the other, by however little. Mono against
// Raw shows how fast it is steered; Boot against Mono how long the host slept.
func changes(a, b Hands, taiBefore, taiNow int32, step int64, driftPPM int) (out []change) {
	noise := a.Within + b.Within
	if slept := (b.Boot - a.Boot) - (b.Mono - a.Mono); slept > step+noise {
		out = append(out, change{Resumed, slept})
	}
	jump := (b.Wall - a.Wall) - (b.Boot - a.Boot)
	leap := int64(taiBefore-taiNow) * ppb // one second more of TAI's lead is one less on our clock
	switch jumped := magnitude(jump) > step+noise; {
	case jumped && (leap == ppb || leap == -ppb) && magnitude(jump-leap) <= step+noise:
		out = append(out, change{Leaped, jump})
	case jumped:
		out = append(out, change{Stepped, jump})
	}
	if taiBefore != taiNow && (len(out) == 0 || out[len(out)-1].verb != Leaped) {
		out = append(out, change{TAIMove, int64(taiNow-taiBefore) * ppb})
	}
	took := b.Raw - a.Raw
	allowed := step + noise + took/1_000_000*int64(driftPPM)
	if steered := (b.Mono - a.Mono) - took; magnitude(steered) > allowed {
		out = append(out, change{Slewed, steered})
	}
	return out
}

// moves says whether stamps after the change are off from those before by so much.
func (c change) moves() bool { return c.verb == Stepped || c.verb == Resumed }

// sameState says that nothing changed that would be an entry at once.
func sameState(a, b Word) bool {
	return a.Source == b.Source && a.Sync == b.Sync && a.Stratum == b.Stratum && a.Reference == b.Reference && (a.BoundNanos < 0) == (b.BoundNanos < 0)
}

// known are the words as an entry's head has them.
func (e *estimate) known(wall int64) (uint32, entry.Sync) {
	bound := e.grown(wall - e.wall)
	if bound == entry.BoundUnknown && e.BoundNanos >= 0 {
		return bound, entry.SyncUnknown
	}
	return bound, e.Sync
}
