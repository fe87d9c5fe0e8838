package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fire/node/admin"
	"fire/node/agent"
	"fire/node/config"
	"fire/node/proxy"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/meter"
	"fire/transport/spin"
	"fire/twin"
)

// meterCells is how many pairs of services a host can count apart; more share one
// overflow cell, which is itself counted.
const meterCells = 1024

// host is one host's side of the mesh: its link to control, its data path and its direct
// node. It has one of the latter two, or both.
type host struct {
	self     id.Principal
	socket   *socket
	agent    *agent.Agent
	proxy    *proxy.Proxy // nil without the role; so is page
	direct   *directNode  // nil without the role
	audit    *auditLog    // nil where it is switched off
	page     *meter.Page
	awake    *spin.Spinner
	sessions <-chan transport.Session
	boot     uint64 // random, so that the twin tells a restart from a repetition
	reports  uint64 // sent since boot
}

// hostOptions is what a host is built from.
type hostOptions struct {
	conf    *config.Config
	name    string // "" leaves it to the token, the state folder, or the machine's name
	roles   []string
	token   func() (*pki.Token, error) // asked when the host has not joined; may give nil
	release string
	awake   *spin.Spinner // nil: the process sleeps whenever it can
	page    string        // folder and start of the name of its meter page
	attach  string        // path of its attach socket, when the configuration names none
	log     *slog.Logger
}

// newHost loads the identity and binds the upstreams. On error nothing stays open.
func newHost(o hostOptions, s *socket) (*host, error) {
	h := &host{socket: s, awake: o.awake, boot: rand.Uint64()}
	var err error
	if err = h.makeAgent(o); err != nil {
		return nil, err
	}
	if err := admin.MakeRuntimeDir(filepath.Dir(o.page)); err != nil {
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	if h.audit, err = openAudit(o.conf.Audit, o.conf.Node.Dir, auditOrigin(h.self.Domain, h.self.Name), o.log); err != nil {
		return nil, err
	}
	if h.audit != nil {
		h.audit.cosign = &cosigning{log: h.audit, agent: h.agent, file: filepath.Join(o.conf.Node.Dir, "audit-cosigned")}
	}
	h.audit.configured(o.conf, o.roles, o.release)
	h.agent.Watch(h.audit.follow)
	if slices.Contains(o.roles, config.RoleDirect) {
		if h.direct, err = newDirectNode(o, s, h.agent, h.self, h.audit); err != nil {
			return nil, errors.Join(err, h.audit.close())
		}
	}
	if slices.Contains(o.roles, config.RoleProxy) {
		if err := h.makeProxy(o, s); err != nil {
			return nil, errors.Join(err, h.direct.close(), h.audit.close())
		}
	}
	return h, nil
}

// makeProxy binds the upstreams. On error nothing of it stays.
func (h *host) makeProxy(o hostOptions, s *socket) (err error) {
	h.page, err = meter.Create(o.page+h.self.Name+".meter", meterCells)
	if err != nil {
		return err
	}
	h.page.Describe(strings.Join(o.roles, ","), h.self.Name, o.release)
	changed, _ := h.agent.Subscribe()
	h.proxy, err = proxy.New(o.conf.Proxy, o.conf.Upstreams, proxy.Deps{
		Domain: h.self.Domain, Node: h.self.Name, Zone: o.conf.Node.Zone, Catalogue: following{h.agent, changed}, Identities: h.agent,
		Verifier: h.agent.Verifier(), Dialer: s.endpoint, Meter: h.page, Apps: apps(o.conf.Services), Awake: o.awake, Audit: h.audit.connections(), Log: o.log,
		AppFailed: h.agent.ReportDialFailure,
	})
	if err != nil {
		return errors.Join(err, h.page.Close())
	}
	h.agent.Watch(h.proxy.Enforce) // before control hears "applied", what it forbids is cut
	h.sessions = s.serve([]string{pki.ALPNMesh}, func(alpn []string) *tls.Config {
		if !slices.Contains(alpn, pki.ALPNMesh) {
			return nil
		}
		return h.proxy.ServerTLS()
	})
	return nil
}

func (h *host) makeAgent(o hostOptions) error {
	listen, err := netip.ParseAddrPort(h.socket.endpoint.Addr().String())
	if err != nil {
		return fmt.Errorf("the mesh's socket: %w", err)
	}
	about := agent.Host{Name: o.name, Domain: o.conf.Mesh.Domain(), Dir: filepath.Join(o.conf.Node.Dir, "node"), Zone: o.conf.Node.Zone,
		Release: o.release, Roles: o.roles, Listen: listen, Advertise: o.conf.Node.Advertise}
	deps := agent.Deps{Dialer: h.socket.endpoint, Log: o.log, Report: h.report, Certified: func(i *pki.Identity) { h.audit.certified(i) }}
	h.agent, err = agent.New(o.conf.Agent, about, o.conf.Services, deps)
	if err != nil {
		return err
	}
	if h.self = h.agent.Node(); h.agent.Joined() {
		return nil
	}
	if deps.Token, err = o.token(); err != nil {
		return err
	}
	if deps.Token == nil && o.conf.Agent.Token == "" {
		if i := h.agent.Identity(h.self); i != nil {
			return reason.New(reason.CertExpired, "the certificate of %s ended %s; on a control host run `fire token create --node %s`, here `fire run --role proxy --token file:PATH`",
				h.self, i.NotAfter().UTC().Format(time.RFC3339), h.self.Name)
		}
		return errors.New("this host has not joined a mesh; on a control host run `fire token create`, here `fire run --role proxy --token file:PATH`")
	}
	if h.agent, err = agent.New(o.conf.Agent, about, o.conf.Services, deps); err != nil {
		return err
	}
	h.self, err = h.agent.Wanted()
	return err
}

// following is the agent's catalogue as the proxy follows it.
type following struct {
	*agent.Agent
	changed <-chan struct{}
}

// Changed tells that View has changed.
func (f following) Changed() <-chan struct{} { return f.changed }

func apps(services map[string]agent.Service) map[string]proxy.App {
	out := map[string]proxy.App{}
	for name, s := range services {
		if path, ok := strings.CutPrefix(s.Address, "unix:"); ok {
			out[name] = proxy.App{Network: "unix", Address: path}
		} else if s.Address != "" {
			out[name] = proxy.App{Network: "tcp", Address: s.Address}
		}
	}
	return out
}

// parts of a host: the proxy drains while the agent still renews its leases.
func (h *host) parts(drain time.Duration) []part {
	parts := []part{{h.self.Name + " agent", h.agent.Run, stopGrace}}
	parts = append(parts, h.audit.parts(h.self.Name)...) // before whoever records: it ends after them
	if h.direct != nil {
		parts = append(parts, h.direct.parts(h.self.Name)...)
	}
	if h.proxy != nil {
		parts = append(parts, part{h.self.Name + " proxy", h.runProxy, drain + stopGrace})
	}
	return parts
}

// close gives back what outlives a start that failed; after a run there is nothing left.
func (h *host) close() error {
	err := errors.Join(h.direct.close(), h.audit.close())
	if h.page != nil {
		err = errors.Join(err, h.page.Close())
	}
	return err
}

// runProxy carries traffic and gives the proxy the sessions that the socket accepted.
func (h *host) runProxy(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- h.proxy.Run(ctx) }()
	for {
		select {
		case s := <-h.sessions:
			h.proxy.ServeSession(s)
		case err := <-done:
			return errors.Join(err, h.page.Close())
		}
	}
}

// report is what the host tells the twin. The agent's one link calls it.
func (h *host) report() twin.Report {
	h.reports++
	r := twin.Report{Node: h.self.Name, Boot: h.boot, Seq: h.reports, At: time.Now()}
	if h.proxy != nil {
		r.Edges, r.Sessions = h.proxy.Deltas(), h.proxy.Sessions()
	}
	if h.direct != nil {
		r.Edges = append(r.Edges, h.direct.deltas()...)
		r.Happened, r.Unhappened = h.direct.happenings.take()
	}
	return r
}

// info adds what this host knows of itself.
func (h *host) info(i *admin.Info) {
	st := h.agent.Status()
	i.Linked, i.ControlAddress = st.Linked, st.ControlAddr
	i.LinkReason = ""
	if !st.Linked {
		i.LinkReason = st.LinkReason.String()
	}
	i.Version, i.ClockSkewMS = st.Head.Version, float64(st.ClockSkew)/float64(time.Millisecond)
	i.SnapshotAgeMS = st.Age.Milliseconds()
	for _, c := range st.Certificates {
		if c.Held {
			i.Certificates = append(i.Certificates, admin.CertInfo{ID: c.ID, NotBefore: c.NotBefore, NotAfter: c.NotAfter, RenewAt: c.RenewAt, Serial: c.Serial})
		}
	}
	i.Listeners = append(i.Listeners, admin.Listener{Purpose: h.self.Name + " mesh", Address: h.socket.endpoint.Addr().String() + "/udp"})
	if h.direct != nil {
		i.Listeners = append(i.Listeners, admin.Listener{Purpose: h.self.Name + " attach", Address: h.direct.broker.Path()})
	}
	if h.proxy == nil {
		return
	}
	i.MeterPages = append(i.MeterPages, h.page.Path())
	at := h.proxy.Listeners()
	for _, name := range sortedKeys(at) {
		i.Listeners = append(i.Listeners, admin.Listener{Purpose: h.self.Name + " upstream " + name, Address: at[name].String()})
	}
}
