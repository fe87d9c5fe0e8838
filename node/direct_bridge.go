package node

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"

	"fire/node/bridge"
	"fire/node/catalog"
	"fire/node/config"
	"fire/node/direct"
	"fire/policy"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/transport"
	"fire/transport/channel"
)

// makeBridge lets channels go on to other hosts, over the host's one mesh socket as far as
// keys and words go.
func (d *directNode) makeBridge(cfg bridge.Config, s *socket) (err error) {
	a := d.agent
	sessions := s.serve([]string{pki.ALPNBridge}, func(alpn []string) *tls.Config {
		if !slices.Contains(alpn, pki.ALPNBridge) {
			return nil
		}
		return pki.ServerConfig(a.NodeCertificate, a.Verifier(), pki.Want{Kinds: []id.Kind{id.KindNode}}, pki.ALPNBridge)
	})
	dial := func(ctx context.Context, node, address string) (transport.Session, error) {
		tc := pki.ClientConfig(a.NodeCertificate, a.Verifier(), pki.Want{Exactly: d.self.Domain.Node(node)}, pki.ALPNBridge)
		return s.endpoint.Dial(ctx, address, tc, transport.ClassOrder)
	}
	at, err := netip.ParseAddrPort(s.endpoint.Addr().String())
	if err != nil {
		return err
	}
	d.bridge, err = bridge.New(cfg, bridge.Deps{Local: bridged{d.broker}, Dial: dial, Sessions: sessions, Address: at.Addr().Unmap(), Tell: d.tellPath, Log: d.log})
	return err
}

// tellPath puts what happens to a path into the audit trail.
func (d *directNode) tellPath(f bridge.Fact) {
	e := direct.Event{Kind: direct.EventKind("path_" + f.Kind), Channel: f.Channel, Service: f.Service, Node: f.Node, Reason: f.Reason, Detail: f.Detail}
	d.broker.Tell(e)
}

// bridged is the broker as the bridge attaches to it.
type bridged struct{ broker *direct.Broker }

func (l bridged) Subscribed() ([]string, <-chan struct{}) { return l.broker.Subscribed() }

func (l bridged) Attach(ctx context.Context, side policy.Side, ends []bridge.End) (*channel.Wire, func(context.Context, []bridge.End) error, error) {
	far := &direct.Far{Side: side, Ends: farEnds(ends)}
	w, err := l.broker.AttachFar(ctx, far)
	return w, func(ctx context.Context, ends []bridge.End) error { return l.broker.Represent(ctx, far, farEnds(ends)) }, err
}

func farEnds(ends []bridge.End) (out []direct.Placed) {
	for _, e := range ends {
		out = append(out, direct.Placed(e))
	}
	return out
}

// bridgeRules is what the bridge needs of a catalogue.
func bridgeRules(v *catalog.View, self id.Principal) *bridge.Rules {
	hosts := map[string]bridge.Host{}
	for name, n := range v.State.Nodes {
		if name != self.Name && n.Addr != "" && slices.Contains(n.Roles, config.RoleDirect) {
			hosts[name] = bridge.Host{Address: n.Addr}
		}
	}
	return &bridge.Rules{Version: v.State.Version, Domain: v.State.Domain, Node: self.Name, Channels: v.State.Channels, Table: v.Table,
		Revoked: v.Revoked, Placed: v.Placed, Hosts: hosts}
}
