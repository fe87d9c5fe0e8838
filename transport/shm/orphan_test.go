package shm

import (
	"errors"
	"testing"
)

// A writer that dies within a message leaves a lane that ends before it: nobody has to be
// unblocked, and no other lane knows of it.
func TestHalfWrittenMessageGoesWithItsLane(t *testing.T) {
	dead, other := newChannel(t, Lane, linesMin), newChannel(t, Lane, linesMin)
	r, _ := dead.reader(0)
	beside, _ := other.reader(0)
	dead.w.Offer(1, []byte("whole"))
	half, res := dead.w.Claim(200)
	if res != Sent {
		t.Fatal(res)
	}
	for i := range half {
		half[i] = 0xff // also where the heads of messages would be
	}
	other.w.Offer(1, []byte("beside"))
	dead.gate.Set(Orphaned, 9) // as the broker says it
	var got []string
	take := func(_ uint16, p []byte) { got = append(got, string(p)) }
	if n, _, err := r.Poll(10, take); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	shut, ok := error(nil), false
	if _, _, shut = r.Poll(10, take); shut != nil {
		var e *ShutError
		ok = errors.As(shut, &e) && e.State == Orphaned && e.Reason == 9
	}
	if !ok {
		t.Errorf("the lane ends with %v", shut)
	}
	if !r.Ready() { // it says so again, and waits for nobody
		t.Error("the reader would wait for a writer that is dead")
	}
	if n, _, err := beside.Poll(10, take); n != 1 || err != nil {
		t.Errorf("another lane: %d, %v", n, err)
	}
	if len(got) != 2 || got[0] != "whole" || got[1] != "beside" {
		t.Errorf("%q", got)
	}
}
