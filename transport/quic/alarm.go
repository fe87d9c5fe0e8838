package quic

import (
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// alarm keeps one deadline of a stream. quic-go makes a timer for each read that waits
// under a deadline and wakes the reader for each new deadline; a relay sets several per
// request, and next to none of them passes. So quic-go is told of a deadline only when
// it has passed. Until then moving it further away is an assignment: the timer runs to
// the earliest one that was asked for, and then on to the latest.
type alarm struct {
	mu    sync.Mutex
	at    time.Duration // of the deadline, since the session's birth; 0 = none
	due   time.Duration // when the timer fires; 0 = it does not run
	timer *time.Timer
	rung  bool // quic-go has been told
}

// teller is a method of quic-go's stream; not a bound one, which would allocate.
type teller func(*quicgo.Stream, time.Time) error

var longAgo = time.Unix(1, 0)

// set changes the deadline. What follows t is always the same for one alarm.
func (a *alarm) set(t, born time.Time, q *quicgo.Stream, tell teller) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.IsZero() {
		a.stop()
		return a.quieten(q, tell)
	}
	a.at = max(t.Sub(born), 1)
	if a.due == 0 || a.at < a.due {
		wait := time.Until(t)
		if wait <= 0 {
			a.rung = true
			return tell(q, longAgo)
		}
		a.start(wait, born, q, tell)
	}
	return a.quieten(q, tell)
}

// quieten takes back a deadline that has passed before.
func (a *alarm) quieten(q *quicgo.Stream, tell teller) error {
	if !a.rung {
		return nil
	}
	a.rung = false
	return tell(q, time.Time{})
}

func (a *alarm) start(wait time.Duration, born time.Time, q *quicgo.Stream, tell teller) {
	a.due = a.at
	if a.timer != nil {
		a.timer.Reset(wait)
		return
	}
	a.timer = time.AfterFunc(wait, func() { a.ring(born, q, tell) })
}

// ring runs when the timer fires. An old firing may meet a new deadline: it looks.
func (a *alarm) ring(born time.Time, q *quicgo.Stream, tell teller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == 0 || a.rung {
		a.due = 0
		return
	}
	if wait := a.at - time.Since(born); wait > 0 {
		a.start(wait, born, q, tell)
		return
	}
	a.due, a.rung = 0, true
	_ = tell(q, longAgo)
}

// end stops the timer of a direction that is over, so that it does not keep the stream
// in memory.
func (a *alarm) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stop()
}

func (a *alarm) stop() {
	a.at, a.due = 0, 0
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil // most streams have one deadline in their life, on their header
	}
}
