package udp

import (
	"testing"
	"time"
)

// TestNothingIsLostOverARekeyByCount has members hold the next key for long before it is used.
func TestNothingIsLostOverARekeyByCount(t *testing.T) {
	for _, within := range []time.Duration{time.Millisecond, 400 * time.Millisecond, 2 * time.Duration(keysOverlap)} {
		w := newWorld(t, 4)
		x, _ := w.group(t, 3, FlowMax)
		x.send(100)
		x.s.group.sealer.left = rekeyEarly + 1000
		epoch, used := uint32(1), 0
		for range 3 {
			for !x.s.Stale(w.now) {
				x.send(100)
			}
			epoch++
			for _, e := range x.ends {
				if err := e.r.Epoch(w.now, epoch, secret(byte(epoch))); err != nil {
					t.Fatal(err)
				}
				x.send(50)
			}
			for until := w.now + int64(within); w.now < until; {
				x.send(20)
				x.run(10 * time.Millisecond)
			}
			if x.s.group.sealer.left == 0 {
				t.Fatal("the old key is spent before the next is spread")
			}
			if err := x.s.Epoch(w.now, epoch, secret(byte(epoch))); err != nil {
				t.Fatal(err)
			}
			used++
			x.send(200)
			x.s.group.sealer.left = rekeyEarly + 1000
		}
		x.run(100 * time.Millisecond)
		for _, e := range x.ends {
			if st := e.r.Stats(); e.ear.next != x.count || len(e.ear.gaps) > 0 || st.Unkeyed > 0 || st.Naks > 0 {
				t.Errorf("keys spread in %v: %s is at %d of %d, gaps %v, %d datagrams without a key, %d NAKs", within, e.ear.name, e.ear.next, x.count, e.ear.gaps, st.Unkeyed, st.Naks)
			}
		}
	}
}

// TestLastEpochEndsWhenTheNextIsUsed has a member seal with the next one before the sender does.
func TestLastEpochEndsWhenTheNextIsUsed(t *testing.T) {
	for _, signed := range []bool{true, false} {
		w := newWorld(t, 4)
		x, _ := w.group(t, 1, FlowMax)
		victim, old := x.ends[0], x.forger(t)
		if !signed {
			victim.r.cfg.Check = nil
		}
		x.send(100)
		if err := victim.r.Epoch(w.now, 2, secret(77)); err != nil {
			t.Fatal(err)
		}
		early, err := newSealer(secret(77), 9, w.now, true, 2)
		if err != nil {
			t.Fatal(err)
		}
		old.counter, early.counter = 1<<30, 1<<31
		if signed {
			forge(t, x, early, victim.r, typeHeartbeat, (&heartbeat{0, 0, 0, w.now}).append(nil))
		}
		for range 3 {
			x.run(keysOverlap)
			x.send(100)
		}
		x.run(50 * time.Millisecond)
		if victim.ear.next != 400 || len(victim.ear.gaps) > 0 {
			t.Errorf("signed %v: at %d of 400, gaps %v", signed, victim.ear.next, victim.ear.gaps)
		}
		if err := x.s.Epoch(w.now, 2, secret(77)); err != nil {
			t.Fatal(err)
		}
		x.send(100)
		x.run(keysOverlap + 200*time.Millisecond)
		if v := forge(t, x, old, victim.r, typeHeartbeat, (&heartbeat{0, 0, 0, w.now}).append(nil)); v != NoKey {
			t.Errorf("signed %v: the last epoch still opens: %v", signed, v)
		}
	}
}
