package shm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Pinned is memory whose pages stay where they are: they are not swapped out, so no message
// waits for a disk. Memory that one process has locked is so for all that have mapped it.
type Pinned struct{ b []byte }

// ErrUnlocked is in the error of Pin when the kernel lets this process lock no more.
var ErrUnlocked = errors.New("the kernel locks no more memory for this process")

// Pin maps memory read-only and locks it, until Close. It takes as long as the kernel needs to
// map every page, some 50 us per MiB.
func Pin(f *os.File) (*Pinned, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s to lock it: %w", f.Name(), err)
	}
	if err := unix.Mlock(b); err != nil {
		_ = unix.Munmap(b)
		return nil, lockAdvice(f.Name(), len(b), err)
	}
	return &Pinned{b}, nil
}

func lockAdvice(name string, bytes int, err error) error {
	var l unix.Rlimit
	limit := "not known"
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) == nil {
		limit = fmt.Sprintf("%d KiB", l.Cur>>10)
	}
	return fmt.Errorf("lock the %d KiB of %s: %w (%w): RLIMIT_MEMLOCK is %s; LimitMEMLOCK=infinity in the unit, as `fire unit direct` has it, or ulimit -l unlimited", bytes>>10, name, ErrUnlocked, err, limit)
}

// Close lets the pages go.
func (p *Pinned) Close() error {
	if p == nil || p.b == nil {
		return nil
	}
	b := p.b
	p.b = nil
	return unix.Munmap(b)
}
