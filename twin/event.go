package twin

import "time"

// EventsMax is how many events a Snapshot carries.
const EventsMax = 200

// Event is something that happened on the floor. Kind is from a closed list.
type Event struct {
	ID       uint64    `json:"id"` // grows by one; a gap means events were dropped
	At       time.Time `json:"at"`
	Kind     EventKind `json:"kind"`
	Severity State     `json:"severity"`          // ok, warn or error
	Subject  string    `json:"subject,omitempty"` // "edge a>b", "node h1", "endpoint risk@h2"
	Text     string    `json:"text"`
}

// EventKind names an event for machines.
type EventKind string

const (
	EventNodeLinked     EventKind = "node_linked"
	EventNodeLost       EventKind = "node_lost"
	EventNodeSilent     EventKind = "node_silent"
	EventNodeRestarted  EventKind = "node_restarted"
	EventEndpointUp     EventKind = "endpoint_up"
	EventEndpointDown   EventKind = "endpoint_down"
	EventEndpointDrain  EventKind = "endpoint_draining"
	EventEdgeNew        EventKind = "edge_new"
	EventEdgeRed        EventKind = "edge_red"
	EventEdgeGreen      EventKind = "edge_green"
	EventEdgeGone       EventKind = "edge_gone"
	EventFloorApplied   EventKind = "floor_applied"
	EventPolicyApplied  EventKind = "policy_applied"
	EventCertRenewed    EventKind = "cert_renewed"
	EventRevoked        EventKind = "revoked"
	EventReportsRefused EventKind = "reports_refused"
	EventChannelDied    EventKind = "channel_died" // a program, while it was attached
	EventChannelCut     EventKind = "channel_cut"  // an end or a pair, by decision
	EventChannelLost    EventKind = "channel_lost" // messages that a reader will not read any more
	EventChannelHeld    EventKind = "channel_held" // a process that was cut still has the ring
	EventPathBlocked    EventKind = "path_blocked"
	EventPathCleared    EventKind = "path_cleared"
	EventPathLost       EventKind = "path_lost"
	EventPathForged     EventKind = "path_forged"
)

// eventRing keeps the newest EventsMax events.
type eventRing struct {
	last   uint64
	events []Event // append-only within its capacity: snapshots share it
}

func (r *eventRing) add(e Event) {
	r.last++
	e.ID = r.last
	if len(r.events) == cap(r.events) {
		fresh := make([]Event, 0, 4*EventsMax)
		r.events = append(fresh, r.events[max(0, len(r.events)-EventsMax):]...)
	}
	r.events = append(r.events, e)
}

func (r *eventRing) newest() []Event {
	return r.events[max(0, len(r.events)-EventsMax):len(r.events):len(r.events)]
}
