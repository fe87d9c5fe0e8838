package lines

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, edit func(*Config), addresses ...string) *Port {
	t.Helper()
	cfg := Config{DatagramBytes: 1408}
	for _, a := range addresses {
		cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr(a))
	}
	if edit != nil {
		edit(&cfg)
	}
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// collect receives until there are so many, or a while has passed.
func collect(t testing.TB, p *Port, want int) (got [][]byte, on []int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); len(got) < want && time.Now().Before(end); {
		if p.Receive(func(line int, b []byte) { got, on = append(got, bytes.Clone(b)), append(on, line) }) == 0 {
			p.Wait(20*time.Millisecond, nil, -1)
		}
	}
	return got, on
}

func message(k, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(k + i)
	}
	binary.LittleEndian.PutUint16(b, uint16(k))
	return b
}

func TestDatagramsArriveWholeInBatchesOfAnySize(t *testing.T) {
	for _, plain := range []bool{false, true} {
		a := open(t, func(c *Config) { c.NoOffload = plain }, "127.0.0.1")
		b := open(t, func(c *Config) { c.NoOffload = plain }, "127.0.0.1")
		for _, n := range []int{1, 2, batchMax - 1, batchMax, batchMax + 1, 100} {
			var sent [][]byte
			for k := range n {
				length := 100 // runs of one length, and others between
				if k%7 == 3 {
					length = 2 + k
				}
				if k%11 == 5 {
					length = 1408
				}
				sent = append(sent, message(k, length))
				a.Send(0, b.At()[0], sent[k])
			}
			a.Flush()
			got, _ := collect(t, b, n)
			if len(got) != n {
				t.Fatalf("plain %v: %d of %d", plain, len(got), n)
			}
			for k := range got {
				if !bytes.Equal(got[k], sent[k]) {
					t.Fatalf("plain %v, %d: datagram %d differs: %d bytes, want %d", plain, n, k, len(got[k]), len(sent[k]))
				}
			}
		}
		if st := a.Stats(); !plain {
			if gso, why := a.Offload(); !gso {
				t.Logf("no GSO: %s", why)
			} else if st.Segments == 0 {
				t.Error("no run was sent as one")
			}
		} else if st.Segments != 0 {
			t.Error("a run was sent as one, which is switched off")
		}
	}
}

func TestEachLineIsTold(t *testing.T) {
	a, b := open(t, nil, "127.0.0.1", "127.0.0.2"), open(t, nil, "127.0.0.3", "127.0.0.4")
	a.Send(0, b.At()[0], []byte("A"))
	a.Send(1, b.At()[1], []byte("B"))
	a.Flush()
	got, on := collect(t, b, 2)
	if len(got) != 2 || string(got[0]) != "A" || on[0] != 0 || string(got[1]) != "B" || on[1] != 1 {
		t.Error(got, on)
	}
}

func TestSixWorksToo(t *testing.T) {
	cfg := Config{DatagramBytes: 1408, Addresses: []netip.Addr{netip.MustParseAddr("::1")}}
	a, err := Open(cfg)
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	defer a.Close()
	b := open(t, nil, "::1")
	a.Send(0, b.At()[0], []byte("six"))
	a.Flush()
	if got, _ := collect(t, b, 1); len(got) != 1 || string(got[0]) != "six" {
		t.Error(got)
	}
}

func TestWhatCannotLeaveIsCounted(t *testing.T) {
	a := open(t, nil, "127.0.0.1")
	to := netip.MustParseAddrPort("127.0.0.1:9")
	a.Send(0, to, nil)
	a.Send(0, to, make([]byte, 1409))
	a.Send(1, to, []byte("x"))
	a.Send(0, netip.MustParseAddrPort("127.0.0.1:0"), []byte("x")) // no port: the kernel refuses it
	a.Send(0, to, []byte("still goes"))
	a.Flush()
	if st := a.Stats(); st.Unsent != 4 || st.Sent != 1 {
		t.Errorf("%+v", st)
	}
}

func TestKernelsDropsAreCounted(t *testing.T) {
	a := open(t, nil, "127.0.0.1")
	b := open(t, func(c *Config) { c.SocketBytes = 4096 }, "127.0.0.1")
	for range 200 {
		a.Send(0, b.At()[0], make([]byte, 1400))
	}
	a.Flush()
	got, _ := collect(t, b, 1)
	a.Send(0, b.At()[0], []byte("tells"))
	a.Flush()
	more, _ := collect(t, b, 1)
	if st := b.Stats(); st.Dropped == 0 || int(st.Dropped)+len(got)+len(more) > 201 {
		t.Errorf("%d and %d came of 201: %+v", len(got), len(more), st)
	}
}

func TestTooLongIsNotHandedOver(t *testing.T) {
	a := open(t, func(c *Config) { c.DatagramBytes = 9000 }, "127.0.0.1")
	b := open(t, func(c *Config) { c.NoOffload = true }, "127.0.0.1")
	a.Send(0, b.At()[0], make([]byte, 3000))
	a.Send(0, b.At()[0], []byte("fits"))
	a.Flush()
	if got, _ := collect(t, b, 1); len(got) != 1 || string(got[0]) != "fits" || b.Stats().Cut != 1 {
		t.Error(len(got), b.Stats())
	}
}

func TestBellEndsAWait(t *testing.T) {
	a := open(t, nil, "127.0.0.1")
	done := make(chan struct{})
	go func() { defer close(done); a.Wait(time.Minute, nil, -1) }()
	a.Ring()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it sleeps on")
	}
	began := time.Now()
	a.Wait(20*time.Millisecond, nil, -1)
	if time.Since(began) < 10*time.Millisecond {
		t.Error("a bell that was heard rings on")
	}
}

func TestGroupIsHeard(t *testing.T) {
	a, b := open(t, nil, "127.0.0.1"), open(t, nil, "127.0.0.2")
	group := netip.MustParseAddrPort("239.192.77.9:17559")
	g, err := b.Groups(Config{DatagramBytes: 1408}, []netip.AddrPort{group})
	if err != nil {
		t.Skip("no multicast on loopback here:", err)
	}
	defer g.Close()
	a.Send(0, group, []byte("all"))
	a.Flush()
	b.Wait(time.Second, g, -1)
	if got, _ := collect(t, g, 1); len(got) != 1 || string(got[0]) != "all" {
		t.Skip("the kernel carries no multicast on loopback")
	}
}

func TestPortsAreTakenFromTheirRange(t *testing.T) {
	used := open(t, nil, "127.0.0.9")
	n := int(used.At()[0].Port())
	if _, err := Open(Config{DatagramBytes: 512, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.9")}, PortFirst: n, PortLast: n}); err == nil {
		t.Error("a port that is taken was taken again")
	}
}

func TestKernelsThatMangleAreKnown(t *testing.T) {
	for release, want := range map[string]bool{"6.18.44": false, "7.0.0": true, "7.0.9-generic": true, "7.1.4": true, "7.1.5": false, "7.2.0": false, "": false, "x.y": false, "8.0": false} {
		if manglesGSO(release) != want {
			t.Errorf("%s: %v", release, !want)
		}
	}
}

// FuzzControl has the kernel say anything.
func FuzzControl(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 104, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0}, 1000)
	f.Add(bytes.Repeat([]byte{255}, 40), 0)
	f.Fuzz(func(t *testing.T, c []byte, n int) {
		l := &line{port: &Port{}}
		segment := l.notes(c)
		b := make([]byte, uint16(n))
		total, parts := 0, 0
		if len(b)/max(segment, 1) > 5000 {
			t.Skip()
		}
		split(b, segment, 0, func(_ int, d []byte) { total += len(d); parts++ })
		if total != len(b) || parts == 0 {
			t.Fatalf("%d bytes in %d parts, of %d", total, parts, len(b))
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	a, b := open(t, nil, "127.0.0.1"), open(t, nil, "127.0.0.1")
	to, d := b.At()[0], make([]byte, 100)
	each := func(int, []byte) {}
	if n := testing.AllocsPerRun(500, func() {
		for range 5 {
			a.Send(0, to, d)
		}
		a.Flush()
		b.Wait(time.Second, nil, -1)
		b.Receive(each)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGSOIsGivenUpAfterEIO(t *testing.T) {
	a, b := open(t, nil, "127.0.0.1"), open(t, nil, "127.0.0.1")
	l := a.lines[0]
	if !l.gso {
		t.Skip(l.whyNoGSO())
	}
	for k := range 6 { // as flush does after EIO of the second header
		length := 100
		if k == 0 {
			length = 50
		}
		a.Send(0, b.At()[0], message(k, length))
	}
	headers := l.pack()
	if headers != 2 || l.out.counts[1] != 5 {
		t.Fatal(headers, l.out.counts[:2])
	}
	l.push(0, 1)
	l.gso = false
	l.again(1)
	got, _ := collect(t, b, 6)
	if len(got) != 6 || !bytes.Equal(got[5], message(5, 100)) || a.Stats().Segments != 0 {
		t.Error(len(got), a.Stats())
	}
}

func TestAddressOfAnotherFamilyIsNotSentAnywhere(t *testing.T) {
	p := open(t, nil, "127.0.0.1")
	for _, to := range []string{"[::1]:9", "[fe80::1]:9"} {
		p.Send(0, netip.MustParseAddrPort(to), []byte("x"))
	}
	p.Send(0, netip.AddrPort{}, []byte("x"))
	p.Flush()
	if s := p.Stats(); s.Unsent != 3 || s.Sent != 0 {
		t.Errorf("%+v", s)
	}
}

// TestRingAfterCloseTouchesNobodysDescriptor rings from elsewhere while the port closes and
// its descriptor's number is given to a pipe.
func TestRingAfterCloseTouchesNobodysDescriptor(t *testing.T) {
	rounds := 0
	for range 50 {
		p := open(t, nil, "127.0.0.1")
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					p.Ring()
				}
			}
		}()
		bell := p.bell
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		read, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 1000)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fds[0])
		again, err := unix.FcntlInt(uintptr(fds[1]), unix.F_DUPFD_CLOEXEC, bell) // mostly the number that Ring has known
		if err != nil {
			t.Fatal(err)
		}
		if again == bell || fds[1] == bell {
			rounds++
		}
		p.Ring()
		time.Sleep(time.Millisecond)
		var b [16]byte
		n, err := unix.Read(read, b[:])
		close(stop)
		<-done
		if n > 0 || err != unix.EAGAIN {
			t.Fatalf("%d bytes were written to a stranger's descriptor, %v", n, err)
		}
		for _, fd := range []int{read, fds[1], again} {
			_ = unix.Close(fd)
		}
	}
	if rounds == 0 {
		t.Error("the descriptor's number was never given anew")
	}
}

func TestStatsTellWhyNothingIsSentInRuns(t *testing.T) {
	p := open(t, func(c *Config) { c.NoOffload = true }, "127.0.0.1")
	if s := p.Stats(); s.GSO || s.NoGSO != "switched off" {
		t.Errorf("%+v", s)
	}
}
