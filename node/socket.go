package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/quic"
	"fire/transport/spin"
)

// acceptedMax is how many accepted sessions may wait for their role to take them.
const acceptedMax = 64

// socket is the host's one UDP socket: it dials for the agent and the proxy, and
// hands what it accepts to the role that serves the session's protocol.
type socket struct {
	endpoint *quic.Endpoint
	listener *quic.Listener
	routes   []route
	log      *slog.Logger
}

// route is one role that serves sessions.
type route struct {
	protocols []string
	tls       func(alpn []string) *tls.Config
	sessions  chan transport.Session
}

// openSocket binds address. Nothing is read before listen.
func openSocket(address string, cfg quic.Config, awake *spin.Spinner, log *slog.Logger) (*socket, error) {
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, bindError("[node] listen", address, err)
	}
	e, err := quic.New(pc, cfg, awake, log)
	if err != nil {
		pc.Close()
		return nil, err
	}
	return &socket{endpoint: e, log: log}, nil
}

// bindError names the table, the address and what to do about it.
func bindError(what, address string, err error) error {
	next := "set another address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		next = "another program holds it (`ss -lnp` shows which); stop that or set another address"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		next = "no interface of this host has it (`ip addr` shows them); set one that exists"
	case errors.Is(err, syscall.EACCES):
		next = "ports below 1024 need CAP_NET_BIND_SERVICE; set a higher one"
	}
	return fmt.Errorf("%s %s: %w; %s", what, address, err, next)
}

// serve makes the socket accept for a role. It is called for each role before listen.
func (s *socket) serve(protocols []string, pick func(alpn []string) *tls.Config) <-chan transport.Session {
	r := route{protocols, pick, make(chan transport.Session, acceptedMax)}
	s.routes = append(s.routes, r)
	return r.sessions
}

func (s *socket) listen() error {
	l, err := s.endpoint.Listen(func(alpn []string) *tls.Config {
		for _, r := range s.routes {
			if c := r.tls(alpn); c != nil {
				return c
			}
		}
		return nil
	})
	s.listener = l
	return err
}

// run hands out sessions until ctx ends. A role that does not take its sessions in
// time loses new ones, never the other role's.
func (s *socket) run(ctx context.Context) error {
	for {
		session, err := s.listener.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept sessions: %w", err)
		}
		if !s.hand(session) {
			s.log.Warn("session refused: its role is overloaded", "peer", session.Peer().String(), "reason", reason.TooManyConnections.String())
			session.Close(reason.TooManyConnections, "the role is overloaded")
		}
	}
}

func (s *socket) hand(session transport.Session) bool {
	for _, r := range s.routes {
		for _, p := range r.protocols {
			if p == session.Protocol() {
				select {
				case r.sessions <- session:
					return true
				default:
					return false
				}
			}
		}
	}
	return false
}

// close ends every session of the host.
func (s *socket) close() error { return s.endpoint.Close() }
