package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"log/slog"
	"slices"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
)

// issue gives a node a certificate for itself or for a service placed on it. Every
// other wish is an alarm.
func (c *Control) issue(ctx context.Context, node string, r *catalog.IssueRequest) (*catalog.IssueAnswer, error) {
	var err error
	if stop := c.do(ctx, func(l *loop) { err = l.mayHold(node, r.Principal) }); stop != nil {
		return nil, stop
	}
	if err != nil {
		c.alarm(node, "certificate refused", err)
		return nil, err
	}
	if err := checkRequest(r.CSR); err != nil {
		return nil, err
	}
	chain, err := c.authority.IssueHeld(r.CSR, r.Principal, c.deps.Domain.Node(node))
	if err != nil {
		return nil, err
	}
	return &catalog.IssueAnswer{Chain: chain, Bundle: c.authority.Bundle()}, nil
}

// mayHold decides on the parsed principal whether its key may lie on the node.
func (l *loop) mayHold(node string, p id.Principal) error {
	d := l.dir.Domain()
	switch {
	case !l.dir.Member(node):
		return reason.New(reason.NotPermitted, "node %q is not a member", node)
	case p.Domain != d:
		return reason.New(reason.CertWrongDomain, "%s was asked of %s", p, d)
	case l.c.verifier.Revoked(p) || l.c.verifier.Revoked(d.Node(node)):
		return reason.New(reason.IdentityRevoked, "%s on node %q", p, node)
	case p == d.Node(node):
		return nil
	case p.Kind != id.KindService:
		return reason.New(reason.NotPermitted, "node %q asked for the identity of %s", node, p.Short())
	}
	if !l.dir.Placed(p.Name, node) {
		return reason.New(reason.NotPlaced, "service %q is not placed on node %q", p.Name, node)
	}
	return nil
}

// checkRequest refuses early what the authority would refuse: before a token is
// spent on it.
func checkRequest(der []byte) error {
	if len(der) > pki.CSRBytesMax {
		return reason.New(reason.FrameOversized, "certificate request of %d bytes, the limit is %d", len(der), pki.CSRBytesMax)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return reason.New(reason.FrameMalformed, "certificate request: %w", err)
	}
	if k, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return reason.New(reason.FrameMalformed, "certificate request: the key is not ECDSA P-256")
	}
	return nil
}

// serveJoin serves one host that has a token and no certificate: one stream, one
// request, one answer.
func (c *Control) serveJoin(ctx context.Context, s transport.Session) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	defer s.Close(reason.OK, "")
	stream, err := s.Accept(ctx)
	if err != nil {
		return
	}
	deadline, _ := ctx.Deadline()
	stream.SetReadDeadline(deadline)
	stream.SetWriteDeadline(deadline.Add(openingTimeout))
	var r catalog.JoinRequest
	err = catalog.ReadMessage(stream, catalog.JoinBytesMax, &r)
	if err == nil {
		err = r.Check()
	}
	answer := &catalog.JoinAnswer{}
	if err == nil {
		answer, err = c.join(ctx, &r)
	}
	if err != nil {
		code := reason.Of(err, reason.FrameTruncated)
		c.heard(slog.LevelWarn, "", "join refused", "wished", r.Node, "peer", s.RemoteAddr().String(), "reason", code.String(), "err", err)
		answer = &catalog.JoinAnswer{Refuse: catalog.Refused(err, code)}
	}
	if catalog.WriteMessage(stream, catalog.JoinBytesMax, answer) != nil {
		return
	}
	stream.CloseWrite()
	linger(s)
}

// join admits a host. The steps are in an order that burns no token in vain and
// never answers before everything is durable:
//
//	name is free ► token redeemed* ► member stored* ► leaf signed
//	               * durable before the next step
//
// A crash after the redemption leaves a used token and no member: a new token is
// needed, and nobody got in.
func (c *Control) join(ctx context.Context, r *catalog.JoinRequest) (*catalog.JoinAnswer, error) {
	select {
	case c.joins <- struct{}{}:
		defer func() { <-c.joins }()
	case <-ctx.Done():
		return nil, reason.New(reason.TooManyConnections, "too many hosts join at once; try again")
	}
	if err := checkRequest(r.CSR); err != nil {
		return nil, err
	}
	name, again, err := c.joinName(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := c.tokens.RedeemFor(r.TokenID, r.Secret, name, c.now()); err != nil {
		return nil, err
	}
	err = c.durably(ctx, func(d *catalog.Directory, now time.Time) ([]catalog.Event, error) {
		return d.Join(name, r.Addr, again, now)
	})
	if err != nil {
		return nil, err
	}
	node := c.deps.Domain.Node(name)
	chain, err := c.authority.IssueHeld(r.CSR, node, node)
	if err != nil {
		return nil, err
	}
	return &catalog.JoinAnswer{Node: name, Chain: chain, Bundle: c.authority.Bundle(), Controls: c.cfg.Advertise}, nil
}

// joinName is the name that a joiner gets: its own choice, or the token's. A name
// that is taken is told here, before the token is spent, but only to those who know
// an open token's id; the others learn nothing about names.
func (c *Control) joinName(ctx context.Context, r *catalog.JoinRequest) (name string, again bool, err error) {
	tokens := c.tokens.List(c.now())
	at := slices.IndexFunc(tokens, func(t pki.TokenInfo) bool { return t.ID == r.TokenID })
	name = r.Node
	if at >= 0 && name == "" {
		name = tokens[at].Node
	}
	if at < 0 || tokens[at].State != "open" {
		return name, false, nil // the redemption says what is wrong with the token
	}
	if name == "" {
		return "", false, reason.New(reason.NotPermitted, "the token leaves the name to the host, and it said none; set node.name")
	}
	again = name == tokens[at].Node
	stop := c.do(ctx, func(l *loop) { _, err = l.dir.Clone().Join(name, r.Addr, again, c.now()) })
	return name, again, first(stop, err)
}
