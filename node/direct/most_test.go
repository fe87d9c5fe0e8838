package direct

import (
	"testing"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// TestLaneWithoutRoomHoldsOnlyItsOwnPublisher has a reader that takes nothing of one lane: the
// other's come, the loop may sleep, and the first one's end is told when it is empty.
func TestLaneWithoutRoomHoldsOnlyItsOwnPublisher(t *testing.T) {
	n := newNode(t)
	o := n.options("orders", "subscriber")
	o.Wait = "poll"
	s, err := channel.OpenSubscriber(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p, q := n.publisher("orders", "publisher"), n.publisher("orders", "second")
	defer func() { s.Close(); p.Close(); q.Close() }()
	room, got := map[string]int{"publisher": 0, "second": 1000}, map[string]int{}
	var ended []string
	h := channel.Handler{
		Message: func(from *channel.Source, _ uint16, _ []byte) { got[from.Service]++; room[from.Service]-- },
		Ended:   func(from *channel.Source, _ *reason.Error) { ended = append(ended, from.Service) },
		Most:    func(from *channel.Source) int { return room[from.Service] },
	}
	eventually(t, "both lanes are read", func() bool { s.Poll(9, &h); return len(s.Lanes()) == 2 })
	full := false
	for range 10_000 {
		full = full || p.Offer(1, make([]byte, 500)) == shm.Full
	}
	if !full {
		t.Fatal("a lane that nobody empties is never full")
	}
	for range 50 {
		if q.Offer(1, make([]byte, 500)) != shm.Sent {
			t.Fatal("the other publisher is held, too")
		}
		s.Poll(9, &h)
	}
	if got["publisher"] != 0 || got["second"] != 50 {
		t.Fatalf("%v", got)
	}
	if s.Arm() {
		t.Error("the loop may not sleep for a lane that it takes nothing of")
	}
	s.Disarm()
	p.Close()
	s.Poll(9, &h)
	if len(ended) > 0 {
		t.Fatal("the end is told before what is in the lane")
	}
	room["publisher"] = 1 << 20
	eventually(t, "everything comes, and then the end", func() bool { s.Poll(99, &h); return len(ended) == 1 })
	if got["publisher"] == 0 || ended[0] != "publisher" {
		t.Error(got, ended)
	}
	room["second"] = 0
	q.Close()
	eventually(t, "an empty lane's end is told though there is no room", func() bool { s.Poll(9, &h); return len(ended) == 2 })
}
