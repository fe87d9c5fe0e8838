package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAFailedSyncIsNeverTriedAgain: the group goes to a new segment, nothing is lost, and what the
// failed one holds of it is no part of the log.
func TestAFailedSyncIsNeverTriedAgain(t *testing.T) {
	w := newWorld(t)
	d := &faulty{Disk: w.deps.Disk}
	w.deps.Disk = d
	l, _ := w.open()
	w.append(1, 1, 100)
	for round := range 3 {
		d.set(func() { d.failSync = 2 }) // the group's, and the first of the new segment
		w.append(1, 101+100*round, 100)
	}
	if l.State.Failures.Load() != 6 || l.State.Trouble() != "" {
		t.Errorf("%d failures, trouble %q", l.State.Failures.Load(), l.State.Trouble())
	}
	if n := len(l.parts); n != 4 {
		t.Errorf("%d segments; three failed", n)
	}
	w.close()
	l, found := w.open()
	if found.Size != 400 || found.CutBytes != 0 {
		t.Errorf("%+v", found)
	}
	known := l.knownKeys(t)
	if r, err := l.Verify(t.Context(), Verification{Known: known, Away: w.deps.Away}); err != nil || r.Verdict != Good || r.Size != 400 {
		t.Errorf("%v %+v", err, r)
	}
}

// TestAFullDiskIsWaitedOut, at each of the steps at which a log needs room.
func TestAFullDiskIsWaitedOut(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 64 << 10
	d := &faulty{Disk: w.deps.Disk}
	w.deps.Disk = d
	l, _ := w.open()
	w.append(1, 1, 10)
	d.set(func() { d.full = true })
	// The segment that was made ahead still takes entries; the one after it cannot be made.
	taken := 0
	var err error
	for ; err == nil; taken++ {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err = l.Append(ctx, fact(2, uint64(taken+1)))
		cancel()
	}
	if !errors.Is(err, context.DeadlineExceeded) || taken < 100 {
		t.Errorf("%d entries: %v", taken, err)
	}
	if l.State.Stalled(time.Now()) == 0 || l.State.Trouble() == "" {
		t.Error("nobody is told")
	}
	d.set(func() { d.full = false })
	if _, err := l.Append(t.Context(), fact(3, 1)); err != nil {
		t.Fatal(err)
	}
	if l.State.Stalled(time.Now().Add(-time.Minute)) != 0 || l.State.Trouble() != "" {
		t.Error("it goes on, and says that it does not:", l.State.Trouble())
	}
	w.close()
	l, found := w.open()
	if found.Size != int64(10+taken+1) { // the one that was given up by its caller is there, too
		t.Errorf("%d entries of %d", found.Size, 10+taken+1)
	}
	if r, err := l.Verify(t.Context(), Verification{Known: l.knownKeys(t)}); err != nil || r.Verdict != Good {
		t.Errorf("%v %+v", err, r)
	}
}

// TestALogEndsAlthoughItsDiskHangs: who waits is told that nothing is durable.
func TestALogEndsAlthoughItsDiskFails(t *testing.T) {
	w := newWorld(t)
	d := &faulty{Disk: w.deps.Disk, full: true}
	w.deps.Disk = d
	l, _, err := Open(w.cfg, w.deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	answer := make(chan error, 3)
	for n := range 3 { // one is tried again and again, one waits behind it, one is still queued
		go func() { _, err := l.Append(context.Background(), fact(1, uint64(n))); answer <- err }()
		for before := l.State.Failures.Load(); l.State.Failures.Load() == before; {
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	for range 3 {
		if err := <-answer; err == nil {
			t.Error("an entry is said to be durable")
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAnOlderCopyOfTheWholeFolderIsRefused puts back a backup.
func TestAnOlderCopyOfTheWholeFolderIsRefused(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.append(1, 1, 100)
	w.close()
	backup := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(w.dir, "log"))); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.append(1, 101, 100)
	w.close()
	disk, err := OpenCopy(backup)
	if err != nil {
		t.Fatal(err)
	}
	w.deps.Disk = disk
	_, _, err = Open(w.cfg, w.deps)
	fault, ok := errors.AsType[*Fault](err)
	if !ok || fault.Kind != Incomplete || fault.Index != 100 {
		t.Errorf("%v", err)
	}
	r, err := Verify(t.Context(), Verification{Disk: disk, Away: w.deps.Away, Known: (&Log{deps: w.deps}).knownKeys(t)})
	if err != nil || r.Verdict != IsIncomplete || r.Faults[0].Index != 100 {
		t.Errorf("%v %+v", err, r)
	}
}
