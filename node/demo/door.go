package demo

import (
	"context"
	"errors"
	"net"
	"strings"

	"fire/policy/reason"
	"fire/transport/channel"
)

// door is where a program dials: a socket's address, or "channel:NAME" for a direct path
// of this host that passes by the proxies.
type door struct {
	addr    string
	attach  string // socket of the direct node; "" is the host's
	service string // as whom a channel is attached
}

const channelPrefix = "channel:"

// channel is the name of the direct path, if the door is one.
func (d door) channel() (string, bool) { return strings.CutPrefix(d.addr, channelPrefix) }

func (d door) options(name string) channel.Options {
	return channel.Options{Socket: d.attach, Channel: name, Service: d.service}
}

// dial opens a connection.
func (d door) dial(ctx context.Context) (net.Conn, error) {
	if name, ok := d.channel(); ok {
		return channel.DialConn(ctx, d.options(name))
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", d.addr)
}

// serveChannel accepts what comes over a direct path until ctx ends, with back-off while
// there is none.
func (a *acceptor) serveChannel(ctx context.Context, d door) {
	name, ok := d.channel()
	if !ok {
		return
	}
	wait := backoffMin
	for ctx.Err() == nil {
		s, err := channel.OpenServer(ctx, d.options(name))
		if err == nil {
			wait = backoffMin
			err = errors.Join(a.serveCallers(ctx, s), s.Close())
		}
		if ctx.Err() != nil {
			return
		}
		a.log.Info("direct path down", "channel", name, "reason", reason.Of(err, reason.DirectUnreachable).String(), "err", err)
		wait = pause(ctx, wait)
	}
}

func (a *acceptor) serveCallers(ctx context.Context, s *channel.Server) error {
	ctx, cancel := context.WithCancel(ctx)
	callers := make(chan struct{}, connectionsMax)
	defer func() {
		cancel()
		for range connectionsMax { // each that is under way gives its place back
			callers <- struct{}{}
		}
	}()
	for {
		conn, err := s.AcceptConn(ctx)
		if err != nil {
			return err
		}
		callers <- struct{}{}
		go func() {
			defer func() { <-callers }()
			a.serve(ctx, conn)
		}()
	}
}
