package direct

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// A direct node whose unit lets it make no ring of that size refuses that channel by name,
// and what to do; the rest goes on.
func TestRingThatCannotBeHadIsOneErrorAndOthersGoOn(t *testing.T) {
	socket := t.TempDir() + "/attach"
	b := start(t, "broker", socket, "", "", "FIRE_TEST_FILE_SIZE=131072") // orders has 68 KiB, wide 64 MiB
	start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	for range 3 {
		_, err := channel.OpenPublisher(t.Context(), channel.Options{Socket: socket, Channel: "wide", Service: "publisher"})
		if reason.Of(err, 0) != reason.RingUnavailable || strings.Count(err.Error(), "wide") != 1 || !strings.Contains(err.Error(), "LimitFSIZE") {
			t.Error(err)
		}
	}
	b.until("event refused")
	if from := s.read(); s.read() <= from {
		t.Error("another channel stands still")
	}
}

// childStarved attaches with a descriptor less than it wants, for each number of those that
// it gets, and then with enough of them.
func childStarved(ctx context.Context, o channel.Options) {
	open := func() (io.Closer, error) {
		if o.Service == "subscriber" {
			s, err := channel.OpenSubscriber(ctx, o)
			if err != nil {
				return nil, err
			}
			for err == nil && len(s.Lanes()) == 0 {
				s.Wait()
				err = s.Err()
			}
			if err != nil {
				s.Close()
				return nil, err
			}
			return s, nil
		}
		p, err := channel.OpenPublisher(ctx, o)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	with := func(spare int) error {
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			return err
		}
		if spare >= 0 {
			low := unix.Rlimit{Cur: uint64(nextFile() + spare), Max: was.Max}
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
				return err
			}
			defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		}
		c, err := open()
		if err != nil {
			return err
		}
		return c.Close()
	}
	fmt.Println("attached", with(-1)) // what is opened once, and stays
	for nextFile() < 32 {             // no holes among those that it inherited
		if _, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			fmt.Println("failed", err)
			return
		}
	}
	before := nextFile()
	for spare := 1; ; spare++ { // the first is the connection's
		err := with(spare)
		fmt.Println("said", err)
		if err == nil || spare > 10 {
			break
		}
	}
	fmt.Println("left", nextFile()-before)
}

// nextFile is the lowest descriptor that is free.
func nextFile() int {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	unix.Close(fd)
	return fd
}

// A program that has no descriptor left when a lane's memory comes is told so, keeps none of
// it, and leaves no half of a lane.
func TestProgramWithoutDescriptorsIsToldAndKeepsNoHalfLane(t *testing.T) {
	n := newNode(t)
	p := n.publisher("md", "publisher")
	defer p.Close()
	for _, c := range []struct {
		service, channel string
		wants            int // descriptors beside the connection
	}{{"publisher", "orders", 2}, {"subscriber", "md", 3}} {
		x := start(t, "starved", n.b.Path(), c.channel, c.service)
		for spare := range c.wants {
			if said := x.until("said"); !strings.Contains(said, "ring_unavailable") || strings.Count(said, c.channel) != 1 || !strings.Contains(said, "LimitNOFILE") {
				t.Errorf("%s with %d descriptors: %s", c.service, spare, said)
			}
		}
		if said := x.until("said"); said != "said <nil>" {
			t.Errorf("%s with enough: %s", c.service, said)
		}
		if left := x.until("left"); left != "left 0" {
			t.Errorf("%s has leaked: %s", c.service, left)
		}
		eventually(t, "the lanes are whole or gone", func() bool {
			rings := n.rings()
			return len(rings) == 1 && len(rings[0].Readers) == 0 // p's own
		})
	}
	if _, losses := p.Linked(); losses != 0 {
		t.Errorf("another publisher lost the direct node %d times", losses)
	}
}

// Two publishers have a lane each, and neither can come to write the other's: not even one
// that holds it up as its own.
func TestLaneIsNotAdoptedByASecondPublisher(t *testing.T) {
	n := newNode(t)
	first, second := n.publisher("orders", "publisher"), n.publisher("orders", "second")
	defer first.Close()
	defer second.Close()
	s := n.subscriber("orders", "subscriber")
	defer s.Close()
	eventually(t, "both are read", func() bool { return len(s.Lanes()) == 2 })
	var thief *channel.Wire
	if err := n.b.ask(t.Context(), func() {
		for _, l := range n.b.channels["orders"].lanes {
			if l.service != "publisher" {
				continue
			}
			w := n.raw()
			if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(policy.Publish), Held: 1, Channel: "orders", Service: "second"}); err != nil {
				t.Error(err)
			}
			if err := w.Send(&channel.Packet{Type: channel.TypeHeld, ID: 7}, l.data); err != nil {
				t.Error(err)
			}
			thief = w
		}
	}); err != nil {
		t.Fatal(err)
	}
	var last channel.Packet
	for {
		k, files, err := thief.Receive()
		channel.CloseAll(files)
		if err != nil {
			break
		}
		last = k
	}
	if last.Type != channel.TypeRefused || last.Reason != reason.RingUnavailable || strings.Count(last.Text, "publisher writes it already") != 1 {
		t.Errorf("%+v", last)
	}
	for _, p := range []*channel.Publisher{first, second} {
		if p.Offer(1, []byte(p.Service())) != shm.Sent {
			t.Error(p.Service(), "is shut out")
		}
	}
	got := collect(t, s, 2)
	slices.Sort(got)
	if !slices.Equal(got, []string{"publisher:publisher", "second:second"}) {
		t.Error(got)
	}
}

// A direct node that must lock its rings and may not refuses those that are too large, by name
// and with what to do; one that only tries goes on, and says that they are not locked.
func TestRingThatCannotBeLockedIsOneErrorWhereItMustBe(t *testing.T) {
	socket := t.TempDir() + "/attach"
	start(t, "broker", socket, "", "", "FIRE_TEST_MEMLOCK=131072", "FIRE_TEST_LOCK=must") // orders has 68 KiB, wide 64 MiB
	start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	_, err := channel.OpenPublisher(t.Context(), channel.Options{Socket: socket, Channel: "wide", Service: "publisher"})
	if reason.Of(err, 0) != reason.RingUnavailable || !strings.Contains(err.Error(), "wide") || !strings.Contains(err.Error(), "RLIMIT_MEMLOCK is 128 KiB; LimitMEMLOCK=infinity") {
		t.Error(err)
	}
	if from := s.read(); s.read() <= from {
		t.Error("another channel stands still")
	}
	socket = t.TempDir() + "/attach"
	start(t, "broker", socket, "", "", "FIRE_TEST_MEMLOCK=131072", "FIRE_TEST_LOCK=try")
	p, err := channel.OpenPublisher(t.Context(), channel.Options{Socket: socket, Channel: "wide", Service: "publisher"})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestRingsAreLockedAndLetGo(t *testing.T) {
	locked := func() (kib int) {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "VmLck:")
		fmt.Sscanf(rest, "%d", &kib)
		return kib
	}
	before := locked()
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	r := n.rings()
	if len(r) != 1 || !r[0].Locked {
		t.Skipf("this process may lock nothing: %+v", r)
	}
	if got := locked() - before; got < 68 {
		t.Errorf("%d KiB are locked", got)
	}
	p.Close()
	eventually(t, "the ring is gone", func() bool { return len(n.rings()) == 0 })
	eventually(t, "and let go", func() bool { return locked() == before })
}
