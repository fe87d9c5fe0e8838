package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"fire/node/agent"
	"fire/node/bridge"
	"fire/node/catalog"
	"fire/node/direct"
	"fire/policy/id"
)

// directNode is the direct role of a host: the broker, and the trail of what it did.
type directNode struct {
	broker *direct.Broker
	trail  *direct.Trail
	bridge *bridge.Bridge
	agent  *agent.Agent
	self   id.Principal
	log    *slog.Logger
	told   []direct.At[direct.Ring] // what deltas said last

	happenings happenings
}

// newDirectNode binds the attach socket.
func newDirectNode(o hostOptions, s *socket, a *agent.Agent, self id.Principal, log *auditLog) (*directNode, error) {
	d := &directNode{agent: a, self: self, log: o.log}
	var err error
	dir := filepath.Join(o.conf.Node.Dir, "direct")
	if d.trail, err = direct.OpenTrail(dir); err != nil {
		return nil, err
	}
	cfg := o.conf.Direct
	if cfg.Socket == "" {
		cfg.Socket = o.attach
	}
	if d.broker, err = direct.New(cfg, direct.Deps{Dir: dir, Programs: o.conf.Programs, Record: d.recording(log), Noticed: d.happenings.add, Log: o.log, Audit: log.lanes()}); err != nil {
		return nil, errors.Join(err, d.trail.Close())
	}
	if err := d.makeBridge(o.conf.Bridge, s); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// recording puts an event into the trail, and what the trail has taken into the audit log.
func (d *directNode) recording(log *auditLog) func(direct.Event) error {
	return func(e direct.Event) error {
		err := d.trail.Record(e)
		if err == nil && log != nil {
			log.events.direct(e)
		}
		return err
	}
}

// parts in the order of their start.
func (d *directNode) parts(name string) []part {
	return []part{{name + " direct trail", d.trail.Run, stopGrace}, {name + " direct", d.broker.Run, stopGrace}, {name + " bridge", d.bridge.Run, stopGrace},
		{name + " direct rules", d.follow, stopGrace}}
}

// updateWithin bounds how long a new catalogue may wait for the broker's loop.
const updateWithin = 5 * time.Second

// follow puts every catalogue in force: before control hears that it is applied, what it
// forbids is cut.
func (d *directNode) follow(ctx context.Context) error {
	update := func(v *catalog.View) {
		ctx, cancel := context.WithTimeout(ctx, updateWithin)
		defer cancel()
		d.bridge.Update(bridgeRules(v, d.self))
		if err := d.broker.Update(ctx, rulesOf(v, d.self)); err != nil && ctx.Err() == nil {
			d.log.Error("the direct node took no catalogue", "version", v.State.Version, "err", err)
		}
	}
	stop := d.agent.Watch(update)
	defer stop()
	if v := d.agent.View(); v != nil {
		update(v)
	}
	<-ctx.Done()
	return nil
}

// rulesOf is what the direct node needs of a catalogue.
func rulesOf(v *catalog.View, self id.Principal) *direct.Rules {
	return &direct.Rules{Version: v.State.Version, Domain: v.State.Domain, Node: self.Name, Channels: v.State.Channels, Table: v.Table,
		Revoked: v.Revoked, Placed: v.Placed}
}

// close is for a start that failed.
func (d *directNode) close() error {
	if d == nil {
		return nil
	}
	return errors.Join(d.broker.Close(), d.trail.Close())
}
