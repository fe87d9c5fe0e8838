package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fire/audit/index"
	"fire/node/admin"
	"fire/node/config"
	"fire/node/control"
	"fire/node/unit"
	"fire/policy/pki"
	"fire/transport/channel"
	"fire/transport/spin"
)

// stopGrace is what a part gets to stop beyond any time that it drains.
const stopGrace = 5 * time.Second

// Run carries the roles of one host until ctx ends. Everything is bound and loaded
// before anything starts.
func Run(ctx context.Context, o Options) (err error) {
	roles := o.Config.Node.Roles
	if len(o.Roles) > 0 {
		roles = o.Roles
	}
	p := &process{o: o, roles: roles, started: time.Now()}
	defer func() {
		if err != nil {
			p.closeAll()
		}
	}()
	if err := p.build(ctx); err != nil {
		return err
	}
	fmt.Fprintf(o.Talk, "fire %s: %s runs as %s; mesh %s/udp, admin socket %s\n", o.Release, p.name(), strings.Join(roles, " and "),
		p.socket.endpoint.Addr(), p.admin.Path())
	return runParts(ctx, o.Log, p.parts(), func() {})
}

// process is one host's fire between build and run.
type process struct {
	o       Options
	roles   []string
	started time.Time

	awake   *spin.Spinner // nil without the proxy role
	socket  *socket
	control *control.Control
	ledger  *auditLog // the control's; nil without the role
	witness *auditWitness
	mapURL  string
	host    *host
	admin   *admin.Server
	index   *index.Index // over the audit logs; nil: none
	metrics *metricsServer
	closers []func() error
}

func (p *process) has(role string) bool { return slices.Contains(p.roles, role) }

func (p *process) name() string {
	if p.host != nil {
		return p.host.self.Name
	}
	return p.o.Config.Node.Name
}

// build opens everything in order; what it opened is in closers.
func (p *process) build(ctx context.Context) error {
	conf := p.o.Config
	free, err := holdFolder(conf.Node.Dir)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, free)
	if p.has(config.RoleProxy) {
		if p.awake, err = spin.New(conf.Proxy.SpinMax); err != nil {
			return err
		}
	}
	if p.socket, err = openSocket(conf.Node.Listen, conf.QUIC, p.awake, p.o.Log); err != nil {
		return err
	}
	p.closers = append(p.closers, p.socket.close)
	if p.has(config.RoleControl) {
		if err := p.buildControl(); err != nil {
			return err
		}
	}
	if p.has(config.RoleProxy) || p.has(config.RoleDirect) {
		if err := p.buildHost(ctx); err != nil {
			return err
		}
	}
	if err := p.buildAdmin(ctx); err != nil {
		return err
	}
	return p.socket.listen()
}

func (p *process) buildControl() error {
	conf := p.o.Config
	if conf.Mesh.Domain().Mesh == "" {
		return errors.New(`the control role needs the mesh's name and region; set name and region in [mesh] of mesh.toml`)
	}
	cfg := conf.Control
	if len(cfg.Advertise) == 0 {
		cfg.Advertise = reachable(conf.Node.Advertise, p.socket.endpoint.Addr())
	}
	var err error
	if p.ledger, err = openControlAudit(conf.Audit, filepath.Join(conf.Node.Dir, "control"), conf.Mesh.Domain(), p.o.Log); err != nil {
		return err
	}
	p.closers = append(p.closers, p.ledger.close)
	p.ledger.configured(conf, p.roles, p.o.Release)
	if p.witness, err = openAuditWitness(filepath.Join(conf.Node.Dir, "control"), conf.Mesh.Domain(), p.ledger, p.o.Log); err != nil {
		return err
	}
	p.closers = append(p.closers, p.witness.close)
	p.control, err = newControl(cfg, conf, p.socket, p.o.Release, filepath.Join(conf.Node.Dir, "control"), p.witness, p.o.Log)
	if err != nil {
		return err
	}
	at, err := p.control.Listen()
	if err != nil {
		return bindError("[web] listen", conf.Web.Listen, err)
	}
	if at != nil {
		p.mapURL = "http://" + at.String() + "/"
		fmt.Fprintf(p.o.Talk, "the live map is at %s\n", p.mapURL)
	}
	return nil
}

// newControl makes the control role and lets the socket serve it.
func newControl(cfg control.Config, conf *config.Config, s *socket, release, dir string, w *auditWitness, log *slog.Logger) (*control.Control, error) {
	// The role's TLS configuration exists only with the role, and the socket's route
	// must exist before it: the route asks through this variable, once it listens.
	var c *control.Control
	sessions := s.serve(control.Protocols(), func(alpn []string) *tls.Config { return c.TLS(alpn) })
	c, err := control.New(cfg, control.Deps{
		Domain: conf.Mesh.Domain(), Name: conf.Node.Name, Dir: dir, Release: release, Log: log,
		Twin: conf.Twin, Web: conf.Web, Sessions: sessions, Witness: w.cosign,
	})
	return c, err
}

func (p *process) buildHost(ctx context.Context) error {
	conf := p.o.Config
	name := ""
	if p.control != nil || conf.Sets("node.name") {
		name = conf.Node.Name
	}
	var err error
	p.host, err = newHost(hostOptions{conf: conf, name: name, roles: p.roles, token: func() (*pki.Token, error) { return p.token(ctx) },
		release: p.o.Release, awake: p.awake, page: admin.RuntimeDir() + "/",
		attach: filepath.Join(admin.RuntimeDir(), channel.SocketName), log: p.o.Log}, p.socket)
	if err == nil {
		p.closers = append(p.closers, p.host.close)
	}
	return err
}

// token is the join token given, or one that this process's own control makes for
// its own host: it needs nobody's leave.
func (p *process) token(ctx context.Context) (*pki.Token, error) {
	text := p.o.Token
	if text == "" && p.control != nil {
		made, err := p.control.CreateToken(ctx, admin.TokenRequest{Node: p.o.Config.Node.Name, TTLMS: time.Hour.Milliseconds()})
		if err != nil {
			return nil, err
		}
		text = made.Token
	}
	if text == "" {
		return nil, nil
	}
	return pki.ParseToken(text)
}

func (p *process) buildAdmin(ctx context.Context) error {
	conf := p.o.Config.Admin
	if conf.Socket == "" {
		conf.Socket = admin.DefaultSocket(p.name())
	}
	var (
		reader  admin.Reader
		changer admin.Changer
		hosts   []*host
		err     error
	)
	if p.host != nil {
		reader, hosts = newLinked(p.host.agent), []*host{p.host}
	}
	if p.control != nil {
		reader, changer = p.control, p.control
	}
	p.metrics, err = listenMetrics(conf.MetricsListen, hosts, p.ledger, p.o.Release, p.o.Log)
	if err != nil {
		return err
	}
	if p.metrics != nil {
		p.closers = append(p.closers, p.metrics.close)
	}
	l := p.local(hosts)
	p.admin, err = admin.Listen(ctx, conf, witnessed{reader, l}, changer, l, p.o.Log)
	return err
}

func (p *process) local(hosts []*host) *local {
	base := newBase(p.o.Release, p.roles, p.started)
	base.Node, base.Domain, base.Dir, base.MapURL = p.name(), p.o.Config.Mesh.Domain().String(), p.o.Config.Node.Dir, p.mapURL
	base.ConfigPath, base.ConfigDigest = p.o.Config.File(), p.o.Config.Digest()
	if p.metrics != nil {
		base.MetricsURL = "http://" + p.metrics.ln.Addr().String() + "/metrics"
	}
	p.index = newAuditIndex(p.o.Config.Audit.Index, p.o.Config.Node.Dir, logsOf(hosts, p.ledger), p.o.Log)
	l := newLocal(base, hosts, p.ledger, p.index)
	if p.host != nil {
		l.base.Domain = p.host.self.Domain.String()
	}
	if p.control != nil {
		l.base.Linked = true
		l.control = p.control
	}
	return l
}

// parts in the order of their start; they stop in reverse.
func (p *process) parts() []part {
	parts := []part{{"mesh socket", p.socket.run, stopGrace}}
	if p.control != nil {
		parts = append(append(parts, p.witness.part()), p.ledger.parts("control")...)
		parts = append(parts, part{"control", p.control.Run, stopGrace})
	}
	if p.host != nil {
		parts = append(parts, p.host.parts(p.o.Config.Proxy.DrainTimeout)...)
	}
	parts = append(parts, indexParts(p.index)...)
	parts = append(parts, part{"admin socket", p.admin.Run, stopGrace})
	if p.metrics != nil {
		parts = append(parts, part{"metrics", p.metrics.run, stopGrace})
	}
	least := 1
	if p.control != nil {
		least = 2
	}
	return append(parts, part{"spinner", p.awake.Run, stopGrace},
		part{"processors", func(ctx context.Context) error { return watchProcessors(ctx, least, p.awake, p.o.Log) }, stopGrace},
		part{"systemd", p.notify, stopGrace})
}

// notify tells systemd READY when the identity is held, and feeds its watchdog.
func (p *process) notify(ctx context.Context) error {
	n := unit.NewNotifier(p.o.Log)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for p.host != nil && !p.host.agent.Joined() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	n.Ready(p.name() + " runs as " + strings.Join(p.roles, " and "))
	err := n.Run(ctx, p.alive)
	n.Stopping("draining")
	return err
}

// alive asks the parts that must not hang: control's loop answers a read, or the
// watchdog is not fed and systemd restarts the process.
func (p *process) alive() error {
	if p.control == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), aliveWithin)
	defer cancel()
	_, err := p.control.Status(ctx)
	return err
}

// aliveWithin is how long control's loop may take to answer: far more than any
// change takes, far less than a watchdog's half period.
const aliveWithin = 2 * time.Second

func (p *process) closeAll() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.o.Log.Warn("close after a failed start", "err", err)
		}
	}
}
