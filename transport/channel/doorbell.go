package channel

import (
	"os"

	"fire/policy/reason"
	"fire/transport/shm"
)

// A subscriber whose strategy is poll waits in a loop of its own, by one doorbell for all
// its lanes:
//
//	for {
//		if !s.Arm() {
//			poll(s.File(), sockets, ...) // or epoll, or io_uring
//			s.Disarm()
//		}
//		s.Poll(...)
//	}
//
// It rings for a message, a lane that comes or ends, a cut, and the end of the end.

// File is what the loop polls for reading; nil when the strategy is another. The
// Subscriber owns it and alone reads from it.
func (s *Subscriber) File() *os.File {
	if s.bell == nil {
		return nil
	}
	return s.bell.File()
}

// Arm is called before the loop waits. True means that Poll has something to say already,
// and that the loop must not wait; so it is always without a doorbell.
func (s *Subscriber) Arm() (ready bool) {
	if s.bell == nil {
		return true
	}
	readers := s.willing() // a lane that comes after this look rings
	s.armed = !s.bell.Arm(readers)
	if s.armed && len(readers) == 0 && s.Err() != nil && len(*s.lanes.Load()) == 0 {
		s.Disarm()
	}
	return !s.armed
}

// Disarm is called after the loop has waited: no writer rings any more. Poll does it, too.
func (s *Subscriber) Disarm() {
	if s.bell != nil {
		s.armed = false
		s.bell.Disarm(s.reading())
	}
}

// awaitBell is Wait of a subscriber that has a doorbell.
func (s *Subscriber) awaitBell() bool {
	if s.Arm() {
		return true
	}
	s.bell.Wait(awaitLane)
	s.Disarm()
	for _, r := range s.readers {
		if r.Ready() {
			return true
		}
	}
	return len(s.readers) == 0 && s.Err() != nil
}

// welcomed decides, before the first lane comes, whether there is a doorbell. A later
// welcome changes nothing: the loop has the file.
func (s *Subscriber) welcomed() (err error) {
	if s.decided {
		return nil
	}
	s.decided = true
	if s.number() != waitPoll {
		return nil
	}
	if s.bell, err = shm.NewDoorbell(); err != nil {
		return reason.New(reason.RingUnavailable, "channel %s: %w", s.o.Channel, err)
	}
	return nil
}

// nudge wakes who waits, whichever way.
func (s *Subscriber) nudge() {
	s.waiter.Nudge()
	if s.bell != nil {
		s.bell.Ring()
	}
}

// button is what goes to the direct node beside a lane.
func (s *Subscriber) button() []*os.File {
	if s.bell == nil {
		return nil
	}
	return []*os.File{s.bell.Button()}
}
