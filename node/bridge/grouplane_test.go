package bridge

import (
	"net/netip"
	"testing"
	"time"

	"fire/policy"
	"fire/transport/channel"
	"fire/transport/lines"
	"fire/transport/udp"
)

// group is an export with one publisher's group and members, none of which has a stream.
func groupOf(t *testing.T, names ...string) (*export, *outLane, map[string]*puller) {
	t.Helper()
	b := bare(t, nil)
	e := newExport(b, "md")
	e.now = 1
	e.spec = policy.Channel{Kind: policy.Broadcast, Groups: []string{"239.192.77.9:17559"}}
	port, err := lines.Open(lines.Config{Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, DatagramBytes: 1408})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	e.port = port
	o := &outLane{e: e, from: &channel.Source{Service: "feed"}}
	if err := o.open(udp.SenderConfig{DatagramBytes: 1408, Window: 128, Flow: udp.FlowTagged}); err != nil {
		t.Fatal(err)
	}
	e.outs = []*outLane{o}
	all := map[string]*puller{}
	for _, name := range names {
		p := newPuller(name, nil, nil, nil, nil)
		k := &reach{out: o, puller: p, feedback: e.index()}
		k.id = k.feedback
		if k.peer, _, _, err = o.sender.Join(e.now, udp.PeerConfig{Name: name, Index: k.id}); err != nil {
			t.Fatal(err)
		}
		e.reaches[k.feedback-1], p.lanes[k.id] = k, k
		e.pullers, all[name] = append(e.pullers, p), p
	}
	return e, o, all
}

// keys are those that a member has been given and not used here yet.
func keys(t *testing.T, p *puller) (out map[udp.Secret]uint32) {
	t.Helper()
	out = map[udp.Secret]uint32{}
	for {
		select {
		case b := <-p.frames:
			n, err := parseNote(b[4:])
			if err != nil {
				t.Fatal(err)
			}
			if n.Epoch != nil {
				out[udp.Secret(n.Epoch.Secret)] = n.Epoch.Epoch
			}
		default:
			return out
		}
	}
}

func (e *export) letGo(p *puller) {
	for _, k := range p.lanes {
		e.disconnect(k)
	}
}

// TestKeyOfTheGroupIsNeverOneThatALeaverHas has members leave in one turn, and while a key
// is on its way.
func TestKeyOfTheGroupIsNeverOneThatALeaverHas(t *testing.T) {
	const turn = int64(20 * time.Millisecond)
	for _, apart := range []int64{0, turn, epochWithin / 2, epochWithin - 1, 2 * epochWithin} {
		e, o, all := groupOf(t, "a", "b", "c", "d")
		has := map[string]map[udp.Secret]bool{}
		for name := range all {
			has[name] = map[udp.Secret]bool{o.group.secret: true}
		}
		pass := func(d int64) {
			for until := e.now + d; e.now < until; e.now += turn {
				o.keepEpoch()
				for name, p := range all {
					for s := range keys(t, p) {
						has[name][s] = true
					}
				}
			}
		}
		e.letGo(all["a"])
		pass(apart)
		e.letGo(all["b"])
		pass(int64(time.Second) - turn)
		for _, gone := range []string{"a", "b"} {
			if has[gone][o.group.secret] {
				t.Errorf("%v apart: 1 s after it left, %s has the group's key", time.Duration(apart), gone)
			}
		}
		for _, stays := range []string{"c", "d"} {
			if !has[stays][o.group.secret] {
				t.Errorf("%v apart: %s has no key", time.Duration(apart), stays)
			}
		}
		if apart == 0 && o.group.epoch != 2 {
			t.Errorf("two that leave in one turn make epoch %d, one more is enough", o.group.epoch)
		}
	}
}
