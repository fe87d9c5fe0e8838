package admin

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

type callerKey struct{}

// withCaller notes the peer's uid as the kernel recorded it at connect (SO_PEERCRED, unix(7)).
func withCaller(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limited); ok {
		c = l.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, int(cred.Uid))
}

// caller is the uid, or false when the kernel did not say: then nothing is permitted.
func caller(ctx context.Context) (uid int, ok bool) {
	uid, ok = ctx.Value(callerKey{}).(int)
	return uid, ok
}

// limit bounds the connections that are open at once; the rest wait in the backlog.
func limit(ln net.Listener, max int) net.Listener {
	return &limiter{Listener: ln, slots: make(chan struct{}, max), closed: make(chan struct{})}
}

type limiter struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *limiter) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limited{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limiter) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limited struct {
	net.Conn
	free func()
}

func (c *limited) Close() error {
	c.free()
	return c.Conn.Close()
}
