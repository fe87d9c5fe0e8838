package direct

import (
	"context"
	"encoding/binary"
	"testing"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// farPublisher attaches for a service of another host.
func (n *node) farPublisher(name, service string) *channel.Publisher {
	n.t.Helper()
	p, err := channel.OpenPublisher(n.t.Context(), channel.Options{Channel: name, Dial: n.far(&Far{policy.Publish, []Placed{{service, "elsewhere"}}})})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { p.Close() })
	return p
}

func (n *node) far(f *Far) func(context.Context) (*channel.Wire, error) {
	return func(ctx context.Context) (*channel.Wire, error) { return n.b.AttachFar(ctx, f) }
}

// TestLossOnTheWayFromAnotherHostIsAGapHere and only there: a publisher of this host may
// write what looks like it.
func TestLossOnTheWayFromAnotherHostIsAGapHere(t *testing.T) {
	n := newNode(t)
	s := n.subscriber("md", "subscriber")
	defer s.Close()
	p, local := n.farPublisher("md", "publisher"), n.publisher("md", "second")
	defer local.Close()
	eventually(t, "both lanes are read", func() bool { return len(s.Lanes()) == 2 })
	var gaps, messages []string
	h := channel.Handler{Message: func(from *channel.Source, typ uint16, _ []byte) { messages = append(messages, from.Service) },
		Gap: func(from *channel.Source, first, last uint64) {
			if first != 7 || last != 9 {
				t.Errorf("gap %d to %d", first, last)
			}
			gaps = append(gaps, from.Service)
		}}
	p.Offer(1, []byte("a"))
	p.OfferLost(7, 9)
	p.Offer(1, []byte("b"))
	local.OfferLost(7, 9)
	eventually(t, "all is read", func() bool { s.Poll(100, &h); return len(messages) == 3 })
	if len(gaps) != 1 || gaps[0] != "publisher" {
		t.Errorf("gaps of %v, messages of %v", gaps, messages)
	}
}

// TestFarEndsAreGovernedAsAnyOther by the rules for their services.
func TestFarEndsAreGovernedAsAnyOther(t *testing.T) {
	n := newNode(t)
	_, err := channel.OpenPublisher(t.Context(), channel.Options{Channel: "md", Dial: n.far(&Far{policy.Publish, []Placed{{"stranger", "elsewhere"}}})})
	if reason.Of(err, reason.OK) != reason.DeniedByDefault {
		t.Errorf("a service that no list names: %v", err)
	}
	if _, err := n.b.AttachFar(t.Context(), &Far{Side: policy.Publish}); err == nil {
		t.Error("a far end for nobody is attached")
	}
	p := n.farPublisher("md", "publisher")
	if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "md", Service: "publisher", By: "test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the operator's cut holds for it", func() bool { s, code := p.State(); return s == shm.Revoked && code == reason.ChannelRevoked })
}

// TestFarSubscriberGetsWhatIsPublishedHereAlone and not what has come from elsewhere.
func TestFarSubscriberGetsWhatIsPublishedHereAlone(t *testing.T) {
	n := newNode(t)
	far := &Far{policy.Subscribe, []Placed{{"subscriber", "elsewhere"}}}
	s, err := channel.OpenSubscriber(t.Context(), channel.Options{Channel: "md", Dial: n.far(far)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n.farPublisher("md", "publisher")
	local := n.publisher("md", "second")
	defer local.Close()
	eventually(t, "the lane of this host is read", func() bool { return len(s.Lanes()) == 1 })
	if l := s.Lanes()[0]; l.Service != "second" {
		t.Errorf("it reads %s", l.Service)
	}
	if names, _ := n.b.Subscribed(); len(names) > 0 {
		t.Errorf("far readers make demand: %v", names)
	}
	// Another service that it stands for keeps it, when the first is forbidden.
	if err := n.b.Represent(t.Context(), far, []Placed{{"subscriber", "elsewhere"}, {"other", "elsewhere"}}); err != nil {
		t.Fatal(err)
	}
	n.deny["no"] = policy.Rule{Action: policy.Deny, From: []string{"second"}, To: []string{"subscriber"}}
	n.apply()
	if len(s.Lanes()) != 1 {
		t.Error("the lane has ended, though one of its services may read")
	}
	n.deny["no2"] = policy.Rule{Action: policy.Deny, From: []string{"second"}, To: []string{"other"}}
	n.apply()
	h := channel.Handler{}
	eventually(t, "nobody may read it any more", func() bool { s.Poll(10, &h); return len(s.Lanes()) == 0 })
}

// farGap lets the examples of all languages read a lane from another host.
func (b *bindings) hearWhatWasLostOnTheWay(t *testing.T) {
	for _, language := range b.have {
		t.Run(language, func(t *testing.T) {
			n := newNode(t)
			s := b.example(t, language, "subscriber", n.flags("md", "subscriber", "--count", "8")...)
			s.event("attached")
			p := n.farPublisher("md", "publisher")
			eventually(t, "it reads", func() bool {
				r := n.rings()
				return len(r) == 1 && len(r[0].Readers) == 1 && r[0].Readers[0].State == "reading"
			})
			say := func(k uint64) { p.Offer(1, binary.LittleEndian.AppendUint64(nil, k)) }
			say(0)
			say(1)
			p.OfferLost(2, 4)
			say(5)
			say(6)
			say(7)
			if d := s.event("done"); d.Messages != 5 || d.Lost != 3 || d.Wrong != 0 {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestServerOfThisHostTakesThePlaceOfAFarOne for who calls from now on.
func TestServerOfThisHostTakesThePlaceOfAFarOne(t *testing.T) {
	n := newNode(t)
	far, err := channel.OpenServer(t.Context(), channel.Options{Channel: "ask", Dial: n.far(&Far{policy.Subscribe, []Placed{{"subscriber", "elsewhere"}}})})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := channel.OpenServer(t.Context(), channel.Options{Channel: "ask", Dial: n.far(&Far{policy.Subscribe, []Placed{{"subscriber", "third"}}})}); reason.Of(err, reason.OK) != reason.ChannelBusy {
		t.Errorf("two far servers: %v", err)
	}
	// A caller of another host has no way over this one to a third.
	elsewhere, err := channel.OpenCaller(t.Context(), channel.Options{Channel: "ask", Dial: n.far(&Far{policy.Publish, []Placed{{"publisher", "elsewhere"}}})})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	local, err := channel.OpenServer(t.Context(), channel.Options{Socket: n.b.Path(), Channel: "ask", Service: "subscriber"})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	<-far.Done()
	pair, err := local.Accept(t.Context())
	if err != nil || pair.Peer != "publisher" {
		t.Fatal(pair, err)
	}
	pair.Close()
}
