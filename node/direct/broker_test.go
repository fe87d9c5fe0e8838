package direct

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

func TestMessagesGoFromPublisherToSubscriberAndNobodyIsBetween(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	defer p.Close()
	if p.Offer(1, []byte("early")) != shm.Sent { // before there is a reader
		t.Fatal("refused")
	}
	s := n.subscriber("orders", "subscriber")
	defer s.Close()
	p.Offer(2, []byte("late"))
	if got := collect(t, s, 2); !slices.Equal(got, []string{"publisher:early", "publisher:late"}) {
		t.Error(got)
	}
	second := n.publisher("orders", "second")
	defer second.Close()
	second.Offer(3, []byte("too"))
	if got := collect(t, s, 1); got[0] != "second:too" {
		t.Error(got)
	}
	if a := n.events(Attached); len(a) != 3 || a[0].Rule != "channel.orders" || a[0].PID == 0 || a[0].User != me(t) || a[0].Executable == "" || a[0].Version != 1 {
		t.Errorf("%+v", a)
	}
	eventually(t, "the pairs are in the trail", func() bool { return len(n.events(Paired)) == 2 })
}

func TestReaderThatComesLateSeesNothingTwiceAndLosesNothingFromThen(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	defer p.Close()
	first := n.subscriber("orders", "subscriber")
	defer first.Close()
	stop, sent := make(chan struct{}), make(chan int)
	go func() {
		k := 0
		for {
			select {
			case <-stop:
				sent <- k
				return
			default:
				if p.Offer(1, []byte(strconv.Itoa(k))) == shm.Sent {
					k++
				}
			}
		}
	}()
	next := 0
	h := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) {
		if string(b) != strconv.Itoa(next) {
			t.Fatalf("%s where %d was next", b, next)
		}
		next++
	}}
	for next < 10_000 {
		first.Poll(1000, &h)
	}
	late := n.subscriber("orders", "other")
	defer late.Close()
	begins, lateNext := -1, 0
	lh := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) {
		k, _ := strconv.Atoi(string(b))
		if begins < 0 {
			begins, lateNext = k, k
		}
		if k != lateNext {
			t.Fatalf("late: %d where %d was next", k, lateNext)
		}
		lateNext++
	}}
	until := time.Now().Add(5 * time.Second)
	for (begins < 0 || lateNext < begins+20_000) && time.Now().Before(until) {
		first.Poll(1000, &h)
		late.Poll(1000, &lh)
	}
	close(stop)
	total := 0
	for done := false; !done; {
		select {
		case total = <-sent:
			done = true
		default:
			first.Poll(1000, &h)
			late.Poll(1000, &lh)
		}
	}
	eventually(t, "both have read all", func() bool {
		first.Poll(1000, &h)
		late.Poll(1000, &lh)
		return next == total && lateNext == total
	})
	if begins <= 0 {
		t.Errorf("the late reader began at %d", begins)
	}
}

func TestWhoMayNotAttachIsToldWhyAndItIsInTheTrail(t *testing.T) {
	n := newNode(t)
	n.deny["apart"] = policy.Rule{Action: policy.Deny, From: []string{"second"}, To: []string{"other"}}
	n.gone["revoked"] = true
	n.apply()
	for _, c := range []struct {
		channel, service string
		publish          bool
		want             reason.Code
	}{
		{"orders", "subscriber", true, reason.DeniedByDefault},
		{"orders", "publisher", false, reason.DeniedByDefault},
		{"orders", "stranger", false, reason.DeniedByDefault},
		{"nothing", "publisher", true, reason.NoSuchChannel},
		{"orders", "unknown", true, reason.ProgramUnknown},
		{"orders", "", true, reason.ProgramUnknown}, // it may be any of them
	} {
		var err error
		if c.publish {
			_, err = channel.OpenPublisher(t.Context(), n.options(c.channel, c.service))
		} else {
			_, err = channel.OpenSubscriber(t.Context(), n.options(c.channel, c.service))
		}
		if reason.Of(err, 0) != c.want || strings.Count(err.Error(), c.want.String()) != 1 {
			t.Errorf("%s as %s: %v, want %v, told once", c.channel, c.service, err, c.want)
		}
		refused := n.events(Refused)
		if last := refused[len(refused)-1]; last.Reason != c.want || last.Channel != c.channel || last.Detail == "" || last.PID == 0 {
			t.Errorf("%s as %s: the trail says %+v", c.channel, c.service, last)
		}
	}
	n.unset["publisher"] = true
	n.gone["second"] = true
	n.apply()
	for service, want := range map[string]reason.Code{"publisher": reason.NotPlaced, "second": reason.IdentityRevoked} {
		if _, err := channel.OpenPublisher(t.Context(), n.options("orders", service)); reason.Of(err, 0) != want {
			t.Errorf("%s: %v", service, err)
		}
	}
	if rings := n.rings(); len(rings) != 0 {
		t.Errorf("%+v", rings)
	}
}

func TestNothingIsHandedOutThatTheTrailDoesNotTake(t *testing.T) {
	n := newNode(t)
	n.mu.Lock()
	n.full = errors.New("no space left on device")
	n.mu.Unlock()
	if _, err := channel.OpenPublisher(t.Context(), n.options("orders", "publisher")); reason.Of(err, 0) != reason.DiskFull {
		t.Error(err)
	}
	n.mu.Lock()
	n.full = nil
	n.mu.Unlock()
	n.publisher("orders", "publisher").Close()
}

func TestRevokedChannelIsSeenByBothEndsAndRefusesNewOnes(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	defer s.Close()
	md := n.publisher("md", "publisher")
	defer md.Close()
	p.Offer(1, []byte("a"))
	collect(t, s, 1)
	p.Offer(1, []byte("unread"))
	cut, err := n.b.Revoke(t.Context(), Revocation{Channel: "orders", By: "operator", Why: "test"})
	if cut != 2 || err != nil {
		t.Fatal(cut, err)
	}
	// Revoke returns when the gates are set: both see it with the next look.
	if res := p.Offer(1, []byte("b")); res != shm.Shut {
		t.Error(res)
	}
	if state, why := p.State(); state != shm.Revoked || why != reason.ChannelRevoked {
		t.Error(state, why)
	}
	var ended *reason.Error
	h := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) { t.Errorf("read %s after the cut", b) },
		Ended: func(_ *channel.Source, why *reason.Error) { ended = why }}
	if s.Poll(9, &h); ended == nil || ended.Code != reason.ChannelRevoked {
		t.Error(ended)
	}
	eventually(t, "both ends say why they are over", func() bool {
		return reason.Of(p.Err(), 0) == reason.ChannelRevoked && reason.Of(s.Err(), 0) == reason.ChannelRevoked
	})
	if _, err := channel.OpenPublisher(t.Context(), n.options("orders", "publisher")); reason.Of(err, 0) != reason.ChannelRevoked {
		t.Error(err)
	}
	if md.Offer(1, []byte("x")) != shm.Sent {
		t.Error("another channel was touched")
	}
	if cuts := n.events(Cut); len(cuts) != 2 || cuts[0].Rule != "revoke" || cuts[0].Reason != reason.ChannelRevoked {
		t.Errorf("%+v", cuts)
	}
	if err := n.b.Restore(t.Context(), "orders", "", "operator"); err != nil {
		t.Fatal(err)
	}
	n.publisher("orders", "publisher").Close()
	if err := n.b.Restore(t.Context(), "orders", "", "operator"); reason.Of(err, 0) != reason.NoSuchChannel {
		t.Error(err)
	}
}

func TestPolicyChangeCutsWhatItForbidsAndTouchesNothingElse(t *testing.T) {
	n := newNode(t)
	p, second := n.publisher("orders", "publisher"), n.publisher("orders", "second")
	s, other := n.subscriber("orders", "subscriber"), n.subscriber("orders", "other")
	for _, c := range []interface{ Close() error }{p, second, s, other} {
		defer c.Close()
	}
	eventually(t, "all are paired", func() bool { return len(n.events(Paired)) == 4 })
	n.deny["apart"] = policy.Rule{Action: policy.Deny, From: []string{"second"}, To: []string{"other"}}
	n.apply()
	if cuts := n.events(Cut); len(cuts) != 1 || cuts[0].Rule != "apart" || cuts[0].Service != "second" || cuts[0].Peer != "other" {
		t.Fatalf("%+v", cuts)
	}
	second.Offer(1, []byte("x"))
	p.Offer(1, []byte("y"))
	if got := collect(t, s, 2); len(got) != 2 {
		t.Error(got)
	}
	if got := collect(t, other, 1); got[0] != "publisher:y" {
		t.Error(got)
	}
	delete(n.deny, "apart") // and back
	n.apply()
	eventually(t, "they are paired again", func() bool { return len(n.events(Paired)) == 5 })
	second.Offer(1, []byte("z"))
	if got := collect(t, other, 1); got[0] != "second:z" {
		t.Error(got)
	}
	c := n.floor["orders"]
	c.Publishers = []string{"publisher"}
	n.floor["orders"] = c
	n.apply()
	if res := second.Offer(1, []byte("no")); res != shm.Shut {
		t.Error(res)
	}
	if state, why := second.State(); state != shm.Revoked || why != reason.PolicyChanged {
		t.Error(state, why)
	}
	if p.Offer(1, []byte("yes")) != shm.Sent {
		t.Error("an end that may stay was cut")
	}
	delete(n.floor, "orders")
	n.apply()
	if p.Offer(1, []byte("no")) != shm.Shut {
		t.Error("a channel that is no more goes on")
	}
}

func TestPublisherThatLeavesClosesItsLaneOnceItIsRead(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer s.Close()
	eventually(t, "paired", func() bool { return len(n.events(Paired)) == 1 })
	p.Offer(1, []byte("last"))
	p.Close()
	var ended *reason.Error
	var got []string
	h := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) { got = append(got, string(b)) },
		Ended: func(_ *channel.Source, why *reason.Error) { ended = why }}
	eventually(t, "the lane ends", func() bool { s.Poll(9, &h); return ended != nil })
	if !slices.Equal(got, []string{"last"}) || ended.Code != reason.PeerClosed {
		t.Error(got, ended)
	}
	if d := n.events(Detached); len(d) != 1 || d[0].Service != "publisher" {
		t.Errorf("%+v", d)
	}
}

func TestNextReaderOfOrdersGoesOnWhereTheLastOneStopped(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	for k := range 5 {
		p.Offer(1, []byte(strconv.Itoa(k)))
	}
	collect(t, s, 2)
	s.Close()
	p.Offer(1, []byte("5"))
	next := n.subscriber("orders", "subscriber")
	defer next.Close()
	if got := collect(t, next, 4); !slices.Equal(got, []string{"publisher:2", "publisher:3", "publisher:4", "publisher:5"}) {
		t.Error(got)
	}
}

func TestWhatAGoneReaderHadNotReadIsTold(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	for range 5 {
		p.Offer(1, []byte("x"))
	}
	collect(t, s, 2)
	s.Close()
	p.Close()
	if lost := n.events(Lost); len(lost) != 1 || lost[0].Messages != 3 || lost[0].Peer != "subscriber" {
		t.Errorf("%+v", lost)
	}
}

func TestWhatNobodyComesBackForIsGivenUpAndCounted(t *testing.T) {
	n := newNode(t)
	c := n.floor["orders"]
	c.Keep = policy.Duration(50 * time.Millisecond)
	n.floor["orders"] = c
	n.apply()
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	collectAfter := func() { p.Offer(1, []byte("x")); collect(t, s, 1) }
	collectAfter()
	s.Close()
	for p.Offer(1, make([]byte, 1000)) == shm.Sent { // until it is full
	}
	eventually(t, "what was kept is given up", func() bool { return len(n.events(Lost)) == 1 })
	lost := n.events(Lost)[0]
	if lost.Messages < 30 || lost.Peer != "subscriber" {
		t.Errorf("%+v", lost)
	}
	next := n.subscriber("orders", "subscriber")
	defer next.Close()
	eventually(t, "the writer can write again", func() bool { return p.Offer(1, []byte("new")) == shm.Sent })
	if got := collect(t, next, 1); got[0] != "publisher:new" {
		t.Error(got)
	}
}

// Every ring is adopted by the next direct node, whoever comes back first, and no message is
// lost or seen twice over that.
func TestEveryRingIsAdoptedByTheNextDirectNode(t *testing.T) {
	n := newNode(t)
	publishers := []*channel.Publisher{n.publisher("orders", "publisher"), n.publisher("orders", "second"), n.publisher("orders", "publisher")}
	readers := []*channel.Subscriber{n.subscriber("orders", "subscriber"), n.subscriber("orders", "other")}
	defer func() {
		for _, p := range publishers {
			p.Close()
		}
		for _, s := range readers {
			s.Close()
		}
	}()
	eventually(t, "all are paired", func() bool { return len(n.events(Paired)) == 6 })
	cfg := n.b.cfg
	for round := range 5 {
		for i, p := range publishers {
			if p.Offer(1, []byte{byte(round), byte(i)}) != shm.Sent {
				t.Fatal("refused")
			}
		}
		n.stop()
		for i, p := range publishers { // nobody governs now
			if p.Offer(1, []byte{byte(round), byte(i) | 0x80}) != shm.Sent {
				t.Fatal("refused")
			}
		}
		n.start(cfg)
		n.apply()
		eventually(t, "all are adopted", func() bool {
			rings, reading := n.rings(), 0
			for _, r := range rings {
				for _, x := range r.Readers {
					if x.State == "reading" {
						reading++
					}
				}
			}
			return len(rings) == 3 && reading == 6
		})
		for _, s := range readers {
			seen := map[string]int{}
			for _, m := range collect(t, s, 6) {
				seen[m]++
			}
			if len(seen) != 6 {
				t.Fatalf("round %d: %v", round, seen)
			}
		}
		time.Sleep(cfg.Grace + 3*tickEvery) // what is not named by then is forgotten
	}
	if lost := n.events(Lost); len(lost) != 0 {
		t.Errorf("%+v", lost)
	}
}

// A subscriber that comes to a broadcast which has gone on for long begins at the newest
// mark, and hears everything from there.
func TestLateSubscriberOfABroadcastBegins(t *testing.T) {
	n := newNode(t)
	p := n.publisher("md", "publisher")
	defer p.Close()
	eventually(t, "the ring is sealed", func() bool { r := n.rings(); return len(r) == 1 && r[0].Lines > 0 })
	const before = 5000 // several laps
	for k := range before {
		p.Offer(1, []byte(strconv.Itoa(k)))
	}
	s := n.subscriber("md", "subscriber")
	defer s.Close()
	eventually(t, "it reads", func() bool { return len(s.Lanes()) == 1 })
	p.Offer(1, []byte("now"))
	next := -1
	h := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) {
		k, err := strconv.Atoi(string(b))
		if err != nil {
			k = before
		}
		if next >= 0 && k != next {
			t.Fatalf("%s where %d was next", b, next)
		}
		next = k + 1
	}, Gap: func(_ *channel.Source, first, last uint64) { t.Errorf("gap %d to %d", first, last) }}
	eventually(t, "the newest comes", func() bool { s.Poll(100, &h); return next == before+1 })
}

// TestReaderThatMapsLateIsNotLedToWhatIsWrittenOver is offered the lane first, and maps it when
// another has read on for more than a lap.
func TestReaderThatMapsLateIsNotLedToWhatIsWrittenOver(t *testing.T) {
	n := newNode(t)
	late := n.raw()
	if err := late.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(policy.Subscribe), Channel: "orders", Service: "subscriber"}); err != nil {
		t.Fatal(err)
	}
	p := n.publisher("orders", "publisher")
	defer p.Close()
	var lane channel.Packet
	for lane.Type != channel.TypeLane {
		k, files, err := late.Receive()
		if err != nil {
			t.Fatal(err)
		}
		channel.CloseAll(files)
		lane = k
	}
	s := n.subscriber("orders", "other")
	defer s.Close()
	eventually(t, "the other reads", func() bool { return len(s.Lanes()) == 1 })
	h := channel.Handler{}
	for sent := 0; sent < 5000; { // several laps
		if p.Offer(1, []byte("x")) == shm.Sent {
			sent++
		}
		s.Poll(100, &h)
	}
	if err := late.Send(&channel.Packet{Type: channel.TypeMapped, ID: lane.ID}); err != nil {
		t.Fatal(err)
	}
	k, files, err := late.Receive()
	channel.CloseAll(files)
	if err != nil || k.Type != channel.TypeStart {
		t.Fatalf("%+v, %v", k, err)
	}
	if at := n.rings()[0].Stat.Position; k.Position != at {
		t.Errorf("it is to begin at %d; the writer is at %d and keeps no more than a lap", k.Position, at)
	}
	late.Close() // it never read: nobody waits for it any more
	eventually(t, "the writer goes on", func() bool { s.Poll(100, &h); return p.Offer(1, []byte("x")) == shm.Sent })
}
