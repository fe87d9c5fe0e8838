package proxy

import (
	"errors"
	"os"
	"strings"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/frame"
)

// hopsMax ends a stream that goes round in circles.
const hopsMax = 4

// admitStream decides at the server's side, from the identity of the session and
// never from the header, whether a stream may reach the application of this host.
func (p *Proxy) admitStream(s transport.Session, o *frame.Open, v *catalog.View) (svc catalog.Service, op policy.Op, why *reason.Error, rule string) {
	no := func(code reason.Code, format string, args ...any) (catalog.Service, policy.Op, *reason.Error, string) {
		return svc, op, reason.New(code, format, args...), rule
	}
	if p.stopping.Load() {
		return no(reason.Draining, "the proxy stops")
	}
	if v == nil {
		return no(reason.ControlUnreachable, "this node has no catalogue yet")
	}
	if why := p.judgePeer(s, v); why != nil {
		return svc, op, why, ""
	}
	svc, ok := v.Service(o.Service)
	if !ok {
		return no(reason.NoSuchService, "%q", o.Service)
	}
	op = policy.Op{Port: svc.Port, Opaque: svc.Protocol != catalog.HTTP}
	src, dst := s.Peer(), p.deps.Domain.Service(o.Service)
	if verdict := v.Table.Authorize(src, dst, op); !verdict.Allowed {
		rule = verdict.Rule
		return no(verdict.Code, "%s to %s: %s", src.Short(), dst.Short(), said(verdict))
	}
	switch _, here := p.deps.Apps[o.Service]; {
	case v.Revoked(dst) || v.Revoked(p.self):
		return no(reason.IdentityRevoked, "%s on %s", dst.Short(), p.deps.Node)
	case !here || !v.Placed(o.Service, p.deps.Node):
		return no(reason.NotPlaced, "%s is not served on %s", o.Service, p.deps.Node)
	case o.Instance != "" && !strings.HasSuffix(o.Instance, "@"+p.deps.Node):
		return no(reason.NotPlaced, "instance %s is not on %s", o.Instance, p.deps.Node)
	case o.Protocol != protocolByte(svc.Protocol):
		return no(reason.FrameMalformed, "protocol %d where %s is declared", o.Protocol, svc.Protocol)
	case o.Hops > hopsMax:
		return no(reason.FrameMalformed, "%d proxies before this one", o.Hops)
	}
	return svc, op, nil, ""
}

// lateness gives a passed deadline its code.
func lateness(err error, what string) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return reason.New(reason.ConnectTimeout, "%s in time", what)
	}
	return err
}
