package admin

import (
	"context"
	"net"
	"os"
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

// limit bounds the connections that are open at once. The owner's and root's have room
// of their own, so that readers who hold theirs cannot keep an operator out. A caller
// without room is hung up on.
func limit(ln net.Listener, most int) net.Listener {
	return &limiter{Listener: ln, owners: make(chan struct{}, most), readers: make(chan struct{}, most)}
}

type limiter struct {
	net.Listener
	owners, readers chan struct{}
}

func (l *limiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		room := l.readers
		if uid, ok := caller(withCaller(context.Background(), c)); ok && owns(uid) {
			room = l.owners
		}
		select {
		case room <- struct{}{}:
			return &limited{Conn: c, free: sync.OnceFunc(func() { <-room })}, nil
		default:
			c.Close()
		}
	}
}

// owns tells whether the user may change the mesh.
func owns(uid int) bool { return uid == 0 || uid == os.Geteuid() }

type limited struct {
	net.Conn
	free func()
}

func (c *limited) Close() error {
	c.free()
	return c.Conn.Close()
}
