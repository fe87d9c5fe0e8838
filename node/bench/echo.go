package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Echo accepts on l and sends back what comes, until ctx ends. Every connection has
// ended when it returns.
func Echo(ctx context.Context, l net.Listener) error {
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var conns sync.WaitGroup
	defer conns.Wait()
	defer context.AfterFunc(ctx, func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.Close()
		}
	})()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			l.Close()
			return fmt.Errorf("echo: %w", err)
		}
		mu.Lock()
		open[c] = true
		mu.Unlock()
		if ctx.Err() != nil { // it ended between Accept and the entry
			c.Close()
		}
		conns.Go(func() {
			echo(c)
			mu.Lock()
			delete(open, c)
			mu.Unlock()
		})
	}
}

// echo copies through a plain buffer: io.Copy between two TCP sockets would splice,
// which is slower than two system calls for small messages.
func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, werr := c.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// ServeChild is the body of a child process: it tells the parent its address on out
// and runs serve until ctx ends or in does, so that no child outlives its parent.
func ServeChild(ctx context.Context, in io.Reader, out io.Writer, address string, serve func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process at the latest: reading stdin cannot be interrupted
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	if _, err := fmt.Fprintf(out, "%s%s\n", addressLine, address); err != nil {
		return fmt.Errorf("telling the parent: %w", err)
	}
	return serve(ctx)
}

// EchoChild is ServeChild of an echo server that it binds first.
func EchoChild(ctx context.Context, in io.Reader, out io.Writer, listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return ServeChild(ctx, in, out, l.Addr().String(), func(ctx context.Context) error { return Echo(ctx, l) })
}

// echoServer is the run's own echo server, in a process or a goroutine.
type echoServer struct {
	kind string
	Pair
}

func (e *echoServer) PIDs() []int {
	if c, ok := e.Pair.(*Child); ok {
		return c.PIDs()
	}
	return nil
}

func (b *Bench) startEcho(ctx context.Context) (*echoServer, error) {
	if len(b.deps.EchoCommand) > 0 {
		args := append(append([]string(nil), b.deps.EchoCommand...), b.cfg.EchoListen)
		c, err := StartChild(ctx, args...)
		return &echoServer{"process", c}, err
	}
	l, err := net.Listen("tcp", b.cfg.EchoListen)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- Echo(ctx, l) }()
	return &echoServer{"goroutine", &localEcho{l.Addr().String(), cancel, done}}, nil
}

type localEcho struct {
	address string
	cancel  context.CancelFunc
	done    chan error
}

func (e *localEcho) Address() string { return e.address }
func (e *localEcho) Close() error    { e.cancel(); return <-e.done }

// reachable sends one small message through p before anything is measured.
func reachable(ctx context.Context, p Path) error {
	w, err := dial(ctx, p.Address)
	if err != nil {
		return err
	}
	defer w.close()
	defer context.AfterFunc(ctx, w.shut)()
	return w.trip(newMessage(sizeMin), make([]byte, sizeMin), uint64(time.Now().UnixNano()))
}

// trip is one message there and back.
func (w *wire) trip(out, back []byte, n uint64) error {
	number(out, n)
	if err := w.write(out); err != nil {
		return err
	}
	if err := w.readFull(back); err != nil {
		return err
	}
	return check(back, n)
}
