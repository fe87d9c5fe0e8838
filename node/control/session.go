package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"

	"golang.org/x/time/rate"
)

// Time and rate that one node may take.
const (
	openingTimeout  = 5 * time.Second  // for the first message of a stream
	answerTimeout   = 10 * time.Second // for a request, answer included
	messagesPerNode = 200              // a second
	messagesBurst   = 4 * catalog.ClaimsMax
	requestsPerNode = 20 // a second
	requestsBurst   = 512
	alarmsPerSecond = 2 // on the map, over all nodes
	alarmsBurst     = 50
	shutdownLinger  = 2 * time.Second
	liftsPerSecond  = 1 // of our numbers above what a node holds
	liftsBurst      = 16
	liftMax         = 1 << 40
)

// accept serves sessions until ctx ends, then cuts and waits for all of them.
func (c *Control) accept(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		select {
		case <-ctx.Done():
			c.cutAll(reason.Shutdown)
			return nil
		case s := <-c.deps.Sessions:
			if s == nil {
				return errors.New("the listener of control ended")
			}
			if err := c.enter(s); err != nil {
				serving.Go(func() { s.Close(reason.Of(err, reason.TooManyConnections), err.Error()) })
				continue
			}
			serving.Go(func() {
				defer c.leave(s)
				c.serve(ctx, s)
			})
		}
	}
}

// enter counts a session in. Revocation finds it from here on.
func (c *Control) enter(s transport.Session) error {
	p := s.Peer()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) >= sessionsMax {
		return reason.New(reason.TooManyConnections, "control has %d sessions, its limit", len(c.sessions))
	}
	most := sessionsPerNodeMax
	if p == (id.Principal{}) {
		most = sessionsUnnamedMax // hosts that join; they must not crowd out the nodes
	}
	if c.perNode[p] >= most {
		return reason.New(reason.TooManyConnections, "%d sessions of the same identity, the limit", most)
	}
	c.sessions[s] = p
	c.perNode[p]++
	return nil
}

func (c *Control) leave(s transport.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.sessions[s]
	delete(c.sessions, s)
	if c.perNode[p]--; c.perNode[p] <= 0 {
		delete(c.perNode, p)
	}
}

// cut ends every session of an identity.
func (c *Control) cut(p id.Principal, code reason.Code, why string) {
	for _, s := range c.sessionsOf(func(q id.Principal) bool { return q == p }) {
		s.Close(code, why)
	}
}

func (c *Control) cutAll(code reason.Code) {
	for _, s := range c.sessionsOf(func(id.Principal) bool { return true }) {
		s.Close(code, "control is stopping")
	}
}

func (c *Control) sessionsOf(match func(id.Principal) bool) []transport.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []transport.Session
	for s, p := range c.sessions {
		if match(p) {
			out = append(out, s)
		}
	}
	return out
}

func (c *Control) serve(ctx context.Context, s transport.Session) {
	switch s.Protocol() {
	case pki.ALPNJoin:
		c.serveJoin(ctx, s)
	case pki.ALPNControl:
		c.serveNode(ctx, s)
	default:
		s.Close(reason.FrameVersion, "control does not serve "+s.Protocol())
	}
}

// serveNode accepts the streams of one node until its session ends.
func (c *Control) serveNode(ctx context.Context, s transport.Session) {
	p := s.Peer()
	// The handshake has checked this; a session that waited in a queue may be revoked since.
	if p.Kind != id.KindNode || p.Domain != c.deps.Domain || c.verifier.Revoked(p) {
		s.Close(reason.IdentityRevoked, p.String()+" may not link")
		return
	}
	n := &nodeServer{c: c, session: s, node: p.Name, requests: rate.NewLimiter(requestsPerNode, requestsBurst)}
	var streams sync.WaitGroup
	defer streams.Wait()
	slots := make(chan struct{}, streamsPerNodeMax)
	for {
		stream, err := s.Accept(ctx)
		if err != nil {
			code := reason.Of(err, reason.PeerClosed)
			if ctx.Err() != nil {
				code = reason.Shutdown
			}
			s.Close(code, "")
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			stream.Cancel(reason.TooManyStreams)
			continue
		}
		streams.Go(func() {
			defer func() { <-slots }()
			n.stream(ctx, stream)
		})
	}
}

// nodeServer serves the streams of one session.
type nodeServer struct {
	c        *Control
	session  transport.Session
	node     string
	requests *rate.Limiter
}

// stream reads the first message, which says what the stream is for.
func (n *nodeServer) stream(ctx context.Context, stream transport.Stream) {
	var o catalog.Opening
	stream.SetReadDeadline(time.Now().Add(openingTimeout))
	err := catalog.ReadMessage(stream, catalog.ToControlBytesMax, &o)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = reason.New(reason.HeaderTimeout, "nothing whole came within %v", openingTimeout)
	}
	if err == nil {
		err = o.Check()
	}
	if err != nil {
		n.c.heard(slog.LevelWarn, n.node, "node stream refused", "reason", reason.Of(err, reason.FrameTruncated).String(), "err", err)
		stream.Cancel(reason.Of(err, reason.FrameTruncated))
		return
	}
	if o.Hello != nil {
		n.watch(ctx, stream, o.Hello)
		return
	}
	n.answer(ctx, stream, &o.Request)
}

// watch serves the watch stream. The session ends with it: a node that cannot be
// told of changes is not linked.
func (n *nodeServer) watch(ctx context.Context, stream transport.Stream, h *catalog.Hello) {
	out := newOutbox()
	var k *link
	var before transport.Session
	var refused error
	err := n.c.observe(ctx, h.Have.Version)
	if err == nil {
		err = n.c.do(ctx, func(l *loop) { k, before, refused = l.attach(n.node, h, n.session, out) })
	}
	if err = first(err, refused); err != nil {
		n.refuseLink(stream, err)
		return
	}
	if before != nil {
		n.c.heard(slog.LevelWarn, n.node, "node linked again, its older session is cut", "peer", before.RemoteAddr().String())
		before.Close(reason.EpochStale, "the node has a newer session")
	}
	var sending sync.WaitGroup
	s := &sender{stream: stream, out: out, have: n.startingPoint(h)}
	var sent error
	sending.Go(func() {
		sent = s.run(n.session)
		n.session.Close(reason.Of(sent, reason.PeerClosed), sent.Error())
	})
	heard := n.listen(ctx, stream, k)
	code := reason.Of(heard, reason.PeerClosed)
	n.c.do(context.WithoutCancel(ctx), func(l *loop) { l.detach(k, code) })
	n.session.Close(code, heard.Error())
	sending.Wait()
	n.c.heard(slog.LevelInfo, n.node, "node session ended", "reason", code.String(), "err", first(heard, sent))
}

// observe lifts our numbers above a version that a node holds. That happens after
// control's state was restored from an old backup: without it the node would refuse
// every version as older than its own.
func (c *Control) observe(ctx context.Context, version uint64) error {
	ours := c.published.Load().signed.Version
	if version <= ours {
		return nil
	}
	// Each lift is a write and a version for every node, and numbers are never given
	// back: a node that names what it likes must not spend either.
	if version-ours > liftMax {
		return reason.New(reason.NotPermitted, "the node says that it holds version %d, ours is %d", version, ours)
	}
	if !c.lifts.AllowN(c.now(), 1) {
		return reason.New(reason.TooManyConnections, "many nodes hold newer versions than control; try again")
	}
	return c.durably(ctx, func(d *catalog.Directory, _ time.Time) ([]catalog.Event, error) {
		d.Observe(version)
		return nil, nil
	})
}

// startingPoint is the version from which deltas make sense to the node: the one
// it has, if it is the same that we published under that number.
func (n *nodeServer) startingPoint(h *catalog.Hello) uint64 {
	if p := n.c.published.Load(); p.signed.Head() == h.Have {
		return h.Have.Version
	}
	return 0
}

func (c *Control) welcome() *catalog.Welcome {
	return &catalog.Welcome{Protocol: catalog.Protocol, Control: c.deps.Name, Release: c.deps.Release, Time: c.now(),
		LeaseFor: catalog.Duration(c.cfg.Lease), RenewEvery: catalog.Duration(c.cfg.Lease / 3), ReportEvery: catalog.Duration(c.cfg.ReportEvery)}
}

// refuseLink says why on the stream, then cuts the session.
func (n *nodeServer) refuseLink(stream transport.Stream, err error) {
	n.c.alarm(n.node, "link refused", err)
	stream.SetWriteDeadline(time.Now().Add(openingTimeout))
	catalog.WriteMessage(stream, catalog.ToNodeBytesMax, catalog.ControlMessage{Refuse: catalog.Refused(err, reason.NotPermitted)})
	stream.CloseWrite()
	linger(n.session)
	n.session.Close(reason.Of(err, reason.NotPermitted), err.Error())
}

// listen hands the node's messages to the loop until something ends them.
func (n *nodeServer) listen(ctx context.Context, stream transport.Stream, k *link) error {
	limit := rate.NewLimiter(messagesPerNode, messagesBurst)
	// Renewals come three times per lease; heartbeats of the session see a dead
	// host long before.
	silence := max(3*n.c.cfg.Lease, openingTimeout)
	for {
		var m catalog.NodeMessage
		stream.SetReadDeadline(time.Now().Add(silence))
		err := catalog.ReadMessage(stream, catalog.ToControlBytesMax, &m)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return reason.New(reason.LeaseExpired, "no renewal for %v", silence)
		case errors.Is(err, io.EOF):
			return reason.New(reason.PeerClosed, "the node closed its stream")
		case err != nil:
			return err
		}
		if err := m.Check(); err != nil {
			return err
		}
		if m.Hello != nil {
			return reason.New(reason.FrameMalformed, "a second hello")
		}
		if err := limit.Wait(ctx); err != nil { // the node waits with us: that is the back-pressure
			return reason.New(reason.Shutdown, "control is stopping")
		}
		if m.Report != nil {
			n.c.believable(n.node, m.Report)
			n.c.twin.Report(*m.Report)
			continue
		}
		if err := n.c.do(ctx, func(l *loop) { l.hear(k, &m) }); err != nil {
			return reason.New(reason.Shutdown, "control is stopping")
		}
	}
}

// answer serves one request.
func (n *nodeServer) answer(ctx context.Context, stream transport.Stream, r *catalog.Request) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var a catalog.Answer
	if err := n.requests.Wait(ctx); err != nil {
		a.Refuse = &catalog.Refuse{Code: reason.TooManyStreams, Detail: "more requests than one node may make"}
	} else if r.Issue != nil {
		issued, err := n.c.issue(ctx, n.node, r.Issue)
		if err != nil {
			a.Refuse = catalog.Refused(err, reason.NotPermitted)
		}
		a.Issue = issued
	} else if r.Witness != nil {
		a = n.witness(ctx, r.Witness)
	} else {
		a = n.c.inspect(ctx, r.Inspect)
	}
	stream.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err := catalog.WriteMessage(stream, catalog.ToNodeBytesMax, &a); err != nil {
		stream.Cancel(reason.Of(err, reason.SlowReader))
		return
	}
	stream.CloseWrite()
}

// witness lets the node's audit log be cosigned. Whose it is says the session's certificate.
func (n *nodeServer) witness(ctx context.Context, r *catalog.WitnessRequest) catalog.Answer {
	if n.c.deps.Witness == nil {
		return catalog.Answer{Refuse: &catalog.Refuse{Code: reason.NotPermitted, Detail: "this control keeps no audit log, and cosigns none"}}
	}
	a, err := n.c.deps.Witness(ctx, n.node, r)
	if err != nil {
		return catalog.Answer{Refuse: catalog.Refused(err, reason.NotPermitted)}
	}
	return catalog.Answer{Witness: a}
}

// inspect answers what node/admin answers on a control host. Nodes read; nothing
// here can change the mesh.
func (c *Control) inspect(ctx context.Context, r *catalog.InspectRequest) catalog.Answer {
	if r.Method != "GET" {
		return catalog.Answer{Refuse: &catalog.Refuse{Code: reason.NotPermitted, Detail: "a node reads the mesh; changes are made on a control host"}}
	}
	q, err := url.ParseQuery(r.Query)
	if err != nil {
		return catalog.Answer{Refuse: &catalog.Refuse{Code: reason.FrameMalformed, Detail: "the query cannot be read"}}
	}
	status, body := admin.Answer(ctx, c, r.Path, q)
	return catalog.Answer{Inspect: &catalog.InspectAnswer{Status: status, Body: body}}
}

// alarm tells of what an honest node never does.
func (c *Control) alarm(node, what string, err error) {
	code := reason.Of(err, reason.NotPermitted)
	c.heard(slog.LevelWarn, node, what, "reason", code.String(), "err", err)
	if !c.alarms.Allow() {
		return // the log has it; the map's few events are not one node's to flood
	}
	c.twin.Note(twin.Event{Kind: twin.EventKind("refused"), Severity: twin.StateWarn, Subject: "node " + node,
		Text: fmt.Sprintf("%s: %v", what, err)})
}

// linger leaves the peer a moment to take the last words and go first: closing a
// session drops what is under way.
func linger(s transport.Session) {
	t := time.NewTimer(shutdownLinger)
	defer t.Stop()
	select {
	case <-s.Done():
	case <-t.C:
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
