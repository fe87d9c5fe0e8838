package meter

import (
	"os"
	"syscall"
)

// Open file description locks (fcntl(2)). A write lock needs a descriptor that may write, so
// who can only read a page cannot pass for its process, as with flock(2).
const (
	getLock = 36 // F_OFD_GETLK
	setLock = 37 // F_OFD_SETLK
)

// hold marks the page as one whose process lives. The kernel lets go with the last
// descriptor and mapping, however the process ends.
func hold(f *os.File) error {
	return syscall.FcntlFlock(f.Fd(), setLock, &syscall.Flock_t{Type: syscall.F_WRLCK})
}

// held tells whether a process that lives holds the page. It asks and locks nothing.
func held(f *os.File) bool {
	l := syscall.Flock_t{Type: syscall.F_RDLCK} // only a write lock is in its way
	return syscall.FcntlFlock(f.Fd(), getLock, &l) == nil && l.Type != syscall.F_UNLCK
}
