package cli

import (
	"fmt"
	"time"

	"fire/node/direct"
	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// fakeDirect answers as a host's direct node: a lane of orders that is read, one whose writer
// has died, and a broadcast that was cut.
func fakeDirect(what string) (any, error) {
	at := func(n int) time.Time { return then.Add(time.Duration(n) * time.Second) }
	channel := func(name string, kind policy.ChannelKind, rings int, c direct.Counts) direct.At[direct.ChannelState] {
		spec := policy.DefaultChannel()
		spec.Kind, spec.Publishers, spec.Subscribers = kind, []string{"strategy-a"}, []string{"risk"}
		return direct.At[direct.ChannelState]{Node: "h1", Value: direct.ChannelState{Name: name, Channel: spec, Here: true, Attached: []direct.End{},
			Revocations: []direct.Revocation{}, Rings: rings, Counts: c}}
	}
	switch what {
	case "channels":
		return []direct.At[direct.ChannelState]{
			channel("fills", policy.Orders, 0, direct.Counts{Attached: 2, Died: 2, Released: 2, LostMsgs: 5}),
			channel("md", policy.Broadcast, 0, direct.Counts{Attached: 1, Refused: 3, Cut: 1}),
			channel("orders", policy.Orders, 1, direct.Counts{Attached: 3, Died: 1, Released: 1})}, nil
	case "events":
		return []direct.At[direct.Event]{
			{Node: "h1", Value: direct.Event{At: at(0), Kind: direct.Attached, Channel: "orders", Service: "strategy-a", Side: "publish", PID: 41, User: "trader", Rule: "channel.orders"}},
			{Node: "h1", Value: direct.Event{At: at(1), Kind: direct.Digest, Channel: "orders", Service: "strategy-a", Last: 8, Messages: 9}},
			{Node: "h1", Value: direct.Event{At: at(2), Kind: direct.Died, Channel: "orders", Service: "strategy-a", Side: "publish", PID: 41, User: "trader", Reason: reason.WriterDied}},
			{Node: "h1", Value: direct.Event{At: at(3), Kind: direct.Cut, Channel: "md", Service: "risk", Side: "subscribe", PID: 42, Reason: reason.ChannelRevoked, Rule: "revoke", Detail: "cut by ops: bad ticks"}}}, nil
	case "rings":
		r := direct.Ring{Channel: "orders", Kind: policy.Orders, Link: 7, Epoch: 3, Writer: direct.End{Service: "strategy-a", PID: 43}, Lines: 1024, Bytes: 69632,
			Created: then, Stat: shm.WriterStat{Messages: 1000, Bytes: 64000, Full: 2, Position: 2000}, Released: 1, Digested: 1000, Audit: policy.AuditAll}
		r.Readers = []direct.RingReader{{End: direct.End{Service: "risk", PID: 42}, Link: 8, Stat: shm.ReaderStat{Position: 1990, Messages: 995, Bytes: 63680},
			Lag: 10, P50: 1023, P99: 4095, Max: 8191, State: "reading"}}
		return []direct.At[direct.Ring]{{Node: "h1", Value: r}}, nil
	}
	return nil, fmt.Errorf("the fake direct node knows no %q", what)
}
