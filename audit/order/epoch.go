package order

import "fire/audit/entry"

// epochs tell since which message a direction of a session counts anew. Without them CompIDs and
// a sequence number name several messages of a day.
type epochs map[ends][]*transmission

// epochsOf looks for sessions that began anew. A Logon with ResetSeqNumFlag does so for its own
// direction, and for the other one, too, if that side's Logon does not say so itself (FIX session
// layer, "ResetSeqNumFlag": both sides begin with 1). A SequenceReset does for its own alone.
func epochsOf(control []*transmission) epochs {
	e := epochs{}
	answered := map[ends]*transmission{} // by the direction that has not answered yet
	for _, t := range control {
		if !t.marked(entry.MarkReset) || t.marked(entry.MarkPossDup) || t.twin != nil {
			continue
		}
		own := t.ends()
		e[own] = append(e[own], t)
		if t.first().fix.msgType != "A" {
			continue
		}
		if answered[own] != nil {
			delete(answered, own)
			continue
		}
		if silent := answered[own.reverse()]; silent != nil {
			e[own.reverse()] = append(e[own.reverse()], silent)
		}
		answered[own.reverse()] = t
	}
	for d, t := range answered {
		e[d] = append(e[d], t)
	}
	return e
}

// of is the number of t's epoch, from 0.
func (e epochs) of(t *transmission) int {
	n := 0
	for _, reset := range e[t.ends()] {
		if reset == t || t.after(reset) {
			n++
		}
	}
	return n
}

// copies finds what was sent again. FIX says PossDup of the same number, with the first
// SendingTime as OrigSendingTime, and PossResend of the same order under a new number; the same
// bytes once more are a copy, too. all has its epochs.
func copies(all []*transmission) {
	byNumber, byOrder := map[number][]*transmission{}, map[occasion][]*transmission{}
	for _, t := range all {
		if t.twin == nil && !t.marked(entry.MarkPossDup) {
			byNumber[t.number()] = append(byNumber[t.number()], t)
			if !t.marked(entry.MarkPossResend) {
				byOrder[t.occasion()] = append(byOrder[t.occasion()], t)
			}
		}
	}
	for _, t := range all {
		switch {
		case t.twin != nil:
			t.copyOf = t.twin
		case t.marked(entry.MarkPossDup):
			t.copyOf = original(byNumber[t.number()], t.first().fix.firstSentAt)
		case t.marked(entry.MarkPossResend):
			t.copyOf = original(byOrder[t.occasion()], "")
		}
	}
}

// number names a message within its session.
type number struct {
	ends
	epoch   int
	seq     uint64
	msgType string
}

func (t *transmission) number() number {
	f := &t.first().fix
	return number{t.ends(), t.epoch, f.seq, f.msgType}
}

// occasion names what a message says of an order, whatever its number.
type occasion struct {
	ends
	msgType, clOrdID, origID, execID string
}

func (t *transmission) occasion() occasion {
	f := &t.first().fix
	return occasion{t.ends(), f.msgType, f.clOrdID, f.origID, f.execID}
}

// original is the one that was sent at that time, else the newest.
func original(of []*transmission, sentAt string) *transmission {
	for _, t := range of {
		if t.first().fix.sentAt == sentAt {
			return t
		}
	}
	if len(of) == 0 {
		return nil
	}
	return of[len(of)-1]
}
