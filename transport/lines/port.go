package lines

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LinesMax is how many lines a port has at most.
const LinesMax = 2

// Config says where a port is bound.
type Config struct {
	Addresses     []netip.Addr  // by line
	PortFirst     int           // of the range that is tried, 0 for any
	PortLast      int           //
	DatagramBytes int           // the longest that is sent
	SocketBytes   int           // asked of the kernel for each socket and way; 0: 4 MiB
	BusyPoll      time.Duration // SO_BUSY_POLL: how long the kernel asks the card before it sleeps; 0: not
	NoOffload     bool          // neither GSO nor GRO
	Hops          int           // that a datagram to a group may take; 0: 1, the network of the line itself
}

// Port is the sockets of one end.
type Port struct {
	lines []*line
	bell  int // eventfd of this process alone; Wait's
	polls [2*LinesMax + 2]unix.PollFd

	ringMu sync.Mutex // guards rung; alone. Held for an eventfd's write, which never waits.
	rung   int        // the bell as Ring has it; -1 after Close

	stats stats
}

// Stats are counts since Open.
type Stats struct {
	Sent      uint64 `json:"sent_total"`
	Received  uint64 `json:"received_total"`
	Unsent    uint64 `json:"unsent_total"`   // the kernel did not take them
	Dropped   uint64 `json:"dropped_total"`  // the kernel had no room for what came
	Cut       uint64 `json:"cut_total"`      // longer than the buffer, so not handed over
	Batches   uint64 `json:"batches_total"`  // calls that sent
	Segments  uint64 `json:"segments_total"` // datagrams that left as part of a run
	GSO       bool   `json:"gso"`
	GRO       bool   `json:"gro"`
	NoGSO     string `json:"no_gso,omitempty"` // why not
	BusyPoll  bool   `json:"busy_poll"`
	RecvBytes int    `json:"receive_buffer_bytes"` // that the kernel has given
}

type stats struct {
	sent, received, unsent, dropped, cut, batches, segments atomic.Uint64
}

// line is one socket.
type line struct {
	port *Port
	file *os.File
	fd   uintptr
	at   netip.AddrPort
	six  bool

	gso, gro, busy bool
	noGSO          atomic.Pointer[string] // why not; nil: it is on
	recvBytes      int
	drops          uint32 // the kernel's count, as last seen
	in             inBatch
	out            outBatch
}

// Open binds a socket on each address.
func Open(cfg Config) (*Port, error) {
	if len(cfg.Addresses) == 0 || len(cfg.Addresses) > LinesMax {
		return nil, fmt.Errorf("%d lines, 1 to %d are legal", len(cfg.Addresses), LinesMax)
	}
	p := &Port{bell: -1, rung: -1}
	var err error
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("lines: %w", err)
	}
	p.rung = p.bell
	for _, a := range cfg.Addresses {
		l, err := bind(cfg, a)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		l.port = p
		p.lines = append(p.lines, l)
	}
	return p, nil
}

// bind takes the first port that is free.
func bind(cfg Config, a netip.Addr) (*line, error) {
	var last error
	for n := cfg.PortFirst; n <= max(cfg.PortFirst, cfg.PortLast); n++ {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(n))))
		if err == nil {
			defer c.Close()
			f, err := c.File()
			if err != nil {
				return nil, err
			}
			at := c.LocalAddr().(*net.UDPAddr).AddrPort()
			return newLine(cfg, f, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
		}
		last = err
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("line %s, ports %d to %d: %w", a, cfg.PortFirst, cfg.PortLast, last)
}

// newLine owns f.
func newLine(cfg Config, f *os.File, at netip.AddrPort) (*line, error) {
	l := &line{file: f, fd: f.Fd(), at: at, six: at.Addr().Is6()}
	fd := int(l.fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	bytes := cfg.SocketBytes
	if bytes == 0 {
		bytes = 4 << 20
	}
	// What the kernel refuses of these costs speed, not datagrams that are not counted.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	l.recvBytes, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if !l.six {
		_ = unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, at.Addr().As4())
		if cfg.Hops > 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, cfg.Hops)
		}
	}
	if us := cfg.BusyPoll.Microseconds(); us > 0 {
		l.busy = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUSY_POLL, int(us)) == nil
	}
	l.offload(cfg)
	l.in.init(l.gro, max(cfg.DatagramBytes, plainBytes))
	l.out.init(cfg.DatagramBytes)
	return l, nil
}

// At is where the lines are bound.
func (p *Port) At() (all []netip.AddrPort) {
	for _, l := range p.lines {
		all = append(all, l.at)
	}
	return all
}

// Lines is their number.
func (p *Port) Lines() int { return len(p.lines) }

// Wait sleeps until something comes, Ring is called, other is readable, or the time is up.
// groups may be nil, or a port that Groups has made.
func (p *Port) Wait(d time.Duration, groups *Port, other int) {
	fds := p.polls[:0]
	fds = append(fds, unix.PollFd{Fd: int32(p.bell), Events: unix.POLLIN})
	for _, l := range p.lines {
		fds = append(fds, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	if groups != nil {
		for _, l := range groups.lines {
			fds = append(fds, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
		}
	}
	if other >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(other), Events: unix.POLLIN})
	}
	ts := unix.NsecToTimespec(int64(max(d, 0)))
	_, _ = unix.Ppoll(fds, &ts, nil) // a signal is as good as the time's end
	if fds[0].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(p.bell, b[:])
	}
}

// Ring ends a Wait, or the next one. After Close it does nothing: the descriptor may be
// somebody else's by then.
func (p *Port) Ring() {
	p.ringMu.Lock()
	defer p.ringMu.Unlock()
	if p.rung < 0 {
		return
	}
	one := uint64(1)
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.rung), uintptr(unsafe.Pointer(&one)), 8) // full: it rings already
}

// Close gives the sockets back.
func (p *Port) Close() error {
	p.ringMu.Lock()
	p.rung = -1
	p.ringMu.Unlock()
	var errs []error
	for _, l := range p.lines {
		errs = append(errs, l.file.Close())
	}
	if p.bell >= 0 {
		errs = append(errs, unix.Close(p.bell))
		p.bell = -1
	}
	return errors.Join(errs...)
}

// Stats may be read at any time.
func (p *Port) Stats() Stats {
	s := Stats{Sent: p.stats.sent.Load(), Received: p.stats.received.Load(), Unsent: p.stats.unsent.Load(), Dropped: p.stats.dropped.Load(),
		Cut: p.stats.cut.Load(), Batches: p.stats.batches.Load(), Segments: p.stats.segments.Load()}
	if len(p.lines) > 0 {
		l := p.lines[0]
		s.GRO, s.BusyPoll, s.RecvBytes = l.gro, l.busy, l.recvBytes
		s.NoGSO = l.whyNoGSO()
		s.GSO = s.NoGSO == ""
	}
	return s
}

// Offload tells whether runs are sent as one, and why not.
func (p *Port) Offload() (gso bool, why string) {
	if len(p.lines) == 0 {
		return false, "no line"
	}
	why = p.lines[0].whyNoGSO()
	return why == "", why
}

func (l *line) whyNoGSO() string {
	if why := l.noGSO.Load(); why != nil {
		return *why
	}
	return ""
}

// sendSingly gives up runs for good.
func (l *line) sendSingly(why string) {
	l.gso = false
	l.noGSO.Store(&why)
}

// Groups joins a multicast group for each line, on the interface that has its address.
func (p *Port) Groups(cfg Config, groups []netip.AddrPort) (*Port, error) {
	g := &Port{bell: -1, rung: -1}
	for i, to := range groups[:min(len(groups), len(p.lines))] {
		l, err := join(cfg, to, p.lines[i].at.Addr())
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		l.port = g
		g.lines = append(g.lines, l)
	}
	return g, nil
}

func join(cfg Config, to netip.AddrPort, on netip.Addr) (*line, error) {
	if !to.Addr().Is4() || !to.Addr().IsMulticast() || !on.Is4() {
		return nil, fmt.Errorf("group %s on %s: only IPv4 groups are joined", to, on)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	mreq := &unix.IPMreq{Multiaddr: to.Addr().As4(), Interface: on.As4()}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("group %s on %s: %w", to, on, err), unix.Close(fd))
	}
	return newLine(cfg, os.NewFile(uintptr(fd), "group"), to)
}
