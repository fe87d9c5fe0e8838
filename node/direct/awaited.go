package direct

import (
	"errors"
	"fmt"
	"os"
	"slices"

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
		l.awaited = append(l.awaited, awaited{own, view})
	}
	return nil
}

// arrived is told of a reader that has come back.
func (l *lane) arrived(cursor *os.File) {
	l.awaited = slices.DeleteFunc(l.awaited, func(a awaited) bool {
		return shm.SameMemory(a.cursor, cursor) && a.close() == nil
	})
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
			b.counts.LostMsgs += unread
			b.tell(Event{Kind: Lost, Channel: l.writer.in.name, Service: l.service, Link: l.link, Reason: reason.PeerLost, Messages: unread,
				Detail: "the reader did not come back after the direct node that knew it"})
		}
		_ = a.close()
	}
	l.awaited = nil
}

func (a awaited) close() error { return errors.Join(a.view.Close(), a.cursor.Close()) }
