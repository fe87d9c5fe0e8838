package direct

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

func (n *node) pair(t *testing.T) (*channel.Conn, *channel.Conn, *channel.Server) {
	t.Helper()
	s, err := channel.OpenServer(t.Context(), n.options("ask", "subscriber"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := channel.DialConn(t.Context(), n.options("ask", "publisher"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.AcceptConn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, b, s
}

func TestConnectionCarriesBytesBothWays(t *testing.T) {
	n := newNode(t)
	a, b, s := n.pair(t)
	defer s.Close()
	if a.RemoteAddr().String() != "subscriber" || b.RemoteAddr().String() != "publisher" || a.LocalAddr().String() != "publisher" {
		t.Error(a.RemoteAddr(), b.RemoteAddr(), a.LocalAddr())
	}
	const size = 4 << 20
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	var all sync.WaitGroup
	for _, way := range [][2]*channel.Conn{{a, b}, {b, a}} {
		all.Go(func() {
			if n, err := way[0].Write(data); n != size || err != nil {
				t.Error(n, err)
			}
		})
		all.Go(func() {
			got := make([]byte, size)
			if _, err := io.ReadFull(way[1], got); err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
				t.Errorf("%v, equal %v", err, bytes.Equal(got, data))
			}
		})
	}
	all.Wait()
	a.Write([]byte("bye"))
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(b); string(got) != "bye" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("a closed connection takes bytes")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	eventually(t, "no ring is left", func() bool { return len(n.rings()) == 0 })
}

func TestServerThatClosesOneConnectionEndsThatOneAlone(t *testing.T) {
	n := newNode(t)
	a, b, s := n.pair(t)
	defer s.Close()
	defer a.Close()
	other, err := channel.DialConn(t.Context(), n.options("ask", "second"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	far, err := s.AcceptConn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	b.Close()
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	far.Write([]byte("x"))
	if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestDeadlinesAndCloseEndWaitingReadsAndWrites(t *testing.T) {
	n := newNode(t)
	a, b, s := n.pair(t)
	defer s.Close()
	defer b.Close()
	a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := a.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Error(err)
	}
	a.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := a.Write(make([]byte, 1<<20)); !os.IsTimeout(err) { // more than the ring holds
		t.Error(err)
	}
	a.SetDeadline(time.Time{})
	read := make(chan error)
	go func() { _, err := a.Read(make([]byte, 1)); read <- err }()
	time.Sleep(20 * time.Millisecond)
	a.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestChannelHasOneServer(t *testing.T) {
	n := newNode(t)
	a, b, s := n.pair(t)
	defer a.Close()
	defer b.Close()
	if _, err := channel.OpenServer(t.Context(), n.options("ask", "subscriber")); reason.Of(err, 0) != reason.ChannelBusy {
		t.Error(err)
	}
	s.Close()
	if _, err := io.ReadAll(a); err != nil {
		t.Error(err)
	}
	next, err := channel.OpenServer(t.Context(), n.options("ask", "subscriber"))
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
}

func TestCallerMayComeBeforeItsServer(t *testing.T) {
	n := newNode(t)
	c, err := channel.OpenCaller(t.Context(), n.options("ask", "publisher"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := channel.OpenServer(t.Context(), n.options("ask", "subscriber"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	far, err := s.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if p.Offer(7, []byte("ask")) != shm.Sent {
		t.Fatal("refused")
	}
	got := ""
	eventually(t, "the question comes", func() bool {
		far.Poll(1, func(typ uint16, b []byte) { got = string(b) })
		return got == "ask"
	})
}

// A call that is served is answered; one in flight when the server leaves is said to have
// an unknown fate, once, and nothing sends it again.
func TestCallsAreAnsweredOrSevered(t *testing.T) {
	n := newNode(t)
	s, err := channel.OpenServer(t.Context(), n.options("ask", "subscriber"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := channel.OpenCaller(t.Context(), n.options("ask", "publisher"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	far, err := s.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	calls, err := p.Calls(8)
	if err != nil {
		t.Fatal(err)
	}
	served, err := far.Served()
	if err != nil {
		t.Fatal(err)
	}
	for tag := range uint64(2) {
		if res := calls.Call(1, []byte("ask"), time.Minute, tag); res != shm.Sent {
			t.Fatal(res)
		}
	}
	asked := 0
	eventually(t, "both are asked", func() bool {
		served.Poll(9, func(id uint64, _ uint16, _ []byte) {
			if asked++; asked == 2 {
				served.Answer(id, 2, []byte("told"))
			}
		})
		return asked == 2
	})
	var outcomes []shm.OutcomeKind
	take := func(o shm.Outcome) { outcomes = append(outcomes, o.Kind) }
	eventually(t, "the second is answered", func() bool { calls.Poll(9, take); return len(outcomes) == 1 })
	far.Close()
	eventually(t, "the first is severed", func() bool {
		calls.Wait(p.Strategy())
		_, err := calls.Poll(9, take)
		return err != nil
	})
	if len(outcomes) != 2 || outcomes[0] != shm.Answered || outcomes[1] != shm.Severed {
		t.Error(outcomes)
	}
	if res := calls.Call(1, nil, time.Minute, 9); res != shm.Shut {
		t.Error(res)
	}
}
