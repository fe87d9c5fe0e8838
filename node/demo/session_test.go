package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fire/transport/fix"

	"pgregory.net/rapid"
)

// pair is two pure sessions and the bytes between them, in virtual time.
type pair struct {
	now  time.Time
	a, b *session // a is the initiator
	toA  []byte   // written, not yet delivered
	toB  []byte
	gotA []string // what application messages carried (58), in order of delivery
	gotB []string
	sent map[*session][]string
}

func newPair() *pair {
	p := &pair{now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), sent: map[*session][]string{}}
	make := func(ours, theirs string, initiator bool) *session {
		memory, _ := newReplay(nil)
		return &session{ours: ours, theirs: theirs, initiator: initiator, heartbeat: 5 * time.Second, memory: memory}
	}
	p.a, p.b = make("A", "B", true), make("B", "A", false)
	return p
}

func (p *pair) connect() {
	p.toA, p.toB = nil, nil
	p.a.connect(p.now)
	p.b.connect(p.now)
	p.collect()
}

func (p *pair) cut() {
	p.toA, p.toB = nil, nil
	p.a.disconnect()
	p.b.disconnect()
}

// collect moves what the sessions wrote onto the wire.
func (p *pair) collect() {
	p.toB = append(p.toB, p.a.out.Raw()...)
	p.toA = append(p.toA, p.b.out.Raw()...)
	p.a.out.Reset()
	p.b.out.Reset()
}

func (p *pair) say(s *session, text string) {
	b := s.begin("B", p.now)
	b.String(58, text)
	s.end()
	p.sent[s] = append(p.sent[s], text)
	p.collect()
}

// deliver gives one message that is on its way to s.
func (p *pair) deliver(s *session) bool {
	wire, got := &p.toA, &p.gotA
	if s == p.b {
		wire, got = &p.toB, &p.gotB
	}
	var m fix.Message
	n, err := fix.Next(*wire, &m, fixMessageBytesMax)
	if err != nil {
		return false
	}
	if _, deliver := s.receive(&m, p.now); deliver {
		*got = append(*got, string(field(&m, 58)))
	}
	*wire = (*wire)[n:]
	p.collect()
	return true
}

// settle delivers everything in both directions.
func (p *pair) settle() {
	for p.deliver(p.a) || p.deliver(p.b) {
	}
}

func (p *pair) pass(d time.Duration) {
	for range d / tickInterval {
		p.now = p.now.Add(tickInterval)
		p.a.tick(p.now)
		p.b.tick(p.now)
		p.collect()
		p.settle()
	}
}

func TestEveryMessageArrivesOnceInOrderWhateverIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair()
		p.connect()
		for i := range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				p.say(p.a, fmt.Sprint("a", i))
			case 3, 4:
				p.say(p.b, fmt.Sprint("b", i))
			case 5, 6:
				p.deliver(p.a)
			case 7, 8:
				p.deliver(p.b)
			case 9:
				p.cut()
				if rapid.Bool().Draw(t, "speak while down") {
					p.say(p.a, fmt.Sprint("down-a", i))
					p.say(p.b, fmt.Sprint("down-b", i))
				}
				p.connect()
			}
		}
		p.settle()
		p.pass(20 * time.Second)
		if p.a.state != active || p.b.state != active {
			t.Fatalf("states %d %q, %d %q", p.a.state, p.a.why, p.b.state, p.b.why)
		}
		if fmt.Sprint(p.gotB) != fmt.Sprint(p.sent[p.a]) || fmt.Sprint(p.gotA) != fmt.Sprint(p.sent[p.b]) {
			t.Fatalf("a sent %v, b got %v\nb sent %v, a got %v", p.sent[p.a], p.gotB, p.sent[p.b], p.gotA)
		}
	})
}

func TestSilentPeerIsAskedThenCut(t *testing.T) {
	p := newPair()
	p.connect()
	p.settle()
	asked := false
	for p.a.state == active {
		p.now = p.now.Add(tickInterval)
		p.a.tick(p.now)
		asked = asked || strings.Contains(string(p.a.out.Raw()), "\x0135=1\x01")
		p.a.out.Reset()
		if p.now.Sub(p.a.lastIn) > time.Minute {
			t.Fatal("never cut")
		}
	}
	if !asked || p.a.why != "heartbeat timeout" || p.now.Sub(p.a.lastIn) > 13*time.Second {
		t.Fatalf("asked %v, why %q after %v", asked, p.a.why, p.now.Sub(p.a.lastIn))
	}
}

func TestIdleSessionKeepsItselfAlive(t *testing.T) {
	p := newPair()
	p.connect()
	p.pass(5 * time.Minute)
	if p.a.state != active || p.b.state != active || p.a.memory.nextOut < 50 || p.a.gaps+p.b.gaps != 0 {
		t.Fatalf("states %d, %d, %d messages", p.a.state, p.b.state, p.a.memory.nextOut)
	}
}

func TestLogoutIsAnswered(t *testing.T) {
	p := newPair()
	p.connect()
	p.settle()
	p.a.leave("end of day", p.now)
	p.collect()
	p.settle()
	if p.a.state != closed || p.b.state != closed {
		t.Fatalf("states %d, %d", p.a.state, p.b.state)
	}
	p.cut()
	p.connect()
	p.settle()
	if p.a.state != active || p.b.state != active || p.a.gaps+p.b.gaps != 0 {
		t.Fatalf("the next Logon: states %d %q, %d %q", p.a.state, p.a.why, p.b.state, p.b.why)
	}
}

func TestForgottenMessagesAreGapFilled(t *testing.T) {
	p := newPair()
	p.connect()
	p.settle()
	p.cut()
	for i := range replayMax + 100 {
		p.say(p.b, fmt.Sprint(i))
	}
	p.connect()
	p.settle()
	p.pass(time.Second)
	if len(p.gotA) == 0 || p.gotA[len(p.gotA)-1] != fmt.Sprint(replayMax+99) || len(p.gotA) > replayMax || len(p.gotA) < replayMax-2 {
		t.Fatalf("%d messages came", len(p.gotA))
	}
	if p.a.memory.nextIn != p.b.memory.nextOut {
		t.Fatalf("next in %d, next out %d", p.a.memory.nextIn, p.b.memory.nextOut)
	}
}

func TestAGapThatIsNeverFilledEndsTheSession(t *testing.T) {
	p := newPair()
	p.connect()
	p.settle()
	p.b.memory.nextOut += 5
	p.say(p.b, "above the gap")
	p.deliver(p.a)
	requests := strings.Count(string(p.toB), "\x0135=2\x01")
	for range 600 {
		p.now = p.now.Add(tickInterval)
		p.toB = nil // its requests never arrive, its heartbeats neither
		p.a.lastIn = p.now
		p.a.tick(p.now)
		p.collect()
		requests += strings.Count(string(p.toB), "\x0135=2\x01")
	}
	if p.a.state != closed || p.a.why != "no answer to ResendRequest" || requests != resendTriesMax {
		t.Fatalf("state %d, why %q, %d requests", p.a.state, p.a.why, requests)
	}
}

// raw builds one message from A to B with the given fields; 52 is now.
func (p *pair) raw(msgType string, seq int, fields ...string) []byte {
	var b fix.Builder
	b.Begin(fixVersion, msgType)
	b.String(49, "A")
	b.String(56, "B")
	b.Int(34, int64(seq))
	stamped := false
	for _, f := range fields {
		stamped = stamped || strings.HasPrefix(f, "52=")
	}
	if !stamped {
		b.Time(52, p.now)
	}
	for _, f := range fields {
		if f != "52=" {
			b.Fields([]byte(f + "\x01"))
		}
	}
	return b.End()
}

func TestEachBrokenRuleHasItsAnswer(t *testing.T) {
	early := "52=20261123-08:00:00.000"
	rows := []struct {
		name   string
		wire   func(p *pair) []byte // to B, which expects number 2
		answer string               // must be in what B says
		state  sessionState
		next   uint64 // B expects this number then
	}{
		{"number too low", func(p *pair) []byte { return p.raw("0", 1) }, "58=MsgSeqNum too low, expecting 2 but received 1", closed, 2},
		{"number too low, possible duplicate", func(p *pair) []byte { return p.raw("0", 1, "43=Y", "122="+string(fix.AppendTime(nil, p.now))) }, "", active, 2},
		{"possible duplicate without first time", func(p *pair) []byte { return p.raw("0", 1, "43=Y") }, "371=122\x01372=0\x01373=1", active, 2},
		{"possible duplicate from the future", func(p *pair) []byte {
			return p.raw("0", 1, "43=Y", "122="+string(fix.AppendTime(nil, p.now.Add(time.Second))))
		}, "371=122\x01372=0\x01373=10", closed, 2},
		{"number too high", func(p *pair) []byte { return p.raw("0", 7) }, "35=2\x01", active, 2},
		{"no number", func(p *pair) []byte { return fixed(p.raw("0", 2), "34=2\x01", "") }, "58=MsgSeqNum is missing", closed, 2},
		{"wrong sender", func(p *pair) []byte { return fixed(p.raw("0", 2), "49=A\x01", "49=X\x01") }, "373=9", closed, 3},
		{"wrong target", func(p *pair) []byte { return fixed(p.raw("0", 2), "56=B\x01", "56=X\x01") }, "373=9", closed, 3},
		{"wrong version", func(p *pair) []byte { return fixed(p.raw("0", 2), "FIX.4.4", "FIX.4.2") }, "58=BeginString is not FIX.4.4", closed, 2},
		{"old SendingTime", func(p *pair) []byte { return p.raw("0", 2, early) }, "371=52\x01372=0\x01373=10", closed, 3},
		{"no SendingTime", func(p *pair) []byte { return p.raw("0", 2, "52=") }, "371=52\x01372=0\x01373=1", closed, 3},
		{"empty field", func(p *pair) []byte { return p.raw("B", 2, "58=") }, "371=58\x01372=B\x01373=4", active, 3},
		{"field without a number", func(p *pair) []byte { return p.raw("B", 2, "x=1") }, "373=0", active, 3},
		{"MsgSeqNum twice", func(p *pair) []byte { return p.raw("B", 2, "34=2") }, "371=34\x01372=B\x01373=13", active, 3},
		{"TestRequest without id", func(p *pair) []byte { return p.raw("1", 2) }, "371=112\x01372=1\x01373=1", active, 3},
		{"TestRequest", func(p *pair) []byte { return p.raw("1", 2, "112=x") }, "35=0\x0149=B\x0156=A\x0134=2", active, 3},
		{"resend of nothing", func(p *pair) []byte { return p.raw("2", 2, "7=9", "16=0") }, "371=7\x01372=2\x01373=5", active, 3},
		{"resend backwards", func(p *pair) []byte { return p.raw("2", 2, "7=1", "16=-1") }, "371=16", active, 3},
		{"resend from zero", func(p *pair) []byte { return p.raw("2", 2, "7=0", "16=0") }, "371=7", active, 3},
		{"resend", func(p *pair) []byte { return p.raw("2", 2, "7=1", "16=0") }, "123=Y\x0136=2", active, 3},
		{"resend with a gap before it", func(p *pair) []byte { return p.raw("2", 5, "7=1", "16=0") }, "123=Y\x0136=2", active, 2},
		{"reset", func(p *pair) []byte { return p.raw("4", 77, "36=10") }, "", active, 10},
		{"reset backwards", func(p *pair) []byte { return p.raw("4", 77, "36=1") }, "371=36\x01372=4\x01373=5", active, 2},
		{"reset to nothing", func(p *pair) []byte { return p.raw("4", 2) }, "371=36\x01372=4\x01373=1", active, 2},
		{"gap fill", func(p *pair) []byte { return p.raw("4", 2, "123=Y", "36=6") }, "", active, 6},
		{"gap fill backwards", func(p *pair) []byte { return p.raw("4", 2, "123=Y", "36=2") }, "371=36\x01372=4\x01373=5", active, 3},
		{"gap fill with a gap before it", func(p *pair) []byte { return p.raw("4", 5, "123=Y", "36=9") }, "35=2\x01", active, 2},
		{"logon again", func(p *pair) []byte { return p.raw("A", 2, "98=0", "108=5") }, "58=already logged on", closed, 2},
		{"logon again with reset", func(p *pair) []byte { return p.raw("A", 1, "98=0", "108=5", "141=Y") }, "35=A\x0149=B\x0156=A\x0134=1", active, 2},
		{"reset logon not numbered one", func(p *pair) []byte { return p.raw("A", 2, "98=0", "108=5", "141=Y") }, "58=ResetSeqNumFlag needs", closed, 2},
		{"logout above a gap", func(p *pair) []byte { return p.raw("5", 9) }, "35=5\x01", closed, 2},
	}
	for _, row := range rows {
		p := newPair()
		p.connect()
		p.settle()
		p.toA = nil
		p.toB = row.wire(p)
		if !p.deliver(p.b) {
			t.Errorf("%s: the test's message is garbled: %q", row.name, p.toB)
			continue
		}
		if !strings.Contains(string(p.toA), row.answer) || row.answer == "" && len(p.toA) > 0 {
			t.Errorf("%s: answer %q", row.name, p.toA)
		}
		if p.b.state != row.state || p.b.memory.nextIn != row.next {
			t.Errorf("%s: state %d, expects %d; want %d, %d", row.name, p.b.state, p.b.memory.nextIn, row.state, row.next)
		}
	}
}

// fixed replaces a part of a message and makes length and sum right again.
func fixed(raw []byte, old, new string) []byte {
	s := strings.Replace(string(raw), old, new, 1)
	head, rest, _ := strings.Cut(s, "\x019=")
	_, body, _ := strings.Cut(rest, "\x01")
	body = body[:len(body)-7]
	s = fmt.Sprintf("%s\x019=%d\x01%s", head, len(body), body)
	sum := 0
	for i := range len(s) {
		sum += int(s[i])
	}
	return fmt.Appendf(nil, "%s10=%03d\x01", s, sum%256)
}

func TestEachBadLogonIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		wire   func(p *pair) []byte
		answer string
	}{
		"not a logon":        {func(p *pair) []byte { return p.raw("0", 1) }, ""},
		"encrypted":          {func(p *pair) []byte { return p.raw("A", 1, "98=1", "108=5") }, "58=EncryptMethod"},
		"no EncryptMethod":   {func(p *pair) []byte { return p.raw("A", 1, "108=5") }, "58=EncryptMethod"},
		"no HeartBtInt":      {func(p *pair) []byte { return p.raw("A", 1, "98=0") }, "58=HeartBtInt"},
		"HeartBtInt 0":       {func(p *pair) []byte { return p.raw("A", 1, "98=0", "108=0") }, "58=HeartBtInt"},
		"HeartBtInt -1":      {func(p *pair) []byte { return p.raw("A", 1, "98=0", "108=-1") }, "58=HeartBtInt"},
		"HeartBtInt huge":    {func(p *pair) []byte { return p.raw("A", 1, "98=0", "108=999999999999999999") }, "58=HeartBtInt"},
		"number 0":           {func(p *pair) []byte { return p.raw("A", 0, "98=0", "108=5") }, "58=MsgSeqNum"},
		"another's CompID":   {func(p *pair) []byte { return fixed(p.raw("A", 1, "98=0", "108=5"), "49=A\x01", "49=C\x01") }, ""},
		"clock an hour late": {func(p *pair) []byte { return p.raw("A", 1, "98=0", "108=5", "52=20261123-08:00:00") }, ""},
	} {
		p := newPair()
		p.b.connect(p.now)
		p.toB = row.wire(p)
		p.deliver(p.b)
		if p.b.state != closed || !strings.Contains(string(p.toA), row.answer) || row.answer == "" && len(p.toA) > 0 || strings.Contains(string(p.toA), "35=A") {
			t.Errorf("%s: state %d, answer %q", name, p.b.state, p.toA)
		}
	}
}

func TestJournalOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	load := func() *replay {
		r, err := remember(dir, "A", "B")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := load()
	s := session{ours: "A", theirs: "B", memory: r, heartbeat: time.Second, initiator: true}
	now := time.Unix(1e9, 0)
	for i := range 100 {
		s.begin("B", now).String(58, fmt.Sprint("text ", i))
		s.end()
	}
	r.nextIn = 42
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	// A crash: a record is cut short.
	r.journal.w.WriteString("M\x50\x00\x00\x00cut")
	r.journal.w.Flush()
	r.journal.file.Close()
	r = load()
	if r.nextIn != 42 || r.nextOut != 101 || !strings.Contains(string(r.get(100)), "text 99") {
		t.Fatalf("in %d out %d, %q", r.nextIn, r.nextOut, r.get(100))
	}
	r.put(101, []byte("after the crash"))
	r.nextOut = 102
	r.journal.size = journalBytesMax + 1 // as if it had grown
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	if r.journal.size > 1<<20 {
		t.Fatalf("%d bytes after compaction", r.journal.size)
	}
	r.journal.close()
	r = load()
	if r.nextIn != 42 || r.nextOut != 102 || string(r.get(101)) != "after the crash" || !strings.Contains(string(r.get(1)), "text 0") {
		t.Fatalf("after compaction: in %d out %d, %q", r.nextIn, r.nextOut, r.get(101))
	}
	r.reset()
	r.sync()
	r.journal.close()
	if r = load(); r.nextIn != 1 || r.nextOut != 1 || r.get(1) != nil {
		t.Fatalf("after a reset: in %d out %d", r.nextIn, r.nextOut)
	}
	r.journal.close()
}
