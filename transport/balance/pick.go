package balance

import (
	"fmt"
	"math"
	"time"

	"fire/policy/reason"
)

// Policy is how one of several equally near endpoints is chosen.
type Policy uint8

// The policies; the zero value is round robin.
const (
	RoundRobin Policy = iota
	LeastRequest
	PeakEWMA
)

var policyNames = [...]string{"round_robin", "least_request", "peak_ewma"}

// ParsePolicy reads a policy's name; "" is round_robin.
func ParsePolicy(s string) (Policy, error) {
	for i, name := range policyNames {
		if s == name || s == "" {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("balance %q is not one of round_robin, least_request, peak_ewma", s)
}

func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("policy_%d", uint8(p))
}

// MarshalText is String.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePolicy.
func (p *Policy) UnmarshalText(b []byte) error {
	v, err := ParsePolicy(string(b))
	if err == nil {
		*p = v
	}
	return err
}

// Distance is how far an endpoint is from here.
type Distance uint8

// The distances, nearest first.
const (
	SameNode Distance = iota
	SameZone
	SameRegion
	Elsewhere
	distances
)

// Candidate is one endpoint as the catalogue and the proxy know it.
type Candidate struct {
	Endpoint *Endpoint // this proxy's memory of it, from Group.Endpoint; nil is never picked
	Distance Distance
	Ready    bool   // linked, healthy and not draining
	Weight   uint16 // 0 counts as 1
}

func (c *Candidate) weight() uint64 { return uint64(max(c.Weight, 1)) }

// Pick chooses one candidate. now is any monotonic clock of this process and rnd a
// fresh random number. On success the code is OK and the ticket holds the choice
// until Release; otherwise the code is NoEndpoint, NoHealthyEndpoint or AllEjected
// and the ticket is empty.
func Pick(p Policy, cs []Candidate, g *Group, now time.Duration, rnd uint64) (Ticket, reason.Code) {
	s := survey(cs, now)
	for k := 0; s.due >= 0 && k < len(cs); k++ {
		if cs[s.due].Endpoint.claimProbe(now) {
			return g.ticket(cs[s.due].Endpoint, s, true), reason.OK
		}
		s = survey(cs, now) // another Pick was faster; there may be a second one due
	}
	if s.choices == 0 {
		return Ticket{Index: -1}, s.refusal(len(cs))
	}
	var i int
	switch p {
	case LeastRequest:
		i = leastRequest(cs, s.tier, now, rnd)
	case PeakEWMA:
		i = peakEWMA(cs, s, g, now, rnd)
	default:
		i = nth(cs, s.tier, now, (g.cursor.Add(1)-1)%s.weight)
	}
	if i < 0 { // every one of the tier was ejected since the survey
		return Ticket{Index: -1}, reason.AllEjected
	}
	s.due = i
	return g.ticket(cs[i].Endpoint, s, false), reason.OK
}

// standing is what one look over the candidates found.
type standing struct {
	tier    Distance // nearest with an admissible endpoint
	weight  uint64   // its admissible weight
	due     int      // nearest endpoint that is due for a probe, at most as far as tier; -1: none
	choices int      // admissible endpoints at any distance
	ready   int
}

func survey(cs []Candidate, now time.Duration) standing {
	var weights [distances]uint64
	due := [distances]int{-1, -1, -1, -1}
	s := standing{tier: distances, due: -1}
	for i := range cs {
		c := &cs[i]
		if !c.Ready || c.Distance >= distances || c.Endpoint == nil {
			continue
		}
		s.ready++
		switch c.Endpoint.standing(now) {
		case in:
			s.choices++
			weights[c.Distance] += c.weight()
			s.tier = min(s.tier, c.Distance)
		case probeDue:
			if due[c.Distance] < 0 {
				due[c.Distance] = i
			}
		}
	}
	for d := range distances {
		if s.due < 0 && d <= s.tier {
			s.due = due[d]
		}
	}
	if s.tier < distances {
		s.weight = weights[s.tier]
	}
	return s
}

func (s *standing) refusal(candidates int) reason.Code {
	switch {
	case candidates == 0:
		return reason.NoEndpoint
	case s.ready == 0:
		return reason.NoHealthyEndpoint
	}
	return reason.AllEjected
}

// admissible tells whether c may take an ordinary request at this distance.
func (c *Candidate) admissible(tier Distance, now time.Duration) bool {
	return c.Ready && c.Distance == tier && c.Endpoint != nil && c.Endpoint.standing(now) == in
}

// nth returns the admissible candidate at a place in the tier's summed weights. When
// an ejection in between shortened the tier it returns the last one left, or -1.
func nth(cs []Candidate, tier Distance, now time.Duration, place uint64) int {
	last := -1
	for i := range cs {
		if !cs[i].admissible(tier, now) {
			continue
		}
		last = i
		if w := cs[i].weight(); place >= w {
			place -= w
			continue
		}
		return i
	}
	return last
}

func leastRequest(cs []Candidate, tier Distance, now time.Duration, rnd uint64) int {
	best, bestLoad := -1, math.Inf(1)
	start := int(rnd % uint64(len(cs)))
	for k := range cs {
		i := start + k
		if i >= len(cs) {
			i -= len(cs)
		}
		if !cs[i].admissible(tier, now) {
			continue
		}
		load := float64(cs[i].Endpoint.active.Load()+1) / float64(cs[i].weight())
		if load < bestLoad {
			best, bestLoad = i, load
		}
	}
	return best
}

// peakEWMA draws two places in the summed weights; equal draws are one choice.
func peakEWMA(cs []Candidate, s standing, g *Group, now time.Duration, rnd uint64) int {
	a := nth(cs, s.tier, now, rnd>>32%s.weight)
	b := nth(cs, s.tier, now, rnd&math.MaxUint32%s.weight)
	if a < 0 || b < 0 || a == b {
		if s.choices > 1 && a >= 0 && a == b {
			b = other(cs, s.tier, now, a, rnd)
		}
		if a < 0 || b < 0 {
			return max(a, b)
		}
	}
	if cs[b].Endpoint.cost(now, &g.cfg) < cs[a].Endpoint.cost(now, &g.cfg) {
		return b
	}
	return a
}

// other returns an admissible candidate that is not a, the next one after it.
func other(cs []Candidate, tier Distance, now time.Duration, a int, rnd uint64) int {
	skip := 1 + int(rnd%uint64(len(cs)))
	for k := range cs {
		if i := (a + skip + k) % len(cs); i != a && cs[i].admissible(tier, now) {
			return i
		}
	}
	return a
}
