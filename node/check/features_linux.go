package check

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// AskKernel asks for each feature by using it: a version says nothing of what a distributor
// took back or a seccomp filter forbids.
func AskKernel() Features {
	f := Features{Asked: true, Membarrier: askMembarrier(), FutexWaitv: askFutexWaitv(), PeerPidfd: askPeerPidfd()}
	f.Seal = f.seal()
	return f
}

// seal does what a broker does with a ring: a mapping for writing, then the seals, then
// another mapping, which must be refused. Flags are those of transport/shm.
func (f *Features) seal() (err error) {
	fd, err := unix.MemfdCreate("fire-check", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.Fallocate(fd, 0, 0, 4096); err != nil {
		return fmt.Errorf("fallocate: %w", err)
	}
	first, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(first)) }()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("F_ADD_SEALS: %w", err)
	}
	if second, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		f.SealWritable = true
		return unix.Munmap(second)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	f.SealNames = int(st.Nlink)
	return nil
}

// membarrier(2)
const (
	membarrierQuery                   = 0
	membarrierGlobalExpedited         = 1 << 1
	membarrierRegisterGlobalExpedited = 1 << 2
)

func askMembarrier() error {
	const want = membarrierGlobalExpedited | membarrierRegisterGlobalExpedited
	mask, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	switch {
	case errno != 0:
		return fmt.Errorf("membarrier: %w", errno)
	case mask&want != want:
		return fmt.Errorf("membarrier has the commands %#x, %#x are wanted", mask, want)
	}
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobalExpedited, 0, 0); errno != 0 {
		return fmt.Errorf("membarrier: %w", errno)
	}
	return nil
}

// askFutexWaitv waits for nothing, which a kernel that knows the call finds invalid.
func askFutexWaitv() error {
	if _, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, 0, 0, 0, 0, 0, 0); errno != unix.EINVAL {
		return fmt.Errorf("futex_waitv: %w", errno)
	}
	return nil
}

func askPeerPidfd() (err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1])) }()
	fd, err := unix.GetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return fmt.Errorf("SO_PEERPIDFD: %w", err)
	}
	return unix.Close(fd)
}
