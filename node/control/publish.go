package control

import (
	"log/slog"
	"sync"
	"time"

	"fire/node/catalog"
	"fire/twin"
)

// publication is one signed version in the forms that nodes get, encoded once for
// all of them.
type publication struct {
	signed *catalog.Signed
	view   *catalog.View
	at     time.Time

	before   uint64                 // version that delta starts from; 0: none
	delta    func() ([]byte, error) // encoded when the first node needs it
	snapshot func() ([]byte, error)
}

// publish makes a version of what has changed and offers it to every node.
func (l *loop) publish() error {
	begun := l.c.now()
	l.due = time.Time{}
	state := l.dir.State()
	if l.current != nil && state == l.current.signed.State {
		return nil
	}
	view, err := catalog.Compile(state)
	if err != nil {
		return err
	}
	signed := catalog.Sign(state, begun, l.c.authority.SignHead)
	view.SignedAt = signed.SignedAt
	p := &publication{signed: signed, view: view, at: begun}
	p.snapshot = sync.OnceValues(func() ([]byte, error) {
		return catalog.AppendMessage(nil, catalog.ToNodeBytesMax, catalog.ControlMessage{Snapshot: signed})
	})
	if l.current != nil {
		from := l.current.signed
		p.before = from.Version
		p.delta = sync.OnceValues(func() ([]byte, error) {
			return catalog.AppendMessage(nil, catalog.ToNodeBytesMax, catalog.ControlMessage{Delta: signed.DeltaFrom(from)})
		})
	}
	l.current = p
	l.c.published.Store(p)
	l.c.verifier.SetRevoked(view.RevokedSet())
	for _, k := range l.links {
		k.out.offer(p)
	}
	l.c.twin.SetInventory(l.inventory())
	// A large mesh makes a publication dear: leave half of the time for the rest. And
	// each costs every node, so a node that changes its mind all the time is not followed
	// at its pace: what changes meanwhile goes out together.
	l.rested = begun.Add(max(restAtLeast, 2*l.c.now().Sub(begun), l.paced(begun)))
	return nil
}

// paced takes a publication from the allowance and returns how long until there is
// another. An operator's change goes out at once and leaves no debt.
func (l *loop) paced(now time.Time) time.Duration {
	l.pace.AllowN(now, 1)
	missing := 1 - l.pace.TokensAt(now)
	return time.Duration(max(0, missing) / pacePerSecond * float64(time.Second))
}

// inventory is what exists, in the twin's words.
func (l *loop) inventory() twin.Inventory {
	s := l.current.signed.State
	inv := twin.Inventory{Version: s.Version, Floor: s.Floor}
	for name, n := range s.Nodes {
		node := twin.InventoryNode{Name: name, Region: n.Region, Zone: n.Zone, Addr: n.Addr, Release: n.Release,
			Roles: n.Roles, Linked: n.Linked, Draining: n.Draining}
		if f := l.facts[name]; f != nil {
			node.CertNotAfter = f.notAfter
		}
		inv.Nodes = append(inv.Nodes, node)
	}
	for name, sv := range s.Services {
		inv.Services = append(inv.Services, twin.InventoryService{Name: name, Protocol: string(sv.Protocol), Class: string(sv.Class),
			Description: sv.Description, Port: sv.Port, Nodes: sv.Nodes})
	}
	for _, e := range s.Endpoints {
		inv.Endpoints = append(inv.Endpoints, twin.InventoryEndpoint{Service: e.Service, Node: e.Node, Epoch: e.Epoch,
			Linked: e.Linked, Healthy: e.Healthy, Draining: e.Draining || s.Nodes[e.Node].Draining, Why: e.Why})
	}
	return inv
}

// tell writes an event to the log, and to the twin what it cannot see in its
// inventory.
func (l *loop) tell(e catalog.Event) {
	l.c.heard(slog.LevelInfo, e.Node, "mesh changed", "event", string(e.Kind), "svc", e.Service, "reason", e.Code.String(), "detail", e.Detail)
	switch e.Kind {
	case catalog.IdentityRevoked, catalog.IdentityCleared:
		subject, text, severity := "node "+e.Node, " is accepted again", twin.StateOK
		if e.Node == "" {
			subject = "service " + e.Service
		}
		if e.Kind == catalog.IdentityRevoked {
			text, severity = " is revoked: "+e.Detail, twin.StateWarn
		}
		l.c.twin.Note(twin.Event{Kind: twin.EventRevoked, Severity: severity, Subject: subject, Text: subject + text})
	}
}
