package direct

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestASignalIsNotTakenForTheEndOfAProcess asks whether this process has ended while signals
// interrupt the asking, as the runtime's own do now and then.
func TestASignalIsNotTakenForTheEndOfAProcess(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip(err)
	}
	p := &process{pid: os.Getpid(), fd: os.NewFile(uintptr(fd), "pidfd")}
	defer p.fd.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	var stop atomic.Bool
	var storm sync.WaitGroup
	storm.Go(func() {
		for !stop.Load() {
			_ = unix.Tgkill(os.Getpid(), thread, syscall.SIGURG)
		}
	})
	for range 30_000 {
		if p.ended() {
			t.Error("this process has ended")
			break
		}
	}
	stop.Store(true)
	storm.Wait()
}
