package twin

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"
)

// Happening is something that the direct paths of a node tell of at once: what died, was
// cut, or does not get through. It rides on the node's next report.
type Happening struct {
	Kind    EventKind `json:"kind"` // one of those below
	Channel string    `json:"channel"`
	Service string    `json:"service,omitempty"`
	Peer    string    `json:"peer,omitempty"` // the other host of a path, or the service at a pair's other end
	Reason  string    `json:"reason,omitempty"`
	Text    string    `json:"text,omitempty"`
}

// severities of the kinds that a node may tell of.
var severities = map[EventKind]State{
	EventChannelDied: StateWarn, EventChannelCut: StateWarn, EventChannelLost: StateError, EventChannelHeld: StateError,
	EventPathBlocked: StateWarn, EventPathCleared: StateOK, EventPathLost: StateError, EventPathForged: StateError,
}

// The events of a Snapshot are few, and not one node's to fill: each may tell of so many at
// once and then of so many per second. The rest is counted and told with the next.
const (
	HappenedMax      = 32 // of one report
	happeningsBurst  = 20
	happeningsPerSec = 1
)

// told is what a node may tell of.
type told struct {
	limit  *rate.Limiter
	untold uint64
}

// happened makes events of what a report tells.
func (g *graph) happened(n *node, r *Report, at time.Duration) {
	if n.told.limit == nil {
		n.told.limit = rate.NewLimiter(happeningsPerSec, happeningsBurst)
	}
	n.told.untold = addSaturating(n.told.untold, min(r.Unhappened, countMax))
	for i, h := range r.Happened {
		severity, ok := severities[h.Kind]
		if i >= HappenedMax || !ok || !legalName(h.Channel) || h.Service != "" && !legalName(h.Service) || h.Peer != "" && !legalName(h.Peer) || !label(h.Reason) {
			g.refuse(n.name, at, 1, "a happening that makes no sense")
			continue
		}
		if !n.told.limit.AllowN(g.clock.wall(at), 1) {
			n.told.untold++
			continue
		}
		g.note(Event{Kind: h.Kind, Severity: severity, Subject: "channel " + h.Channel, Text: h.sentence(n.name, n.told.untold)}, at)
		n.told.untold = 0
	}
}

func (h *Happening) sentence(node string, untold uint64) string {
	who := h.Service
	if who == "" {
		who = "the channel"
	}
	text := who + " on " + node
	switch h.Kind {
	case EventChannelDied:
		text += " died while attached"
	case EventChannelCut:
		text += " was cut"
	case EventChannelLost:
		text += ": messages are given up"
	case EventChannelHeld:
		text += " was cut and still holds the ring"
	case EventPathBlocked:
		text += ": no datagram gets through, and the session carries it"
	case EventPathCleared:
		text += ": datagrams get through again"
	case EventPathLost:
		text += ": messages are lost between hosts"
	case EventPathForged:
		text += ": a member of the group has forged packets"
	}
	if h.Peer != "" {
		text += ", peer " + h.Peer
	}
	if h.Reason != "" {
		text += " (" + h.Reason + ")"
	}
	if h.Text != "" {
		text += ": " + h.Text
	}
	if untold > 0 {
		text += fmt.Sprintf("; %d more on that node were not told one by one", untold)
	}
	return text
}
