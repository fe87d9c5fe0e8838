package spin

import (
	"context"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// long is a window that no busy machine misses by itself.
const long = 10 * time.Second

// running is a Spinner with open windows that is allowed to look, and ends with the
// test.
func running(t *testing.T, most time.Duration) *Spinner {
	t.Helper()
	s, err := New(most)
	if err != nil {
		t.Skip(err)
	}
	for k := range s.windows {
		s.windows[k].now = most
		s.trials[k] = trial{mean: [2]float64{1: -1e18}, known: [2]int{trialWeight, trialWeight}} // looking is better, for long
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); work.Wait() })
	s.Allow(true)
	return s
}

// socketPair is two connected datagram sockets and the raw form of the second.
func socketPair(t *testing.T) (*net.UDPConn, *net.UDPConn, syscall.RawConn) {
	t.Helper()
	there, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	here, err := net.DialUDP("udp", nil, there.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	raw, err := there.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return here, there, raw
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// looks reports whether a look is under way: Run is not parked and nothing moves.
func (s *Spinner) looks() bool { return !s.parked.Load() }

func TestMessageWithinTheWindowIsSeen(t *testing.T) {
	s := running(t, long)
	here, there, raw := socketPair(t)
	s.Watch(raw)
	before := s.Stats().Hits
	s.Moved(Mesh)
	until(t, "somebody looks", s.looks)
	if _, err := here.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	until(t, "the packet is a hit", func() bool { return s.Stats().Hits > before })
	until(t, "nobody looks after a hit", s.parked.Load)
	var b [1]byte // the Spinner took nothing
	there.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := there.Read(b[:]); n != 1 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// TestReaderGetsItsPacketWhileSomebodyLooks has one processor, as the Spinner wants
// it: what waits in Go's poller must be found after each hit.
func TestReaderGetsItsPacketWhileSomebodyLooks(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := running(t, long)
	here, there, raw := socketPair(t)
	s.Watch(raw)
	raw, err := here.SyscallConn() // what is not watched would wait for a window to end
	if err != nil {
		t.Fatal(err)
	}
	s.Watch(raw)
	for _, c := range []*net.UDPConn{here, there} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	const rounds = 1000
	echo := make(chan error, 1)
	go func() {
		b := make([]byte, 16)
		for range rounds {
			n, from, err := there.ReadFromUDP(b)
			if err == nil {
				s.Moved(Mesh)
				_, err = there.WriteToUDP(b[:n], from)
			}
			if err != nil {
				echo <- err
				return
			}
		}
		echo <- nil
	}()
	b := make([]byte, 16)
	for i := range rounds {
		_, err := here.Write([]byte("x"))
		if err == nil {
			_, err = here.Read(b)
		}
		if err != nil {
			t.Fatalf("round %d: %v; %+v", i, err, s.Stats())
		}
	}
	if err := <-echo; err != nil {
		t.Fatal(err)
	}
}

func TestWindowEndsByTheClock(t *testing.T) {
	s := running(t, time.Millisecond)
	until(t, "a look that finds nothing", func() bool {
		s.Moved(Local)
		runtime.Gosched()
		return s.Stats().Misses > 0
	})
	if s.Stats().Spent <= 0 {
		t.Fatal("looking has cost nothing")
	}
	until(t, "nobody looks any more", s.parked.Load)
}

func TestNobodyLooksUnlessAllowed(t *testing.T) {
	s := running(t, long)
	s.Allow(false)
	for range 1000 {
		s.Moved(Local)
		runtime.Gosched()
	}
	if st := s.Stats(); st.Hits+st.Misses != 0 || s.moves.Load() != 0 {
		t.Fatalf("%+v, %d moves", st, s.moves.Load())
	}
}

func TestRunEndsWhileSomebodyLooks(t *testing.T) {
	s, err := New(100 * time.Millisecond)
	if err != nil {
		t.Skip(err)
	}
	s.Allow(true)
	s.windows[Mesh].now = 100 * time.Millisecond
	s.trials[Mesh] = trial{mean: [2]float64{1: -1}, known: [2]int{trialWeight, trialWeight}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.Moved(Mesh)
	until(t, "somebody looks", s.looks)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run goes on after its end")
	}
}

func TestNoMoveIsLostBetweenLookAndSleep(t *testing.T) {
	s := running(t, 50*time.Microsecond)
	var movers sync.WaitGroup
	for k := range Kind(4) {
		movers.Go(func() {
			for range 5000 {
				s.Moved(k % kinds)
				runtime.Gosched()
			}
		})
	}
	movers.Wait()
	until(t, "Run sleeps when all is quiet", s.parked.Load)
	s.Moved(Local) // and wakes again
	until(t, "Run sleeps again", s.parked.Load)
}

func TestNilSpinnerDoesNothing(t *testing.T) {
	s, err := New(0)
	if s != nil || err != nil {
		t.Fatal(s, err)
	}
	_, _, raw := socketPair(t)
	s.Watch(raw)
	s.Allow(true)
	s.Moved(Mesh)
	if s.Stats() != (Stats{}) {
		t.Fatal(s.Stats())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestMovedDoesNotAllocate(t *testing.T) {
	s := running(t, time.Microsecond)
	if n := testing.AllocsPerRun(1000, func() { s.Moved(Mesh) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
