package node

import (
	"sync"

	"fire/node/direct"
	"fire/policy/reason"
	"fire/twin"
)

// happenings are what the map is told of with the next report. The broker's loop and the
// bridge fill it, the agent's link empties it.
type happenings struct {
	mu   sync.Mutex // alone
	all  []twin.Happening
	more uint64 // that found no room
}

// kinds of the trail's events that are events of the map, too.
var happeningKinds = map[direct.EventKind]twin.EventKind{
	direct.Died: twin.EventChannelDied, direct.Cut: twin.EventChannelCut, direct.Lost: twin.EventChannelLost, direct.Held: twin.EventChannelHeld,
	"path_blocked": twin.EventPathBlocked, "path_cleared": twin.EventPathCleared, "path_lost": twin.EventPathLost, "path_forged": twin.EventPathForged,
}

// add keeps an event for the map.
func (h *happenings) add(e direct.Event) {
	kind, ok := happeningKinds[e.Kind]
	if !ok {
		return
	}
	x := twin.Happening{Kind: kind, Channel: e.Channel, Service: e.Service, Peer: e.Peer, Text: e.Detail}
	if x.Peer == "" {
		x.Peer = e.Node
	}
	if e.Reason != reason.OK {
		x.Reason = e.Reason.String()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= twin.HappenedMax {
		h.more++
		return
	}
	h.all = append(h.all, x)
}

// take empties it.
func (h *happenings) take() (all []twin.Happening, more uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all, more = h.all, h.more
	h.all, h.more = nil, 0
	return all, more
}
