package channel

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func affinity(t *testing.T) unix.CPUSet {
	t.Helper()
	var s unix.CPUSet
	if err := unix.SchedGetaffinity(0, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPinHoldsTheThreadAndUndoGivesItBack(t *testing.T) {
	runtime.LockOSThread() // the thread that is asked is the one that was pinned
	defer runtime.UnlockOSThread()
	before := affinity(t)
	if before.Count() < 2 {
		t.Skip("one processor: everybody is pinned")
	}
	last := cpusMax - 1
	for !before.IsSet(last) {
		last--
	}
	undo, err := Pin(last)
	if err != nil {
		t.Fatal(err)
	}
	if now := affinity(t); now.Count() != 1 || !now.IsSet(last) {
		t.Errorf("it may run on %s, not on %d alone", listOf(&now), last)
	}
	others := make(chan unix.CPUSet)
	go func() { others <- affinity(t) }()
	if s := <-others; s != before {
		t.Errorf("another goroutine may run on %s, it was %s", listOf(&s), listOf(&before))
	}
	undo()
	if now := affinity(t); now != before {
		t.Errorf("it may run on %s afterwards, it was %s", listOf(&now), listOf(&before))
	}
}

func TestFarMemoryIsNamed(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(folder+"/cpu3/node1", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := far(folder, 3, 1); got != "" {
		t.Error(got)
	}
	if got := far(folder, 4, 1); got != "" { // no NUMA, or no such processor
		t.Error(got)
	}
	if got := far(folder, 3, 0); !strings.HasPrefix(got, "cpu 3 is of NUMA node 1, the ring's memory of node 0") {
		t.Error(got)
	}
}

func TestPinSaysWhichProcessorsThereAre(t *testing.T) {
	for _, cpu := range []int{-1, 1023, 1024, 1 << 40} {
		if undo, err := Pin(cpu); err == nil {
			undo()
			t.Errorf("pinned to cpu %d", cpu)
		} else if !strings.Contains(err.Error(), "does not exist; this host has 0") {
			t.Error(err)
		}
	}
	folder := t.TempDir()
	if err := os.WriteFile(folder+"/present", []byte("0-3,8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exists(folder, 7); err == nil || err.Error() != "cpu 7 does not exist; this host has 0-3,8" {
		t.Error(err)
	}
	var s unix.CPUSet
	for _, cpu := range []int{0, 1, 2, 5, 1023} {
		s.Set(cpu)
	}
	if got := listOf(&s); got != "0-2,5,1023" {
		t.Error(got)
	}
}
