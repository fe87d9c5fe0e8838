package direct

import (
	"fmt"
	"time"
)

// untaken is what the audit trail could not take, as on a full disk: it is kept in order until
// the trail takes it. What does not fit any more is counted, and the trail is told of it.
type untaken struct {
	events  []Event
	omitted uint64
	since   time.Time // of the first and the last omitted
	until   time.Time
}

// untakenMax bounds the events that are kept, and refusals half of them: programs that try
// again and again push out no cut.
const untakenMax = 1024

// keep takes what the trail did not. A lane's digest takes the place of the one before: its
// chain covers the messages of both.
func (u *untaken) keep(e Event) {
	if e.Kind == Digest {
		for i := len(u.events) - 1; i >= 0; i-- {
			old := u.events[i]
			if old.Link != e.Link || old.Kind != Digest && old.Kind != Unseen {
				continue
			}
			if old.Kind == Digest && old.Last+1 == e.First {
				e.First, e.Messages = old.First, e.Messages+old.Messages
				u.events = append(u.events[:i], u.events[i+1:]...)
			}
			break
		}
	}
	most := untakenMax
	if e.Kind == Refused {
		most /= 2
	}
	if len(u.events) < most {
		u.events = append(u.events, e)
		return
	}
	if u.omitted == 0 {
		u.since = e.At
	}
	u.omitted++
	u.until = e.At
}

// none tells whether the trail has everything.
func (u *untaken) none() bool { return len(u.events) == 0 && u.omitted == 0 }

// catchUp lets the trail take what it could not before. Until it has all of that, it gets
// nothing newer.
func (b *Broker) catchUp() error {
	u := &b.untaken
	if u.none() {
		return nil
	}
	kept := len(u.events)
	for len(u.events) > 0 {
		if err := b.deps.Record(u.events[0]); err != nil {
			return err
		}
		u.events = u.events[1:]
	}
	if u.omitted > 0 {
		mark := b.stamped(Event{Kind: Omitted, Messages: u.omitted,
			Detail: fmt.Sprintf("%d events from %s to %s found no room in the trail", u.omitted, u.since.UTC().Format(time.RFC3339Nano), u.until.UTC().Format(time.RFC3339Nano))})
		if err := b.deps.Record(mark); err != nil {
			return err
		}
	}
	b.deps.Log.Info("the audit trail takes events again", "kept", kept, "omitted", u.omitted)
	*u = untaken{}
	return nil
}
