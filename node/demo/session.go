package demo

import (
	"fmt"
	"strconv"
	"time"

	"fire/transport/fix"
)

// fixVersion is the one BeginString of the floor.
const fixVersion = "FIX.4.4"

// Session limits.
const (
	heartbeatMin    = time.Second
	heartbeatMax    = 5 * time.Minute
	sendingTimeSlip = 2 * time.Minute // FIX 4.4 volume 2, "SendingTime accuracy"
	resendTriesMax  = 3
	unsentBytesMax  = 4 << 20
)

// Values of SessionRejectReason (373).
const (
	rejectTagNumber   = 0
	rejectTagMissing  = 1
	rejectTagEmpty    = 4
	rejectValue       = 5
	rejectFormat      = 6
	rejectCompID      = 9
	rejectSendingTime = 10
	rejectMsgType     = 11
	rejectTagTwice    = 13
)

type sessionState uint8

const (
	idle    sessionState = iota // no connection
	logging                     // connected, no Logon received yet
	active                      // logged on
	leaving                     // our Logout is out, theirs is awaited
	closed                      // write what is left, then cut the connection
)

// session is one side of a FIX session: a pure state machine. It is told the time,
// the messages received and what to send; out collects the bytes to write. The
// owner calls it from one goroutine at a time.
type session struct {
	ours, theirs string
	initiator    bool
	heartbeat    time.Duration // HeartBtInt: the initiator's wish, then what was agreed
	resetAtLogon bool          // initiator: ask for ResetSeqNumFlag at every Logon
	memory       *replay

	state    sessionState
	why      string // of closed
	out      fix.Builder
	now      time.Time // of the call in progress
	lastIn   time.Time
	lastOut  time.Time
	since    time.Time // of state logging or leaving
	tested   bool      // a TestRequest is unanswered
	gapTo    uint64    // a resend up to here was asked for; 0: no gap
	gapAt    time.Time
	gapTries int
	logonSeq uint64 // of our Logon
	resets   bool   // our Logon asked for ResetSeqNumFlag

	resent, filled, rejected, gaps, garbledIn uint64
}

// connect begins a connection; an initiator says Logon.
func (s *session) connect(now time.Time) {
	s.now, s.state, s.why, s.tested, s.gapTo, s.gapTries = now, logging, "", false, 0, 0
	s.lastIn, s.lastOut, s.since = now, now, now
	s.out.Reset()
	if s.initiator {
		if s.resets = s.resetAtLogon; s.resets {
			s.memory.reset()
		}
		s.logon(s.resets)
	}
}

// disconnect ends the connection; what is unsent is in memory.
func (s *session) disconnect() {
	s.state = idle
	s.out.Reset()
}

// begin starts an application message; end finishes it. Without a connection it
// only takes its number: the peer asks for it after the next Logon.
func (s *session) begin(msgType string, now time.Time) *fix.Builder {
	s.now = now
	s.head(msgType, s.memory.nextOut)
	return &s.out
}

func (s *session) end() {
	raw := s.out.End()
	s.memory.put(s.memory.nextOut, raw)
	s.memory.nextOut++
	s.lastOut = s.now
	if s.state != active {
		s.out.Abandon()
	} else if s.out.Len() > unsentBytesMax {
		s.close("the peer does not read")
		s.out.Reset()
	}
}

// tick does what time asks for.
func (s *session) tick(now time.Time) {
	s.now = now
	quiet := now.Sub(s.lastIn)
	switch {
	case s.state == logging && now.Sub(s.since) > 10*time.Second:
		s.close("no Logon came")
	case s.state == leaving && now.Sub(s.since) > 2*time.Second:
		s.close("no Logout came")
	case s.state != active:
	case quiet > s.heartbeat*12/5:
		s.close("heartbeat timeout")
	case quiet > s.heartbeat*6/5 && !s.tested:
		s.tested = true
		s.head("1", s.memory.nextOut)
		s.out.Time(112, now)
		s.admin()
	case s.gapTo != 0 && now.Sub(s.gapAt) > s.heartbeat:
		s.askAgain()
	case now.Sub(s.lastOut) >= s.heartbeat:
		s.head("0", s.memory.nextOut)
		s.admin()
	}
}

// leave says Logout and waits for the peer's.
func (s *session) leave(text string, now time.Time) {
	s.now = now
	if s.state == active {
		s.logout(text)
		s.state, s.since, s.why = leaving, now, text
	} else if s.state == logging {
		s.close(text)
	}
}

// head writes the standard header.
func (s *session) head(msgType string, seq uint64) {
	s.out.Begin(fixVersion, msgType)
	s.out.String(49, s.ours)
	s.out.String(56, s.theirs)
	s.out.Int(34, int64(seq))
	s.out.Time(52, s.now)
}

// admin finishes an administrative message, which is never sent again.
func (s *session) admin() {
	s.out.End()
	s.memory.nextOut++
	s.lastOut = s.now
}

func (s *session) logon(reset bool) {
	s.logonSeq = s.memory.nextOut
	s.head("A", s.memory.nextOut)
	s.out.Int(98, 0)
	s.out.Int(108, int64(s.heartbeat/time.Second))
	if reset {
		s.out.Char(141, 'Y')
	}
	s.admin()
}

func (s *session) logout(text string) {
	s.head("5", s.memory.nextOut)
	if text != "" {
		s.out.String(58, text)
	}
	s.admin()
}

// reject answers a message that breaks the session's rules.
func (s *session) reject(h *header, tag, why int, text string) {
	s.rejected++
	s.head("3", s.memory.nextOut)
	s.out.Int(45, int64(h.seq))
	if tag > 0 {
		s.out.Int(371, int64(tag))
	}
	s.out.Bytes(372, h.msgType)
	s.out.Int(373, int64(why))
	s.out.String(58, text)
	s.admin()
}

func (s *session) close(why string) { s.state, s.why = closed, why }

// expel says Logout with the reason and closes without waiting: the peer broke a
// rule that leaves nothing to talk about.
func (s *session) expel(text string) {
	s.logout(text)
	s.close(text)
}

// resend answers a ResendRequest: application messages as possible duplicates,
// everything else as one gap fill per run.
func (s *session) resend(from, to uint64) {
	gap := uint64(0)
	for seq := from; seq <= to; seq++ {
		raw := s.memory.get(seq)
		if raw == nil {
			if gap == 0 {
				gap = seq
				if floor := s.memory.nextOut; floor > replayMax && seq < floor-replayMax {
					seq = min(floor-replayMax, to+1) - 1 // nothing older is held: no need to look
				}
			}
			continue
		}
		s.fill(gap, seq)
		gap = 0
		s.again(seq, raw)
	}
	s.fill(gap, to+1)
	s.lastOut = s.now
}

func (s *session) fill(from, next uint64) {
	if from == 0 {
		return
	}
	s.filled += next - from
	s.head("4", from)
	s.out.Char(43, 'Y')
	s.out.Time(122, s.now)
	s.out.Char(123, 'Y')
	s.out.Int(36, int64(next))
	s.out.End()
}

// again sends a message once more: its own fields, with PossDupFlag and the first
// SendingTime as OrigSendingTime.
func (s *session) again(seq uint64, raw []byte) {
	var m fix.Message
	if _, err := fix.Next(raw, &m, replayBytesMax); err != nil {
		s.fill(seq, seq+1)
		return
	}
	s.resent++
	s.out.Begin(fixVersion, string(m.Type))
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		if tag == 52 {
			s.out.Char(43, 'Y')
			s.out.Time(52, s.now)
			s.out.Bytes(122, v)
			continue
		}
		s.out.Bytes(tag, v)
	}
	s.out.End()
}

// ask requests what is missing before a message numbered seen.
func (s *session) ask(seen uint64) {
	if s.gapTo != 0 {
		s.gapTo = max(s.gapTo, seen)
		return
	}
	s.gaps++
	s.gapTo, s.gapTries = seen, 0
	s.request()
}

func (s *session) askAgain() {
	if s.gapTries++; s.gapTries >= resendTriesMax {
		s.expel("no answer to ResendRequest")
		return
	}
	s.request()
}

func (s *session) request() {
	s.gapAt = s.now
	s.head("2", s.memory.nextOut)
	s.out.Int(7, int64(s.memory.nextIn))
	s.out.Int(16, 0)
	s.admin()
}

// became active: what was said while our Logon was on its way goes out now.
func (s *session) activate() {
	s.state = active
	for seq := s.logonSeq + 1; seq < s.memory.nextOut; seq++ {
		if raw := s.memory.get(seq); raw != nil {
			s.out.Append(raw)
		}
	}
}

func tooLow(want, got uint64) string {
	return fmt.Sprintf("MsgSeqNum too low, expecting %d but received %s", want, strconv.FormatUint(got, 10))
}
