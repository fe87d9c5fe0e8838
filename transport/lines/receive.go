package lines

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchMax = 32 // datagrams, or runs of them, in one call
	// With GRO a buffer takes a run of many datagrams, so fewer are needed.
	groBatch     = 4
	groBytes     = 64 << 10
	plainBytes   = 2048
	controlBytes = 64
	udpGRO       = 104 // UDP_GRO, linux/udp.h
	udpSegment   = 103 // UDP_SEGMENT
)

// mmsghdr is struct mmsghdr, recvmmsg(2); both architectures have 64-bit pointers.
type mmsghdr struct {
	header syscall.Msghdr
	n      uint32
	_      [4]byte
}

// inBatch is the memory of one recvmmsg.
type inBatch struct {
	headers [batchMax]mmsghdr
	vectors [batchMax]syscall.Iovec
	control [batchMax][controlBytes]byte
	buf     []byte
	each    int // bytes of a buffer
	count   int // buffers
}

func (b *inBatch) init(gro bool, bytes int) {
	b.each, b.count = bytes+1, batchMax // one more byte shows what is too long
	if gro {
		b.each, b.count = groBytes, groBatch
	}
	b.buf = make([]byte, b.each*b.count)
	for i := range b.count {
		b.vectors[i].Base = &b.buf[i*b.each]
		b.vectors[i].SetLen(b.each)
		h := &b.headers[i].header
		h.Iov, h.Iovlen, h.Control = &b.vectors[i], 1, &b.control[i][0]
	}
}

// Receive hands over what has come on all lines, and never waits. each may write in the
// datagram, which is its own during the call. It takes one batch of each line, so that
// something else gets its turn.
func (p *Port) Receive(each func(line int, b []byte)) (n int) {
	for i, l := range p.lines {
		n += l.receive(i, each)
	}
	if n > 0 {
		p.stats.received.Add(uint64(n))
	}
	return n
}

func (l *line) receive(number int, each func(line int, b []byte)) (n int) {
	b := &l.in
	for i := range b.count {
		b.headers[i].header.SetControllen(controlBytes)
	}
	got, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, l.fd, uintptr(unsafe.Pointer(&b.headers[0])), uintptr(b.count), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 { // mostly EAGAIN; ECONNREFUSED tells of a port that is gone
		return 0
	}
	for i := range min(int(got), b.count) {
		h := &b.headers[i]
		length := min(int(h.n), b.each)
		segment := l.notes(b.control[i][:min(uint64(h.header.Controllen), controlBytes)])
		if h.header.Flags&unix.MSG_TRUNC != 0 || !l.gro && length == b.each {
			l.port.stats.cut.Add(1)
			continue
		}
		n += split(b.buf[i*b.each:i*b.each+length], segment, number, each)
	}
	return n
}

// split hands over the datagrams of a run. A segment's length that makes no sense means
// that there is one.
func split(b []byte, segment, number int, each func(line int, b []byte)) (n int) {
	if segment <= 0 || segment >= len(b) {
		each(number, b)
		return 1
	}
	for len(b) > 0 {
		d := b[:min(segment, len(b)):min(segment, len(b))]
		each(number, d)
		b = b[len(d):]
		n++
	}
	return n
}

// notes reads the control messages: drops, and the length of a run's segments.
func (l *line) notes(c []byte) (segment int) {
	const head = 16 // struct cmsghdr
	for len(c) >= head {
		length := binary.NativeEndian.Uint64(c)
		if length < head || length > uint64(len(c)) {
			return segment
		}
		level, kind, data := int32(binary.NativeEndian.Uint32(c[8:])), int32(binary.NativeEndian.Uint32(c[12:])), c[head:length]
		switch {
		case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(data) >= 4:
			drops := binary.NativeEndian.Uint32(data)
			l.port.stats.dropped.Add(uint64(drops - l.drops)) // goes around as the kernel's does
			l.drops = drops
		case level == unix.IPPROTO_UDP && kind == udpGRO && len(data) >= 4:
			segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
		next := (length + 7) &^ 7
		if next > uint64(len(c)) {
			return segment
		}
		c = c[next:]
	}
	return segment
}
