package lines

import (
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	gsoSegmentsMax = 32    // the kernel takes 64
	gsoBytesMax    = 60000 // and 65,507 bytes
)

// outBatch is what waits to be sent on one line.
type outBatch struct {
	n       int // datagrams
	bytes   int // of a slot
	buf     []byte
	lengths [batchMax]int
	to      [batchMax]netip.AddrPort

	headers [batchMax]mmsghdr
	vectors [batchMax]syscall.Iovec
	names   [batchMax]unix.RawSockaddrInet6 // the larger of the two
	control [batchMax]segmentNote
	counts  [batchMax]int // datagrams of a header
}

// segmentNote is the control message that asks for a run to be cut.
type segmentNote struct {
	length      uint64
	level, kind int32
	bytes       uint16
	_           [6]byte
}

func (b *outBatch) init(bytes int) {
	b.bytes = bytes
	b.buf = make([]byte, batchMax*bytes)
}

// Send takes a datagram for a line. It leaves at Flush, or when a batch is full. One that is
// empty, too long, for a line that is not there, or for an address of a family that the line
// does not speak, is not sent, and counted.
func (p *Port) Send(number int, to netip.AddrPort, b []byte) {
	if number >= len(p.lines) || len(b) == 0 || len(b) > p.lines[number].out.bytes || !p.lines[number].speaks(to.Addr()) {
		p.stats.unsent.Add(1)
		return
	}
	l := p.lines[number]
	o := &l.out
	copy(o.buf[o.n*o.bytes:], b)
	o.lengths[o.n], o.to[o.n] = len(b), to
	if o.n++; o.n == batchMax {
		l.flush()
	}
}

// Flush sends what Send has taken.
func (p *Port) Flush() {
	for _, l := range p.lines {
		if l.out.n > 0 {
			l.flush()
		}
	}
}

func (l *line) flush() {
	o := &l.out
	headers := l.pack()
	for at := 0; at < headers; {
		sent, errno := l.push(at, headers)
		st := &l.port.stats
		st.batches.Add(1)
		for i := at; i < at+sent; i++ {
			st.sent.Add(uint64(o.counts[i]))
			if o.counts[i] > 1 {
				st.segments.Add(uint64(o.counts[i]))
			}
		}
		at += sent
		if errno == 0 {
			continue
		}
		if errno == unix.EIO && l.gso && o.counts[at] > 1 { // a card that cannot: once more, singly
			l.sendSingly("a send said EIO")
			l.again(at)
			return
		}
		st.unsent.Add(uint64(o.counts[at]))
		at++ // a full buffer, a port that is gone, a firewall: this one is lost, the next may go
	}
	o.n = 0
}

// push is one call for the headers from at on.
func (l *line) push(at, headers int) (sent int, errno syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, l.fd, uintptr(unsafe.Pointer(&l.out.headers[at])), uintptr(headers-at), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// again sends singly what a header that failed, and those after it, hold.
func (l *line) again(header int) {
	o := &l.out
	done := 0
	for i := range header {
		done += o.counts[i]
	}
	left := o.n - done
	copy(o.buf, o.buf[done*o.bytes:o.n*o.bytes])
	copy(o.lengths[:], o.lengths[done:o.n])
	copy(o.to[:], o.to[done:o.n])
	if o.n = left; left > 0 {
		l.flush()
	}
}

// pack makes a header of each datagram, or of each run of one length to one address.
func (l *line) pack() (headers int) {
	o := &l.out
	for i := 0; i < o.n; {
		run := 1
		for l.gso && i+run < o.n && run < gsoSegmentsMax && o.to[i+run] == o.to[i] && o.lengths[i+run] <= o.lengths[i] &&
			o.lengths[i+run-1] == o.lengths[i] && (run+1)*o.lengths[i] <= gsoBytesMax {
			run++
		}
		for k := i; k < i+run; k++ {
			o.vectors[k].Base = &o.buf[k*o.bytes]
			o.vectors[k].SetLen(o.lengths[k])
		}
		h := &o.headers[headers].header
		h.Iov, h.Iovlen = &o.vectors[i], uint64(run)
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.names[headers])), l.name(&o.names[headers], o.to[i])
		h.Control = nil
		h.SetControllen(0)
		if run > 1 {
			c := &o.control[headers]
			c.length, c.level, c.kind, c.bytes = 18, unix.IPPROTO_UDP, udpSegment, uint16(o.lengths[i])
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(int(unsafe.Sizeof(*c)))
		}
		o.counts[headers] = run
		headers++
		i += run
	}
	return headers
}

// speaks tells whether an address is one that the socket's family can be given.
func (l *line) speaks(a netip.Addr) bool { return l.six && a.IsValid() || a.Is4() || a.Is4In6() }

// name writes an address as the socket's family wants it.
func (l *line) name(sa *unix.RawSockaddrInet6, to netip.AddrPort) uint32 {
	port := [2]byte{byte(to.Port() >> 8), byte(to.Port())}
	if l.six {
		sa.Family, sa.Addr = unix.AF_INET6, to.Addr().As16()
		*(*[2]byte)(unsafe.Pointer(&sa.Port)) = port
		return unix.SizeofSockaddrInet6
	}
	four := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
	four.Family = unix.AF_INET
	four.Addr = to.Addr().As4() // Send has let no other in
	*(*[2]byte)(unsafe.Pointer(&four.Port)) = port
	return unix.SizeofSockaddrInet4
}

// offload asks the kernel for GSO and GRO.
func (l *line) offload(cfg Config) {
	if cfg.NoOffload {
		l.sendSingly("switched off")
		return
	}
	l.gro = unix.SetsockoptInt(int(l.fd), unix.IPPROTO_UDP, udpGRO, 1) == nil
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		l.sendSingly(err.Error())
		return
	}
	release := unix.ByteSliceToString(name.Release[:])
	if manglesGSO(release) {
		l.sendSingly("kernel " + release + " mangles headers")
		return
	}
	if _, err := unix.GetsockoptInt(int(l.fd), unix.IPPROTO_UDP, udpSegment); err != nil {
		l.sendSingly("the kernel has none")
		return
	}
	l.gso = true
}

// manglesGSO knows kernels 7.0 to 7.1.4 (tailscale 8b58bd6c6).
func manglesGSO(release string) bool {
	release, _, _ = strings.Cut(release, "-")
	parts := strings.Split(release, ".")
	n := func(i int) int {
		if i >= len(parts) {
			return 0
		}
		v, err := strconv.Atoi(parts[i])
		if err != nil {
			return 0
		}
		return v
	}
	return n(0) == 7 && (n(1) == 0 || n(1) == 1 && n(2) <= 4)
}
