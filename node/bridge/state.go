package bridge

import (
	"cmp"
	"slices"
	"time"

	"fire/transport/lines"
)

// PathState is one lane on its way to or from another host, as `fire channel ls` shows it.
type PathState struct {
	Channel  string        `json:"channel"`
	Way      string        `json:"way"` // to, from, or calls: both
	Node     string        `json:"node"`
	Service  string        `json:"service"` // that publishes
	Path     string        `json:"path"`    // udp, multicast, or quic: datagrams do not get through
	Lines    int           `json:"lines"`
	Messages uint64        `json:"messages_total"`
	Packet   uint64        `json:"packet"` // up to here the receiver has everything
	Lag      uint64        `json:"lag_packets"`
	Lost     uint64        `json:"lost_messages_total"`
	Repaired uint64        `json:"repaired_packets_total"` // sent again, or asked for again
	Refused  uint64        `json:"refused_datagrams_total"`
	Second   uint64        `json:"duplicate_datagrams_total"` // that another line, or a repair, had brought
	Overrun  uint64        `json:"overrun_packets_total"`     // beyond the window: let go, to be asked for
	Epochs   uint64        `json:"epochs_total"`
	Proofs   uint64        `json:"proofs_total"`
	RTT      time.Duration `json:"rtt_ns"`
	// From a message's offer on the other host to its packet's arrival here, within a
	// factor of two. It holds the difference of the two hosts' clocks.
	LatencyP50 time.Duration `json:"latency_p50_ns"`
	LatencyP99 time.Duration `json:"latency_p99_ns"`
	Socket     Socket        `json:"socket"` // its own, or shared with the channel's other lanes
	Since      time.Time     `json:"since"`
	Reason     string        `json:"reason,omitempty"` // why it does not work
}

// Socket is what the kernel has done for the datagrams of a channel and a host.
type Socket struct {
	Unsent    uint64 `json:"unsent_datagrams_total"`  // that the kernel did not take
	Dropped   uint64 `json:"dropped_datagrams_total"` // that the kernel had no room for
	Cut       uint64 `json:"cut_datagrams_total"`     // longer than any that was agreed
	GSO       bool   `json:"gso"`                     // runs are sent as one
	NoGSO     string `json:"no_gso,omitempty"`        // why they are not
	GRO       bool   `json:"gro"`                     // runs are received as one
	BusyPoll  bool   `json:"busy_poll"`
	RecvBytes int    `json:"receive_buffer_bytes"`
}

// socketOf reads the counts of a port, and of the groups that it has joined.
func socketOf(all ...*lines.Port) (out Socket) {
	for i, p := range all {
		if p == nil {
			continue
		}
		s := p.Stats()
		out.Unsent, out.Dropped, out.Cut = out.Unsent+s.Unsent, out.Dropped+s.Dropped, out.Cut+s.Cut
		if i == 0 {
			out.GSO, out.NoGSO, out.GRO, out.BusyPoll, out.RecvBytes = s.GSO, s.NoGSO, s.GRO, s.BusyPoll, s.RecvBytes
		}
	}
	return out
}

// Paths lists every lane that comes from or goes to another host, a moment ago.
func (b *Bridge) Paths() []PathState {
	out := []PathState{}
	b.mu.Lock()
	for _, e := range b.exports {
		if s := e.state.Load(); s != nil {
			out = append(out, *s...)
		}
	}
	for _, p := range b.pulls {
		out = append(out, p.paths()...)
	}
	for p := range b.calling {
		if s := p.state.Load(); s != nil {
			out = append(out, *s...)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(out, func(x, y PathState) int {
		return cmp.Or(cmp.Compare(x.Channel, y.Channel), cmp.Compare(x.Way, y.Way), cmp.Compare(x.Node, y.Node), cmp.Compare(x.Service, y.Service))
	})
	return out
}
