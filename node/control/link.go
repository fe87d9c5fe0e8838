package control

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"fire/node/catalog"
	"fire/policy/reason"
	"fire/transport"
)

// link is the loop's side of one node's watch stream.
type link struct {
	node    string
	number  uint64 // as catalog.Directory gave it
	session transport.Session
	out     *outbox
}

// facts is what a node has told of itself. It outlives the link.
type facts struct {
	have     catalog.Head
	received uint64 // newest version of each stage
	accepted uint64
	applied  uint64
	rejected uint64
	ack      catalog.Ack // the newest applied or rejected
	seen     time.Time
	skew     time.Duration // the node's clock minus ours
	notAfter time.Time     // of its certificate
	lost     reason.Code   // why the last link ended
}

// finished tells whether the node has taken or refused the version.
func (f *facts) finished(version uint64) bool {
	return f != nil && (f.applied >= version || f.rejected >= version)
}

// waiter is an operator's call that waits until every linked node has finished
// with a version.
type waiter struct {
	version uint64
	done    chan struct{}
}

// checkWaiters lets go of those whose nodes have all answered or left.
func (l *loop) checkWaiters() {
	for w := range l.waiters {
		ready := true
		for node := range l.links {
			ready = ready && l.facts[node].finished(w.version)
		}
		if ready {
			close(w.done)
			delete(l.waiters, w)
		}
	}
}

// attach makes a watch stream the node's link. It returns the session of the link
// before, which the caller cuts. The node gets its first version with the next
// publication, soon, so that a thousand nodes that come back together cost a few.
func (l *loop) attach(node string, h *catalog.Hello, s transport.Session, out *outbox) (*link, transport.Session, error) {
	now := l.c.now()
	number, events, err := l.dir.Link(node, h, now)
	if err != nil {
		return nil, nil, err
	}
	var before transport.Session
	if old := l.links[node]; old != nil && old.session != s {
		before = old.session
	}
	k := &link{node: node, number: number, session: s, out: out}
	l.links[node] = k
	delete(l.away, node)
	var acked catalog.Ack
	if f := l.facts[node]; f != nil {
		acked = f.ack
	}
	l.facts[node] = &facts{have: h.Have, applied: h.Have.Version, seen: now, skew: h.Time.Sub(now), notAfter: h.NotAfter, ack: acked}
	out.send(catalog.ControlMessage{Welcome: l.c.welcome()})
	l.happened(events)
	for _, claim := range h.Claims {
		l.register(k, claim)
	}
	l.due = now
	return k, before, nil
}

// detach ends a link.
func (l *loop) detach(k *link, code reason.Code) {
	if l.links[k.node] != k {
		return
	}
	delete(l.links, k.node)
	l.facts[k.node].lost = code
	l.happened(l.dir.Unlink(k.node, k.number, code, l.c.now()))
	l.checkWaiters()
}

// hear takes one message of a linked node, Hello and Report aside.
func (l *loop) hear(k *link, m *catalog.NodeMessage) {
	f := l.facts[k.node]
	if l.links[k.node] != k || f == nil {
		return // an older link's last words
	}
	now := l.c.now()
	f.seen = now
	switch {
	case m.Renew != nil:
		f.have, f.skew, f.notAfter = m.Renew.Have, m.Renew.Time.Sub(now), m.Renew.NotAfter
		stale, err := l.dir.Renew(k.node, k.number, m.Renew.Leases, now)
		for i := range stale {
			k.out.send(catalog.ControlMessage{Refuse: &stale[i]})
		}
		l.refuse(k, "", err)
	case m.Register != nil:
		l.register(k, *m.Register)
	case m.Withdraw != nil:
		events, err := l.dir.Withdraw(k.node, k.number, *m.Withdraw, now)
		l.happened(events)
		l.refuse(k, m.Withdraw.Service, err)
	case m.Health != nil:
		events, err := l.dir.Health(k.node, k.number, *m.Health, now)
		l.happened(events)
		l.refuse(k, m.Health.Service, err)
	case m.Drain != nil:
		events, err := l.dir.DrainSelf(k.node, k.number, *m.Drain, now)
		l.happened(events)
		l.refuse(k, m.Drain.Service, err)
	case m.Ack != nil:
		l.ack(k, f, m.Ack)
	case m.Resync != nil:
		l.c.heard(slog.LevelWarn, k.node, "node asks for a snapshot", "version", m.Resync.Have.Version, "detail", m.Resync.Why)
		k.out.resync(l.current)
	case m.Log != nil:
		l.c.heard(slog.LevelWarn, k.node, "node says", "level", m.Log.Level, "reason", m.Log.Code.String(), "detail", m.Log.Text)
	}
}

func (l *loop) register(k *link, claim catalog.Claim) {
	grant, events, err := l.dir.Register(k.node, k.number, claim, l.c.now())
	l.happened(events)
	if err != nil {
		if reason.Of(err, reason.OK) == reason.NotPlaced {
			l.c.alarm(k.node, "registration refused", err)
		}
		l.refuse(k, claim.Service, err)
		return
	}
	k.out.send(catalog.ControlMessage{Grant: &grant})
}

func (l *loop) refuse(k *link, service string, err error) {
	if err == nil {
		return
	}
	r := catalog.Refused(err, reason.NotPermitted)
	r.Service = service
	k.out.send(catalog.ControlMessage{Refuse: r})
}

func (l *loop) ack(k *link, f *facts, a *catalog.Ack) {
	if a.Version > l.current.signed.Version {
		return // nobody can have what we have not made
	}
	switch a.Stage {
	case catalog.Received:
		f.received = max(f.received, a.Version)
	case catalog.Accepted:
		f.accepted = max(f.accepted, a.Version)
	case catalog.Applied:
		f.applied = max(f.applied, a.Version)
		f.ack = *a
	case catalog.Rejected:
		f.rejected = max(f.rejected, a.Version)
		f.ack = *a
		l.c.heard(slog.LevelError, k.node, "node rejected a version", "version", a.Version, "reason", a.Code.String(), "detail", a.Detail)
	}
	l.checkWaiters()
}

// outbox is what waits to be sent to one node. It never blocks who fills it.
type outbox struct {
	signal chan struct{} // holds a value when there is something to take

	mu       sync.Mutex // guards what follows
	messages []catalog.ControlMessage
	deltas   []*publication // each starts where the one before ends
	whole    *publication   // set: a snapshot of this is due, deltas are void
	over     bool           // messages overflowed: the node does not read
}

const (
	messagesMax = 2 * catalog.ClaimsMax // a reconnecting node's grants fit
	deltasMax   = 16                    // beyond, one snapshot is cheaper
)

func newOutbox() *outbox { return &outbox{signal: make(chan struct{}, 1)} }

func (o *outbox) send(m catalog.ControlMessage) {
	o.mu.Lock()
	if len(o.messages) < messagesMax {
		o.messages = append(o.messages, m)
	} else {
		o.over = true
	}
	o.mu.Unlock()
	o.wake()
}

// offer queues a version. A node too slow for deltas gets one snapshot of the
// newest version instead of all of them.
func (o *outbox) offer(p *publication) {
	o.mu.Lock()
	switch {
	case o.whole != nil || len(o.deltas) >= deltasMax:
		o.whole, o.deltas = p, nil
	default:
		o.deltas = append(o.deltas, p)
	}
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) resync(p *publication) {
	o.mu.Lock()
	o.whole, o.deltas = p, nil
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

func (o *outbox) take() (messages []catalog.ControlMessage, deltas []*publication, whole *publication, over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages, deltas, whole, over = o.messages, o.deltas, o.whole, o.over
	o.messages, o.deltas, o.whole = nil, nil, nil
	return messages, deltas, whole, over
}

// sendTimeout is how long a node may take nothing before its session is cut.
const sendTimeout = 5 * time.Second

// sender writes the outbox to the node until the session ends. have is the version
// that the node said it runs.
type sender struct {
	stream transport.Stream
	out    *outbox
	have   uint64
}

// run returns why it ended, never nil.
func (s *sender) run(session transport.Session) error {
	for {
		select {
		case <-session.Done():
			return session.Err()
		case <-s.out.signal:
		}
		messages, deltas, whole, over := s.out.take()
		if over {
			return reason.New(reason.SlowReader, "more than %d answers wait for the node", messagesMax)
		}
		for i := range messages {
			b, err := catalog.AppendMessage(nil, catalog.ToNodeBytesMax, &messages[i])
			if err == nil {
				err = s.write(b)
			}
			if err != nil {
				return err
			}
		}
		if whole != nil {
			deltas = []*publication{whole}
			s.have = 0
		}
		for _, p := range deltas {
			if err := s.publication(p); err != nil {
				return err
			}
		}
	}
}

func (s *sender) publication(p *publication) error {
	form := p.snapshot
	if s.have != 0 && s.have == p.before {
		form = p.delta
	}
	b, err := form()
	if err != nil {
		return err
	}
	s.have = p.signed.Version
	return s.write(b)
}

func (s *sender) write(b []byte) error {
	if err := s.stream.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := s.stream.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return reason.New(reason.SlowReader, "the node took nothing for %v", sendTimeout)
	}
	return err
}
