package direct

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"

	"golang.org/x/sys/unix"
)

// Placed is a service on a node.
type Placed struct{ Service, Node string }

// Far is an end of a channel that stands for other hosts: node/bridge carries on from it.
// As a publisher it stands for one service of another host, as a subscriber for all that
// read this host's publishers elsewhere.
type Far struct {
	Side policy.Side
	Ends []Placed
}

// AttachFar attaches an end for other hosts, in this process and over no socket that
// anybody else can reach. It is decided and governed as any program, by the rules for the
// services that it stands for; for one of several is enough, since the other host's direct
// node decides for each again.
func (b *Broker) AttachFar(ctx context.Context, f *Far) (*channel.Wire, error) {
	if len(f.Ends) == 0 || f.Side == policy.Publish && len(f.Ends) != 1 {
		return nil, fmt.Errorf("%d services for a far %s", len(f.Ends), f.Side)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, reason.New(reason.RingUnavailable, "%w", err)
	}
	here, err := unixConn(fds[0])
	there, terr := unixConn(fds[1])
	if err = errors.Join(err, terr); err != nil {
		for _, c := range []*net.UnixConn{here, there} {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, reason.New(reason.RingUnavailable, "far end: %w", err)
	}
	select {
	case b.places <- struct{}{}:
		b.peers.Go(func() { b.serve(&peer{wire: channel.NewWire(there), far: f}) })
		return channel.NewWire(here), nil
	case <-b.stopped:
		err = reason.New(reason.DirectUnreachable, "the direct node stops")
	case <-ctx.Done():
		err = reason.New(reason.ChannelBusy, "so many programs are attaching that there is no place: %w", ctx.Err())
	}
	_, _ = here.Close(), there.Close()
	return nil, err
}

// Represent lets a far end stand for other services from now on, at least one.
func (b *Broker) Represent(ctx context.Context, f *Far, ends []Placed) error {
	return b.ask(ctx, func() {
		f.Ends = ends
		b.enforce()
	})
}

func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "far end")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// judgeFar decides for a far end: the first of its services that may. The end is called by
// that service's name.
func (b *Broker) judgeFar(name string, f *Far) (service string, spec policy.Channel, v policy.Verdict, no *reason.Error) {
	for _, e := range f.Ends {
		if spec, v, no = b.rules.judgeOn(name, e.Service, e.Node, f.Side); no == nil {
			no = b.revocationOf(name, e.Service)
		}
		if no == nil {
			return e.Service, spec, v, nil
		}
	}
	return f.Ends[0].Service, spec, v, no
}

// judgeEnd decides for an end that is attached.
func (b *Broker) judgeEnd(p *peer) (policy.Channel, policy.Verdict, *reason.Error) {
	if p.far == nil {
		return b.rules.judge(p.in.name, p.service, p.side)
	}
	_, spec, v, no := b.judgeFar(p.in.name, p.far)
	return spec, v, no
}

// pairEnd is the verdict for a lane and a far reader of it: one of those that it stands
// for is enough.
func (b *Broker) pairEnd(l *lane, p *peer) (v policy.Verdict) {
	if p.far == nil {
		return b.verdict(l, p.service)
	}
	for _, e := range p.far.Ends {
		if v = b.verdict(l, e.Service); v.Allowed {
			return v
		}
	}
	return v
}

// isFar tells whether an end stands for other hosts.
func (p *peer) isFar() bool { return p != nil && p.far != nil }

// node is where the services of a far publisher are; empty for one of this host.
func (p *peer) node() string {
	if p.isFar() && p.side == policy.Publish {
		return p.far.Ends[0].Node
	}
	return ""
}

// nodes are the hosts that a far end stands for.
func (p *peer) nodes() string {
	var out []string
	for _, e := range p.far.Ends {
		if !slices.Contains(out, e.Node) {
			out = append(out, e.Node)
		}
	}
	return strings.Join(out, ",")
}

// demand is which channels programs of this host read.
type demand struct {
	dirty bool // of the loop

	mu      sync.Mutex // guards what follows; alone
	names   []string
	changed chan struct{}
}

// Subscribed names the channels that programs of this host read, sorted. changed is closed
// when they are others.
func (b *Broker) Subscribed() (names []string, changed <-chan struct{}) {
	b.demand.mu.Lock()
	defer b.demand.mu.Unlock()
	return b.demand.names, b.demand.changed
}

// demanded finds the names anew when an end has come or gone.
func (b *Broker) demanded() {
	d := &b.demand
	if !d.dirty {
		return
	}
	d.dirty = false
	var names []string
	for p := range b.ends {
		if p.side == policy.Subscribe && !p.isFar() && !slices.Contains(names, p.in.name) {
			names = append(names, p.in.name)
		}
	}
	slices.Sort(names)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(names, d.names) {
		d.names = names
		close(d.changed)
		d.changed = make(chan struct{})
	}
}

// Tell puts something that has happened outside into the trail, in its order.
func (b *Broker) Tell(e Event) { b.post(func() { b.tell(e) }) }
