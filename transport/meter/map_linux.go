package meter

import (
	"errors"
	"os"
	"syscall"
)

func mapShared(f *os.File, size int) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

func mapAnonymous(size int) ([]byte, error) {
	return syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
}

func unmap(mem []byte) { _ = syscall.Munmap(mem) }

// reserve takes disk blocks for a range that is still a hole, because a store to a
// mapped hole on a full disk is a SIGBUS. Writing zeros does the same where the
// file system knows no fallocate.
func reserve(f *os.File, off, n int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, off, n)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
			_, err = f.WriteAt(make([]byte, n), off)
		}
		return err
	}
}
