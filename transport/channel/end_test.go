package channel

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fire/policy/reason"

	"golang.org/x/sys/unix"
)

// A direct node that lets an end in and then drops it, as one without descriptors does, is
// not asked again and again without a pause.
func TestEndThatIsDroppedAtOnceAsksAgainAfterAPause(t *testing.T) {
	at := filepath.Join(t.TempDir(), "attach")
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: at, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	attached := 0
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			attached++
			w := NewWire(c)
			w.Receive()
			w.Send(&Packet{Type: TypeWelcome, Kind: 2, Wait: 3, Service: "reader"})
			w.Close()
		}
	})
	begun := time.Now()
	s, err := OpenSubscriber(t.Context(), Options{Socket: at, Channel: "md-nyse"})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * retryEvery)
	s.Close()
	ln.Close()
	serving.Wait()
	if most := int(time.Since(begun)/retryEvery) + 2; attached < 2 || attached > most {
		t.Errorf("%d attaches, want 2 to %d", attached, most)
	}
}

// Descriptors that find no room in this process are dropped by the kernel: those that did
// are closed, the packet is an error that says so, and the next one is whole again.
func TestPacketWhoseDescriptorsFindNoRoomLeavesNone(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Wire
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = NewWire(c.(*net.UnixConn))
		defer ends[i].Close()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	for room := range 4 {
		if err := ends[0].Send(&Packet{Type: TypeLane, ID: 1, Way: Read, Service: "writer"}, null, null, null); err != nil {
			t.Fatal(err)
		}
		low := unix.Rlimit{Cur: thatLeaves(t, room), Max: was.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		_, files, err := ends[1].Receive()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		if room == 3 && (err != nil || len(files) != 3) || room < 3 && (reason.Of(err, 0) != reason.RingUnavailable || files != nil) {
			t.Errorf("with room for %d: %d came, %v", room, len(files), err)
		}
		CloseAll(files)
		if now := openFiles(t); now != before {
			t.Errorf("with room for %d: %d are left open", room, now-before)
		}
	}
}

// thatLeaves is the limit under which so many descriptors can be had.
func thatLeaves(t *testing.T, room int) uint64 {
	t.Helper()
	free := -1
	var taken []int
	for range room + 1 { // the one behind the last
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		taken, free = append(taken, fd), fd
	}
	for _, fd := range taken {
		unix.Close(fd)
	}
	return uint64(free)
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}
