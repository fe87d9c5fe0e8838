package bridge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/channel"
)

// End is a service on a node.
type End struct{ Service, Node string }

// Local is the direct node of this host.
type Local interface {
	// Attach gives a way to attach as somebody of another host: as the one publisher, or as
	// all the subscribers. Represent changes who they are. It may wait for a place until ctx ends.
	Attach(ctx context.Context, side policy.Side, ends []End) (wire *channel.Wire, represent func(context.Context, []End) error, err error)
	// Subscribed names the channels that programs of this host read now; its second result
	// is closed when that has changed.
	Subscribed() (channels []string, changed <-chan struct{})
}

// Host is another host with a direct node.
type Host struct {
	Address string // of its mesh socket
}

// Rules is what the mesh says: one version of the catalogue. It never changes.
type Rules struct {
	Version  uint64
	Domain   id.Domain
	Node     string // this host
	Channels map[string]policy.Channel
	Table    *policy.Table
	Revoked  func(id.Principal) bool
	Placed   func(service, node string) bool
	Hosts    map[string]Host // the other ones
}

// Deps is what the bridge needs of its surroundings.
type Deps struct {
	Local    Local
	Dial     func(ctx context.Context, node, address string) (transport.Session, error) // proves the node
	Sessions <-chan transport.Session                                                   // that other nodes have opened
	Address  netip.Addr                                                                 // of the mesh's socket, for want of lines
	Tell     func(Fact)                                                                 // for the audit trail; must not wait long
	Log      *slog.Logger
}

// Bridge carries channels between this host and others.
type Bridge struct {
	cfg   Config
	deps  Deps
	lines []netip.Addr

	rules   atomic.Pointer[Rules]
	changed chan struct{} // of one: rules changed

	work  sync.WaitGroup
	links links
	facts facts

	mu      sync.Mutex // guards what follows; alone
	exports map[string]*export
	pulls   map[pullKey]*pull
	share   share
	beyond  int              // channels and hosts that peers_max leaves out
	calling map[*puller]bool // whose calls are served
}

// New checks the lines. It starts nothing.
func New(cfg Config, deps Deps) (*Bridge, error) {
	b := &Bridge{cfg: cfg, deps: deps, changed: make(chan struct{}, 1), exports: map[string]*export{}, pulls: map[pullKey]*pull{}, calling: map[*puller]bool{},
		share: newShare(), facts: facts{hosts: map[string]*telling{}}}
	for _, l := range cfg.Lines {
		a, err := netip.ParseAddr(l)
		if err != nil {
			return nil, err
		}
		b.lines = append(b.lines, a)
	}
	b.links.b = b
	b.links.open = map[string]*link{}
	return b, nil
}

// Update puts a version of the catalogue in force. What it forbids ends before long.
func (b *Bridge) Update(r *Rules) {
	b.rules.Store(r)
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Run carries until ctx ends.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer b.work.Wait()
	defer cancel()
	defer b.links.close()
	again := time.NewTimer(0)
	defer again.Stop()
	untold := time.NewTicker(untoldEvery)
	defer untold.Stop()
	defer b.tellUntold()
	for {
		names, demand := b.deps.Local.Subscribed()
		if next := b.reconcile(ctx, names, time.Now()); next > 0 {
			again.Reset(next)
		}
		select {
		case <-again.C:
		case <-untold.C:
			b.tellUntold()
		case <-b.changed:
			b.enforce()
		case <-demand:
		case s := <-b.deps.Sessions:
			b.links.cut(s) // revoked ones, at once
			b.work.Go(func() { b.serve(ctx, s) })
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile starts and stops pulls, until there is one for each channel that is read here
// and each host that may publish on it. What a reader of orders has not read is kept for the
// next one, so a pull outlives it for as long. It returns when to come again; 0: no need.
func (b *Bridge) reconcile(ctx context.Context, names []string, now time.Time) (next time.Duration) {
	r := b.rules.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted := b.wanted(r, names)
	for k, p := range b.pulls {
		at, ok := wanted[k]
		if ok && at == p.address {
			p.until = time.Time{}
			continue
		}
		if h, there := r.Hosts[k.node]; there && !ok && h.Address == p.address && r.publishes(k.channel, k.node) && r.Channels[k.channel].Kind == policy.Orders {
			if p.until.IsZero() {
				p.until = now.Add(time.Duration(r.Channels[k.channel].Keep))
			}
			if left := p.until.Sub(now); left > 0 {
				if left = max(left, time.Millisecond); next == 0 || left < next {
					next = left
				}
				continue
			}
		}
		p.over.Store(true)
		p.cancel()
		delete(b.pulls, k)
	}
	for k, at := range wanted {
		if b.pulls[k] == nil {
			ctx, cancel := context.WithCancel(ctx)
			p := &pull{b: b, pullKey: k, address: at, cancel: cancel}
			b.pulls[k] = p
			b.work.Go(func() { p.run(ctx) })
		}
	}
	return next
}

// wanted is which channels are to come from where, with the address. Beyond peers_max those
// that come already stay, and then the order of the names decides, so that none goes to and fro.
func (b *Bridge) wanted(r *Rules, names []string) map[pullKey]string {
	out := map[pullKey]string{}
	if r == nil {
		return out
	}
	var all []pullKey
	for _, name := range names {
		for node := range r.Hosts {
			if r.publishes(name, node) {
				all = append(all, pullKey{name, node})
			}
		}
	}
	slices.SortFunc(all, func(x, y pullKey) int {
		old := func(k pullKey) int {
			if b.pulls[k] != nil {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(old(x), old(y)), cmp.Compare(x.channel, y.channel), cmp.Compare(x.node, y.node))
	})
	for _, k := range all[:min(len(all), b.cfg.PeersMax)] {
		out[k] = r.Hosts[k.node].Address
	}
	if beyond := len(all) - len(out); beyond != b.beyond {
		if b.beyond = beyond; beyond > 0 {
			b.deps.Log.Error("not every channel that is read here is asked for: raise peers_max in [bridge]", "left_out", beyond, "peers_max", b.cfg.PeersMax,
				"first", all[len(out)].channel, "node", all[len(out)].node)
		}
	}
	return out
}

// publishes tells whether some service of a node may publish on a channel, or call.
func (r *Rules) publishes(name, node string) bool {
	c := r.Channels[name]
	return c.Kind != "" && !r.Revoked(r.Domain.Node(node)) &&
		slices.ContainsFunc(c.Publishers, func(s string) bool { return r.Placed(s, node) && !r.Revoked(r.Domain.Service(s)) })
}

// subscribers are the services of a node that may read a channel.
func (r *Rules) subscribers(name, node string) (out []string) {
	c := r.Channels[name]
	if c.Kind == "" || r.Revoked(r.Domain.Node(node)) {
		return nil
	}
	for _, s := range c.Subscribers {
		if r.Placed(s, node) && !r.Revoked(r.Domain.Service(s)) {
			out = append(out, s)
		}
	}
	return out
}

// pair tells whether any of the subscribers may read what a service publishes.
func (r *Rules) pair(name, publisher string, subscribers []string) bool {
	for _, s := range subscribers {
		if r.Table.Pair(name, r.Domain.Service(publisher), r.Domain.Service(s)).Allowed {
			return true
		}
	}
	return false
}

// enforce ends what the rules in force forbid.
func (b *Bridge) enforce() {
	r := b.rules.Load()
	b.links.enforce(r)
	b.mu.Lock()
	exports := make([]*export, 0, len(b.exports))
	for _, e := range b.exports {
		exports = append(exports, e)
	}
	b.mu.Unlock()
	for _, e := range exports {
		e.post(func() { e.enforce(r) })
	}
}

// serve answers a session of another node until it ends.
func (b *Bridge) serve(ctx context.Context, s transport.Session) {
	stop := context.AfterFunc(ctx, func() { s.Close(reason.Shutdown, "the direct node stops") })
	defer stop()
	defer b.links.forget(s)
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		st, err := s.Accept(ctx)
		if err != nil {
			return
		}
		if !b.enter(s.Peer().Name) {
			st.Cancel(reason.TooManyStreams)
			continue
		}
		streams.Go(func() {
			defer b.leave(s.Peer().Name)
			b.answer(ctx, s, st)
		})
	}
}

// answer serves one want.
func (b *Bridge) answer(ctx context.Context, s transport.Session, st transport.Stream) {
	node := s.Peer().Name
	w, err := readWant(st)
	if err != nil {
		st.Cancel(reason.Of(err, reason.FrameMalformed))
		return
	}
	r := b.rules.Load()
	var ends []End
	if r != nil {
		for _, service := range r.subscribers(w.Channel, node) {
			ends = append(ends, End{service, node})
		}
	}
	if len(ends) == 0 {
		b.tell(Fact{Kind: "refused", Channel: w.Channel, Node: node, Reason: reason.DeniedByDefault, Detail: "no service of that host may subscribe"})
		sendRefusal(st, reason.New(reason.DeniedByDefault, "channel %s lets no service of %s subscribe", w.Channel, node))
		return
	}
	p := newPuller(node, s, st, w, ends)
	if r.Channels[w.Channel].Kind == policy.RPC {
		b.mu.Lock()
		b.calling[p] = true
		b.mu.Unlock()
		if err := b.serveCalls(ctx, p, ends); err != nil {
			sendRefusal(st, err)
		}
		b.mu.Lock()
		delete(b.calling, p)
		b.mu.Unlock()
		return
	}
	e, err := b.exportOf(ctx, w.Channel, p)
	if err != nil {
		sendRefusal(st, err)
		return
	}
	p.talk(e)
	e.post(func() { e.remove(p) })
}

// exportOf finds or begins the export of a channel, with its newest puller.
func (b *Bridge) exportOf(ctx context.Context, name string, p *puller) (*export, error) {
	for {
		b.mu.Lock()
		e := b.exports[name]
		if e == nil {
			e = newExport(b, name)
			b.exports[name] = e
			b.work.Go(func() {
				e.run(ctx, p.ends)
				b.mu.Lock()
				delete(b.exports, name)
				b.mu.Unlock()
				close(e.over)
			})
		}
		b.mu.Unlock()
		var refusal error
		done := make(chan struct{})
		if e.post(func() { refusal = e.add(p); close(done) }) {
			select {
			case <-done:
				return e, refusal
			case <-e.ended:
			}
		}
		if err := e.err(); err != nil {
			return nil, err
		}
		select {
		case <-e.over: // it had just ended: again
		case <-ctx.Done():
			return nil, &reason.Error{Code: reason.Shutdown, Detail: "the direct node stops"}
		}
	}
}

// addresses are where this host's sockets are bound for a session.
func (b *Bridge) addresses(s transport.Session) ([]netip.Addr, error) {
	if len(b.lines) > 0 {
		return b.lines, nil
	}
	a := b.deps.Address
	if !a.IsValid() || a.IsUnspecified() {
		var err error
		if a, err = towards(s.RemoteAddr()); err != nil {
			return nil, err
		}
	}
	return []netip.Addr{a}, nil
}

var errOver = errors.New("the bridge is over")
