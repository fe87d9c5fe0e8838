package direct

import (
	"syscall"
	"testing"
)

func TestDeathsAndCutsAreNoticedOnceEvenWithoutRoomInTheTrail(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	defer s.Close()
	eventually(t, "they are paired", func() bool { return len(n.events(Paired)) == 1 })
	n.mu.Lock()
	n.full = syscall.ENOSPC
	n.mu.Unlock()
	if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "orders", By: "operator"}); err != nil {
		t.Fatal(err)
	}
	noticed := func() (cuts int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, e := range n.noticed {
			if e.Kind == Cut && !e.At.IsZero() {
				cuts++
			}
		}
		return cuts
	}
	if noticed() != 2 || len(n.events(Cut)) != 0 {
		t.Errorf("%d were noticed, %d recorded", noticed(), len(n.events(Cut)))
	}
	n.mu.Lock()
	n.full = nil
	n.mu.Unlock()
	eventually(t, "the trail has them", func() bool { return len(n.events(Cut)) == 2 })
	if noticed() != 2 {
		t.Errorf("%d were noticed", noticed())
	}
}

func TestDigestsPushNoOtherEventOutOfWhatIsShown(t *testing.T) {
	trail, err := OpenTrail(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	for i := range 2 * trailLast {
		kind := Digest
		if i == 3 {
			kind = Died
		}
		if err := trail.Record(Event{Kind: kind, First: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	last := trail.Last()
	if len(last) != trailLast || last[0].Kind != Died || last[len(last)-1].First != 2*trailLast-1 {
		t.Errorf("%d events are kept, the oldest is %+v", len(last), last[0])
	}
	for range 2 * trailLast {
		if err := trail.Record(Event{Kind: Cut}); err != nil {
			t.Fatal(err)
		}
	}
	if last := trail.Last(); len(last) != trailLast || last[0].Kind != Cut {
		t.Errorf("%d events are kept, the oldest is %+v", len(last), last[0])
	}
}
