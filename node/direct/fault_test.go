package direct

import (
	"context"
	"strconv"
	"testing"
	"time"

	"fire/policy"
	"fire/transport/channel"
	"fire/transport/shm"
)

// A rule cuts the only reader of a lane that has gone on for laps; when it is lifted the
// reader begins where the writer is, and the writer is not held up.
func TestOnlyReaderThatARuleHasCutBeginsAgainWhenItIsLifted(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	defer s.Close()
	h := channel.Handler{}
	for range 5000 { // several laps
		for p.Offer(1, []byte("x")) != shm.Sent {
			s.Poll(1000, &h)
		}
	}
	n.deny["apart"] = policy.Rule{Action: policy.Deny, From: []string{"publisher"}, To: []string{"subscriber"}}
	n.apply()
	delete(n.deny, "apart")
	n.apply()
	eventually(t, "they are paired again", func() bool { return len(n.events(Paired)) == 2 })
	for k := range 5000 {
		until := time.Now().Add(5 * time.Second)
		for p.Offer(1, []byte(strconv.Itoa(k))) != shm.Sent {
			s.Poll(1000, &h)
			if time.Now().After(until) {
				t.Fatalf("the writer is stuck at %d", k)
			}
		}
	}
}

// A caller that dies while a server comes costs the server nothing.
func TestDeniedPairIsCoupledWhenTheRuleIsLifted(t *testing.T) {
	n := newNode(t)
	n.deny["apart"] = policy.Rule{Action: policy.Deny, From: []string{"publisher"}, To: []string{"subscriber"}}
	n.apply()
	s, err := channel.OpenServer(t.Context(), n.options("ask", "subscriber"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := channel.OpenCaller(t.Context(), n.options("ask", "publisher"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	connect := func() *channel.Pair {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		p, err := c.Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	delete(n.deny, "apart")
	n.apply()
	p := connect()
	defer p.Close()
	n.deny["apart"] = policy.Rule{Action: policy.Deny, From: []string{"publisher"}, To: []string{"subscriber"}}
	n.apply()
	if p.Offer(1, []byte("no")) != shm.Shut {
		t.Error("a denied pair goes on")
	}
	if rings := n.rings(); len(rings) != 0 {
		t.Errorf("%d rings are left of a denied pair", len(rings))
	}
	delete(n.deny, "apart")
	n.apply()
	again := connect()
	defer again.Close()
	if again.Offer(1, []byte("yes")) != shm.Sent {
		t.Error("the pair is not coupled again")
	}
	if d := n.events(Died); len(d) != 0 {
		t.Errorf("an end broke off: %+v", d)
	}
}

// Readers that come and go at a writer that writes nothing cost it nothing.
func TestReadersMayComeAndGoWhileTheWriterIsIdle(t *testing.T) {
	n := newNode(t)
	c := n.floor["orders"]
	c.Keep = 0
	n.floor["orders"] = c
	n.apply()
	p := n.publisher("orders", "publisher")
	defer p.Close()
	for k := range 400 {
		s := n.subscriber("orders", "subscriber")
		eventually(t, "it reads", func() bool { return len(s.Lanes()) == 1 })
		if k == 399 {
			p.Offer(1, []byte("x"))
			collect(t, s, 1)
		}
		s.Close()
	}
	if _, losses := p.Linked(); losses != 0 {
		t.Errorf("the publisher lost the direct node %d times", losses)
	}
}

// Subscribers that wait for a publisher count against the limit, too: more than a writer can
// look at would cost the publisher its lane.
func TestSubscribersAreBoundedBeforeThereIsAPublisher(t *testing.T) {
	n := newNode(t)
	var all []*channel.Subscriber
	defer func() {
		for _, s := range all {
			s.Close()
		}
	}()
	for len(all) < 40 {
		s, err := channel.OpenSubscriber(t.Context(), n.options("orders", "subscriber"))
		if err != nil {
			break
		}
		all = append(all, s)
	}
	p := n.publisher("orders", "publisher")
	defer p.Close()
	eventually(t, "all read", func() bool {
		for _, s := range all {
			if len(s.Lanes()) != 1 {
				return false
			}
		}
		return true
	})
	if _, losses := p.Linked(); losses != 0 || len(all) == 40 {
		t.Errorf("%d subscribers, the publisher lost the direct node %d times", len(all), losses)
	}
}
