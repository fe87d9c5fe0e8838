//go:build amd64 || arm64

package quic

import (
	"net"
	"sync"
	"syscall"
	"unsafe"

	"fire/transport/spin"

	"golang.org/x/net/ipv4"
)

// socket is a UDP socket that does not wake Go's monitor thread.
//
// A system call through package syscall tells the scheduler before and after. When
// the process was idle a moment ago, as between two orders, that wakes the monitor
// thread, which then looks around every 20 µs: about two context switches per message
// that do nothing for it, half of the path's processor time on a small machine. These
// calls never block (the socket is non-blocking), so the scheduler need not know.
//
// Both architectures are little-endian and have 64-bit pointers, which the layouts
// below rely on. Everything rare goes the standard way: waiting, errors, other address families.
type socket struct {
	*net.UDPConn
	raw   syscall.RawConn
	inet6 bool
	awake *spin.Spinner // told of each batch

	// of the one reader
	batch readBatch
	in    func(fd uintptr) bool
	peers peerCache

	out sync.Pool // of *writeOp
}

const batchMax = 8 // quic-go's

// readBatch is the memory of one recvmmsg.
type readBatch struct {
	headers [batchMax]mmsghdr
	vectors [batchMax]syscall.Iovec
	names   [batchMax]syscall.RawSockaddrInet6 // the larger of the two
	wanted  int
	n       int
	errno   syscall.Errno
}

// mmsghdr is struct mmsghdr, recvmmsg(2).
type mmsghdr struct {
	msghdr syscall.Msghdr
	n      uint32
	_      [4]byte
}

// fast returns pc with the quicker calls, or pc itself when it is no UDP socket.
func fast(pc net.PacketConn, awake *spin.Spinner) net.PacketConn {
	c, ok := pc.(*net.UDPConn)
	if !ok {
		return pc
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return pc
	}
	s := &socket{UDPConn: c, raw: raw, awake: awake}
	known := false
	if err := raw.Control(func(fd uintptr) {
		switch sa, _ := syscall.Getsockname(int(fd)); sa.(type) {
		case *syscall.SockaddrInet4:
			known = true
		case *syscall.SockaddrInet6:
			known, s.inet6 = true, true
		}
	}); err != nil || !known {
		return pc
	}
	awake.Watch(raw)
	s.in = s.receive
	s.out.New = func() any { return newWriteOp() }
	return s
}

// ReadBatch is called by quic-go's one reader. It waits until at least one packet is
// there and takes what is.
func (s *socket) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	b := &s.batch
	b.wanted = min(len(ms), batchMax)
	for i := range b.wanted {
		m, h := &ms[i], &b.headers[i].msghdr
		b.vectors[i].Base = unsafe.SliceData(m.Buffers[0])
		b.vectors[i].SetLen(len(m.Buffers[0]))
		h.Iov, h.Iovlen = &b.vectors[i], 1
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), uint32(unsafe.Sizeof(b.names[i]))
		h.Control = unsafe.SliceData(m.OOB)
		h.SetControllen(len(m.OOB))
	}
	if err := s.raw.Read(s.in); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, &net.OpError{Op: "read", Net: "udp", Source: s.LocalAddr(), Err: b.errno}
	}
	for i := range b.n {
		m, h := &ms[i], &b.headers[i]
		m.N, m.NN, m.Flags = int(h.n), int(h.msghdr.Controllen), int(h.msghdr.Flags)
		m.Addr = s.peers.addr(&b.names[i])
	}
	return b.n, nil
}

// receive is one recvmmsg. The kernel writes into memory that s.batch and the caller's
// messages keep alive: both are reachable from this frame's receiver and its caller.
func (s *socket) receive(fd uintptr) bool {
	b := &s.batch
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), uintptr(b.wanted),
			syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		b.n, b.errno = int(n), errno
		s.awake.Moved(spin.Mesh)
		return true
	}
}

// writeOp is the memory of one sendmsg.
type writeOp struct {
	header syscall.Msghdr
	vector syscall.Iovec
	name4  syscall.RawSockaddrInet4
	name6  syscall.RawSockaddrInet6
	errno  syscall.Errno
	run    func(fd uintptr)
}

func newWriteOp() *writeOp {
	o := &writeOp{}
	o.run = func(fd uintptr) {
		_, _, o.errno = syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&o.header)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	}
	return o
}

// WriteMsgUDP sends one packet, or one batch of equal segments. What the quick call
// does not take is sent the standard way, which waits and words its errors.
func (s *socket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	if len(b) == 0 {
		return s.UDPConn.WriteMsgUDP(b, oob, to)
	}
	o := s.out.Get().(*writeOp)
	if !o.address(to, s.inet6) {
		s.out.Put(o)
		return s.UDPConn.WriteMsgUDP(b, oob, to)
	}
	o.vector.Base = unsafe.SliceData(b)
	o.vector.SetLen(len(b))
	o.header.Iov, o.header.Iovlen = &o.vector, 1
	o.header.Control = unsafe.SliceData(oob)
	o.header.SetControllen(len(oob))
	err = s.raw.Control(o.run)
	errno := o.errno
	o.vector.Base, o.header.Control = nil, nil // keep nothing of the caller's
	s.out.Put(o)
	if err != nil || errno != 0 {
		return s.UDPConn.WriteMsgUDP(b, oob, to)
	}
	return len(b), len(oob), nil
}

// address writes the peer into the header; false for one that needs a zone or does
// not fit the socket's family.
func (o *writeOp) address(to *net.UDPAddr, inet6 bool) bool {
	port := uint16(to.Port)<<8 | uint16(to.Port)>>8 // network order
	if inet6 {
		ip := to.IP.To16()
		if ip == nil || to.Zone != "" {
			return false
		}
		o.name6.Family, o.name6.Port = syscall.AF_INET6, port
		copy(o.name6.Addr[:], ip)
		o.header.Name, o.header.Namelen = (*byte)(unsafe.Pointer(&o.name6)), syscall.SizeofSockaddrInet6
		return true
	}
	ip := to.IP.To4()
	if ip == nil {
		return false
	}
	o.name4.Family, o.name4.Port = syscall.AF_INET, port
	copy(o.name4.Addr[:], ip)
	o.header.Name, o.header.Namelen = (*byte)(unsafe.Pointer(&o.name4)), syscall.SizeofSockaddrInet4
	return true
}

// peerCache hands out one immutable address per peer instead of one per packet. It is
// direct-mapped: a flood of forged addresses costs an allocation each and no growth.
type peerCache struct {
	slots [256]peerSlot
}

type peerSlot struct {
	name syscall.RawSockaddrInet6
	addr *net.UDPAddr
}

func (c *peerCache) addr(name *syscall.RawSockaddrInet6) *net.UDPAddr {
	if name.Family == syscall.AF_INET { // the rest of the memory is of an older packet
		v4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(name)) // smaller than name, same head
		clean := syscall.RawSockaddrInet6{Family: name.Family, Port: v4.Port}
		copy(clean.Addr[:], v4.Addr[:])
		name = &clean
	}
	hash := uint32(name.Port)
	for _, b := range name.Addr {
		hash = hash*31 + uint32(b)
	}
	s := &c.slots[hash%uint32(len(c.slots))]
	if s.addr != nil && s.name == *name {
		return s.addr
	}
	s.name, s.addr = *name, udpAddr(name)
	return s.addr
}

func udpAddr(name *syscall.RawSockaddrInet6) *net.UDPAddr {
	a := &net.UDPAddr{Port: int(name.Port>>8 | name.Port<<8)}
	if name.Family == syscall.AF_INET {
		a.IP = net.IPv4(name.Addr[0], name.Addr[1], name.Addr[2], name.Addr[3]).To4()
		return a
	}
	a.IP = append(net.IP(nil), name.Addr[:]...)
	if name.Scope_id != 0 {
		if i, err := net.InterfaceByIndex(int(name.Scope_id)); err == nil {
			a.Zone = i.Name
		}
	}
	return a
}
