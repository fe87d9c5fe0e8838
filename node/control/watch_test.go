package control

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
)

func TestNodesLearnOfEachOthersEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		a := w.node("h1", healthy("orders"), healthy("risk"))
		b := w.node("h2")
		b.say(catalog.NodeMessage{Register: new(healthy("orders"))})
		synctestWait(t)
		want := []string{"orders@h1 linked=true healthy=true", "orders@h2 linked=true healthy=true", "risk@h1 linked=true healthy=true"}
		for _, n := range []*testNode{a, b} {
			if got := endpoints(n.view()); !slices.Equal(got, want) {
				t.Fatalf("%s sees %v", n.name, got)
			}
		}
		if a.whole != 1 || a.deltas == 0 {
			t.Fatalf("h1 took %d snapshots and %d deltas", a.whole, a.deltas)
		}
		m := a.messages[0].Welcome
		if m == nil || m.Control != "c1" || time.Duration(m.LeaseFor) != 3*time.Second || m.Time.IsZero() {
			t.Fatalf("the first message is %+v", a.messages[0])
		}
		if s := status(t, w.c, "h1"); s.State != stateSynced || s.Version != w.c.View().State.Version {
			t.Fatalf("status %+v", s)
		}
	})
}

func TestDeadSessionIsToldAtOnceAndItsEndpointsGoWithTheirLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		a, b := w.node("h1", healthy("orders")), w.node("h2")
		time.Sleep(time.Second) // no publication rests
		a.renewAll()
		synctest.Wait()
		died := time.Now()
		a.session.Close(reason.PeerLost, "")
		synctest.Wait()
		if got := endpoints(b.view()); got[0] != "orders@h1 linked=false healthy=true" {
			t.Fatalf("h2 sees %v without any time passing", got)
		}
		if s := status(t, w.c, "h1"); s.State != stateOffline || s.Reason == "" {
			t.Fatalf("status %+v", s)
		}
		for len(b.view().Endpoints) > 0 {
			time.Sleep(10 * time.Millisecond)
			b.renewAll()
			synctest.Wait()
		}
		if took := time.Since(died); took < 2900*time.Millisecond || took > 3100*time.Millisecond {
			t.Fatalf("the endpoint was removed after %v; its lease is 3s", took)
		}
	})
}

func TestEndpointDownBypassesTheDebounceAndUpDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		a, b := w.node("h1", healthy("orders")), w.node("h2")
		time.Sleep(time.Second)
		a.renewAll()
		synctest.Wait()
		lease := a.lease("orders")
		version := b.view().Version
		a.say(catalog.NodeMessage{Health: &catalog.Health{Lease: lease, Why: "connection refused"}})
		synctest.Wait()
		if e := b.view().Endpoints["orders@h1"]; e.Healthy || e.Why != "connection refused" {
			t.Fatalf("h2 sees %+v without any time passing", e)
		}
		time.Sleep(time.Second)
		a.renewAll()
		a.say(catalog.NodeMessage{Health: &catalog.Health{Lease: lease, Healthy: true}})
		synctest.Wait()
		if b.view().Endpoints["orders@h1"].Healthy {
			t.Fatal("up was not gathered with other changes")
		}
		time.Sleep(w.c.cfg.Debounce)
		synctest.Wait()
		if !b.view().Endpoints["orders@h1"].Healthy || b.view().Version != version+2 {
			t.Fatalf("after the debounce: %+v", b.view().Endpoints)
		}
	})
}

func TestApplyTellsHowEachNodeTookIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		w.node("h1")
		silent := w.node("h2")
		silent.silent = true
		refusing := w.node("h3")
		refusing.silent = true
		next := strings.Replace(testFloor, `["risk"]`, `["*"]`, 1)
		dry, err := w.c.Apply(t.Context(), admin.ApplyRequest{Name: "f", Text: next, DryRun: true})
		if err != nil || !dry.Changed || dry.FloorVersion != 1 || !slices.Equal(dry.Allowed, []string{"orders > orders"}) {
			t.Fatalf("dry run %+v, %v", dry, err)
		}
		go func() {
			time.Sleep(100 * time.Millisecond)
			refusing.say(catalog.NodeMessage{Ack: &catalog.Ack{Version: refusing.view().Version, Stage: catalog.Received}})
			refusing.say(catalog.NodeMessage{Ack: &catalog.Ack{Version: refusing.view().Version, Stage: catalog.Rejected,
				Code: reason.ConfigRejected, Detail: "bad rule"}})
		}()
		begun := time.Now()
		r := w.apply(next)
		if took := time.Since(begun); took < applyWait {
			t.Fatalf("apply did not wait for the silent node: %v", took)
		}
		want := []admin.ApplyNode{
			{Node: "h1", Received: true, Accepted: true, Applied: true, ApplyMS: 0.5},
			{Node: "h2"},
			{Node: "h3", Received: true, Rejected: true, Reason: "config_rejected", Detail: "bad rule"},
		}
		if r.FloorVersion != 2 || !r.Changed || !slices.Equal(r.Nodes, want) {
			t.Fatalf("got %+v", r)
		}
		if s := status(t, w.c, "h3"); s.State != stateRejected || s.Detail != "bad rule" {
			t.Fatalf("h3 is %+v", s)
		}
		time.Sleep(time.Millisecond)
		if s := status(t, w.c, "h2"); s.State != stateStale {
			t.Fatalf("h2 is %+v", s)
		}
		back, err := w.c.Rollback(t.Context(), admin.RollbackRequest{WaitMS: 1})
		if err != nil || back.FloorVersion != 3 || !slices.Equal(back.Denied, []string{"orders > orders"}) {
			t.Fatalf("rollback %+v, %v", back, err)
		}
		bad, err := w.c.Apply(t.Context(), admin.ApplyRequest{Name: "f.toml", Text: "[service.a]\nprt = 3\n"})
		if err != nil || len(bad.Problems) != 2 || !strings.Contains(bad.Problems[1], "prt") || w.c.View().State.Floor != 3 {
			t.Fatalf("bad floor: %+v, %v", bad, err)
		}
	})
}

func TestSlowNodeBlocksNobodyAndCatchesUpBySnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		quick := w.node("h1")
		slow := w.quietNode("h2") // reads nothing: the stream's buffer fills
		synctestWait(t)
		note := strings.Repeat("x", 500)
		for i := range 200 {
			w.c.durably(t.Context(), func(d *catalog.Directory, now time.Time) ([]catalog.Event, error) {
				return d.Revoke(domain.Service(fmt.Sprintf("s%d", i)), "", note, now)
			})
		}
		synctestWait(t)
		if got := len(quick.view().Revoked); got != 200 {
			t.Fatalf("the quick node has %d of 200", got)
		}
		go slow.read()
		synctestWait(t)
		if got := len(slow.view().Revoked); got != 200 || slow.whole < 2 {
			t.Fatalf("the slow node has %d of 200, after %d snapshots", got, slow.whole)
		}
		if slow.deltas > 180 {
			t.Fatalf("%d deltas were kept for a node that does not read", slow.deltas)
		}
	})
}

func TestNodeThatTakesNothingIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		stalled := w.quietNode("h2")
		synctestWait(t)
		note := strings.Repeat("x", 500)
		for i := range 200 {
			w.c.durably(t.Context(), func(d *catalog.Directory, now time.Time) ([]catalog.Event, error) {
				return d.Revoke(domain.Service(fmt.Sprintf("s%d", i)), "", note, now)
			})
		}
		time.Sleep(sendTimeout + time.Second)
		synctest.Wait()
		wantCode(t, stalled.session.Err(), reason.SlowReader)
		if s := status(t, w.c, "h2"); s.Linked {
			t.Fatalf("%+v", s)
		}
	})
}

func TestNewerSessionTakesOverAndTheOlderOneEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		old := w.node("h1", healthy("orders"))
		epoch := old.lease("orders").Epoch
		now := w.node("h1", catalog.Claim{Service: "orders", Epoch: epoch, Healthy: true})
		wantCode(t, old.session.Err(), reason.EpochStale)
		if !status(t, w.c, "h1").Linked || now.lease("orders").Epoch != epoch || !now.view().Endpoints["orders@h1"].Linked {
			t.Fatalf("the newer session is not the node's: %+v", now.view().Endpoints)
		}
	})
}

func TestControlRestartKeepsWhatItMustAndNodesKeepTheirEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		token, err := w.c.CreateToken(t.Context(), admin.TokenRequest{Node: "h9"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "node/h3", Why: "stolen"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.c.Drain(t.Context(), admin.DrainRequest{Node: "h2"}); err != nil {
			t.Fatal(err)
		}
		a := w.node("h1", healthy("orders"))
		epoch := a.lease("orders").Epoch
		before, pin := w.c.View().State, w.c.Bundle().Pin()
		w = w.restart()
		s := w.c.View().State
		if s.Version <= before.Version || s.Floor != 1 || len(s.Revoked) != 1 || !s.Nodes["h2"].Draining || w.c.Bundle().Pin() != pin {
			t.Fatalf("after the restart: %+v", s)
		}
		if got := endpoints(s); !slices.Equal(got, []string{"orders@h1 linked=false healthy=true"}) {
			t.Fatalf("remembered endpoints are %v", got)
		}
		if tokens, _ := w.c.Tokens(t.Context()); len(tokens) != 1 || tokens[0].ID != token.ID {
			t.Fatalf("tokens %+v", tokens)
		}
		b := w.node("h1", catalog.Claim{Service: "orders", Epoch: epoch, Healthy: true})
		for range 4 { // h2 stays away: it is waited for one lease
			time.Sleep(time.Second)
			b.renewAll()
			synctest.Wait()
		}
		if b.lease("orders").Epoch != epoch || !b.view().Endpoints["orders@h1"].Linked {
			t.Fatalf("epoch went from %d to %d", epoch, b.lease("orders").Epoch)
		}
	})
}

func TestRestartedControlTellsNothingBeforeItsMembersAreBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2")
		one, two := w.node("h1", healthy("orders")), w.node("h2", healthy("risk"))
		time.Sleep(time.Second)
		claims := []catalog.Claim{healthy("orders"), healthy("risk")}
		claims[0].Epoch, claims[1].Epoch = one.lease("orders").Epoch, two.lease("risk").Epoch
		w = w.restart()
		one = w.node("h1", claims[0])
		time.Sleep(time.Second)
		synctest.Wait()
		one.mu.Lock()
		told := one.deltas + one.whole
		one.mu.Unlock()
		if told != 0 {
			t.Fatalf("the first to come back was told %d versions in which it is alone", told)
		}
		one.renewAll()
		w.node("h2", claims[1])
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := endpoints(one.view()); !slices.Equal(got, []string{"orders@h1 linked=true healthy=true", "risk@h2 linked=true healthy=true"}) {
			t.Fatalf("told %v", got)
		}
	})
}

func TestReportsCarryTheNodeOfTheirSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		a := w.node("h1")
		a.say(catalog.NodeMessage{Report: &twin.Report{Node: "h2", Seq: 1, At: time.Now(),
			Edges: []twin.EdgeDelta{{Src: "risk", Dst: "orders", Side: twin.SideOut, Requests: 7}}}})
		time.Sleep(time.Second)
		synctest.Wait()
		for _, n := range w.c.Snapshot().Nodes {
			if n.Reporting != (n.Name == "h1") {
				t.Fatalf("node %s reporting=%v", n.Name, n.Reporting)
			}
		}
		edges, err := w.c.Edges(t.Context())
		if err != nil || len(edges) != 1 || edges[0].RequestsTotal != 7 {
			t.Fatalf("edges %+v, %v", edges, err)
		}
	})
}

func TestHostileNodeIsCutAndOthersGoOn(t *testing.T) {
	hostile := map[string]struct {
		do   func(w *world) *testNode
		code reason.Code
	}{
		"announces a gigabyte": {func(w *world) *testNode {
			n := w.node("h2")
			n.stream.Write(binary.BigEndian.AppendUint32(nil, 1<<30))
			return n
		}, reason.FrameOversized},
		"sends no JSON": {func(w *world) *testNode {
			n := w.node("h2")
			n.stream.Write([]byte("\x00\x00\x00\x03{]}"))
			return n
		}, reason.FrameMalformed},
		"says hello twice": {func(w *world) *testNode {
			n := w.node("h2")
			n.say(catalog.NodeMessage{Hello: &catalog.Hello{Protocol: 1, Addr: "h:1"}})
			return n
		}, reason.FrameMalformed},
		"says two things at once": {func(w *world) *testNode {
			n := w.node("h2")
			n.say(catalog.NodeMessage{Renew: &catalog.Renew{}, Drain: &catalog.Drain{}})
			return n
		}, reason.FrameMalformed},
		"goes silent": {func(w *world) *testNode {
			n := w.node("h2")
			time.Sleep(20 * time.Second)
			return n
		}, reason.LeaseExpired},
		"is no member": {func(w *world) *testNode { return w.node("h4") }, reason.NotPermitted},
	}
	for name, h := range hostile {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.members("h1", "h2", "h3")
				good := w.node("h1", healthy("orders"))
				stop := make(chan struct{})
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Second):
							good.renewAll()
						}
					}
				}()
				bad := h.do(w)
				time.Sleep(3 * time.Second)
				close(stop)
				synctest.Wait()
				wantCode(t, bad.session.Err(), h.code)
				if good.session.Err() != nil || !good.view().Endpoints["orders@h1"].Linked {
					t.Fatalf("the good node suffered: %v", good.session.Err())
				}
			})
		})
	}
}

func TestNobodyTouchesAnotherNodesLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		owner, thief := w.node("h1", healthy("orders")), w.node("h2")
		lease := owner.lease("orders")
		thief.say(catalog.NodeMessage{Renew: &catalog.Renew{Leases: []catalog.Lease{lease}}})
		thief.say(catalog.NodeMessage{Health: &catalog.Health{Lease: lease, Why: "mine now"}})
		thief.say(catalog.NodeMessage{Withdraw: &lease})
		thief.say(catalog.NodeMessage{Drain: &catalog.Drain{Service: "orders", On: true}})
		thief.say(catalog.NodeMessage{Register: new(healthy("nothing"))})
		synctestWait(t)
		if e := owner.view().Endpoints["orders@h1"]; !e.Healthy || e.Draining || e.Epoch != lease.Epoch {
			t.Fatalf("the owner's endpoint is %+v", e)
		}
		if got := len(thief.refusals()); got != 5 {
			t.Fatalf("%d refusals, want 5: %+v", got, thief.refusals())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(w.c.View().State.Endpoints) != 0 {
			t.Fatal("the thief's renewal kept the owner's lease")
		}
	})
}

func TestStreamWithoutAFirstMessageIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h1")
		var idle []transport.Stream
		for range streamsPerNodeMax + 5 {
			s, err := n.session.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.Write([]byte{0})
			idle = append(idle, s)
		}
		synctest.Wait()
		_, err := idle[len(idle)-1].Read(make([]byte, 1))
		wantCode(t, err, reason.TooManyStreams)
		time.Sleep(openingTimeout)
		_, err = idle[0].Read(make([]byte, 1))
		wantCode(t, err, reason.HeaderTimeout)
		n.renewAll()
		if a := n.request(catalog.Request{Inspect: &catalog.InspectRequest{Method: "GET", Path: "/v1/status"}}); a.Inspect == nil || a.Inspect.Status != 200 {
			t.Fatalf("the slots did not come back: %+v", a)
		}
	})
}
