package bridge

import (
	"testing"
	"time"
)

// ends are the two of a lane, with a path by UDP that can be cut in each way.
type ends struct {
	now    int64
	d      [2]detour
	broken [2]bool // towards that end
	backs  int
}

// run lets time pass: both send now and then, and say what they have to say.
func (x *ends) run(d time.Duration) {
	for until := x.now + int64(d); x.now < until; x.now += int64(10 * time.Millisecond) {
		for i := range x.d {
			if x.d[i].on && x.d[i].probe(x.now) && !x.broken[1-i] {
				x.d[1-i].saw(x.now)
			}
		}
		for i := range x.d {
			if x.d[i].ask(x.now) {
				x.hear(1-i, i, &clearing{})
			}
		}
	}
}

func (x *ends) hear(i, from int, c *clearing) {
	over, answer := x.d[i].agree(x.now, c)
	if over {
		x.backs++
	}
	if answer {
		x.hear(from, i, &clearing{Back: true})
	}
}

func (x *ends) begin() {
	for i := range x.d {
		x.d[i].begin(x.now)
	}
}

func TestLaneGoesBackWhenDatagramsComeBothWays(t *testing.T) {
	x := &ends{now: int64(time.Hour)}
	x.begin()
	x.broken = [2]bool{true, true}
	x.run(5 * time.Second)
	if !x.d[0].on || !x.d[1].on {
		t.Fatal("it went back though nothing comes")
	}
	x.broken[0] = false
	x.run(5 * time.Second)
	if !x.d[0].on || !x.d[1].on {
		t.Fatal("it went back though datagrams come in one way only")
	}
	x.broken[1] = false
	x.run(time.Duration(holdMin) + 3*time.Second)
	if x.d[0].on || x.d[1].on || x.backs != 2 {
		t.Fatalf("%+v %+v", x.d, x.backs)
	}
}

// TestEndThatMissedTheAnswerGoesBackAsWell has one of them on its detour alone.
func TestEndThatMissedTheAnswerGoesBackAsWell(t *testing.T) {
	x := &ends{now: 1}
	x.d[0].begin(x.now)
	for range 200 {
		x.d[0].saw(x.now) // all that the other one sends
		x.run(10 * time.Millisecond)
	}
	if x.d[0].on {
		t.Errorf("%+v", x.d[0])
	}
}

// TestNobodyIsSentManyCopiesThatDoNotAnswer counts them in a minute.
func TestNobodyIsSentManyCopiesThatDoNotAnswer(t *testing.T) {
	var d detour
	now, sent := int64(time.Hour), 0
	d.begin(now)
	for end := now + int64(time.Minute); now < end; now += int64(time.Millisecond) {
		if d.probe(now) {
			sent++
		}
	}
	if sent < 20 || sent > 40 {
		t.Errorf("%d copies", sent)
	}
}

func TestPathThatBreaksAgainIsTriedEverMoreRarely(t *testing.T) {
	x := &ends{now: 1}
	for range 12 { // for some 12 minutes it works for a moment each time
		x.begin()
		x.run(time.Minute)
	}
	if x.backs/2 > 12 {
		t.Errorf("%d times in %v", x.backs/2, time.Duration(x.now))
	}
	if h := x.d[0].hold; h < holdMost {
		t.Errorf("it is still tried after %v", time.Duration(h))
	}
	x.d[0].on, x.d[1].on = false, false
	x.run(time.Duration(3 * holdMost))
	x.begin()
	if h := x.d[0].hold; h != holdMin {
		t.Errorf("after a long good time it is tried after %v", time.Duration(h))
	}
}
