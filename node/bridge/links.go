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
	old           bool // the host has another address now: it is not to be used. Of links.mu
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
	var moved transport.Session
	if k == nil || k.over() || k.address != address {
		if k != nil && k.address != address {
			moved = k.retire()
		}
		k = &link{node: node, address: address, ready: make(chan struct{})}
		l.open[node] = k
		l.b.work.Go(func() { l.dial(k) })
	}
	l.mu.Unlock()
	if moved != nil {
		moved.Close(reason.PeerClosed, "the host has another address now")
	}
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

// retire gives up a link whose host has moved: its session, if it has one, is to be closed,
// and one that is still being dialled is closed as soon as it is there.
func (k *link) retire() transport.Session {
	k.old = true
	select {
	case <-k.ready:
		return k.session
	default:
		return nil
	}
}

func (l *links) dial(k *link) {
	ctx, cancel := context.WithTimeout(context.Background(), dialWithin)
	defer cancel()
	s, err := l.b.deps.Dial(ctx, k.node, k.address)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		s = nil
	case l.closed:
		s.Close(reason.Shutdown, "the direct node stops")
		s, err = nil, errOver
	case k.old:
		s.Close(reason.PeerClosed, "the host has another address now")
		s, err = nil, reason.New(reason.PeerUnreachable, "%s is not at %s any more", k.node, k.address)
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
