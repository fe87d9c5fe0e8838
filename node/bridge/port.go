package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"fire/transport/udp"

	"golang.org/x/sys/unix"
)

// port is the sockets of one bridge, a line each, and what wakes it. All but ring and close
// belong to one goroutine.
type port struct {
	lines []line
	bell  int // eventfd of this process alone
	buf   []byte
	polls [udp.LinesMax + 2]unix.PollFd

	sent, received, unsent atomic.Uint64
}

type line struct {
	file *os.File
	fd   int
	at   netip.AddrPort
	six  bool
}

// socketBytes is asked of the kernel for each socket; net.core.rmem_max may give less.
const socketBytes = 4 << 20

// openPort binds a socket on each address.
func openPort(cfg Config, addresses []netip.Addr) (*port, error) {
	p := &port{bell: -1, buf: make([]byte, udp.DatagramBytesMax+1)}
	var err error
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	for _, a := range addresses {
		l, err := bindLine(cfg, a)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.lines = append(p.lines, l)
	}
	return p, nil
}

// bindLine takes the first port that is free.
func bindLine(cfg Config, a netip.Addr) (line, error) {
	var last error
	for n := cfg.PortFirst; n <= cfg.PortLast; n++ {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(n))))
		if err == nil {
			return lineOf(c)
		}
		last = err
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return line{}, fmt.Errorf("[bridge] lines %s, ports %d to %d: %w", a, cfg.PortFirst, cfg.PortLast, last)
}

func lineOf(c *net.UDPConn) (line, error) {
	defer c.Close()
	_, _ = c.SetReadBuffer(socketBytes), c.SetWriteBuffer(socketBytes) // the kernel's limit is enough
	f, err := c.File()
	if err != nil {
		return line{}, err
	}
	fd := int(f.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		return line{}, errors.Join(err, f.Close())
	}
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	if a := at.Addr().Unmap(); a.Is4() { // groups are sent to from this line's interface
		_ = unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, a.As4())
	}
	return line{f, fd, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), at.Addr().Is6() && !at.Addr().Is4In6()}, nil
}

// at is where the lines are bound.
func (p *port) at() (all []netip.AddrPort) {
	for _, l := range p.lines {
		all = append(all, l.at)
	}
	return all
}

// Send hands a datagram to the kernel. One that it does not take is lost as any may be on
// its way, and counted. These calls never block, so the scheduler is not told of them (see
// transport/quic's socket).
func (p *port) Send(n int, to netip.AddrPort, b []byte) {
	if n >= len(p.lines) || len(b) == 0 {
		return
	}
	l := &p.lines[n]
	var errno syscall.Errno
	if l.six {
		var sa unix.RawSockaddrInet6
		sa.Family, sa.Addr = unix.AF_INET6, to.Addr().As16()
		*(*[2]byte)(unsafe.Pointer(&sa.Port)) = [2]byte{byte(to.Port() >> 8), byte(to.Port())}
		_, _, errno = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(l.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	} else {
		var sa unix.RawSockaddrInet4
		sa.Family, sa.Addr = unix.AF_INET, to.Addr().As4()
		*(*[2]byte)(unsafe.Pointer(&sa.Port)) = [2]byte{byte(to.Port() >> 8), byte(to.Port())}
		_, _, errno = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(l.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	}
	if errno != 0 {
		p.unsent.Add(1)
		return
	}
	p.sent.Add(1)
}

// receiveMost is how many datagrams are taken before something else gets its turn.
const receiveMost = 64

// receive hands over what has come, and never waits.
func (p *port) receive(each func(line int, b []byte)) (n int) {
	for i := range p.lines {
		for range receiveMost {
			got, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(p.lines[i].fd), uintptr(unsafe.Pointer(unsafe.SliceData(p.buf))), uintptr(len(p.buf)), unix.MSG_DONTWAIT, 0, 0)
			if errno != 0 { // mostly EAGAIN; ECONNREFUSED tells of a port that is gone
				break
			}
			n++
			each(i, p.buf[:got])
		}
	}
	p.received.Add(uint64(n))
	return n
}

// wait sleeps until something comes, ring is called, other is readable, or the time is up.
func (p *port) wait(d time.Duration, other *os.File) {
	fds := p.polls[:0]
	for i := range p.lines {
		fds = append(fds, unix.PollFd{Fd: int32(p.lines[i].fd), Events: unix.POLLIN})
	}
	fds = append(fds, unix.PollFd{Fd: int32(p.bell), Events: unix.POLLIN})
	if other != nil {
		fds = append(fds, unix.PollFd{Fd: int32(other.Fd()), Events: unix.POLLIN})
	}
	ts := unix.NsecToTimespec(int64(max(d, 0)))
	_, _ = unix.Ppoll(fds, &ts, nil) // a signal is as good as the time's end
	if fds[len(p.lines)].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(p.bell, b[:])
	}
}

// ring ends a wait.
func (p *port) ring() {
	_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full: it rings already
}

func (p *port) close() error {
	var errs []error
	for _, l := range p.lines {
		errs = append(errs, l.file.Close())
	}
	if p.bell >= 0 {
		errs = append(errs, unix.Close(p.bell))
	}
	return errors.Join(errs...)
}

// waitBoth is wait for two ports of one bridge.
func (p *port) waitBoth(d time.Duration, q *port) {
	fds := make([]unix.PollFd, 0, 2*udp.LinesMax+1)
	for _, l := range p.lines {
		fds = append(fds, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	for _, l := range q.lines {
		fds = append(fds, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	fds = append(fds, unix.PollFd{Fd: int32(p.bell), Events: unix.POLLIN})
	ts := unix.NsecToTimespec(int64(max(d, 0)))
	_, _ = unix.Ppoll(fds, &ts, nil)
	if fds[len(fds)-1].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(p.bell, b[:])
	}
}

// openGroups joins multicast groups, each on the interface that has the line's address.
func openGroups(groups []netip.AddrPort, on *port) (*port, error) {
	g := &port{bell: -1, buf: make([]byte, udp.DatagramBytesMax+1)}
	for i, to := range groups {
		if i >= len(on.lines) {
			break
		}
		l, err := joinGroup(to, on.lines[i].at.Addr())
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
		g.lines = append(g.lines, l)
	}
	return g, nil
}

func joinGroup(to netip.AddrPort, on netip.Addr) (line, error) {
	if !to.Addr().Is4() || !on.Is4() {
		return line{}, fmt.Errorf("group %s on %s: only IPv4 groups are joined", to, on)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return line{}, err
	}
	mreq := &unix.IPMreq{Multiaddr: to.Addr().As4(), Interface: on.As4()}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq))
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBytes) // the kernel's limit is enough
	if err != nil {
		return line{}, errors.Join(fmt.Errorf("group %s on %s: %w", to, on, err), unix.Close(fd))
	}
	return line{file: os.NewFile(uintptr(fd), "group"), fd: fd, at: to}, nil
}
