package direct

import (
	"slices"
	"syscall"
	"testing"
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

func TestMemoriesThatAreNoRingsAreNotShown(t *testing.T) {
	all, _, err := Find("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if len(r.HeldBy) == 0 || r.Channel == "" {
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
