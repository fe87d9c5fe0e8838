package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"fire/node/catalog"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
)

const (
	outboxMax   = 64
	farewell    = 500 * time.Millisecond // for control to hear that we go
	skewWarn    = time.Second
	renewLeast  = 50 * time.Millisecond // what control may ask of us at most
	renewUsual  = time.Second
	reportLeast = 50 * time.Millisecond
	reportUsual = 250 * time.Millisecond
)

// watch is the life of the one long stream of a link: a reader and a writer.
type watch struct {
	agent  *Agent
	link   *link
	stream transport.Stream
}

// run greets control and serves until the session, the stream or ctx ends.
func (w *watch) run(ctx, greetCtx context.Context) error {
	a, l := w.agent, w.link
	var err error
	if w.stream, err = l.session.Open(greetCtx); err != nil {
		return err
	}
	if err := w.greet(greetCtx); err != nil {
		return err
	}
	a.linked(l)
	defer a.unlinked(l)
	read := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { read <- w.read() })
	err = w.write(ctx, read)
	l.session.Close(reason.Of(err, reason.Shutdown), "")
	wg.Wait()
	return err
}

// greet says Hello and takes the Welcome, which also compares the clocks.
func (w *watch) greet(ctx context.Context) error {
	a := w.agent
	addr, err := a.advertised(ctx, w.link.address)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = w.stream.SetReadDeadline(deadline) // a stream that cannot have one fails the read below
	}
	sent := a.now()
	hello := catalog.Hello{
		Protocol: catalog.Protocol, Addr: addr, Region: a.Node().Domain.Region, Zone: a.host.Zone, Release: a.host.Release,
		Roles: a.host.Roles, Claims: a.board.hello(sent), Time: sent, NotAfter: a.notAfter(),
	}
	if h := a.held.Load(); h != nil {
		hello.Have = h.head
	}
	if err := w.put(catalog.NodeMessage{Hello: &hello}); err != nil {
		return err
	}
	var m catalog.ControlMessage
	if err := catalog.ReadMessage(w.stream, catalog.ToNodeBytesMax, &m); err != nil {
		return err
	}
	switch {
	case m.Refuse != nil:
		return m.Refuse.Err()
	case m.Welcome == nil:
		return reason.New(reason.FrameMalformed, "control did not begin with a welcome")
	}
	w.link.welcome = *m.Welcome
	came := a.now()
	w.link.skew = m.Welcome.Time.Sub(sent.Add(came.Sub(sent) / 2))
	return w.stream.SetReadDeadline(time.Time{})
}

// read takes control's messages until the stream ends.
func (w *watch) read() error {
	a := w.agent
	for {
		var m catalog.ControlMessage
		if err := catalog.ReadMessage(w.stream, catalog.ToNodeBytesMax, &m); err != nil {
			if errors.Is(err, io.EOF) {
				return reason.New(reason.PeerClosed, "control ended the link")
			}
			return err
		}
		switch {
		case m.Snapshot != nil:
			a.take(w.link, m.Snapshot)
		case m.Delta != nil:
			a.take(w.link, m.Delta)
		case m.Grant != nil:
			a.board.grant(*m.Grant)
		case m.Refuse != nil:
			a.refused(m.Refuse)
		case m.Ask != nil:
			a.asked(w.link, m.Ask)
		}
	}
}

// refused notes what control did not take.
func (a *Agent) refused(f *catalog.Refuse) {
	a.log.Warn("control refused", "svc", f.Service, "reason", f.Code.String(), "err", f.Detail)
	a.board.refuse(f, a.now())
}

// asked does what control wishes.
func (a *Agent) asked(l *link, ask *catalog.Ask) {
	a.log.Info("control asks", "certificates", ask.Certificates, "register", ask.Register, "msg", oneLine(ask.Why))
	if ask.Certificates {
		l.wantsRenewal.Store(true)
		poke(a.hurry)
	}
	if ask.Register {
		a.board.again(a.now())
	}
}

// write is the one sender: what is queued, leases, changes of health, telemetry.
func (w *watch) write(ctx context.Context, read <-chan error) error {
	a, l := w.agent, w.link
	renew := time.NewTicker(max(orElse(time.Duration(l.welcome.RenewEvery), renewUsual), renewLeast))
	defer renew.Stop()
	report := time.NewTicker(max(orElse(time.Duration(l.welcome.ReportEvery), reportUsual), reportLeast))
	defer report.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			w.farewell(read)
			return ctx.Err()
		case err = <-read:
			if err == nil {
				err = reason.New(reason.PeerClosed, "control ended the link")
			}
		case <-l.session.Done():
			err = l.session.Err()
		case m := <-l.out:
			err = w.put(m)
		case <-renew.C:
			err = w.put(catalog.NodeMessage{Renew: a.renewal()})
		case <-report.C:
			err = w.report()
		case <-a.board.changed:
			err = w.tell(look)
		case <-look.C:
			err = w.tell(look)
		}
		if err != nil {
			return err
		}
	}
}

// tell sends what the board has due.
func (w *watch) tell(look *time.Timer) error {
	now := w.agent.now()
	messages, again := w.agent.board.due(now)
	look.Reset(max(again.Sub(now), time.Millisecond))
	for _, m := range messages {
		if err := w.put(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) renewal() *catalog.Renew {
	r := &catalog.Renew{Leases: a.board.leases(), Time: a.now(), NotAfter: a.notAfter()}
	if h := a.held.Load(); h != nil {
		r.Have = h.head
	}
	return r
}

// report ships one report. One that is too large is dropped and said, not the link.
func (w *watch) report() error {
	a := w.agent
	if a.deps.Report == nil {
		return nil
	}
	r := a.deps.Report()
	r.Node = a.Node().Name
	err := w.put(catalog.NodeMessage{Report: &r})
	if reason.Of(err, reason.OK) == reason.FrameOversized {
		a.log.Warn("report dropped, it is too large", "err", err)
		return nil
	}
	return err
}

// farewell withdraws the endpoints, so that nobody waits for a lease to end, and
// gives control a moment to read it.
func (w *watch) farewell(read <-chan error) {
	for _, lease := range w.agent.board.leases() {
		if w.put(catalog.NodeMessage{Withdraw: &lease}) != nil {
			return
		}
	}
	if w.stream.CloseWrite() != nil {
		return
	}
	select {
	case <-read:
	case <-w.link.session.Done():
	case <-time.After(farewell):
	}
}

// put writes one message within the time limit.
func (w *watch) put(m catalog.NodeMessage) error {
	a := w.agent
	if err := w.stream.SetWriteDeadline(time.Now().Add(a.cfg.WriteTimeout)); err != nil {
		return err
	}
	err := catalog.WriteMessage(w.stream, catalog.ToControlBytesMax, m)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return reason.New(reason.SlowReader, "control took no byte for %s", a.cfg.WriteTimeout)
	}
	return err
}

// linked publishes the link and says what it changes.
func (a *Agent) linked(l *link) {
	a.live.Store(l)
	a.setTrouble(func(t *trouble) { t.link, t.skew = nil, nil })
	a.log.Info("linked to control", "addr", l.address, "peer", l.welcome.Control, "skew", l.skew.Round(time.Millisecond).String())
	if l.skew.Abs() > skewWarn {
		err := reason.New(reason.ClockSkew, "control's clock is %s from ours; leaves bear %s", l.skew.Round(time.Millisecond), pki.BackDate)
		a.setTrouble(func(t *trouble) { t.skew = err })
		a.log.Warn("clocks differ", "reason", reason.ClockSkew.String(), "err", err)
	}
	a.mu.Lock()
	var drains []catalog.NodeMessage
	for service, on := range a.drains {
		if on {
			drains = append(drains, catalog.NodeMessage{Drain: &catalog.Drain{Service: service, On: true}})
		}
	}
	a.mu.Unlock()
	for _, m := range drains[:min(len(drains), outboxMax)] {
		l.out <- m // nobody else has the link yet, so there is room
	}
	poke(a.hurry)
}

func (a *Agent) unlinked(l *link) {
	now := a.now()
	a.setTrouble(func(t *trouble) { t.since = now })
	a.live.CompareAndSwap(l, nil)
}

// notAfter is the end of the host's certificate, zero when it has none.
func (a *Agent) notAfter() time.Time {
	if i := a.Identity(a.Node()); i != nil {
		return i.NotAfter()
	}
	return time.Time{}
}

// advertised is where other proxies dial this host: as configured, as bound, or the
// address of the route to control with the bound port.
func (a *Agent) advertised(ctx context.Context, control string) (string, error) {
	if a.host.Advertise != "" {
		return a.host.Advertise, nil
	}
	if !a.host.Listen.Addr().IsUnspecified() {
		return a.host.Listen.String(), nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", control) // connects no one: it only asks the kernel for the route
	if err != nil {
		return "", reason.New(reason.ControlUnreachable, "no route to %s: %w", control, err)
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), a.host.Listen.Port()).String(), nil
}

func orElse(d, other time.Duration) time.Duration {
	if d <= 0 {
		return other
	}
	return d
}
