package spin

import (
	"testing"
	"time"
)

// host says how long the next message takes when the process sleeps and when it looks.
type host struct{ asleep, looking time.Duration }

// live lets t decide n waits on h and counts those that it looked in.
func live(t *trial, h host, n int) (looks int) {
	for range n {
		if t.look() {
			looks++
			t.learn(true, h.looking, most)
		} else {
			t.learn(false, h.asleep, most)
		}
	}
	return looks
}

func TestTrialTakesTheWayThatIsSooner(t *testing.T) {
	const us = time.Microsecond
	spare, scarce := host{100 * us, 60 * us}, host{40 * us, 90 * us}
	var x trial
	if n := live(&x, spare, 2000); n < 1900 {
		t.Errorf("with idle cores it looked %d times of 2000", n)
	}
	live(&x, scarce, 4000) // learns
	if n := live(&x, scarce, 2000); n > 2000/tryLookEvery+1 {
		t.Errorf("with scarce cores it looked %d times of 2000", n)
	}
	live(&x, spare, 1000)
	if n := live(&x, spare, 2000); n < 1900 {
		t.Errorf("with idle cores again it looked %d times of 2000", n)
	}
}

func TestOnePauseDoesNotDecideATrial(t *testing.T) {
	const us = time.Microsecond
	var x trial
	live(&x, host{150 * us, 50 * us}, 1000)
	x.learn(true, time.Hour, most)
	if n := live(&x, host{150 * us, 50 * us}, 100); n < 98 {
		t.Errorf("after one pause it looked %d times of 100", n)
	}
}
