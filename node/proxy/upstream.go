package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fire/node/admin"
	"fire/policy/id"
	"fire/policy/reason"
)

// upstream is one local door: a bound socket that leads to one service.
type upstream struct {
	name     string
	src, dst id.Principal
	listener net.Listener
	route    *route
	max      int64
	open     atomic.Int64
}

// bind opens the socket of one [upstream.NAME] table.
func (p *Proxy) bind(name string, u Upstream) (*upstream, error) {
	l, err := listen(name, u)
	if err != nil {
		return nil, err
	}
	most := u.MaxConnections
	if most == 0 {
		most = p.cfg.MaxConnections
	}
	return &upstream{name: name, listener: l, src: p.deps.Domain.Service(u.As), dst: p.deps.Domain.Service(u.Service),
		route: p.routes.route(u.Service), max: int64(most)}, nil
}

func listen(name string, u Upstream) (net.Listener, error) {
	if u.Unix != "" {
		return listenUnix(name, u.Unix)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", u.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(u.Listen)
		return nil, fmt.Errorf("upstream.%s.listen: %s is in use by another program; see which with: ss -ltnp 'sport = :%s'", name, u.Listen, port)
	}
	if err != nil {
		return nil, fmt.Errorf("upstream.%s.listen: %w", name, err)
	}
	return l, nil
}

// listenUnix takes the place of a socket that a dead process left, never that of a
// living one or of another kind of file.
func listenUnix(name, path string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("upstream.%s.unix: %s is there and no socket; move it away", name, path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("upstream.%s.unix: %s is in use by another program; see which with: ss -lxp src %s", name, path, path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("upstream.%s.unix: a dead socket is in the way: %w", name, err)
		}
	}
	l, err := admin.BindUnix(path, 0o660)
	if err != nil {
		return nil, fmt.Errorf("upstream.%s.unix: %w", name, err)
	}
	return l, nil
}

// accept serves the clients of one upstream until its listener closes, and waits for
// them.
func (p *Proxy) accept(ctx context.Context, u *upstream) {
	var clients sync.WaitGroup
	defer func() { p.work.Go(clients.Wait) }() // drain ends them
	for {
		c, err := u.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil || p.stopping.Load() {
				return
			}
			// Out of file descriptors, mostly: the next one may be better, but not at once.
			p.deps.Log.Warn("cannot accept", "svc", u.dst.Name, "err", err)
			if !pause(ctx, 50*time.Millisecond) {
				return
			}
			continue
		}
		near := p.newNear(c)
		if u.open.Add(1) > u.max {
			u.open.Add(-1)
			why := reason.New(reason.TooManyConnections, "upstream.%s has max_connections = %d open", u.name, u.max)
			p.refuse(p.edges.edge(u.src, u.dst, sideOut, ""), sideOut, u.src, u.dst, why, "")
			near.Cancel(why.Code)
			continue
		}
		clients.Go(func() {
			defer u.open.Add(-1)
			p.serveClient(ctx, u, near)
		})
	}
}

// pause waits and tells whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Listeners tells where the upstreams are bound, by name.
func (p *Proxy) Listeners() map[string]net.Addr {
	out := map[string]net.Addr{}
	for _, u := range p.upstreams {
		out[u.name] = u.listener.Addr()
	}
	return out
}
