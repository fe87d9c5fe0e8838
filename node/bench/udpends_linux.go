//go:build amd64 || arm64

package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"time"

	"fire/transport/lines"
	"fire/transport/udp"

	"github.com/quic-go/quic-go"
)

// udpEnd is one end of a path that carries messages both ways. turn handles what has come
// and waits for more, a while at most.
type udpEnd interface {
	at() netip.AddrPort
	send(b []byte) bool // false: not now
	flush()
	turn(each func(b []byte)) error
	interrupt()   // ends what waits in turn; from any goroutine
	close() error // once nobody uses it any more
}

// udpPlan is what both processes must know.
type udpPlan struct {
	Path     string         `json:"path"`
	Datagram int            `json:"datagram_bytes"`
	To       netip.AddrPort `json:"to"`
	Secrets  [4][]byte      `json:"secrets"` // there, its feedback, back, its feedback
	Root     []byte         `json:"root,omitempty"`
	Key      []byte         `json:"key,omitempty"`
	Core     int            `json:"core"`
}

var loopback = netip.MustParseAddr("127.0.0.1")

// goEnd is what one writes first in Go.
type goEnd struct {
	c   *net.UDPConn
	to  netip.AddrPort
	buf []byte
	err error
}

func newGoEnd() (*goEnd, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	return &goEnd{c: c, buf: make([]byte, 2048)}, err
}

func (e *goEnd) at() netip.AddrPort { return e.c.LocalAddr().(*net.UDPAddr).AddrPort() }
func (e *goEnd) flush()             {}
func (e *goEnd) close() error       { return e.c.Close() }
func (e *goEnd) interrupt()         { _ = e.c.Close() }
func (e *goEnd) send(b []byte) bool {
	_, e.err = e.c.WriteToUDPAddrPort(b, e.to)
	return true
}

func (e *goEnd) turn(each func(b []byte)) error {
	if e.err != nil {
		return e.err
	}
	n, _, err := e.c.ReadFromUDPAddrPort(e.buf)
	if err != nil {
		return err
	}
	each(e.buf[:n])
	return nil
}

// rawEnd is fire's sockets in the clear, never asleep.
type rawEnd struct {
	port *lines.Port
	to   netip.AddrPort
}

func (e *rawEnd) at() netip.AddrPort { return e.port.At()[0] }
func (e *rawEnd) flush()             { e.port.Flush() }
func (e *rawEnd) close() error       { return e.port.Close() }
func (e *rawEnd) interrupt()         {} // it never waits
func (e *rawEnd) send(b []byte) bool { e.port.Send(0, e.to, b); return true }
func (e *rawEnd) turn(each func(b []byte)) error {
	e.port.Receive(func(_ int, b []byte) { each(b) })
	return nil
}

// fireEnd is a stream each way.
type fireEnd struct {
	port     *lines.Port
	sender   *udp.Sender
	peer     *udp.Peer
	receiver *udp.Receiver
	each     func(b []byte)
	in       func(line int, b []byte)
	now      int64
	spin     time.Duration // before it sleeps; below 0: for ever
	busy     int64
}

const udpWindow = 1024

// fireSpin is how long the path that sleeps looks before.
const fireSpin = 20 * time.Microsecond

func newFireEnd(p *udpPlan) (*fireEnd, error) {
	port, err := lines.Open(lines.Config{Addresses: []netip.Addr{loopback}, DatagramBytes: p.Datagram})
	e := &fireEnd{port: port, spin: fireSpin}
	if p.Path == PathFireSpin {
		e.spin = -1
	}
	return e, err
}

// join begins both streams; first is the end that sends on the first.
func (e *fireEnd) join(p *udpPlan, first bool) (err error) {
	e.now = time.Now().UnixNano()
	if e.sender, err = udp.NewSender(udp.SenderConfig{DatagramBytes: p.Datagram, Window: udpWindow, Flow: udp.FlowMin}, e.port); err != nil {
		return err
	}
	s := p.Secrets
	if !first {
		s[0], s[1], s[2], s[3] = s[2], s[3], s[0], s[1]
	}
	to := [udp.LinesMax]netip.AddrPort{p.To}
	var packet, message uint64
	e.peer, packet, message, err = e.sender.Join(e.now, udp.PeerConfig{Index: 1, Secret: udp.Secret(s[0]), Feedback: udp.Secret(s[1]), To: to})
	if err != nil {
		return err
	}
	e.receiver, err = udp.NewReceiver(e.now, udp.ReceiverConfig{DatagramBytes: p.Datagram, Window: udpWindow, Index: 2, Secret: udp.Secret(s[2]), Feedback: udp.Secret(s[3]),
		To: to, Packet: packet, Message: message}, e.port, e)
	e.in = e.datagram
	return err
}

func (e *fireEnd) datagram(_ int, b []byte) {
	switch i, _ := udp.Index(b); i {
	case 1:
		e.receiver.Input(e.now, 0, b)
	case 2:
		e.sender.Input(e.now, e.peer, b)
	}
}

func (e *fireEnd) at() netip.AddrPort              { return e.port.At()[0] }
func (e *fireEnd) Message(_ uint16, b []byte) bool { e.each(b); return true }
func (e *fireEnd) Gap(first, last uint64)          {}
func (e *fireEnd) close() error                    { return e.port.Close() }
func (e *fireEnd) interrupt()                      { e.port.Ring() }
func (e *fireEnd) send(b []byte) bool {
	if e.sender.Offer(e.now, 1, b) != udp.Sent {
		return false
	}
	e.busy = e.now
	return true
}

func (e *fireEnd) flush() { e.sender.Flush(e.now); e.port.Flush() }
func (e *fireEnd) turn(each func(b []byte)) error {
	e.each = each
	e.now = time.Now().UnixNano()
	n := e.port.Receive(e.in)
	next := min(e.sender.Tick(e.now), e.receiver.Tick(e.now))
	e.port.Flush()
	switch {
	case n > 0:
		e.busy = e.now
	case e.spin >= 0 && e.now-e.busy > int64(e.spin):
		e.port.Wait(time.Duration(next-e.now), nil, -1)
	}
	return nil
}

// quicEnd is a stream of quic-go.
type quicEnd struct {
	port   *net.UDPConn
	conn   *quic.Conn
	stream *quic.Stream
	listen *quic.Listener
	size   int
	buf    []byte
	have   int
	err    error
	out    []byte
}

func (e *quicEnd) at() netip.AddrPort { return e.port.LocalAddr().(*net.UDPAddr).AddrPort() }
func (e *quicEnd) send(b []byte) bool { e.out = append(e.out, b...); return true }
func (e *quicEnd) flush() {
	if len(e.out) > 0 {
		_, e.err = e.stream.Write(e.out)
		e.out = e.out[:0]
	}
}

func (e *quicEnd) turn(each func(b []byte)) error {
	if e.err != nil {
		return e.err
	}
	n, err := e.stream.Read(e.buf[e.have:])
	if err != nil {
		return err
	}
	e.have += n
	for e.size > 0 && e.have >= e.size {
		each(e.buf[:e.size])
		e.have = copy(e.buf, e.buf[e.size:e.have])
	}
	return nil
}

func (e *quicEnd) interrupt() { _ = e.port.Close() } // and with it every connection
func (e *quicEnd) close() error {
	var errs []error
	if e.conn != nil {
		errs = append(errs, e.conn.CloseWithError(0, ""))
	}
	if e.listen != nil {
		errs = append(errs, e.listen.Close())
	}
	return errors.Join(append(errs, e.port.Close())...)
}

func newQUICEnd() (*quicEnd, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	return &quicEnd{port: c, buf: make([]byte, 64<<10)}, err
}

const udpALPN = "fire-bench"

// serve waits for the other end's stream.
func (e *quicEnd) serve(ctx context.Context, p *udpPlan) (err error) {
	key, err := x509.ParseECPrivateKey(p.Key)
	if err != nil {
		return err
	}
	tc := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{p.Root}, PrivateKey: key}}, NextProtos: []string{udpALPN}, MinVersion: tls.VersionTLS13}
	if e.listen, err = quic.Listen(e.port, tc, &quic.Config{}); err != nil {
		return err
	}
	if e.conn, err = e.listen.Accept(ctx); err != nil {
		return err
	}
	if e.stream, err = e.conn.AcceptStream(ctx); err != nil {
		return err
	}
	var one [1]byte
	_, err = io.ReadFull(e.stream, one[:])
	return err
}

// dial opens the stream; a first byte makes it known.
func (e *quicEnd) dial(ctx context.Context, p *udpPlan) (err error) {
	root, err := x509.ParseCertificate(p.Root)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	tc := &tls.Config{RootCAs: pool, ServerName: udpALPN, NextProtos: []string{udpALPN}, MinVersion: tls.VersionTLS13}
	if e.conn, err = quic.Dial(ctx, e.port, net.UDPAddrFromAddrPort(p.To), tc, &quic.Config{}); err != nil {
		return err
	}
	if e.stream, err = e.conn.OpenStreamSync(ctx); err != nil {
		return err
	}
	_, err = e.stream.Write([]byte{0})
	return err
}

// newUDPPlan makes keys for one measurement.
func newUDPPlan(path string, cfg *UDPConfig) (*udpPlan, error) {
	p := &udpPlan{Path: path, Datagram: cfg.Datagram, Core: cfg.Cores[1]}
	for i := range p.Secrets {
		p.Secrets[i] = make([]byte, len(udp.Secret{}))
		_, _ = rand.Read(p.Secrets[i]) // it does not fail
	}
	if path != PathQUIC {
		return p, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{udpALPN}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	if p.Root, err = x509.CreateCertificate(rand.Reader, t, t, key.Public(), key); err != nil {
		return nil, err
	}
	p.Key, err = x509.MarshalECPrivateKey(key)
	return p, err
}

func newUDPEnd(p *udpPlan) (udpEnd, error) {
	switch p.Path {
	case PathGoUDP:
		return newGoEnd()
	case PathRawSpin:
		port, err := lines.Open(lines.Config{Addresses: []netip.Addr{loopback}, DatagramBytes: p.Datagram})
		return &rawEnd{port: port}, err
	case PathFire, PathFireSpin:
		return newFireEnd(p)
	case PathQUIC:
		return newQUICEnd()
	}
	return nil, fmt.Errorf("path %q is not known", p.Path)
}
