package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/meter"
	"fire/transport/spin"

	"golang.org/x/time/rate"
)

// Catalogue is where the proxy reads the mesh.
type Catalogue interface {
	View() *catalog.View                               // one atomic load; nil before the first
	Subscribe() (changed <-chan struct{}, stop func()) // a channel of one: told after View changed
}

// Identities holds the keys of this node.
type Identities interface {
	Identity(p id.Principal) *pki.Identity // nil while none is held
}

// Dialer opens sessions to other proxies; *quic.Endpoint is one.
type Dialer interface {
	Dial(ctx context.Context, addr string, tc *tls.Config, class transport.Class) (transport.Session, error)
}

// App is a local application that the proxy leads to.
type App struct {
	Network string // "tcp" or "unix"
	Address string
}

// Deps are the proxy's collaborators.
type Deps struct {
	Domain     id.Domain
	Node       string
	Zone       string // "" = none
	Catalogue  Catalogue
	Identities Identities
	Verifier   *pki.Verifier
	Dialer     Dialer
	Meter      *meter.Page
	Apps       map[string]App       // by service
	AppFailed  func(service string) // an application did not take a connection; may be nil
	Awake      *spin.Spinner        // told of what applications send; nil is nobody
	Audit      Audit                // nil: nothing is recorded
	Log        *slog.Logger
}

// Proxy is the data path of one node.
type Proxy struct {
	// constant
	cfg       Config
	deps      Deps
	self      id.Principal
	born      time.Time
	upstreams []*upstream

	// parts, each with its own lock or none
	tick     atomic.Int64 // counts tickEvery; the coarse clock of the copy loops
	stopping atomic.Bool
	flows    flowTable
	edges    edgeTable
	routes   routeTable
	pool     pool
	served   servedSessions
	sources  sourceLimits
	http     httpParts
	refusals refusalRing
	events   events
	talk     *rate.Limiter // refusals must not flood the log
	work     sync.WaitGroup

	// set by Run, read by what it starts
	ctx context.Context
}

// tickEvery is the step of the coarse clock: how exact idle and write time-outs are,
// and how old a counter in the meter page may be.
const tickEvery = 250 * time.Millisecond

// New binds every upstream and starts nothing. On error nothing stays bound.
func New(cfg Config, upstreams map[string]Upstream, deps Deps) (*Proxy, error) {
	p := &Proxy{cfg: cfg, deps: deps, self: deps.Domain.Node(deps.Node), born: time.Now(), ctx: context.Background(),
		talk: rate.NewLimiter(50, 200)}
	p.tick.Store(1)
	p.flows.init()
	p.edges.init(deps.Meter)
	p.routes.init(p)
	p.pool.init(p)
	p.served.init()
	p.sources.init(cfg.MaxConnectionsPerSource)
	p.http.init(p)
	err := p.events.init(deps.Audit)
	cfg.Check(func(key, problem string) { err = errors.Join(err, fmt.Errorf("proxy.%s: %s", key, problem)) })
	for _, name := range sortedNames(upstreams) {
		u := upstreams[name]
		u.Check(func(key, problem string) {
			err = errors.Join(err, fmt.Errorf("upstream.%s.%s: %s", name, key, problem))
		})
	}
	if err != nil {
		return nil, err
	}
	for _, name := range sortedNames(upstreams) {
		u, bindErr := p.bind(name, upstreams[name])
		if bindErr != nil {
			err = errors.Join(err, bindErr)
			continue
		}
		p.upstreams = append(p.upstreams, u)
	}
	if err != nil {
		for _, u := range p.upstreams {
			u.listener.Close()
		}
		return nil, err
	}
	return p, nil
}

// Run carries traffic until ctx ends, then drains: no new connections, the live ones
// get DrainTimeout, what is left is cut. It returns when everything has ended.
func (p *Proxy) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	p.ctx = inner
	var clients, parts sync.WaitGroup
	parts.Go(func() { p.sweep(inner) })
	parts.Go(func() { p.watch(inner) })
	for _, u := range p.upstreams {
		clients.Go(func() { p.accept(inner, u) })
	}
	p.served.open(p)

	<-ctx.Done()
	p.stopping.Store(true)
	for _, u := range p.upstreams {
		u.listener.Close()
	}
	clients.Wait()
	p.flows.leaveAll()
	p.drain()
	p.http.settle()
	p.flows.cutAll(&reason.Error{Code: reason.Shutdown, Detail: "the proxy stops"})
	p.served.closeAll(reason.Shutdown)
	p.pool.closeAll(reason.Shutdown)
	p.http.close()
	stop()
	p.work.Wait()
	parts.Wait()
	return nil
}

// drain waits until no flow is left, at most DrainTimeout.
func (p *Proxy) drain() {
	limit := time.NewTimer(p.cfg.DrainTimeout)
	defer limit.Stop()
	select {
	case <-p.flows.empty():
	case <-limit.C:
		p.deps.Log.Warn("drain time is over, connections are cut", "flows", p.flows.count())
	}
}

// ServerTLS is what the node's listener uses for ALPN fire-mesh/1: it shows the node
// and admits services.
func (p *Proxy) ServerTLS() *tls.Config {
	return pki.ServerConfig(p.certificate(p.self), p.deps.Verifier, pki.Want{Kinds: []id.Kind{id.KindService}}, pki.ALPNMesh)
}

// certificate is asked at each handshake, so a renewed one is used at once.
func (p *Proxy) certificate(who id.Principal) func() *tls.Certificate {
	return func() *tls.Certificate {
		if i := p.deps.Identities.Identity(who); i != nil {
			return i.Certificate()
		}
		return nil
	}
}

func (p *Proxy) view() *catalog.View { return p.deps.Catalogue.View() }

// now is the monotonic clock that balance counts in.
func (p *Proxy) now() time.Duration { return time.Since(p.born) }

// sweep drives the coarse clock and what hangs on it.
func (p *Proxy) sweep(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := p.tick.Add(1)
		p.flows.sweep(now, ticks(p.cfg.IdleTimeout), ticks(p.cfg.WriteTimeout), p.cfg.SlowReadersMax)
		p.pool.sweep(now, ticks(p.cfg.SessionIdle))
	}
}

func ticks(d time.Duration) int64 { return int64((d + tickEvery - 1) / tickEvery) }

// watch holds live flows and sessions against every new view.
func (p *Proxy) watch(ctx context.Context) {
	// The ticker is a second line: a catalogue that forgets to say that it changed
	// must not keep a forbidden connection alive.
	t := time.NewTicker(time.Second / 2)
	defer t.Stop()
	changed, unsubscribe := p.deps.Catalogue.Subscribe()
	defer unsubscribe()
	var seen *catalog.View
	for {
		if v := p.view(); v != seen {
			seen = v
			p.Enforce(v)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-t.C:
		}
	}
}

// Enforce ends what v forbids and touches nothing else. The proxy does so by itself
// when its catalogue changes; who must know that it is done calls it too. It does not
// block and may run several times, also at once.
func (p *Proxy) Enforce(v *catalog.View) {
	p.served.enforce(v)
	p.pool.enforce(v)
	p.flows.enforce(p, v)
	p.routes.retain(v)
}
