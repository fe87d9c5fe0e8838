package node

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"fire/node/admin"
	"fire/node/bridge"
	"fire/node/config"
	"fire/node/direct"
	"fire/transport/channel"
	"fire/transport/shm"
	"golang.org/x/sys/unix"
)

// TestOneWayBlockIsFoundByTheHostThatHearsNothing drops what the reading host says, not what it hears.
func TestOneWayBlockIsFoundByTheHostThatHearsNothing(t *testing.T) {
	m := newBridgedMesh(t, "", nil)
	s := m.subscriber(1, "orders", "reader")
	p := m.publisher(0, "orders", "feed")
	each := func() { s.Poll(100, &s.h) }
	offer(p, 0, 1000, each)
	m.until("it hears the beginning", s.hears("feed", 1000))
	mesh := m.c.hosts[0].socket.endpoint.Addr().(*net.UDPAddr).Port
	m.sockets("127.0.0.2", func(fd, port int) {
		if port != mesh {
			m.drop(fd)
		}
	})
	began := time.Now()
	k := uint64(1000)
	m.until("the publishing host has marked it, and the other one, too", func() bool {
		if p.Offer(1, number(k, 100)) == shm.Sent {
			k++
		}
		each()
		return m.path(0, "to", "feed").Path == "quic" && m.path(1, "from", "feed").Path == "quic"
	})
	if d := time.Since(began); d > 12*time.Second {
		t.Errorf("it took %v", d)
	}
	offer(p, k, k+1000, each)
	m.until("everything comes", s.hears("feed", k+1000))
	m.hear("127.0.0.2")
	goesBack(t, m, p, s, k+1000)
}

func (m *bridgedMesh) path(host int, way, service string) (out bridge.PathState) {
	for _, x := range m.c.hosts[host].direct.bridge.Paths() {
		if x.Way == way && x.Service == service {
			out = x
		}
	}
	return out
}

// multicast skips where the kernel carries none on loopback.
func (m *bridgedMesh) multicast(t *testing.T) {
	t.Helper()
	m.until("the path is told", func() bool { return m.path(1, "from", "feed").Path != "" })
	if m.path(1, "from", "feed").Path == "quic" {
		t.Skip("this kernel carries no multicast on loopback: the session carried it")
	}
}

// again puts another floor in force.
func (m *bridgedMesh) again(text string) {
	m.t.Helper()
	if _, err := m.c.control.Apply(m.t.Context(), admin.ApplyRequest{Name: "floor.toml", Text: text, WaitMS: 5000}); err != nil {
		m.t.Fatal(err)
	}
}

// TestGroupThatIsNotHeardGoesOverTheSession drops what comes to the group's sockets of a host.
func TestGroupThatIsNotHeardGoesOverTheSession(t *testing.T) {
	m := newBridgedMesh(t, `groups = ["239.192.77.3:17553"]`, nil)
	b := m.subscriber(1, "md", "reader")
	p := m.publisher(0, "md", "feed")
	m.until("the lane is there", func() bool { return len(b.Lanes()) == 1 })
	each := func() { b.Poll(100, &b.h) }
	offer(p, 0, 1000, each)
	m.until("b hears", b.hears("feed", 1000))
	m.multicast(t)
	if m.sockets("239.192.77.3", func(fd, _ int) { m.drop(fd) }) == 0 {
		t.Fatal("no socket of the group is found")
	}
	k := uint64(1000)
	m.until("it is marked at both ends", func() bool {
		offer(p, k, k+1, each)
		k++
		return m.path(0, "to", "feed").Path == "quic" && m.path(1, "from", "feed").Path == "quic"
	})
	offer(p, k, k+500, each)
	m.until("everything comes", func() bool { each(); return b.next["feed"] == k+500 })
	m.hear("239.192.77.3")
	goesBack(t, m, p, b, k+500)
	if x := m.path(0, "to", "feed"); x.Path != "multicast" {
		t.Errorf("%+v", x)
	}
}

// TestTwoGroupsCarryTheSame sends on A and B, each to a group of its own, and closes A.
func TestTwoGroupsCarryTheSame(t *testing.T) {
	m := newBridgedMesh(t, `groups = ["239.192.77.4:17554", "239.192.77.5:17555"]`, func(c *config.Config) {
		at := strings.TrimSuffix(c.Node.Listen, ":0")
		c.Bridge.Lines = []string{at, strings.Replace(at, "127.0.0.", "127.0.1.", 1)}
	})
	b, c := m.subscriber(1, "md", "reader"), m.subscriber(2, "md", "reader")
	p := m.publisher(0, "md", "feed")
	each := func() { b.Poll(100, &b.h); c.Poll(100, &c.h) }
	m.until("the lane is everywhere", func() bool { return len(b.Lanes()) == 1 && len(c.Lanes()) == 1 })
	offer(p, 0, 2000, each)
	m.until("both hear", func() bool { return b.hears("feed", 2000)() && c.hears("feed", 2000)() })
	m.multicast(t)
	m.until("the second line is seen", func() bool { x := m.path(1, "from", "feed"); return x.Lines == 2 && x.Second > 0 })
	m.sockets("239.192.77.4", func(fd, _ int) { m.drop(fd) })
	offer(p, 2000, 4000, each)
	m.until("both hear on by B alone", func() bool { return b.hears("feed", 4000)() && c.hears("feed", 4000)() })
	if b.lost+c.lost > 0 || m.path(1, "from", "feed").Path != "multicast" {
		t.Errorf("%d lost, %+v", b.lost+c.lost, m.path(1, "from", "feed"))
	}
}

// TestTwoHostsThatLeaveAtOnceMakeOneNewEpoch takes the readers of two of four hosts out of the floor.
func TestTwoHostsThatLeaveAtOnceMakeOneNewEpoch(t *testing.T) {
	const extra = `groups = ["239.192.77.6:17556"]`
	m := newBridgedMeshOf(t, 4, extra, nil)
	b, c, d := m.subscriber(1, "md", "reader"), m.subscriber(2, "md", "reader"), m.subscriber(3, "md", "reader")
	p := m.publisher(0, "md", "feed")
	m.until("the lane is everywhere", func() bool { return len(b.Lanes()) == 1 && len(c.Lanes()) == 1 && len(d.Lanes()) == 1 })
	each := func() { b.Poll(100, &b.h); c.Poll(100, &c.h); d.Poll(100, &d.h) }
	offer(p, 0, 500, each)
	m.until("all hear", func() bool { return b.hears("feed", 500)() && c.hears("feed", 500)() && d.hears("feed", 500)() })
	m.until("the first epoch is told", func() bool { return m.path(0, "to", "feed").Epochs == 1 })
	m.again(strings.Replace(fmt.Sprintf(bridgeFloor, extra), `"host-b", "host-c", "host-d"]`, `"host-b"]`, 1))
	left := time.Now()
	m.until("there is a new epoch", func() bool { b.Poll(100, &b.h); return m.path(0, "to", "feed").Epochs == 2 })
	t.Logf("the new key is used %v after the floor was applied", time.Since(left))
	offer(p, 500, 1500, func() { b.Poll(100, &b.h) })
	m.until("who stays hears on", b.hears("feed", 1500))
	if b.lost > 0 || m.path(0, "to", "feed").Epochs != 2 {
		t.Errorf("%d lost, %+v", b.lost, m.path(0, "to", "feed"))
	}
}

// TestHostThatCannotBeServedHoldsNobodyBack leaves the publisher's host no port for datagrams.
func TestHostThatCannotBeServedHoldsNobodyBack(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	m := newBridgedMesh(t, "", func(c *config.Config) {
		if c.Node.Name == "host-a" {
			c.Bridge.PortFirst = taken.LocalAddr().(*net.UDPAddr).Port
			c.Bridge.PortLast = c.Bridge.PortFirst
		}
	})
	here := m.subscriber(0, "orders", "reader")
	far := m.subscriber(1, "orders", "reader")
	p := m.publisher(0, "orders", "feed")
	m.until("the other host is told why", func() bool {
		for _, x := range m.c.hosts[1].direct.bridge.Paths() {
			if x.Channel == "orders" && x.Reason != "" {
				return true
			}
		}
		return false
	})
	k := uint64(0)
	m.until("the reader of this host hears much more than a ring holds", func() bool {
		for range 100 {
			if p.Offer(1, number(k, 200)) == shm.Sent {
				k++
			}
			here.Poll(100, &here.h)
		}
		return k > 5000
	})
	if len(far.Lanes()) > 0 {
		t.Error("the other host has a lane")
	}
}

// TestOrdersOfAPublisherThatIsGoneWaitForASlowReader ends the publisher while its last orders
// are on their way to a host that takes none for a while, and has another one publish meanwhile.
func TestOrdersOfAPublisherThatIsGoneWaitForASlowReader(t *testing.T) {
	m := newBridgedMesh(t, "", func(c *config.Config) { c.Bridge.Window = 128 })
	floor := strings.Replace(fmt.Sprintf(bridgeFloor, ""), "publishers = [\"feed\"]\nsubscribers = [\"reader\"]", "publishers = [\"feed\", \"third\"]\nsubscribers = [\"reader\"]", 1)
	m.again(floor)
	s := m.subscriber(1, "orders", "reader")
	p := m.publisher(0, "orders", "feed")
	m.until("the lane is there", func() bool { return len(s.Lanes()) == 1 })
	const k = 143 // what the ring there takes, and then as much of a window that it has no room for the longest message
	m.until("the last orders are on their way", func() bool {
		for n := range uint64(k) {
			for end := time.Now().Add(5 * time.Second); p.Offer(1, number(n, 1000)) != shm.Sent; {
				if time.Now().After(end) {
					t.Fatal("order", n, "finds no room")
				}
			}
		}
		return true
	})
	p.Close()
	time.Sleep(1500 * time.Millisecond) // longer than a broadcast's last packets are kept
	if x := m.path(0, "to", "feed"); x.Lag == 0 {
		t.Fatalf("nothing was left to be confirmed: %+v", x)
	}
	var q *channel.Publisher
	m.until("another may publish", func() bool {
		var err error
		if q, err = channel.OpenPublisher(t.Context(), m.options(0, "orders", "third")); err == nil {
			t.Cleanup(func() { q.Close() })
		}
		return err == nil
	})
	heard, other := map[uint64]bool{}, uint64(0)
	h := channel.Handler{Message: func(from *channel.Source, _ uint16, b []byte) {
		if n := binary.LittleEndian.Uint64(b); from.Service == "feed" {
			heard[n] = true
		} else {
			other = n + 1
		}
	}}
	sent := uint64(0)
	m.until("the other one's come though nobody reads yet", func() bool {
		if sent < 100 && q.Offer(1, number(sent, 100)) == shm.Sent {
			sent++
		}
		return m.path(1, "from", "third").Messages == 100
	})
	m.until("all of both has come", func() bool {
		s.Poll(100, &h)
		return uint64(len(heard)) == k && other == 100
	})
	for _, e := range m.c.hosts[0].direct.trail.Last() {
		if e.Kind == "path_lost" {
			t.Errorf("%+v", e)
		}
	}
}

// lose makes a socket forget nine of ten that come.
func (m *bridgedMesh) lose(fd int) {
	random := -0x1000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(random)},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: 1 << 32 / 10, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		m.t.Fatal(err)
	}
}

// TestTaggedHostGetsEverythingThoughDatagramsAreLost loses most datagrams to it for a while,
// with a small window, so that repairs take longer than a broadcast is repaired for others.
func TestTaggedHostGetsEverythingThoughDatagramsAreLost(t *testing.T) {
	m := newBridgedMesh(t, `tagged = ["other"]`, func(c *config.Config) { c.Bridge.Window = 128 })
	b := m.subscriber(1, "md", "other")
	p := m.publisher(0, "md", "feed")
	each := func() { b.Poll(1000, &b.h) }
	m.until("the lane is there", func() bool { return len(b.Lanes()) == 1 })
	offer(p, 0, 100, each)
	m.until("it hears", b.hears("feed", 100))
	mesh := m.c.hosts[1].socket.endpoint.Addr().(*net.UDPAddr).Port
	m.sockets("127.0.0.3", func(fd, port int) {
		if port != mesh {
			m.lose(fd)
		}
	})
	for k := uint64(100); k < 1100; k++ { // some ten windows; the ring holds them
		for p.Offer(1, number(k, 1000)) != shm.Sent {
			t.Fatal("a broadcast's publisher waits")
		}
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		each()
	}
	m.hear("127.0.0.3")
	m.until("it hears everything", b.hears("feed", 1100))
	if b.lost > 0 {
		t.Errorf("%d lost on the way to a host that is waited for", b.lost)
	}
}

// TestCallsGoWithTheSmallestDatagrams, for which a window must be large.
func TestCallsGoWithTheSmallestDatagrams(t *testing.T) {
	m := newBridgedMesh(t, "", func(c *config.Config) { c.Bridge.DatagramBytes = 256 })
	m.echo(1, "ask", "other")
	c, err := channel.DialConn(t.Context(), m.options(0, "ask", "feed"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "ping" {
		t.Error(n, err)
	}
}

// TestCutsAreEventsOfTheMapAndCounted cuts one service, and looks where that is seen.
func TestCutsAreEventsOfTheMapAndCounted(t *testing.T) {
	m := newBridgedMesh(t, "", nil)
	m.publisher(0, "orders", "feed")
	h := m.c.hosts[0].direct
	if _, err := h.broker.Revoke(t.Context(), direct.Revocation{Channel: "orders", Service: "feed", By: "test", Why: "drill"}); err != nil {
		t.Fatal(err)
	}
	m.until("the map has it", func() bool {
		all, err := m.c.control.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.Kind == "channel_cut" && e.Subject == "channel orders" && strings.Contains(e.Text, "feed on host-a was cut") && strings.Contains(e.Text, "drill") {
				return true
			}
		}
		return false
	})
	var s admin.DirectSeries
	h.series(&s)
	if s.Counts.Cut != 1 || s.Counts.Attached == 0 {
		t.Errorf("%+v", s.Counts)
	}
	states, err := h.broker.Channels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range states {
		if want := map[bool]uint64{true: 1}[c.Name == "orders"]; c.Counts.Cut != want {
			t.Errorf("channel %s: %+v", c.Name, c.Counts)
		}
	}
	for _, e := range h.trail.Last() {
		if e.Kind == direct.Cut && (e.Bundle == "" || e.Rule != "revoke") {
			t.Errorf("the cut does not say under which rules: %+v", e)
		}
	}
}

// TestLaneGoesBackWhenOneOfTwoLinesWorksAgain drops what comes on A and B, and then on A alone.
func TestLaneGoesBackWhenOneOfTwoLinesWorksAgain(t *testing.T) {
	m := newBridgedMesh(t, "", func(c *config.Config) {
		at := strings.TrimSuffix(c.Node.Listen, ":0")
		c.Bridge.Lines = []string{at, strings.Replace(at, "127.0.0.", "127.0.1.", 1)}
	})
	s := m.subscriber(1, "orders", "reader")
	p := m.publisher(0, "orders", "feed")
	each := func() { s.Poll(100, &s.h) }
	offer(p, 0, 500, each)
	m.until("it hears", s.hears("feed", 500))
	if m.deafen("127.0.0.3") == 0 || m.deafen("127.0.1.3") == 0 {
		t.Fatal("the sockets are not found")
	}
	k := uint64(500)
	m.until("it is marked at both ends", func() bool {
		offer(p, k, k+1, each)
		k++
		return m.path(0, "to", "feed").Path == "quic" && m.path(1, "from", "feed").Path == "quic"
	})
	m.hear("127.0.1.3")
	goesBack(t, m, p, s, k)
}
