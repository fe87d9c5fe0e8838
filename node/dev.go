package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"fire/audit/index"
	"fire/node/admin"
	"fire/node/agent"
	"fire/node/config"
	"fire/node/demo"
	"fire/node/direct"
	"fire/node/proxy"
)

// devDrain is short: the floor's programs have ended before their proxies.
const devDrain = 200 * time.Millisecond

// Dev runs a whole mesh in this process until ctx ends: one control, a host for each
// of the demonstration floor's, and its programs. It binds loopback only.
func Dev(ctx context.Context, o DevOptions) error {
	web, err := devWeb(o.Web)
	if err != nil {
		return err
	}
	o.Log = slog.New(untilDone{o.Log.Handler(), ctx})
	d := &devFloor{o: o, started: time.Now()}
	if d.cluster, err = newCluster(o.Dir, web, filepath.Join(admin.RuntimeDir(), admin.DevName+"-"), o.Release, o.Log); err != nil {
		return err
	}
	if err := d.build(ctx); err != nil {
		return errors.Join(err, d.close())
	}
	err = runParts(ctx, o.Log, d.parts(), func() {})
	d.sayGoodbye()
	return errors.Join(err, d.close())
}

// devFloor is a cluster with the demonstration floor on it.
type devFloor struct {
	*cluster
	o        DevOptions
	started  time.Time
	specs    []demo.Spec
	programs []demo.Program
	admin    *admin.Server
	metrics  *metricsServer
	index    *index.Index
}

func (d *devFloor) build(ctx context.Context) error {
	var err error
	if d.specs, err = devAddresses(demo.Programs(), d.o.FreePorts); err != nil {
		return err
	}
	for _, h := range demo.Hosts() {
		if err := d.add(ctx, devHostConfig(h, d.specs)); err != nil {
			return err
		}
	}
	for _, h := range d.hosts { // like the admin socket below: who may look at a dev floor is everyone
		if err := os.Chmod(h.page.Path(), 0o644); err != nil {
			return fmt.Errorf("meter page: %w", err)
		}
	}
	if err := d.buildPrograms(); err != nil {
		return err
	}
	if d.metrics, err = listenMetrics(usualOrFree("127.0.0.1:7481"), d.hosts, d.ledger, d.o.Release, d.o.Log); err != nil {
		return err
	}
	base := newBase(d.o.Release, config.Roles(), d.started)
	base.Node, base.Domain, base.Dev, base.Dir, base.MapURL = "dev", ownDomain.String(), true, d.dir, d.mapURL
	base.MetricsURL = "http://" + d.metrics.ln.Addr().String() + "/metrics"
	d.index = newAuditIndex(true, d.dir, logsOf(d.hosts, d.ledger), d.o.Log)
	l := newLocal(base, d.hosts, d.ledger, d.index)
	l.control = d.control
	cfg := admin.Config{Socket: admin.DefaultSocket(admin.DevName), Readers: "everyone"}
	d.admin, err = admin.Listen(ctx, cfg, witnessed{d.control, l}, d.control, l, d.o.Log)
	return err
}

// devWeb is the map's address: what was asked for when it is loopback, else the
// usual one, else any free port.
func devWeb(asked string) (string, error) {
	if asked != "" {
		at, err := netip.ParseAddrPort(asked)
		if err != nil || !at.Addr().IsLoopback() {
			return "", fmt.Errorf("--web %s: a dev floor binds loopback only, as 127.0.0.1:7480; run real hosts with `fire run`", asked)
		}
		return asked, nil
	}
	return usualOrFree("127.0.0.1:7480"), nil
}

// usualOrFree is the address that one knows by heart, or any port when it is taken.
func usualOrFree(usual string) string {
	ln, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	ln.Close()
	return usual
}

// devHostConfig is the mesh.toml that a person would write for the host.
func devHostConfig(at demo.Host, specs []demo.Spec) *config.Config {
	conf := config.Default()
	conf.Node.Name, conf.Node.Listen, conf.Node.Zone = at.Name, at.Address+":0", at.Name
	conf.Services, conf.Upstreams, conf.Programs = map[string]agent.Service{}, map[string]proxy.Upstream{}, map[string]direct.Program{}
	conf.Proxy.DrainTimeout = devDrain
	for _, s := range specs {
		if s.Host != at.Name {
			continue
		}
		svc := agent.DefaultService()
		svc.Address = s.Listen
		if s.Health == agent.CheckHTTP {
			svc.Health.Type, svc.Health.Path = agent.CheckHTTP, demo.HealthPath
		}
		conf.Services[s.Service] = svc
		if len(s.Channels) > 0 {
			conf.Node.Roles = []string{config.RoleProxy, config.RoleDirect}
			conf.Programs[s.Service] = direct.Program{Users: []string{strconv.Itoa(os.Getuid())}} // the floor's programs run in this process
		}
		for _, u := range s.Upstreams {
			conf.Upstreams[s.Service+"-to-"+u.Service] = proxy.Upstream{Service: u.Service, As: s.Service, Listen: u.Address}
		}
	}
	return &conf
}

func (d *devFloor) buildPrograms() error {
	for _, s := range d.specs {
		w := s.Wiring(d.o.Log.With("program", s.Name))
		if d.o.OrderRate > 0 {
			w.Rate = float64(d.o.OrderRate) * s.Share()
		}
		if h := d.host(s.Host); h.direct != nil {
			w.Attach = h.direct.broker.Path()
		}
		if d.o.Seed > 0 {
			w.Seed = d.o.Seed
		}
		p, err := s.New(w)
		if err != nil {
			return err
		}
		d.programs = append(d.programs, p)
	}
	return nil
}

// parts in the order of their start: the mesh, the programs, what watches them.
func (d *devFloor) parts() []part {
	parts := append(d.cluster.parts(devDrain), indexParts(d.index)...)
	for i, p := range d.programs {
		parts = append(parts, part{d.specs[i].Name, d.whenReady(d.specs[i], p.Run), stopGrace})
	}
	return append(parts, part{"admin socket", d.admin.Run, stopGrace},
		part{"metrics", d.metrics.run, stopGrace}, part{"floor", d.watch, stopGrace})
}

// whenReady holds a program back until its host has its identity and a way to
// everything that it calls: before that its first calls would only fail, and a floor
// that starts with red edges teaches nobody anything.
func (d *devFloor) whenReady(s demo.Spec, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !d.ready(s) {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
		return run(ctx)
	}
}

// host is the one of that name.
func (d *devFloor) host(name string) *host {
	return d.hosts[slices.IndexFunc(d.hosts, func(h *host) bool { return h.self.Name == name })]
}

func (d *devFloor) ready(s demo.Spec) bool {
	a := d.host(s.Host).agent
	v := a.View()
	if v == nil || a.Certificate(ownDomain.Service(s.Service)) == nil {
		return false
	}
	return !slices.ContainsFunc(s.Upstreams, func(u demo.Upstream) bool { return len(v.Routable(u.Service)) == 0 })
}

// watch applies the floor, says when all of it is up, and then waits.
func (d *devFloor) watch(ctx context.Context) error {
	if err := d.apply(ctx, "floor.toml", demo.FloorFile()); err != nil && ctx.Err() == nil {
		return fmt.Errorf("apply the demonstration floor: %w", err)
	}
	var all []placed
	for _, s := range d.specs {
		if s.Listen != "" {
			all = append(all, placed{s.Service, s.Host})
		}
	}
	err := d.awaitReady(ctx, all, func(missing []string) {
		fmt.Fprintf(d.o.Talk, "still waiting for %s; `fire check` looks closer\n", strings.Join(missing, ", "))
	})
	if err == nil {
		d.sayHello()
		<-ctx.Done()
	}
	return nil
}

func (d *devFloor) sayHello() {
	fate := "thrown away at the end"
	if d.kept {
		fate = "kept"
	}
	fmt.Fprintf(d.o.Talk, `fire %s: a trading floor runs on three hosts, up in %.1f s

  live map    %s
  metrics     %s
  state       %s (%s)

  Try, in another terminal:
    fire status
    fire edges
    fire why strategy-a gateway
    fire top
    fire ring stat

  Ctrl-C stops it.
`, d.o.Release, time.Since(d.started).Seconds(), d.mapURL,
		"http://"+d.metrics.ln.Addr().String()+"/metrics", d.dir, fate)
}

func (d *devFloor) sayGoodbye() {
	fmt.Fprintf(d.o.Talk, "\nstopped after %s\n", time.Since(d.started).Round(100*time.Millisecond))
	for _, p := range d.programs {
		fmt.Fprintf(d.o.Talk, "  %s\n", p.Summary())
	}
}
