package spin

import "time"

// windowFirst is where a window shorter than that closes: looking for less time than a
// wake-up takes finds nothing.
const windowFirst = 8 * time.Microsecond

// window is how long to look after a message of one kind. It is pure.
type window struct {
	now, most time.Duration
}

// learn takes the time from one message to the next.
func (w *window) learn(gap time.Duration) {
	switch {
	case gap > w.most:
		if w.now /= 2; w.now < windowFirst {
			w.now = 0
		}
	case gap > w.now:
		w.now = min(w.most, max(2*gap, windowFirst))
	}
}
