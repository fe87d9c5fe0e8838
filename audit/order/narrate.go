package order

import (
	"fmt"
	"slices"
	"strings"

	"fire/audit/entry"
)

// Result tells what was found so far. It depends on what was added, not on the order.
func (s *Search) Result() Result {
	own, context := s.found()
	r := Result{ClOrdID: s.query.ClOrdID, Orders: []Story{}, Conflicts: s.conflicts(), Incomplete: s.full}
	messages := slices.DeleteFunc(slices.Clone(context), func(x *sighting) bool { return !x.message() || x.fix.msgType == "" })
	all, control := transmissions(own), transmissions(messages)
	since := epochsOf(control)
	for _, t := range slices.Concat(all, control) {
		t.epoch = since.of(t)
	}
	copies(all)
	copies(control)
	for _, family := range families(legsOf(all, s.query.DayBegins)) {
		if slices.ContainsFunc(family, func(l *leg) bool { return l.bears(s.query.ClOrdID) && s.party(l.sides) }) {
			n := narrator{legs: family, context: context, searched: s.query.Searched}
			r.Orders = append(r.Orders, n.story(s.query.ClOrdID, control))
		}
	}
	return r
}

// conflicts are the indexes at which a log shows two entries.
func (s *Search) conflicts() []Conflict {
	times := map[Conflict]int{}
	for at := range s.kept {
		times[Conflict{at.origin, at.index}]++
	}
	out := []Conflict{}
	for c, n := range times {
		if n > 1 {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Conflict) int {
		if d := strings.Compare(a.Origin, b.Origin); d != 0 {
			return d
		}
		return int(min(1, max(-1, a.Index-b.Index)))
	})
	return out
}

// narrator tells one order.
type narrator struct {
	legs     []*leg
	context  []*sighting
	legOf    map[*transmission]int
	sent     []*transmission
	gapFills []*transmission // of sent
	position map[*transmission]int
	searched []string // nodes whose logs were; nil: all
}

func (n *narrator) story(clOrdID string, control []*transmission) Story {
	n.legOf, n.position = map[*transmission]int{}, map[*transmission]int{}
	var all []*transmission
	for i, l := range n.legs {
		for _, t := range l.all {
			n.legOf[t] = i
		}
		all = append(all, l.all...)
	}
	all = append(all, n.concerning(all, control)...)
	slices.SortFunc(all, (*transmission).before)
	n.sent = sequence(all)
	for i, t := range n.sent {
		n.position[t] = i
		if t.marked(entry.MarkGapFill) {
			n.gapFills = append(n.gapFills, t)
		}
	}
	out := Story{ClOrdID: clOrdID, Verdict: Single, Steps: make([]Step, 0, len(n.sent)), Legs: []Leg{}}
	numbers := map[number]int{}
	for i, t := range n.sent {
		step := n.step(i, t)
		if step.Leg != nil && slices.Index(gravity[:], step.Verdict) < slices.Index(gravity[:], out.Verdict) {
			out.Verdict = step.Verdict
		}
		if t.copyOf == nil && step.Leg != nil && step.SeqNum != 0 {
			if before, twice := numbers[t.number()]; twice {
				step.Notes = append(step.Notes, fmt.Sprintf("number %d of its session was message %d before, and this is not marked as a copy", step.SeqNum, before))
			} else {
				numbers[t.number()] = i
			}
		}
		out.Steps = append(out.Steps, step)
	}
	for i, l := range n.legs {
		out.Legs = append(out.Legs, n.leg(i, l))
		if doubt := l.doubt(); doubt != "" {
			out.Notes = append(out.Notes, doubt)
		}
	}
	out.State = out.Legs[0].State
	return out
}

// concerning are the messages of the order's sessions that say something of its own: gap fills
// that stand in for one of them, and new beginnings between the first and the last.
func (n *narrator) concerning(own, control []*transmission) []*transmission {
	sessions := map[ends][]*transmission{}
	for _, t := range own {
		p := t.ends().pair()
		sessions[p] = append(sessions[p], t)
	}
	return slices.DeleteFunc(slices.Clone(control), func(c *transmission) bool {
		var before, after bool
		for _, t := range sessions[c.ends().pair()] {
			if c.marked(entry.MarkGapFill) && fills(c, t) {
				return false
			}
			if t.after(c) {
				after = true
			} else {
				before = true
			}
		}
		return !c.marked(entry.MarkReset) || !before || !after
	})
}

// fills says whether a gap fill stands in for t: it takes the numbers from its own to the one
// before NewSeqNo (FIX session layer, "Sequence Reset - Gap Fill").
func fills(gap, t *transmission) bool {
	g, seq := &gap.first().fix, t.first().fix.seq
	return gap.ends() == t.ends() && gap.epoch == t.epoch && g.seq <= seq && seq < g.newSeq && gap.after(t)
}

func (n *narrator) step(i int, t *transmission) Step {
	s := t.first()
	f := &s.fix
	out := Step{
		Position: i, MsgType: f.msgType, SeqNum: f.seq, NewSeqNum: f.newSeq, Epoch: t.epoch, Sender: f.sender, Target: f.target, ClOrdID: f.clOrdID,
		OrigClOrdID: f.origID, OrderID: f.orderID, ExecID: f.execID, Symbol: f.symbol, ExecType: f.execType, OrdStatus: f.ordStatus, SentAt: f.sentAt,
		FirstSentAt: f.firstSentAt, Marks: MarksOf(f.marks), Direction: s.at.direction, Time: timeText(s.head.Time), UTCNanos: s.head.Time,
		Bound: boundOf(s.head.Bound), UncertainWith: uncertain(n.sent, i), Latencies: latencies(t),
	}
	if leg, ok := n.legOf[t]; ok {
		out.Leg = &leg
	}
	if at, ok := n.position[t.copyOf]; ok && t.copyOf != nil {
		out.CopyOf = &at
	}
	for _, g := range n.gapFills {
		if fills(g, t) {
			out.FilledBy = append(out.FilledBy, n.position[g])
		}
	}
	c := follow(t, n.context, n.searched)
	c.resent()
	out.Hops, out.Verdict, out.Sentence = c.hops, c.verdict, c.sentence(n.position)
	var err error
	if out.FIXHops, err = ParseTrail(f.trail); err != nil {
		out.Notes = append(out.Notes, err.Error())
	}
	for i, l := range out.Latencies {
		switch same := t.seen[i].origin == t.seen[i+1].origin; {
		case !l.Certain || l.Nanos >= 0:
		case same:
			out.Notes = append(out.Notes, fmt.Sprintf("%s has it %d ns before %s, and both are of one log: its clock was set back", l.To, -l.Nanos, l.From))
		default:
			out.Notes = append(out.Notes, fmt.Sprintf("%s has it %d ns before %s, more than the bounds of their clocks allow: one of them is wrong", l.To, -l.Nanos, l.From))
		}
	}
	return out
}
