package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
)

// link is one session with control.
type link struct {
	session transport.Session
	address string
	welcome catalog.Welcome
	since   time.Time
	skew    time.Duration // control's clock minus ours

	base         *catalog.State           // newest whole state received, in force or not; the reader's own
	resyncing    bool                     // a snapshot was asked for; the reader's own, too
	out          chan catalog.NodeMessage // to the one writer
	wantsRenewal atomic.Bool              // control asked for new certificates
}

// keepLink stays linked to one control until ctx ends. All addresses are tried
// before the first wait.
func (a *Agent) keepLink(ctx context.Context) {
	wait := backoff{min: a.cfg.ReconnectMin, max: a.cfg.ReconnectMax}
	var complaint complaint
	for at, failed := 0, 0; ctx.Err() == nil; {
		controls := a.controls()
		addr := controls[at%len(controls)]
		lasted, err := a.linkOnce(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		err = a.explain(err)
		a.setTrouble(func(t *trouble) { t.link = err })
		complaint.say(a, "no link to control", addr, err)
		if lasted > a.cfg.ReconnectMax { // this address works: it goes first, at once
			failed = 0
			wait.reset()
			continue
		}
		at, failed = at+1, failed+1
		if failed%len(controls) != 0 {
			continue
		}
		select {
		case <-time.After(wait.next()):
		case <-ctx.Done():
		}
	}
}

// complaint keeps a lasting trouble from filling the log: it is said when it begins
// or changes, and once in a while.
type complaint struct {
	code reason.Code
	at   time.Time
}

const complainEvery = time.Minute

func (c *complaint) say(a *Agent, what, addr string, err error) {
	code, now := reason.Of(err, reason.ControlUnreachable), a.now()
	if code == c.code && now.Sub(c.at) < complainEvery {
		return
	}
	c.code, c.at = code, now
	a.log.Warn(what, "addr", addr, "reason", code.String(), "err", err)
}

// controls are the addresses of the configuration, then those from the join, which
// may be older.
func (a *Agent) controls() []string {
	all := slices.Clone(a.cfg.Controls)
	for _, addr := range a.known.Load().Controls {
		if !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	return all
}

// linkOnce dials one control and stays until the session ends.
func (a *Agent) linkOnce(ctx context.Context, addr string) (lasted time.Duration, err error) {
	dialCtx, cancel := context.WithTimeout(ctx, a.cfg.DialTimeout)
	defer cancel()
	tc := pki.ClientConfig(a.NodeCertificate, a.verifier, pki.Want{Kinds: []id.Kind{id.KindControl}}, pki.ALPNControl)
	s, err := a.deps.Dialer.Dial(dialCtx, addr, tc, transport.ClassControl)
	if err != nil {
		return 0, err
	}
	w := &watch{agent: a, link: &link{session: s, address: addr, since: a.now(), out: make(chan catalog.NodeMessage, outboxMax)}}
	err = w.run(ctx, dialCtx)
	s.Close(reason.Of(err, reason.Shutdown), "")
	return a.now().Sub(w.link.since), err
}

// explain turns what TLS says of certificates into what a person can do.
func (a *Agent) explain(err error) error {
	leaf := a.Identity(a.Node()).Leaf()
	switch code := reason.Of(err, reason.ControlUnreachable); {
	case leaf != nil && a.now().After(leaf.NotAfter):
		return reason.New(reason.CertExpired, "the certificate of %s ended %s and control takes no other; join again: fire token create --node %s", a.Node(), leaf.NotAfter.UTC().Format(time.RFC3339), a.Node().Name)
	case code == reason.CertNotYetValid:
		return reason.New(reason.ClockSkew, "this host's clock is behind control's: %w", err)
	case leaf != nil && a.now().Before(leaf.NotBefore):
		return reason.New(reason.ClockSkew, "this host's clock is before the start of its own certificate, %s; set the clock: chronyc makestep: %w",
			leaf.NotBefore.UTC().Format(time.RFC3339), err)
	case code == reason.CertRefused && a.View() != nil && a.View().Revoked(a.Node()):
		return reason.New(reason.IdentityRevoked, "%s is revoked; on a control host, to take it back: fire revoke node/%s --undo", a.Node(), a.Node().Name)
	case code == reason.CertRefused:
		return reason.New(reason.CertRefused, "control refuses the certificate of %s: it is revoked, or control was built anew; on a control host: fire revoke node/%s --undo, or, to join again: fire token create --node %s: %w",
			a.Node(), a.Node().Name, a.Node().Name, err)
	case code == reason.PeerUnreachable || code == reason.ConnectTimeout:
		return reason.New(reason.ControlUnreachable, "%w", err)
	}
	return err
}

// send queues one message for control; it waits while the outbox is full.
func (l *link) send(m catalog.NodeMessage) error {
	select {
	case l.out <- m:
		return nil
	case <-l.session.Done():
		return errUnlinked()
	}
}

// ask puts one request on a stream of its own.
func (l *link) ask(ctx context.Context, q catalog.Request) (catalog.Answer, error) {
	var answer catalog.Answer
	st, err := l.session.Open(ctx)
	if err != nil {
		return answer, err
	}
	stop := context.AfterFunc(ctx, func() { st.Cancel(reason.ConnectTimeout) })
	defer stop()
	if err := catalog.WriteMessage(st, catalog.ToControlBytesMax, catalog.Opening{Request: q}); err != nil {
		st.Cancel(reason.PeerClosed)
		return answer, err
	}
	if err := st.CloseWrite(); err != nil {
		return answer, err
	}
	if err := catalog.ReadMessage(st, catalog.ToNodeBytesMax, &answer); err != nil {
		st.Cancel(reason.PeerClosed)
		return answer, err
	}
	if answer.Refuse != nil {
		return answer, answer.Refuse.Err()
	}
	return answer, nil
}

// Ask forwards one mesh-wide read of the local admin API to control.
func (a *Agent) Ask(ctx context.Context, path string, q url.Values) (status int, body []byte, err error) {
	l := a.live.Load()
	if l == nil {
		return 0, nil, errUnlinked()
	}
	answer, err := l.ask(ctx, catalog.Request{Inspect: &catalog.InspectRequest{Method: http.MethodGet, Path: path, Query: q.Encode()}})
	if err != nil {
		return 0, nil, err
	}
	if answer.Inspect == nil {
		return 0, nil, reason.New(reason.FrameMalformed, "control answered %s with something else", path)
	}
	if !json.Valid(answer.Inspect.Body) {
		return 0, nil, fmt.Errorf("control's answer to %s is no JSON", path)
	}
	return answer.Inspect.Status, answer.Inspect.Body, nil
}

// Witness has control cosign a head of this host's audit log.
func (a *Agent) Witness(ctx context.Context, r catalog.WitnessRequest) (*catalog.WitnessAnswer, error) {
	l := a.live.Load()
	if l == nil {
		return nil, errUnlinked()
	}
	answer, err := l.ask(ctx, catalog.Request{Witness: &r})
	if err != nil {
		return nil, err
	}
	if answer.Witness == nil {
		return nil, reason.New(reason.FrameMalformed, "control answered a head with something else")
	}
	return answer.Witness, nil
}
