package bridge

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

// links are the sessions that this host has opened to others, one for each, and the ones
// that others have opened.
type links struct {
	b *Bridge

	mu       sync.Mutex
	open     map[string]*link
	accepted []transport.Session
	closed   bool
}

type link struct {
	node, address string
	ready         chan struct{} // closed when session or err is there
	session       transport.Session
	err           error
}

// dialWithin bounds one attempt.
const dialWithin = 5 * time.Second

// session is the one to a host; many share an attempt.
func (l *links) session(ctx context.Context, node, address string) (transport.Session, error) {
	l.mu.Lock()
	k := l.open[node]
	if l.closed {
		l.mu.Unlock()
		return nil, &reason.Error{Code: reason.Shutdown, Detail: "the direct node stops"}
	}
	if k == nil || k.over() || k.address != address {
		k = &link{node: node, address: address, ready: make(chan struct{})}
		l.open[node] = k
		l.b.work.Go(func() { l.dial(k) })
	}
	l.mu.Unlock()
	select {
	case <-k.ready:
		return k.session, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (k *link) over() bool {
	select {
	case <-k.ready:
		return k.err != nil || k.session.Err() != nil
	default:
		return false
	}
}

func (l *links) dial(k *link) {
	ctx, cancel := context.WithTimeout(context.Background(), dialWithin)
	defer cancel()
	s, err := l.b.deps.Dial(ctx, k.node, k.address)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.closed {
		s.Close(reason.Shutdown, "the direct node stops")
		err = errOver
	}
	k.session, k.err = s, err
	close(k.ready)
}

// cut notes an accepted session, and ends it at once when its host is revoked.
func (l *links) cut(s transport.Session) {
	l.mu.Lock()
	l.accepted = append(l.accepted, s)
	l.mu.Unlock()
	if r := l.b.rules.Load(); r != nil {
		l.enforce(r)
	}
}

// forget drops an accepted session that has ended.
func (l *links) forget(s transport.Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.accepted {
		if x == s {
			l.accepted = append(l.accepted[:i], l.accepted[i+1:]...)
			return
		}
	}
}

// enforce ends the sessions with hosts that are revoked.
func (l *links) enforce(r *Rules) {
	if r == nil {
		return
	}
	l.mu.Lock()
	var bad []transport.Session
	for _, s := range l.accepted {
		if r.Revoked(s.Peer()) {
			bad = append(bad, s)
		}
	}
	for _, k := range l.open {
		select {
		case <-k.ready:
			if k.err == nil && r.Revoked(k.session.Peer()) {
				bad = append(bad, k.session)
			}
		default:
		}
	}
	l.mu.Unlock()
	for _, s := range bad {
		s.Close(reason.IdentityRevoked, "the host is revoked")
	}
}

// close ends the sessions that this host has opened.
func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	var all []transport.Session
	for _, k := range l.open {
		select {
		case <-k.ready:
			if k.err == nil {
				all = append(all, k.session)
			}
		default:
		}
	}
	l.mu.Unlock()
	for _, s := range all {
		s.Close(reason.Shutdown, "the direct node stops")
	}
}

// towards is this host's address on the way to another.
func towards(remote net.Addr) (netip.Addr, error) {
	to, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("peer address %v: %w; set lines in [bridge]", remote, err)
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) // sends nothing: asks the routing table
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no way to %v: %w; set lines in [bridge]", remote, err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}
