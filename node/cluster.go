package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fire/audit"
	"fire/node/admin"
	"fire/node/catalog"
	"fire/node/config"
	"fire/node/control"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/transport/channel"
)

// ownDomain is the trust domain of every mesh that lives in one process. Each has its
// own root, so two of them do not trust each other for having one name.
var ownDomain = id.Domain{Region: "dev", Mesh: "floor"}

// ownMisses is how patient the hosts of one process are with each other. None can die
// alone, so a lost heartbeat only ever means that the machine is busy.
const ownMisses = 25

// smallAudit is a log for one of several that share a machine and a process.
func smallAudit() audit.Settings {
	s := audit.DefaultSettings()
	s.SegmentBytes, s.Rings, s.RingBytes, s.KeepBytes = 16<<20, 2, 1<<20, 256<<20
	return s
}

// cluster is a mesh in one process: a control and hosts, on loopback addresses.
type cluster struct {
	release string
	log     *slog.Logger
	dir     string
	kept    bool   // dir outlives the process
	page    string // folder and start of the name of the hosts' meter pages

	socket  *socket // control's
	control *control.Control
	ledger  *auditLog // the control's
	witness *auditWitness
	mapURL  string
	hosts   []*host
	closers []func() error
}

// newCluster makes the state folder, throw-away when dir is "", and control. web is
// the map's address, "" for none. The hosts' meter pages lie in the state folder
// unless page says otherwise.
func newCluster(dir, web, page, release string, log *slog.Logger) (c *cluster, err error) {
	c = &cluster{release: release, log: log, kept: dir != ""}
	if c.kept {
		c.dir, err = filepath.Abs(dir)
	} else {
		c.dir, err = throwAway()
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	free, err := holdFolder(c.dir)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, free)
	if c.page = page; page == "" {
		c.page = c.dir + "/"
	}
	if err := c.buildControl(web); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *cluster) buildControl(web string) error {
	conf := config.Default()
	conf.Mesh = config.Mesh{Name: ownDomain.Mesh, Region: ownDomain.Region}
	conf.Node.Name, conf.Web.Listen, conf.QUIC.HeartbeatMisses = "control", web, ownMisses
	var err error
	if c.socket, err = openSocket("127.0.0.1:0", conf.QUIC, nil, c.log); err != nil {
		return err
	}
	c.closers = append(c.closers, c.socket.close)
	cfg := conf.Control
	cfg.Advertise = []string{c.socket.endpoint.Addr().String()}
	if c.ledger, err = openControlAudit(smallAudit(), filepath.Join(c.dir, "control"), ownDomain, c.log); err != nil {
		return err
	}
	c.closers = append(c.closers, c.ledger.close)
	if c.witness, err = openAuditWitness(filepath.Join(c.dir, "control"), ownDomain, c.ledger, c.log); err != nil {
		return err
	}
	c.closers = append(c.closers, c.witness.close)
	c.control, err = newControl(cfg, &conf, c.socket, c.release, filepath.Join(c.dir, "control"), c.witness, c.log)
	if err != nil {
		return err
	}
	at, err := c.control.Listen()
	if err != nil {
		return bindError("the map's address", web, err)
	}
	if at != nil {
		c.mapURL = "http://" + at.String() + "/"
	}
	return c.socket.listen()
}

// add makes a host that joins this cluster; its state lies in a folder of its name.
func (c *cluster) add(ctx context.Context, conf *config.Config) error {
	name := conf.Node.Name
	conf.Mesh = config.Mesh{Name: ownDomain.Mesh, Region: ownDomain.Region}
	conf.Agent.Controls = []string{c.socket.endpoint.Addr().String()} // a kept state names an older port
	conf.Audit = smallAudit()
	conf.Node.Dir, conf.QUIC.HeartbeatMisses = filepath.Join(c.dir, name), ownMisses
	if err := pki.MakePrivateDir(conf.Node.Dir); err != nil {
		return err
	}
	s, err := openSocket(conf.Node.Listen, conf.QUIC, nil, c.log)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, s.close)
	h, err := newHost(hostOptions{conf: conf, name: name, roles: conf.Node.Roles, release: c.release, page: c.page, attach: c.page + name + "." + channel.SocketName,
		log: c.log.With("node", name), token: func() (*pki.Token, error) {
			made, err := c.control.CreateToken(ctx, admin.TokenRequest{Node: name, TTLMS: time.Minute.Milliseconds()})
			if err != nil {
				return nil, err
			}
			return pki.ParseToken(made.Token)
		}}, s)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.closers = append(c.closers, h.close)
	c.hosts = append(c.hosts, h)
	return s.listen()
}

// parts in the order of their start.
func (c *cluster) parts(drain time.Duration) []part {
	parts := append([]part{{"control socket", c.socket.run, stopGrace}}, append([]part{c.witness.part()}, c.ledger.parts("control")...)...)
	parts = append(parts, part{"control", c.control.Run, stopGrace})
	for _, h := range c.hosts {
		parts = append(parts, part{h.self.Name + " socket", h.socket.run, stopGrace})
		parts = append(parts, h.parts(drain)...)
	}
	return parts
}

// apply puts a floor in force, unless the state folder holds one.
func (c *cluster) apply(ctx context.Context, name, text string) error {
	if c.control.View().State.Floor != 0 {
		return nil
	}
	a, err := c.control.Apply(ctx, admin.ApplyRequest{Name: name, Text: text, WaitMS: 1})
	if err == nil && len(a.Problems) > 0 {
		err = errors.New(strings.Join(a.Problems, "\n"))
	}
	return err
}

// placed is a service on a host.
type placed struct{ service, host string }

// missing names those that cannot take traffic yet. Every host must know of them, not
// control alone, and hold the certificates of the services placed on it: until then
// its proxy refuses.
func (c *cluster) missing(all []placed) []string {
	var out []string
	for _, p := range all {
		if !routable(c.control.View(), p) {
			out = append(out, p.service+" on "+p.host)
		}
	}
	for _, h := range c.hosts {
		v := h.agent.View()
		if v == nil {
			out = append(out, "the catalogue on "+h.self.Name)
			continue
		}
		for _, p := range all {
			if !routable(v, p) {
				out = append(out, p.service+" on "+p.host+" as "+h.self.Name+" sees it")
			}
		}
		for name := range v.State.Services {
			if v.Placed(name, h.self.Name) && h.agent.Certificate(h.self.Domain.Service(name)) == nil {
				out = append(out, "the certificate of "+name+" on "+h.self.Name)
			}
		}
	}
	return out
}

func routable(v *catalog.View, p placed) bool {
	return slices.ContainsFunc(v.Routable(p.service), func(e catalog.EndpointRef) bool { return e.Node == p.host })
}

// awaitReady waits until every service can take traffic; late is told once what is
// missing after ten seconds.
func (c *cluster) awaitReady(ctx context.Context, all []placed, late func(missing []string)) error {
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := c.missing(all)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			late(missing)
		case <-tick.C:
		}
	}
}

// close gives everything back; after a run it only removes a throw-away folder.
func (c *cluster) close() error {
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i]())
	}
	if !c.kept {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
