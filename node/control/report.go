package control

import (
	"log/slog"

	"fire/node/catalog"
	"fire/twin"
)

// believable leaves of a node's report what the node can know: edges between declared
// services whose own end is placed on it. A node that could report for others could
// paint any edge green or red, and fill the map with services that do not exist.
func (c *Control) believable(node string, r *twin.Report) {
	r.Node = node // whatever it says
	v := c.View()
	kept := r.Edges[:0]
	for i := range r.Edges {
		if isOwn(v, node, &r.Edges[i]) {
			kept = append(kept, r.Edges[i])
		}
	}
	if n := len(r.Edges) - len(kept); n > 0 {
		c.heard(slog.LevelWarn, node, "edges of a report are not the node's own", "count", n)
	}
	r.Edges = kept
}

func isOwn(v *catalog.View, node string, d *twin.EdgeDelta) bool {
	near, far := d.Src, d.Dst
	switch d.Side {
	case twin.SideOut:
	case twin.SideIn:
		near, far = far, near
	default:
		return true // it has no service: the twin says what is wrong with it
	}
	_, declared := v.Service(far)
	return declared && v.Placed(near, node)
}
