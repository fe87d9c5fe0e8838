package direct

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// awaited is the cursor of a reader that the writer of an adopted lane respects and that has
// not come back yet. If it does not, nobody but its cursor knows what it had not read.
type awaited struct {
	cursor *os.File
	view   *shm.CursorView
}

// awaitedMax bounds those of a lane: a writer respects no more.
const awaitedMax = 32

// await takes cursors from the lane's writer. It is the writer's word that they are of its
// readers: a false one makes it count messages of its own as lost, and nothing else.
func (l *lane) await(cursors []*os.File) error {
	for _, f := range cursors {
		known := func(r *reading) bool { return shm.SameMemory(r.cursor, f) }
		if slices.ContainsFunc(slices.Collect(values(l.readings)), known) {
			continue // it has come back before its writer
		}
		if len(l.awaited) == awaitedMax {
			return fmt.Errorf("its writer respects more than %d readers", awaitedMax)
		}
		view, err := shm.OpenCursorView(f, l.epoch)
		if err != nil {
			return err
		}
		own, err := duplicate(f)
		if err != nil {
			return errors.Join(err, view.Close())
		}
		l.awaited = append(l.awaited, &awaited{own, view})
	}
	return nil
}

// arrived is told of a reader that has come back.
func (l *lane) arrived(cursor *os.File) {
	l.awaited = slices.DeleteFunc(l.awaited, func(a *awaited) bool {
		if !shm.SameMemory(a.cursor, cursor) {
			return false
		}
		l.release(a)
		return true
	})
}

// release closes one; whoever was to take its place begins as any other.
func (l *lane) release(a *awaited) {
	for _, r := range l.readings {
		if r.instead == a {
			r.instead = nil
		}
	}
	_ = a.close() // nothing is to be done about it
}

// resolve is arrived for a reader whose place another has taken: when it was the last that was
// awaited, the writer need not respect it until grace is over.
func (b *Broker) resolve(l *lane, cursor *os.File) {
	l.arrived(cursor)
	if len(l.awaited) == 0 && !l.settle.IsZero() {
		l.settle = b.deps.Now()
	}
}

// farCursor ends the memory's name of a cursor whose reader stands for other hosts. That
// reader is of the direct node itself and dies with it, so the next one's takes its place:
// what it had not read goes on to the other hosts, and nothing goes there twice. The name is
// the maker's for good (memfd_create(2)); a writer that holds up a false one has some messages
// of its own sent again.
const farCursor = "@elsewhere"

// awaitedFar is the cursor of the far reader before, if it is awaited.
func (l *lane) awaitedFar() *awaited {
	for _, a := range l.awaited {
		if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", a.cursor.Fd())); err == nil && strings.HasSuffix(strings.TrimSuffix(name, " (deleted)"), farCursor) && !l.takes(a) {
			return a
		}
	}
	return nil
}

// takes tells whether a reading is about to take the place.
func (l *lane) takes(a *awaited) bool {
	for _, r := range l.readings {
		if r.instead == a {
			return true
		}
	}
	return false
}

// giveUpAwaited counts what those that did not come back had not read. The writer forgets
// them next.
func (b *Broker) giveUpAwaited(l *lane) {
	for _, a := range l.awaited {
		unread := uint64(0)
		if l.writer.in.spec.Kind != policy.Broadcast {
			unread = l.view.Unread(a.view.Stat().Position)
		}
		if unread > 0 {
			b.count(l.writer.in.name, func(c *Counts) { c.LostMsgs += unread })
			b.tell(Event{Kind: Lost, Channel: l.writer.in.name, Service: l.service, Link: l.link, Reason: reason.PeerLost, Messages: unread,
				Detail: "the reader did not come back after the direct node that knew it"})
		}
		l.release(a)
	}
	l.awaited = nil
}

func (a *awaited) close() error { return errors.Join(a.view.Close(), a.cursor.Close()) }
