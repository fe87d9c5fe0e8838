package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/fix"
)

// connectionsMax bounds an acceptor's connections, sessionsMax its sessions.
const (
	connectionsMax = 64
	sessionsMax    = 64
	logonTimeout   = 10 * time.Second
)

// acceptor takes FIX connections and finds the session of each by its Logon.
type acceptor struct {
	ours     string
	clients  []string // CompIDs that may log on; empty: any, up to sessionsMax
	stateDir string
	ln       net.Listener
	app      application
	log      *slog.Logger

	refused    atomic.Uint64 // logons of nobody we know
	duplicates atomic.Uint64 // logons of a session that is live

	mu    sync.Mutex
	peers map[string]*peer // guarded by mu
}

func newAcceptor(ours string, clients []string, stateDir, listen string, app application, log *slog.Logger) (*acceptor, error) {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ours, err)
	}
	return &acceptor{ours: ours, clients: clients, stateDir: stateDir, ln: ln, app: app, log: log, peers: map[string]*peer{}}, nil
}

// run serves until ctx ends, then logs every session out.
func (a *acceptor) run(ctx context.Context) error {
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { a.ln.Close() })
	defer stop()
	slots := make(chan struct{}, connectionsMax)
	for {
		conn, err := a.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				err = nil
			} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			wg.Wait()
			return errors.Join(err, a.stop())
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				a.serve(ctx, conn)
				<-slots
			})
		default:
			a.refused.Add(1)
			conn.Close()
		}
	}
}

func (a *acceptor) stop() (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.peers {
		err = errors.Join(err, p.stop())
	}
	return err
}

// serve reads up to the Logon, finds the session and runs it.
func (a *acceptor) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	conn.SetReadDeadline(time.Now().Add(logonTimeout))
	front, theirs, err := a.first(conn)
	stop()
	if err == errSilent || ctx.Err() != nil {
		return
	}
	if err != nil {
		a.refused.Add(1)
		a.log.Debug("fix connection refused", "peer", conn.RemoteAddr().String(), "err", err)
		return
	}
	conn.SetReadDeadline(time.Time{})
	p, err := a.peer(theirs)
	if err != nil {
		a.refused.Add(1)
		a.log.Warn("fix logon refused", "peer", conn.RemoteAddr().String(), "err", err)
		return
	}
	if !p.busy.CompareAndSwap(false, true) {
		a.duplicates.Add(1)
		a.log.Warn("fix session is live already, second logon cut", "peer", conn.RemoteAddr().String(), "session", theirs)
		return
	}
	defer p.busy.Store(false)
	err = p.run(ctx, conn, front, a.app)
	if ctx.Err() == nil {
		a.log.Info("fix session down", "session", theirs, "err", err)
	}
}

// errSilent is a connection that said nothing and went: a health check.
var errSilent = errors.New("nothing was said")

// first reads the first message, which must be a Logon, and leaves it in front.
func (a *acceptor) first(conn net.Conn) (front []byte, theirs string, err error) {
	buf := make([]byte, 8<<10)
	end := 0
	for end < len(buf) {
		n, err := conn.Read(buf[end:])
		end += n
		if n == 0 && err != nil {
			if end == 0 && err == io.EOF {
				err = errSilent
			}
			return nil, "", err
		}
		var m fix.Message
		switch _, err := fix.Next(buf[:end], &m, len(buf)); {
		case err == fix.ErrShort:
			continue
		case err != nil:
			return nil, "", err
		case string(m.Type) != "A":
			return nil, "", errors.New("the first message is not a Logon")
		}
		return buf[:end], string(field(&m, 49)), nil
	}
	return nil, "", errors.New("no whole message in 8 KiB")
}

// peer returns the session of a CompID, making it at its first Logon.
func (a *acceptor) peer(theirs string) (*peer, error) {
	if !compID(theirs) || len(a.clients) > 0 && !slices.Contains(a.clients, theirs) {
		return nil, fmt.Errorf("SenderCompID %q may not log on", theirs)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[theirs]; p != nil {
		return p, nil
	}
	if len(a.peers) >= sessionsMax {
		return nil, fmt.Errorf("SenderCompID %q: %d sessions are the limit", theirs, sessionsMax)
	}
	memory, err := remember(a.stateDir, a.ours, theirs)
	if err != nil {
		return nil, err
	}
	p := newPeer(session{ours: a.ours, theirs: theirs, heartbeat: heartbeatDefault, memory: memory}, a.log)
	a.peers[theirs] = p
	return p, nil
}

// find returns the session of a CompID, nil when it has never logged on.
func (a *acceptor) find(theirs []byte) *peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.peers[string(theirs)]
}

// heartbeatDefault is the initiators' HeartBtInt.
const heartbeatDefault = 5 * time.Second

// remember makes a session's memory: on disk when there is a folder for it.
func remember(dir, ours, theirs string) (*replay, error) {
	if dir == "" {
		return newReplay(nil)
	}
	j, err := openJournal(dir, ours, theirs)
	if err != nil {
		return nil, err
	}
	return newReplay(j)
}

// compID allows what is safe in a file name and a log line.
func compID(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			continue
		}
		return false
	}
	return true
}
