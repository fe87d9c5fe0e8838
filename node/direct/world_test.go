package direct

import (
	"context"
	"io"
	"log/slog"
	"os/user"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/transport/channel"
)

// node is a running broker with the trail that it wrote.
type node struct {
	t      *testing.T
	b      *Broker
	cancel context.CancelFunc
	done   chan error
	rules  Rules
	floor  map[string]policy.Channel
	deny   map[string]policy.Rule
	gone   map[string]bool // revoked services
	unset  map[string]bool // services that are placed elsewhere

	mu      sync.Mutex
	trail   []Event
	noticed []Event
	full    error // what Record answers
}

func me(t testing.TB) string {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// programs lets every service be this very program.
func programs(t testing.TB, services ...string) map[string]Program {
	out := map[string]Program{}
	for _, s := range services {
		out[s] = Program{Users: []string{me(t)}}
	}
	return out
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func chan0(kind policy.ChannelKind) policy.Channel {
	c := policy.DefaultChannel()
	c.Kind, c.Publishers, c.Subscribers, c.Size = kind, []string{"publisher", "second"}, []string{"subscriber", "other"}, 64<<10
	if kind == policy.RPC {
		c.Subscribers = []string{"subscriber"}
	}
	return c
}

func newNode(t *testing.T) *node {
	n := &node{t: t, floor: map[string]policy.Channel{"orders": chan0(policy.Orders), "md": chan0(policy.Broadcast), "ask": chan0(policy.RPC)},
		deny: map[string]policy.Rule{}, gone: map[string]bool{}, unset: map[string]bool{}}
	cfg := Default()
	cfg.Socket, cfg.Grace = filepath.Join(t.TempDir(), "attach"), 300*time.Millisecond
	n.start(cfg)
	n.apply()
	return n
}

func (n *node) start(cfg Config) {
	n.t.Helper()
	b, err := New(cfg, Deps{Programs: programs(n.t, "publisher", "second", "subscriber", "other", "stranger"), Record: n.record,
		Noticed: n.notice, Log: quiet()})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.b, n.cancel, n.done = b, cancel, make(chan error, 1)
	go func() { n.done <- b.Run(ctx) }()
	n.t.Cleanup(n.stop)
}

// restart begins anew with another configuration.
func (n *node) restart(edit func(*Config)) {
	n.t.Helper()
	n.stop()
	cfg := Default()
	cfg.Socket, cfg.Grace = filepath.Join(n.t.TempDir(), "attach"), 300*time.Millisecond
	edit(&cfg)
	n.start(cfg)
	n.apply()
}

func (n *node) stop() {
	n.cancel()
	select {
	case err := <-n.done:
		n.done <- nil
		if err != nil {
			n.t.Error(err)
		}
	case <-time.After(10 * time.Second):
		n.t.Error("the broker does not stop")
	}
}

func (n *node) notice(e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.noticed = append(n.noticed, e)
}

func (n *node) record(e Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.full != nil {
		return n.full
	}
	n.trail = append(n.trail, e)
	return nil
}

func (n *node) apply() {
	n.t.Helper()
	table, problems := policy.Compile("floor", n.deny)
	if problems != nil {
		n.t.Fatal(problems)
	}
	gone, unset, floor := map[string]bool{}, map[string]bool{}, map[string]policy.Channel{}
	for k, v := range n.gone {
		gone[k] = v
	}
	for k, v := range n.unset {
		unset[k] = v
	}
	for k, v := range n.floor {
		floor[k] = v
	}
	n.rules = Rules{Version: n.rules.Version + 1, Domain: id.Domain{Region: "eu", Mesh: "floor"}, Node: "h1", Channels: floor, Table: table,
		Revoked: func(p id.Principal) bool { return gone[p.Name] }, Placed: func(s, _ string) bool { return !unset[s] }}
	r := n.rules
	if err := n.b.Update(n.t.Context(), &r); err != nil {
		n.t.Fatal(err)
	}
}

// events of the kinds, in order.
func (n *node) events(kinds ...EventKind) []Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.trail), func(e Event) bool { return !slices.Contains(kinds, e.Kind) })
}

func (n *node) options(name, service string) channel.Options {
	return channel.Options{Socket: n.b.Path(), Channel: name, Service: service}
}

func (n *node) publisher(name, service string) *channel.Publisher {
	n.t.Helper()
	p, err := channel.OpenPublisher(n.t.Context(), n.options(name, service))
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

func (n *node) subscriber(name, service string) *channel.Subscriber {
	n.t.Helper()
	s, err := channel.OpenSubscriber(n.t.Context(), n.options(name, service))
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

func (n *node) rings() []Ring {
	n.t.Helper()
	r, err := n.b.Rings(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// collect polls until n messages came or the time is over.
func collect(t *testing.T, s *channel.Subscriber, n int) (got []string) {
	t.Helper()
	h := channel.Handler{Message: func(from *channel.Source, typ uint16, p []byte) { got = append(got, from.Service+":"+string(p)) }}
	deadline := time.Now().Add(10 * time.Second)
	for len(got) < n {
		if _, err := s.Poll(n-len(got), &h); err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, %v", got, err)
		}
		s.Wait()
	}
	return got
}
