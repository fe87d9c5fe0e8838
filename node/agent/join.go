package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
)

// Joined tells whether this host has an identity that has not ended.
func (a *Agent) Joined() bool {
	return a.known.Load() != nil && a.now().Before(a.notAfter())
}

// ensureJoined joins with the token when there is no identity, or when it has ended.
// It waits for a control that does not answer; everything else needs a person.
func (a *Agent) ensureJoined(ctx context.Context) error {
	wait := backoff{min: a.cfg.ReconnectMin, max: 10 * time.Second}
	var complaint complaint
	for !a.Joined() {
		err := a.Join(ctx)
		if err == nil {
			break
		}
		if reason.Of(err, reason.OK) != reason.ControlUnreachable {
			return err
		}
		a.setTrouble(func(t *trouble) { t.link = err })
		complaint.say(a, "cannot join yet", "", err)
		select {
		case <-time.After(wait.next()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Join spends the token at the first control that answers. ControlUnreachable means
// that no answer came, so it may be tried again; any other error is final.
func (a *Agent) Join(ctx context.Context) error {
	tok, err := a.token()
	if err != nil {
		return err
	}
	if err := tok.Check(a.now()); err != nil {
		return err
	}
	if a.host.Domain != (id.Domain{}) && a.host.Domain != tok.Domain {
		return reason.New(reason.CertWrongDomain, "the token is for %s, the configuration says %s", tok.Domain, a.host.Domain)
	}
	name, err := a.joinName(tok)
	if err != nil {
		return err
	}
	node, err := pki.NewKey(tok.Domain.Node(name))
	if err != nil {
		return err
	}
	var errs []error
	for _, addr := range tok.Controls {
		answer, err := a.askJoin(ctx, addr, tok, node)
		if err == nil {
			return a.admit(tok, node, answer)
		}
		if !passing(err) {
			return a.clockOr(err)
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return reason.New(reason.ControlUnreachable, "join: %w", errors.Join(errs...))
}

// passing tells errors of the way to control from its answers.
func passing(err error) bool {
	switch reason.Of(err, reason.PeerUnreachable) {
	case reason.PeerUnreachable, reason.PeerLost, reason.PeerClosed, reason.CertRefused, reason.ConnectTimeout, reason.Shutdown, reason.HandshakeFlood,
		reason.TooManyConnections, reason.TooManyStreams, reason.ControlUnreachable:
		return true
	}
	return false
}

func (a *Agent) clockOr(err error) error {
	if reason.Of(err, reason.OK) == reason.CertNotYetValid {
		return reason.New(reason.ClockSkew, "this host's clock is behind control's; set it, then join again: %w", err)
	}
	return err
}

// token is the one given, or the one that the configuration refers to.
func (a *Agent) token() (*pki.Token, error) {
	if a.deps.Token != nil {
		return a.deps.Token, nil
	}
	if a.cfg.Token == "" {
		if i := a.Identity(a.Node()); i != nil {
			return nil, reason.New(reason.CertExpired, "the certificate of %s ended %s; join again: fire token create --node %s", a.Node(), i.NotAfter().UTC().Format(time.RFC3339), a.Node().Name)
		}
		return nil, reason.New(reason.BundleMissing, "this host has not joined a mesh and has no token; on a control host run: fire token create")
	}
	text, err := a.cfg.Token.Resolve()
	if err != nil {
		return nil, err
	}
	return pki.ParseToken(string(text))
}

// joinName is the token's name for us, the configured one, or the machine's.
func (a *Agent) joinName(tok *pki.Token) (string, error) {
	want := a.host.Name
	if r := a.known.Load(); r != nil {
		want = r.Node // joins again as who it was
	}
	if tok.Node != "" {
		if want != "" && want != tok.Node {
			return "", reason.New(reason.NotPermitted, "the token is for node %s, this host is %s; make one for it: fire token create --node %s", tok.Node, want, want)
		}
		return tok.Node, nil
	}
	if want != "" {
		return want, nil
	}
	machine, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("this machine's name is not known: %w; set node.name", err)
	}
	label, _, _ := strings.Cut(strings.ToLower(machine), ".")
	if _, err := id.ParseName(label); err != nil {
		return "", fmt.Errorf("this machine's name cannot be a node's: %w; set node.name", err)
	}
	return label, nil
}

// askJoin does the one exchange of "fire-join/1".
func (a *Agent) askJoin(ctx context.Context, addr string, tok *pki.Token, node *pki.Identity) (*catalog.JoinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.DialTimeout)
	defer cancel()
	s, err := a.deps.Dialer.Dial(ctx, addr, pki.JoinClientConfig(tok.Pin, tok.Domain, a.now), transport.ClassControl)
	if err != nil {
		return nil, err
	}
	defer s.Close(reason.OK, "joined")
	st, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { st.Cancel(reason.ConnectTimeout) })
	defer stop()
	own, err := a.advertised(ctx, addr)
	if err != nil {
		return nil, err
	}
	q := catalog.JoinRequest{TokenID: tok.ID, Secret: tok.Secret, Node: node.Principal().Name, CSR: node.CSR(), Addr: own}
	if err := catalog.WriteMessage(st, catalog.JoinBytesMax, q); err != nil {
		return nil, err
	}
	if err := st.CloseWrite(); err != nil {
		return nil, err
	}
	var answer catalog.JoinAnswer
	if err := catalog.ReadMessage(st, catalog.JoinBytesMax, &answer); err != nil {
		return nil, err
	}
	if answer.Refuse != nil {
		return nil, answer.Refuse.Err()
	}
	return &answer, nil
}

// admit checks what control gave and keeps it. The record is written last: a crash
// before it leaves a host that has not joined.
func (a *Agent) admit(tok *pki.Token, node *pki.Identity, answer *catalog.JoinAnswer) error {
	name := node.Principal().Name
	if answer.Node != name {
		return reason.New(reason.CertWrongPeer, "control admitted us as %q, we asked for %q", answer.Node, name)
	}
	if answer.Bundle.Domain != tok.Domain || !answer.Bundle.HasPin(tok.Pin) {
		return reason.New(reason.PinMismatch, "control's bundle does not hold the root that the token pins")
	}
	if err := a.verifier.SetBundle(answer.Bundle); err != nil {
		return fmt.Errorf("%w; if control was built anew, remove the folder %s and join again", err, a.host.Dir)
	}
	if err := node.Install(answer.Chain); err != nil {
		return err
	}
	if err := a.clockAllows(node); err != nil {
		return err
	}
	own := tls.ConnectionState{PeerCertificates: []*x509.Certificate{node.Leaf()}}
	if _, err := a.verifier.Verify(own, pki.Want{Exactly: node.Principal()}); err != nil {
		return fmt.Errorf("control gave a certificate that its own bundle refuses: %w", err)
	}
	if err := node.Save(a.host.Dir); err != nil {
		return err
	}
	controls := answer.Controls
	if len(controls) == 0 || len(controls) > pki.ControlsMax {
		controls = tok.Controls
	}
	a.keys.Store(a.keys.Load().with(node))
	if err := a.store(&record{Format: recordFormat, Node: name, Domain: tok.Domain, Controls: controls, Bundle: answer.Bundle}); err != nil {
		return err
	}
	a.setTrouble(func(t *trouble) { t.link = nil })
	a.log.Info("joined", "node", name, "not_after", node.NotAfter())
	return nil
}
