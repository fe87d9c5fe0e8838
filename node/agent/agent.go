package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/transport"
	"fire/twin"

	"golang.org/x/sync/errgroup"
)

// Dialer reaches control; transport/quic's Endpoint is one.
type Dialer interface {
	Dial(ctx context.Context, addr string, tc *tls.Config, class transport.Class) (transport.Session, error)
}

// Deps is what the agent needs of its surroundings.
type Deps struct {
	Dialer Dialer
	Log    *slog.Logger
	Now    func() time.Time   // nil: time.Now
	Token  *pki.Token         // already resolved; nil: Config.Token, when one is needed
	Report func() twin.Report // what happened since its last call; nil: nothing is reported

	// Certified hears of each certificate that comes into use. It must not wait. nil: nobody does.
	Certified func(*pki.Identity)
}

// Agent is this host's side of the link to control.
type Agent struct {
	// constant
	cfg      Config
	host     Host
	services map[string]Service
	deps     Deps
	now      func() time.Time
	log      *slog.Logger
	verifier *pki.Verifier
	board    *board
	checks   map[string]*checker
	hurry    chan struct{} // certificates: look again now
	trusting chan struct{} // holds one value while the bundle changes
	toDisk   chan *catalog.Signed

	// atomic
	held  atomic.Pointer[held] // the catalogue in force
	keys  atomic.Pointer[keys] // the identities in use
	live  atomic.Pointer[link] // the session with control, nil while there is none
	known atomic.Pointer[record]

	// guarded by mu
	mu       sync.Mutex
	watchers map[int]func(*catalog.View)
	nextID   int
	drains   map[string]bool // by service, "" for the node
	trouble  trouble
}

// New loads what an earlier run left in host.Dir. It starts nothing.
func New(cfg Config, host Host, services map[string]Service, deps Deps) (*Agent, error) {
	if len(services) > catalog.ClaimsMax {
		return nil, fmt.Errorf("agent: %d services on one host, the limit is %d", len(services), catalog.ClaimsMax)
	}
	a := &Agent{
		cfg: cfg, host: host, services: services, deps: deps, now: deps.Now, log: deps.Log,
		hurry: make(chan struct{}, 1), trusting: make(chan struct{}, 1), toDisk: make(chan *catalog.Signed, 1),
		watchers: map[int]func(*catalog.View){}, drains: map[string]bool{}, checks: map[string]*checker{},
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.trouble.certificates = map[id.Principal]error{}
	a.verifier = pki.NewVerifier(a.now)
	a.board = newBoard(services)
	for name, s := range services {
		if s.Address != "" {
			a.checks[name] = newChecker(name, s)
		}
	}
	a.keys.Store(&keys{})
	if err := pki.MakePrivateDir(host.Dir); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return a, nil
}

// Run joins if need be and keeps everything current until ctx ends. It returns an
// error only when the host cannot belong to the mesh without a person's help.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.ensureJoined(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range a.checks {
		group.Go(func() error { a.watchHealth(ctx, c); return nil })
	}
	group.Go(func() error { a.keepCertificates(ctx); return nil })
	group.Go(func() error { a.keepCopy(ctx); return nil })
	group.Go(func() error { a.keepLink(ctx); return nil })
	return group.Wait()
}

// View is the catalogue in force, nil before the first. One atomic load.
func (a *Agent) View() *catalog.View {
	if h := a.held.Load(); h != nil {
		return h.view
	}
	return nil
}

// Watch calls f with each new catalogue before control hears that it is applied, so
// what f cuts is cut by then. f runs on the agent's one catalogue goroutine: it
// must not block. No call of f begins after stop has returned, unless one is under way.
func (a *Agent) Watch(f func(*catalog.View)) (stop func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.nextID
	a.nextID++
	a.watchers[n] = f
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, n)
	}
}

// Subscribe tells of new catalogues by a channel of one: a slow reader sees the
// newest, not each.
func (a *Agent) Subscribe() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	return c, a.Watch(func(*catalog.View) { poke(c) })
}

// Verifier judges every peer of this host by the bundle and revocations in force.
func (a *Agent) Verifier() *pki.Verifier { return a.verifier }

// Node is this host's principal, zero before it has joined.
func (a *Agent) Node() id.Principal {
	if r := a.known.Load(); r != nil {
		return r.Domain.Node(r.Node)
	}
	return id.Principal{}
}

// Identity is the key and certificate held for p, nil when there is none.
func (a *Agent) Identity(p id.Principal) *pki.Identity { return a.keys.Load().of(p) }

// Certificate is what p shows in a new handshake, nil when none is held.
func (a *Agent) Certificate(p id.Principal) *tls.Certificate {
	if i := a.Identity(p); i != nil {
		return i.Certificate()
	}
	return nil
}

// NodeCertificate is Certificate of this host, for the mesh's listener.
func (a *Agent) NodeCertificate() *tls.Certificate { return a.Certificate(a.Node()) }

// ReportDialFailure is the proxy's word that the local application of service did
// not take a connection: it is checked at once instead of at the next interval.
func (a *Agent) ReportDialFailure(service string) {
	if c := a.checks[service]; c != nil {
		poke(c.now)
	}
}

// Drain starts or ends a planned drain of one service here, or of all for "". It
// lasts as long as this process, also over reconnects; without a link it is told to
// control with the next one, and the error says so.
func (a *Agent) Drain(service string, on bool) error {
	if _, ours := a.services[service]; service != "" && !ours {
		return fmt.Errorf("drain: this host runs no service %q", service)
	}
	a.mu.Lock()
	a.drains[service] = on
	a.mu.Unlock()
	l := a.live.Load()
	if l == nil {
		return errUnlinked()
	}
	return l.send(catalog.NodeMessage{Drain: &catalog.Drain{Service: service, On: on}})
}

// poke fills a channel of one that stands for "look again".
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
