package twin

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (w *world) events(kind EventKind) (out []Event) {
	for _, e := range w.snapshot().Events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func TestDeathsAndCutsOfDirectPathsAreEvents(t *testing.T) {
	w := newWorld(t, Default())
	w.raw(Report{Node: "host-a", Seq: 1, Boot: 5, Happened: []Happening{
		{Kind: EventChannelDied, Channel: "orders", Service: "desk", Reason: "writer_died"},
		{Kind: EventChannelCut, Channel: "md", Service: "feed", Peer: "screen", Reason: "denied_by_rule", Text: "rule no"},
	}})
	died, cut := w.events(EventChannelDied), w.events(EventChannelCut)
	if len(died) != 1 || died[0].Subject != "channel orders" || died[0].Text != "desk on host-a died while attached (writer_died)" || died[0].Severity != StateWarn {
		t.Errorf("%+v", died)
	}
	if len(cut) != 1 || cut[0].Text != "feed on host-a was cut, peer screen (denied_by_rule): rule no" {
		t.Errorf("%+v", cut)
	}
}

// TestOneNodesHappeningsDoNotFillTheEvents has a node tell without end, and then stop.
func TestOneNodesHappeningsDoNotFillTheEvents(t *testing.T) {
	w := newWorld(t, Default())
	all := make([]Happening, HappenedMax)
	for i := range all {
		all[i] = Happening{Kind: EventChannelDied, Channel: fmt.Sprint("c", i)}
	}
	const reports = 40 // ten seconds
	seq := uint64(0)
	for range reports {
		seq++
		w.raw(Report{Node: "host-a", Seq: seq, Boot: 5, Happened: all, Unhappened: 8})
		w.now = w.now.Add(250 * time.Millisecond)
	}
	n := len(w.events(EventChannelDied))
	if n < happeningsBurst || n > happeningsBurst+12 {
		t.Errorf("%d events of one node in ten seconds", n)
	}
	w.now = w.now.Add(time.Minute)
	w.raw(Report{Node: "host-b", Seq: 1, Boot: 6, Happened: all[:1]})
	w.raw(Report{Node: "host-a", Seq: seq + 1, Boot: 5, Happened: all[:1]})
	last := w.events(EventChannelDied)
	told := 0
	for _, e := range last {
		var more int
		if _, text, ok := strings.Cut(e.Text, "; "); ok {
			fmt.Sscanf(text, "%d more", &more)
		}
		told += more
	}
	if want := reports*(HappenedMax+8) - n; told != want || !strings.HasPrefix(last[len(last)-2].Text, "the channel on host-b died") {
		t.Errorf("%d are told of as not told one by one, want %d: %+v", told, want, last[len(last)-1])
	}
}

func TestHappeningsThatMakeNoSenseAreRefused(t *testing.T) {
	w := newWorld(t, Default())
	for i, h := range []Happening{
		{Kind: "floor_applied", Channel: "md"}, {Kind: EventChannelDied, Channel: "No Name"}, {Kind: EventChannelDied, Channel: "md", Service: "a b"},
		{Kind: EventChannelDied, Channel: "md", Peer: "<x>"}, {Kind: EventChannelDied, Channel: "md", Reason: "two words"},
	} {
		w.raw(Report{Node: "host-a", Seq: uint64(i + 1), Boot: 5, Happened: []Happening{h}})
	}
	if s := w.snapshot(); s.Intake.Refused != 5 || len(w.events(EventChannelDied)) > 0 || len(w.events("floor_applied")) > 0 {
		t.Errorf("%+v %+v", s.Intake, s.Events)
	}
	long := strings.Repeat("x", 5000) + "\n\x1b[31m"
	w.raw(Report{Node: "host-a", Seq: 9, Boot: 5, Happened: []Happening{{Kind: EventChannelDied, Channel: "md", Text: long}}})
	if e := w.events(EventChannelDied); len(e) != 1 || len(e[0].Text) > 400 || strings.ContainsAny(e[0].Text, "\n\x1b") {
		t.Errorf("%+v", e)
	}
}
