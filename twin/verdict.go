package twin

import (
	"fmt"
	"sort"
	"strings"
)

// evidence is everything an edge's state is judged by.
type evidence struct {
	burst   counts // the last burstSeconds, of the side that saw it worse
	recent  counts // the last rateSeconds, same side
	busy    bool   // anything moved in the last quantileSeconds
	carried bool   // requests or bytes moved
	secured bool
	wasRed  bool
	silent  []string // nodes of this edge that stopped reporting
	reason  string   // most frequent
}

// judge is the whole rule for an edge's colour, in order of weight:
//
//	error  the share of failures reaches red in the last 2 s or the last 5 s; once
//	       red, until the 5 s share is below half of that (no flapping)
//	warn   any failure in 5 s; traffic outside mutual TLS; a client's node is silent
//	ok     traffic without any of these
//	idle   nothing moved for 10 s
func judge(e evidence, red float64) (State, []string) {
	var why []string
	state := StateOK
	if !e.busy {
		state = StateIdle
	}
	burst, recent := e.burst.ratio(), e.recent.ratio()
	switch {
	case burst >= red, recent >= red, e.wasRed && recent >= red/2:
		state = StateError
		why = append(why, failureText(e))
	case e.recent.bad() > 0:
		state = StateWarn
		why = append(why, failureText(e))
	}
	if e.carried && !e.secured {
		state = worse(state, StateWarn)
		why = append(why, "traffic is not protected by mutual TLS")
	}
	if len(e.silent) > 0 {
		state = worse(state, StateWarn)
		why = append(why, "no report from "+strings.Join(e.silent, ", "))
	}
	return state, why
}

func failureText(e evidence) string {
	c := e.recent
	if e.burst.ratio() > c.ratio() {
		c = e.burst
	}
	unit := "requests"
	if c.requests == 0 {
		unit = "connections"
	}
	text := fmt.Sprintf("%s of %s failed", percent(c.ratio()), unit)
	if e.reason != "" {
		text += ": " + e.reason
	}
	return text
}

func percent(r float64) string {
	switch {
	case r > 0 && r < 0.001:
		return fmt.Sprintf("%.3f %%", r*100)
	case r < 0.1:
		return fmt.Sprintf("%.1f %%", r*100)
	}
	return fmt.Sprintf("%.0f %%", r*100)
}

// worse is the graver of two states.
func worse(a, b State) State {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

func rank(s State) int {
	switch s {
	case StateError:
		return 3
	case StateWarn:
		return 2
	case StateOK:
		return 1
	}
	return 0
}

// ranked orders reasons by count, then name.
func ranked(m map[string]uint64) []ReasonCount {
	if len(m) == 0 {
		return nil
	}
	out := make([]ReasonCount, 0, len(m))
	for name, n := range m {
		out = append(out, ReasonCount{name, n})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Count != out[j].Count {
			return out[i].Count > out[j].Count
		}
		return out[i].Reason < out[j].Reason
	})
	return out
}
