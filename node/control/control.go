package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
	"fire/twin/web"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Deps is what control needs of its surroundings.
type Deps struct {
	Domain  id.Domain
	Name    string // of this control, usually its host's node name
	Dir     string // state folder, 0700, of control alone
	Release string
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger
	Twin    twin.Config
	Web     web.Config

	// Sessions delivers what the listener accepted with one of Protocols. Whoever
	// owns the socket sends; control takes each within milliseconds.
	Sessions <-chan transport.Session

	Disk Disk // nil: files in Dir

	// Witness cosigns heads of the audit log of a node. Several goroutines call it; it may wait
	// for the disk. nil: this control is no witness.
	Witness func(ctx context.Context, node string, r *catalog.WitnessRequest) (*catalog.WitnessAnswer, error)
}

// Control is the control role of one region.
type Control struct {
	// constant
	cfg       Config
	deps      Deps
	now       func() time.Time
	log       *slog.Logger
	disk      Disk
	authority *pki.Authority
	tokens    *pki.TokenBook
	verifier  *pki.Verifier
	identity  *pki.Identity
	twin      *twin.Twin
	web       *web.Server
	alarms    *rate.Limiter
	voices    voices
	lifts     *rate.Limiter
	commands  chan func(*loop)
	stopped   chan struct{} // closed when the loop has ended
	joins     chan struct{} // holds one value per join under way
	rotating  chan struct{} // holds one value while a step of a rotation is done
	renew     chan struct{} // asks for a new certificate of our own
	start     *loop         // until Run takes it

	// atomic
	published atomic.Pointer[publication]

	// guarded by mu
	mu       sync.Mutex
	sessions map[transport.Session]id.Principal
	perNode  map[id.Principal]int
}

// Bounds of what peers may make control hold.
const (
	sessionsMax        = 8192
	sessionsPerNodeMax = 4
	sessionsUnnamedMax = 2048
	streamsPerNodeMax  = 16
	joinsMax           = 64
)

// Protocols are the ALPN names that control serves.
func Protocols() []string { return []string{pki.ALPNControl, pki.ALPNJoin} }

// New opens or creates the state in deps.Dir. It starts nothing.
func New(cfg Config, deps Deps) (*Control, error) {
	if _, err := id.ParseName(deps.Name); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c := &Control{
		cfg: cfg, deps: deps, now: deps.Now, log: deps.Log, disk: deps.Disk,
		commands: make(chan func(*loop)), stopped: make(chan struct{}),
		joins: make(chan struct{}, joinsMax), rotating: make(chan struct{}, 1), renew: make(chan struct{}, 1),
		voices: voices{by: map[string]*voice{}}, lifts: rate.NewLimiter(liftsPerSecond, liftsBurst), sessions: map[transport.Session]id.Principal{}, perNode: map[id.Principal]int{},
	}
	if c.now == nil {
		c.now = time.Now
	}
	if err := pki.MakePrivateDir(deps.Dir); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if c.disk == nil {
		c.disk = folder{deps.Dir}
	}
	if err := c.openIdentity(); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c.twin = twin.New(deps.Twin, c.now)
	c.alarms = rate.NewLimiter(alarmsPerSecond, alarmsBurst)
	c.web = web.New(deps.Web, c.twin, c.log)
	l, err := newLoop(c)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c.start = l
	return c, nil
}

func (c *Control) openIdentity() error {
	var err error
	if c.authority, err = pki.OpenAuthority(filepath.Join(c.deps.Dir, "ca"), c.deps.Domain, c.now); err != nil {
		return err
	}
	saved, err := read(c.disk, tokensFile)
	if err != nil {
		return err
	}
	c.tokens, err = pki.OpenTokenBook(saved, func(b []byte) error { return c.disk.Write(tokensFile, b) })
	if err != nil {
		return err
	}
	c.verifier = pki.NewVerifier(c.now)
	if err := c.verifier.SetBundle(c.authority.Bundle()); err != nil {
		return err
	}
	if c.identity, err = pki.NewKey(c.deps.Domain.Control(c.deps.Name)); err != nil {
		return err
	}
	return c.renewIdentity()
}

// Listen opens the map's socket early, so that a port in use shows before anything
// starts; nil when no map is served.
func (c *Control) Listen() (net.Addr, error) {
	if c.deps.Web.Listen == "" {
		return nil, nil
	}
	return c.web.Listen()
}

// Run serves until ctx ends. State is on disk when it returns.
func (c *Control) Run(ctx context.Context) error {
	l := c.start
	if l == nil {
		return errors.New("control runs once")
	}
	c.start = nil
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.twin.Run(ctx) })
	group.Go(func() error { return c.web.Run(ctx) })
	group.Go(func() error { return c.renewals(ctx) })
	group.Go(func() error { return c.accept(ctx) })
	group.Go(func() error { defer close(c.stopped); return l.run(ctx) })
	return group.Wait()
}

// TLS is the server's configuration for a client that offers these protocols, or
// nil when none of them is control's: the pick of a shared listener.
func (c *Control) TLS(alpn []string) *tls.Config {
	switch {
	case slices.Contains(alpn, pki.ALPNControl):
		return pki.ServerConfig(c.identity.Certificate, c.verifier, pki.Want{Kinds: []id.Kind{id.KindNode}}, pki.ALPNControl)
	case slices.Contains(alpn, pki.ALPNJoin):
		return pki.JoinServerConfig(c.identity.Certificate, c.authority)
	}
	return nil
}

// View is the newest published state; never nil.
func (c *Control) View() *catalog.View { return c.published.Load().view }

// Bundle is what nodes must trust.
func (c *Control) Bundle() pki.Bundle { return c.authority.Bundle() }

// Snapshot is the newest state of the live model.
func (c *Control) Snapshot() *twin.Snapshot { return c.twin.Snapshot() }

// Principal is control's own identity.
func (c *Control) Principal() id.Principal { return c.identity.Principal() }

// Certificate is control's own, for `fire check`.
func (c *Control) Certificate() *pki.Identity { return c.identity }

// do runs f on the loop and waits for it.
func (c *Control) do(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	select {
	case c.commands <- func(l *loop) { f(l); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopped:
		return errStopped()
	}
	// The loop finishes every command it took, so this is a short wait.
	select {
	case <-done:
		return nil
	case <-c.stopped:
		return errStopped()
	}
}

// durably runs change on the Directory once its result is on disk. When ctx ends
// first the outcome is open: it may still happen.
func (c *Control) durably(ctx context.Context, change change) error {
	result := make(chan error, 1)
	if err := c.do(ctx, func(l *loop) { l.enqueue(durable{change, func(err error) { result <- err }}) }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopped:
		select {
		case err := <-result:
			return err
		default:
			return errStopped()
		}
	}
}

func errStopped() error { return reason.New(reason.Shutdown, "control is stopping") }
