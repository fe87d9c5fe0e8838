package demo

import (
	"fmt"
	"time"

	"fire/transport/fix"
)

// header is what the session and the programs need of a message's fields.
type header struct {
	msgType        []byte
	seq            uint64
	hasSeq         bool
	sender, target []byte
	sent, original time.Time
	hasSent        bool
	hasOriginal    bool
	possDup        bool
	onBehalfOf     []byte // 115
	deliverTo      []byte // 128

	badTag, badReason int // the first field that breaks a rule; badReason -1: none
}

// parseHeader walks the whole message once: every field must be tag=value.
func parseHeader(m *fix.Message) header {
	h := header{msgType: m.Type, badReason: -1}
	bad := func(tag, why int) {
		if h.badReason < 0 {
			h.badTag, h.badReason = tag, why
		}
	}
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		if len(v) == 0 {
			bad(tag, rejectTagEmpty)
			continue
		}
		switch tag {
		case 34:
			if h.hasSeq {
				bad(tag, rejectTagTwice)
			} else if h.seq, h.hasSeq = fix.Uint(v); !h.hasSeq {
				bad(tag, rejectFormat)
			}
		case 49:
			h.sender = v
		case 56:
			h.target = v
		case 52:
			if h.sent, h.hasSent = fix.Time(v); !h.hasSent {
				bad(tag, rejectFormat)
			}
		case 122:
			if h.original, h.hasOriginal = fix.Time(v); !h.hasOriginal {
				bad(tag, rejectFormat)
			}
		case 43:
			h.possDup = string(v) == "Y"
		case 115:
			h.onBehalfOf = v
		case 128:
			h.deliverTo = v
		case 8, 9, 10, 35:
			bad(tag, rejectTagTwice)
		}
	}
	if f.Err() != nil {
		bad(0, rejectTagNumber)
	}
	return h
}

// receive takes one whole message. It tells whether the message is an application
// message that is next in sequence and is to be handled.
func (s *session) receive(m *fix.Message, now time.Time) (h header, deliver bool) {
	s.now = now
	h = parseHeader(m)
	if s.state == closed || s.state == idle {
		return h, false
	}
	s.lastIn, s.tested = now, false
	switch {
	case string(m.Version) != fixVersion:
		s.expel("BeginString is not " + fixVersion)
	case s.state == logging && string(m.Type) != "A":
		s.close("the first message is not a Logon")
	case !h.hasSeq || h.seq == 0:
		s.expel("MsgSeqNum is missing")
	case string(h.sender) != s.theirs || string(h.target) != s.ours:
		s.refuse(&h, 0, rejectCompID, "CompID problem")
	case !h.hasSent:
		s.refuse(&h, 52, rejectTagMissing, "SendingTime is missing")
	case h.sent.Sub(now).Abs() > sendingTimeSlip:
		s.refuse(&h, 52, rejectSendingTime, "SendingTime accuracy problem")
	case string(m.Type) == "A":
		s.receiveLogon(m, &h)
	case string(m.Type) == "4":
		s.receiveReset(m, &h)
	default:
		return h, s.receiveNext(m, &h)
	}
	return h, false
}

// refuse rejects and logs out: the message cannot be trusted to come from the peer.
func (s *session) refuse(h *header, tag, why int, text string) {
	if s.state == logging {
		s.close(text) // nothing is said to a stranger
		return
	}
	if h.seq == s.memory.nextIn {
		s.memory.nextIn++
	}
	s.reject(h, tag, why, text)
	s.expel(text)
}

// inSequence tells whether the message is the next one. It answers for the rest.
func (s *session) inSequence(h *header) bool {
	switch want := s.memory.nextIn; {
	case h.seq > want:
		s.ask(h.seq)
		return false
	case h.seq == want:
		return true
	case !h.possDup:
		s.expel(tooLow(want, h.seq))
	case !h.hasOriginal:
		s.reject(h, 122, rejectTagMissing, "OrigSendingTime is missing")
	case h.original.After(h.sent):
		s.refuse(h, 122, rejectSendingTime, "OrigSendingTime is later than SendingTime")
	}
	return false
}

// passed marks the message as received.
func (s *session) passed(next uint64) {
	s.memory.nextIn = next
	if s.gapTo != 0 {
		s.gapAt = s.now // the resend is coming
		if next > s.gapTo {
			s.gapTo, s.gapTries = 0, 0
		}
	}
}

func (s *session) receiveNext(m *fix.Message, h *header) (deliver bool) {
	kind := byte(0)
	if len(m.Type) == 1 {
		kind = m.Type[0]
	}
	if kind == '2' && h.seq > s.memory.nextIn && h.badReason < 0 {
		s.receiveResend(m, h) // answered before our own request, or both ends wait for ever
	}
	if kind == '5' && h.seq > s.memory.nextIn {
		if s.state == active {
			s.logout("")
		}
		s.close("logout") // what is missing is asked for after the next Logon
		return false
	}
	if !s.inSequence(h) {
		return false
	}
	s.passed(h.seq + 1)
	if h.badReason >= 0 {
		s.reject(h, h.badTag, h.badReason, rejectText(h.badReason))
		return false
	}
	if h.possDup && !h.hasOriginal {
		s.reject(h, 122, rejectTagMissing, "OrigSendingTime is missing")
		return false
	}
	switch kind {
	case '0':
	case '1':
		s.receiveTest(m, h)
	case '2':
		s.receiveResend(m, h)
	case '3':
	case '5':
		if s.state == active {
			s.logout("")
		}
		s.close("logout")
	default:
		return s.state == active || s.state == leaving
	}
	return false
}

func (s *session) receiveTest(m *fix.Message, h *header) {
	id := field(m, 112)
	if id == nil {
		s.reject(h, 112, rejectTagMissing, rejectText(rejectTagMissing))
		return
	}
	s.head("0", s.memory.nextOut)
	s.out.Bytes(112, id)
	s.admin()
}

func (s *session) receiveResend(m *fix.Message, h *header) {
	from, ok := fix.Uint(field(m, 7))
	to, ok2 := fix.Uint(field(m, 16))
	switch {
	case !ok:
		s.reject(h, 7, rejectValue, "BeginSeqNo is missing or not a number")
	case !ok2:
		s.reject(h, 16, rejectValue, "EndSeqNo is missing or not a number")
	case from == 0 || from >= s.memory.nextOut:
		s.reject(h, 7, rejectValue, "BeginSeqNo was never sent")
	case to != 0 && to < from:
		s.reject(h, 16, rejectValue, "EndSeqNo is below BeginSeqNo")
	default:
		if to == 0 || to >= s.memory.nextOut {
			to = s.memory.nextOut - 1
		}
		s.resend(from, to)
		if s.out.Len() > unsentBytesMax {
			s.out.Reset()
			s.close("the peer does not read")
		}
	}
}

// receiveReset takes a SequenceReset. Without GapFillFlag its own number is ignored.
func (s *session) receiveReset(m *fix.Message, h *header) {
	next, ok := fix.Uint(field(m, 36))
	fill := string(field(m, 123)) == "Y"
	if fill && !s.inSequence(h) {
		return
	}
	switch {
	case !ok:
		if fill {
			s.passed(h.seq + 1)
		}
		s.reject(h, 36, rejectTagMissing, "NewSeqNo is missing or not a number")
	case fill && next <= h.seq, !fill && next < s.memory.nextIn:
		if fill {
			s.passed(h.seq + 1)
		}
		s.reject(h, 36, rejectValue, fmt.Sprintf("NewSeqNo %d is not above what was received", next))
	default:
		s.passed(next)
	}
}

func (s *session) receiveLogon(m *fix.Message, h *header) {
	reset := string(field(m, 141)) == "Y"
	interval, ok := fix.Uint(field(m, 108))
	beat := time.Duration(interval) * time.Second
	switch {
	case h.badReason >= 0:
		s.expel(rejectText(h.badReason))
	case string(field(m, 98)) != "0":
		s.expel("EncryptMethod must be 0")
	case !ok || interval > uint64(heartbeatMax/time.Second) || beat < heartbeatMin:
		s.expel(fmt.Sprintf("HeartBtInt must be between %d and %d seconds", heartbeatMin/time.Second, heartbeatMax/time.Second))
	case s.state == leaving:
	case s.state == active && !reset:
		s.expel("already logged on")
	case reset && h.seq != 1:
		s.expel("ResetSeqNumFlag needs MsgSeqNum 1")
	default:
		s.welcome(h, beat, reset)
	}
}

// welcome takes a valid Logon: resets first, then the answer, then a gap.
func (s *session) welcome(h *header, beat time.Duration, reset bool) {
	if reset && !s.resets {
		s.memory.reset()
	}
	want := s.memory.nextIn
	if h.seq < want {
		if !h.possDup {
			s.expel(tooLow(want, h.seq))
		}
		return
	}
	answer := !s.initiator || s.state == active && !s.resets
	if !s.initiator {
		s.heartbeat = beat
	}
	if h.seq == want {
		s.passed(want + 1)
	}
	if answer {
		s.logon(reset)
	}
	s.resets = false
	if s.state == logging {
		s.activate()
	}
	if h.seq > want {
		s.ask(h.seq)
	}
}

// field is the first value of a tag, nil when there is none.
func field(m *fix.Message, tag int) []byte {
	f := m.Fields()
	for t, v, ok := f.Next(); ok; t, v, ok = f.Next() {
		if t == tag {
			return v
		}
	}
	return nil
}

func rejectText(why int) string {
	switch why {
	case rejectTagNumber:
		return "Invalid tag number"
	case rejectTagMissing:
		return "Required tag missing"
	case rejectTagEmpty:
		return "Tag specified without a value"
	case rejectValue:
		return "Value is incorrect (out of range) for this tag"
	case rejectFormat:
		return "Incorrect data format for value"
	case rejectMsgType:
		return "Invalid MsgType"
	case rejectTagTwice:
		return "Tag appears more than once"
	}
	return "Other"
}
