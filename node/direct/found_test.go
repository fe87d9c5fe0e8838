package direct

import (
	"bytes"
	"os"
	"slices"
	"syscall"
	"testing"

	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// TestRingsAreFoundWhileTheDirectNodeIsStopped and after it was killed: their counters are
// where the programs have them.
func TestRingsAreFoundWhileTheDirectNodeIsStopped(t *testing.T) {
	socket := t.TempDir() + "/attach"
	b := start(t, "broker", socket, "", "")
	p := start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	s.read()
	look := func() FoundRing {
		t.Helper()
		all, _, err := Find("/proc")
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(r FoundRing) bool { // other tests have rings, too
			return !slices.ContainsFunc(r.HeldBy, func(h Holder) bool { return h.PID == p.cmd.Process.Pid })
		})
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	moves := func() {
		t.Helper()
		before := look()
		eventually(t, "the counters move", func() bool {
			now := look()
			return now.Stat.Messages > before.Stat.Messages && len(now.Readers) == 1 && now.Readers[0].Stat.Messages > before.Readers[0].Stat.Messages
		})
	}
	b.signal(syscall.SIGSTOP)
	moves()
	r := look()
	if r.Channel != "orders" || r.Discipline != "lane" || r.Lines == 0 || r.Readers[0].P50 <= 0 {
		t.Errorf("%+v", r)
	}
	if !slices.ContainsFunc(r.Readers[0].HeldBy, func(h Holder) bool { return h.PID == s.cmd.Process.Pid && h.Command != "" }) {
		t.Errorf("%+v", r.Readers[0].HeldBy)
	}
	b.signal(syscall.SIGCONT)
	b.signal(syscall.SIGKILL)
	_ = b.cmd.Wait()
	moves()
}

// TestMemoriesThatAreNoRingsAreNotShown has some with the names of rings, and a ring that nobody has sealed.
func TestMemoriesThatAreNoRingsAreNotShown(t *testing.T) {
	unsealed, err := shm.CreateData(shm.Spec{Name: "not-a-channel", Discipline: shm.Lane, Lines: 64, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer unsealed.Close()
	fd, err := unix.MemfdCreate("fire-ring-not-a-channel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	garbage := os.NewFile(uintptr(fd), "garbage")
	defer garbage.Close()
	if _, err := garbage.Write(bytes.Repeat([]byte("garbage!"), 1024)); err != nil {
		t.Fatal(err)
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(garbage.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	files, _, err := memories("/proc")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, f := range files {
		if f.name == "ring-not-a-channel" {
			looked++
		}
	}
	all, _, err := Find("/proc")
	if err != nil || looked != 2 {
		t.Fatalf("%v, %d are looked at", err, looked)
	}
	for _, r := range all {
		if r.Channel == "not-a-channel" || r.Channel == "" {
			t.Errorf("%+v", r)
		}
	}
	if _, _, err := Find(t.TempDir() + "/none"); err == nil {
		t.Error("no processes, and no error")
	}
	if all, _, err := Find(t.TempDir()); err != nil || len(all) > 0 {
		t.Error(all, err)
	}
}
