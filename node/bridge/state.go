package bridge

import (
	"cmp"
	"slices"
	"time"
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
	Unsent   uint64        `json:"unsent_datagrams_total"`  // that the kernel did not take
	Dropped  uint64        `json:"dropped_datagrams_total"` // that the kernel had no room for
	Second   uint64        `json:"second_total"`            // datagrams that the other line had brought
	Epochs   uint64        `json:"epochs_total"`
	Proofs   uint64        `json:"proofs_total"`
	RTT      time.Duration `json:"rtt_ns"`
	Since    time.Time     `json:"since"`
	Reason   string        `json:"reason,omitempty"` // why it does not work
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
