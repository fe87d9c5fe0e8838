package shm

import (
	"testing"

	"golang.org/x/sys/unix"
)

// callOf reads the system call at which the thread has stopped, its first argument, and
// whether it is about to enter it.
func callOf(t *testing.T, thread int) (nr, first uint64, entry bool) {
	t.Helper()
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(thread, &r); err != nil {
		t.Fatal(err)
	}
	return r.Orig_rax, r.Rdi, int64(r.Rax) == -int64(unix.ENOSYS) // the kernel's mark of an entry
}
