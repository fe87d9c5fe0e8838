//go:build amd64 || arm64

package quic

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

// TestSocketSpeaksAsUDPConnDoes holds the quick calls against the standard ones, in
// both address families and from a dual-stack socket to an IPv4 peer.
func TestSocketSpeaksAsUDPConnDoes(t *testing.T) {
	for _, c := range []struct{ name, own, peer string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1:0"},
		{"IPv6", "[::1]:0", "[::1]:0"},
		{"dual stack", "[::]:0", "127.0.0.1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own, err := net.ListenPacket("udp", c.own)
			if err != nil {
				t.Skipf("no such address family here: %v", err)
			}
			defer own.Close()
			peer, err := net.ListenPacket("udp", c.peer)
			if err != nil {
				t.Skipf("no such address family here: %v", err)
			}
			defer peer.Close()
			s, ok := fast(own, nil).(*socket)
			if !ok {
				t.Fatalf("fast gives %T", fast(own, nil))
			}
			to := peer.LocalAddr().(*net.UDPAddr)
			for _, size := range []int{1, 1452} {
				msg := bytes.Repeat([]byte{7}, size)
				if n, _, err := s.WriteMsgUDP(msg, nil, to); n != size || err != nil {
					t.Fatalf("write: %d %v", n, err)
				}
				buf := make([]byte, 2000)
				peer.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, from, err := peer.ReadFrom(buf)
				if err != nil || !bytes.Equal(buf[:n], msg) {
					t.Fatalf("the peer reads %d bytes, %v", n, err)
				}
				back := &net.UDPAddr{IP: to.IP, Port: from.(*net.UDPAddr).Port}
				for range 3 {
					if _, err := peer.WriteTo(msg, back); err != nil {
						t.Fatal(err)
					}
				}
				holdBatch(t, s, msg, to, 3)
			}
		})
	}
}

// holdBatch reads n copies of msg and holds where they come from.
func holdBatch(t *testing.T, s *socket, msg []byte, from *net.UDPAddr, n int) {
	t.Helper()
	s.SetReadDeadline(time.Now().Add(10 * time.Second))
	var first net.Addr
	for n > 0 {
		ms := make([]ipv4.Message, batchMax)
		for i := range ms {
			ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 2000)}, make([]byte, 128)
		}
		got, err := s.ReadBatch(ms, 0)
		if err != nil || got == 0 {
			t.Fatalf("read: %d %v", got, err)
		}
		for _, m := range ms[:got] {
			a := m.Addr.(*net.UDPAddr)
			if !bytes.Equal(m.Buffers[0][:m.N], msg) || a.Port != from.Port || !a.IP.Equal(from.IP) {
				t.Fatalf("%d bytes from %v, want %d from %v", m.N, a, len(msg), from)
			}
			if first == nil {
				first = a
			} else if first != m.Addr {
				t.Error("one peer has two addresses")
			}
		}
		n -= got
	}
}

func TestSocketReadEndsWithItsDeadlineAndItsSocket(t *testing.T) {
	s := fast(loopback(t), nil).(*socket)
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 10)}, OOB: make([]byte, 64)}}
	s.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := s.ReadBatch(ms, 0); err == nil || !err.(net.Error).Timeout() {
		t.Errorf("deadline: %v", err)
	}
	s.Close()
	if _, err := s.ReadBatch(ms, 0); err == nil {
		t.Error("a closed socket reads")
	}
	if _, _, err := s.WriteMsgUDP([]byte("x"), nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}); err == nil {
		t.Error("a closed socket writes")
	}
}
