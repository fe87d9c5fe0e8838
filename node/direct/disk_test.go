package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

// TestDiskChild is no test: it is the process that has a small disk of its own.
func TestDiskChild(t *testing.T) {
	dir := os.Getenv("FIRE_TEST_DISK")
	if dir == "" {
		t.Skip("run by the test of a full disk")
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no file system can be mounted here:", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	trail, err := OpenTrail(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	kept := make(chan error, 1)
	go func() { kept <- trail.Run(ctx) }()
	n := newNode(t)
	n.stop()
	cfg := n.b.cfg
	if n.b, err = New(cfg, Deps{Dir: dir, Programs: programs(t, "publisher", "second", "subscriber", "other"), Record: trail.Record, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	bctx, stop := context.WithCancel(context.Background())
	n.cancel, n.done = stop, make(chan error, 1)
	go func() { n.done <- n.b.Run(bctx) }()
	n.apply()

	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	defer s.Close()
	md := n.publisher("md", "publisher")
	defer md.Close()
	offered := 0
	exchange := func(messages int) {
		t.Helper()
		for range messages {
			if res := p.Offer(1, []byte("order")); res != shm.Sent {
				t.Fatal(res)
			}
		}
		offered += messages
		collect(t, s, messages)
	}
	exchange(10)
	fill := filepath.Join(dir, "fill")
	for err = nil; err == nil; {
		err = appendTo(fill, make([]byte, 512))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	refused := func() error { // the trail's last page has room for some more
		for range 100 {
			x, err := channel.OpenPublisher(t.Context(), n.options("orders", "second"))
			if err != nil {
				return err
			}
			x.Close()
		}
		return nil
	}
	for range 3 {
		if err := refused(); reason.Of(err, 0) != reason.DiskFull || strings.Count(err.Error(), "no space left") != 1 {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	exchange(10)
	cut, err := n.b.Revoke(t.Context(), Revocation{Channel: "md", By: "operator"})
	if cut != 1 || reason.Of(err, 0) != reason.DiskFull || md.Offer(1, nil) != shm.Shut {
		t.Errorf("%d cut, %v: a cut waits for the disk", cut, err)
	}
	if err := n.b.Restore(t.Context(), "md", "", "operator"); reason.Of(err, 0) != reason.DiskFull {
		t.Errorf("more is allowed than the trail knows: %v", err)
	}
	for range 2 { // digests are due meanwhile
		time.Sleep(digestEvery)
		exchange(10)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	saved := func() string { b, _ := os.ReadFile(filepath.Join(dir, revokedName)); return string(b) }
	eventually(t, "the cut is on the disk", func() bool { return strings.Contains(saved(), `"md"`) })
	eventually(t, "programs attach again", func() bool { return refused() == nil })
	exchange(10)
	p.Close()
	n.stop()
	cancel()
	if err := <-kept; err != nil {
		t.Error(err)
	}
	checkTrail(t, dir, uint64(offered))
}

func appendTo(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// checkTrail reads what is on the disk: whole lines, in order, with what happened while there
// was no room, and digests of every message that the publisher of orders had offered.
func checkTrail(t *testing.T, dir string, offered uint64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, trailName))
	if err != nil {
		t.Fatal(err)
	}
	var last time.Time
	kinds := map[EventKind]int{}
	digested := map[uint64]uint64{}
	full := 0
	for line := range strings.Lines(string(text)) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if e.At.Before(last) {
			t.Errorf("%s of %v behind one of %v", e.Kind, e.At, last)
		}
		last = e.At
		kinds[e.Kind]++
		if e.Kind == Refused && e.Reason == reason.DiskFull {
			full++
		}
		if e.Kind == Digest && e.Channel == "orders" {
			if digested[e.Link] != e.First {
				t.Errorf("digests of %d end at %d and go on at %d", e.Link, digested[e.Link], e.First)
			}
			digested[e.Link] = e.Last + 1
		}
	}
	most := uint64(0)
	for _, n := range digested {
		most = max(most, n)
	}
	if most != offered || kinds[Cut] != 1 || kinds[Revoked] != 1 || kinds[Restored] != 0 || full < 3 {
		t.Errorf("%d of %d messages are digested, %d refusals for want of room, events %v", most, offered, full, kinds)
	}
}

// On a full disk nobody attaches, what runs goes on, a cut takes effect, and the trail has it
// all, in order, when there is room again.
func TestFullDiskRefusesAttachesAndLeavesNoHoleInTheTrail(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskChild$", "-test.v")
	cmd.Env = append(os.Environ(), "FIRE_TEST_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	switch exit := (*exec.ExitError)(nil); {
	case err != nil && !errors.As(err, &exit):
		t.Skip("no process with file systems of its own can be started here:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// What is too much to be kept until there is room again is counted in its place.
func TestEventsThatFindNoRoomAtAllAreCountedInTheTrail(t *testing.T) {
	n := newNode(t)
	n.stop()
	n.trail = nil
	full := true
	b := &Broker{deps: Deps{Now: time.Now, Log: quiet(), Record: func(e Event) error {
		if full {
			return errors.New("no space left on device")
		}
		return n.record(e)
	}}}
	const more, refused = 7, untakenMax/2 + 7 // beyond those that are kept
	for k := range untakenMax + more {
		b.tell(Event{Kind: Died, Detail: fmt.Sprint(k)})
		if k >= untakenMax/2 {
			b.tell(Event{Kind: Refused})
		}
	}
	if err := b.record(Event{Kind: Attached}); reason.Of(err, 0) != reason.DiskFull || len(n.trail) != 0 {
		t.Fatal(err, len(n.trail))
	}
	full = false
	if err := b.record(Event{Kind: Attached}); err != nil {
		t.Fatal(err)
	}
	for k, e := range n.trail[:untakenMax] {
		if e.Detail != fmt.Sprint(k) {
			t.Fatalf("%+v where %d was due", e, k)
		}
	}
	if rest := n.trail[untakenMax:]; len(rest) != 2 || rest[0].Kind != Omitted || rest[0].Messages != more+refused || rest[1].Kind != Attached {
		t.Errorf("%+v", rest)
	}
}

// A lane's digests that wait for room are one: its chain covers all of them. What came too
// late for the audit stays between.
func TestDigestsThatWaitForRoomBecomeOne(t *testing.T) {
	var u untaken
	for k := range uint64(5000) {
		u.keep(Event{Kind: Digest, Link: 1, First: 10 * k, Last: 10*k + 9, Messages: 10, Chain: fmt.Sprint(k)})
		u.keep(Event{Kind: Digest, Link: 2, First: k, Last: k, Messages: 1})
	}
	if len(u.events) != 2 || u.events[0].First != 0 || u.events[0].Last != 49999 || u.events[0].Messages != 50000 || u.events[0].Chain != "4999" {
		t.Fatalf("%d events, %+v", len(u.events), u.events[0])
	}
	u.keep(Event{Kind: Unseen, Link: 1, First: 50000, Last: 50004})
	u.keep(Event{Kind: Digest, Link: 1, First: 50005, Last: 50009, Messages: 5})
	if len(u.events) != 4 || u.omitted != 0 {
		t.Errorf("%d events, %d omitted", len(u.events), u.omitted)
	}
}

// A new file of the trail that cannot be begun leaves the old one in use.
func TestTrailThatCannotRotateGoesOnWhenItCan(t *testing.T) {
	dir := t.TempDir()
	trail, err := OpenTrail(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	next := filepath.Join(dir, trailNext)
	if err := os.Mkdir(next, 0o700); err != nil { // stands in the way
		t.Fatal(err)
	}
	if err := trail.Record(Event{Kind: Attached}); err != nil {
		t.Fatal(err)
	}
	was := trail.bytes
	trail.bytes = trailBytesMax // as if it were full
	if err := trail.Record(Event{Kind: Died}); err == nil {
		t.Error("it has rotated")
	}
	trail.bytes = was
	if err := trail.Record(Event{Kind: Cut}); err != nil {
		t.Error(err)
	}
	os.Remove(next)
	trail.bytes = trailBytesMax
	if err := trail.Record(Event{Kind: Died}); err != nil {
		t.Error(err)
	}
	old, _ := os.ReadFile(trail.path(1))
	now, _ := os.ReadFile(trail.path(0))
	if strings.Count(string(old), "\n") != 2 || strings.Count(string(now), "\n") != 1 || !strings.Contains(string(now), `"died"`) {
		t.Errorf("%q, then %q", old, now)
	}
}
