package proxy

import (
	"fire/node/admin"
)

// Flows lists the live connections of this proxy.
func (p *Proxy) Flows() []admin.Flow {
	all := p.flows.all()
	out := make([]admin.Flow, 0, len(all))
	for _, f := range all {
		out = append(out, admin.Flow{ID: idText(f.id), Side: f.side, Src: f.src.Name, Dst: f.dst.Name, Peer: f.node,
			Protocol: f.protocol, Since: f.since, BytesOut: f.up.bytes.Load(), BytesIn: f.down.bytes.Load()})
	}
	return out
}
