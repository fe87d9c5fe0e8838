package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy/reason"
	"fire/twin"
)

func TestServicesAreLeasedAndRenewedAtAThird(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(500 * time.Millisecond)
		first, ok := w.endpoint("orders", "h1")
		if !ok || first.Epoch == 0 || !first.Healthy || !first.Linked {
			t.Fatalf("endpoint %+v, %v", first, ok)
		}
		before := len(heard(w, func(m *catalog.NodeMessage) *catalog.Renew { return m.Renew }))
		time.Sleep(time.Minute)
		renews := heard(w, func(m *catalog.NodeMessage) *catalog.Renew { return m.Renew })
		if n := len(renews) - before; n < 59 || n > 61 || len(renews[len(renews)-1].Leases) != 2 {
			t.Errorf("%d renewals in a minute, the last of %d leases", n, len(renews[len(renews)-1].Leases))
		}
		if now, ok := w.endpoint("orders", "h1"); !ok || now.Epoch != first.Epoch {
			t.Errorf("after a minute: %+v, %v", now, ok)
		}
		if n := len(heard(w, func(m *catalog.NodeMessage) *catalog.Claim { return m.Register })); n != 0 {
			t.Errorf("%d registrations besides the hello", n)
		}
		a.stop()
		if _, ok := w.endpoint("orders", "h1"); ok {
			t.Error("a planned stop left the endpoint to its lease")
		}
	})
}

func TestReconnectKeepsTheEpoch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(5 * time.Second)
		first, _ := w.endpoint("orders", "h1")
		for range 3 {
			w.cut()
			wait(time.Second)
			if now, ok := w.endpoint("orders", "h1"); !ok || now.Epoch != first.Epoch || !now.Linked {
				t.Fatalf("after a cut: %+v, %v; want epoch %d", now, ok, first.Epoch)
			}
		}
	})
}

func TestALostLeaseIsClaimedAgainWithANewEpoch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		first, _ := w.endpoint("orders", "h1")
		w.change(func(d *catalog.Directory) error { d.Expire(time.Now().Add(time.Hour)); return nil })
		wait(3 * time.Second) // the next renewal tells us, then a pause
		now, ok := w.endpoint("orders", "h1")
		if !ok || now.Epoch <= first.Epoch || !now.Healthy {
			t.Fatalf("got %+v, %v; want an epoch above %d", now, ok, first.Epoch)
		}
		if s := a.Status().Services; len(s) != 2 || !s[0].Registered || s[0].Epoch != now.Epoch {
			t.Fatalf("status %+v", s)
		}
	})
}

func TestAChangeOfHealthIsToldAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		begun := time.Now()
		a.board.setHealth("orders", false, "connection refused")
		wait(0)
		if e, _ := w.endpoint("orders", "h1"); e.Healthy || e.Why != "connection refused" || time.Since(begun) != 0 {
			t.Fatalf("endpoint %+v after %v", e, time.Since(begun))
		}
		a.board.setHealth("orders", true, "")
		wait(0)
		if e, _ := w.endpoint("orders", "h1"); !e.Healthy || e.Why != "" {
			t.Fatalf("endpoint %+v", e)
		}
	})
}

func TestHealthThatChangedWhileTheLinkWasDownIsInTheHello(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		w.setDown(true, "c1:7400", "c2:7400")
		w.cut()
		wait(time.Second)
		a.board.setHealth("orders", false, "down")
		w.setDown(false, "c1:7400", "c2:7400")
		wait(3 * time.Second)
		if e, ok := w.endpoint("orders", "h1"); !ok || e.Healthy || e.Why != "down" {
			t.Fatalf("endpoint %+v, %v", e, ok)
		}
	})
}

func TestPlacementDecidesRegistrationAndIsRetriedWhenItChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.floor(map[string]catalog.Service{"orders": placed("h9"), "risk": placed("h1")})
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		row := func() ServiceStatus { return a.Status().Services[0] }
		if s := row(); s.Service != "orders" || s.Registered || s.Reason != reason.NotPlaced {
			t.Fatalf("not placed: %+v", s)
		}
		registers := func() int { return len(heard(w, func(m *catalog.NodeMessage) *catalog.Claim { return m.Register })) }
		time.Sleep(10 * time.Minute)
		if n := registers(); n != 0 {
			t.Errorf("%d vain registrations", n)
		}
		w.floor(map[string]catalog.Service{"orders": placed("h1"), "risk": placed("h1")})
		wait(time.Second)
		if s := row(); !s.Registered || s.Reason != reason.OK {
			t.Fatalf("placed: %+v", s)
		}
		w.floor(map[string]catalog.Service{"orders": placed("h9"), "risk": placed("h1")})
		wait(time.Second)
		if s := row(); s.Registered || s.Reason != reason.NotPlaced {
			t.Fatalf("placed elsewhere: %+v", s)
		}
	})
}

func TestAFloorThatSaysAnotherProtocolMakesTheEndpointUnhealthy(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		speaks := func(_ *Config, _ *Host, s map[string]Service, _ *Deps) {
			o := s["orders"]
			o.Protocol = "fix"
			s["orders"] = o
		}
		w.start(t, t.TempDir()+"/agent", withToken(w.token("")), speaks)
		wait(time.Second)
		if e, ok := w.endpoint("orders", "h1"); !ok || e.Healthy || !strings.Contains(e.Why, "fix") {
			t.Fatalf("endpoint %+v, %v", e, ok)
		}
	})
}

func TestADrainOutlivesAReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(time.Second)
		must(t, a.Drain("orders", true))
		draining := func() bool { e, ok := w.endpoint("orders", "h1"); return ok && e.Draining }
		wait(time.Millisecond)
		if !draining() || !slices.Equal(a.Status().Draining, []string{"orders"}) {
			t.Fatal("does not drain")
		}
		w.cut()
		wait(time.Second)
		if !draining() {
			t.Fatal("the drain was lost with the link")
		}
		must(t, a.Drain("orders", false))
		wait(time.Millisecond)
		if draining() {
			t.Fatal("drains still")
		}
		if err := a.Drain("nonsense", true); err == nil {
			t.Error("drained what does not run here")
		}
	})
}

func TestEveryControlIsTriedBeforeAWaitAndWaitsGrow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.start(t, t.TempDir()+"/agent", withToken(w.token("")))
		wait(5 * time.Second)
		w.setDown(true, "c1:7400", "c2:7400")
		w.cut()
		w.mu.Lock()
		w.dials = nil
		w.mu.Unlock()
		time.Sleep(30 * time.Second)
		w.mu.Lock()
		dials := slices.Clone(w.dials)
		w.mu.Unlock()
		if len(dials) < 32 || len(dials) > 100 {
			t.Errorf("%d dials in 30 s", len(dials))
		}
		longest := time.Duration(0)
		for i := 2; i+1 < len(dials); i += 2 {
			if dials[i].addr == dials[i+1].addr || dials[i].at != dials[i+1].at {
				t.Fatalf("round %d: %v", i/2, dials[i:i+2])
			}
			longest = max(longest, dials[i].at.Sub(dials[i-1].at))
		}
		if longest < time.Second || longest > 2*time.Second {
			t.Errorf("the longest wait is %v, want 1 to 2 s", longest)
		}
		w.setDown(false, "c2:7400") // the other control takes over
		wait(2 * time.Second)
		if e, ok := w.endpoint("orders", "h1"); !ok || !e.Linked {
			t.Errorf("not linked to the control that is left: %+v, %v", e, ok)
		}
	})
}

func TestAControlThatReadsNothingIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.deaf = true
		flood := func(_ *Config, _ *Host, _ map[string]Service, d *Deps) {
			d.Report = func() twin.Report { return twin.Report{Sessions: make([]twin.SessionFact, 1000)} }
		}
		a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")), flood)
		wait(20 * time.Second)
		if !strings.Contains(a.log.String(), reason.SlowReader.String()) {
			t.Error("the link to a control that takes nothing was kept")
		}
	})
}
