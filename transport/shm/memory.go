package shm

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sealFutureWrite = 0x10 // F_SEAL_FUTURE_WRITE, Linux 5.1
	sealsWanted     = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | sealFutureWrite | unix.F_SEAL_SEAL
)

// createMemory makes memory of that size whose pages exist: a page that had to be
// found later could be a SIGBUS then.
func createMemory(name string, size int) (*os.File, error) {
	fd, err := createFile(name)
	if err != nil {
		return nil, fmt.Errorf("memory of %s: %w", name, advised(err))
	}
	f := os.NewFile(uintptr(fd), name)
	err = unix.Ftruncate(fd, int64(size))
	if err == nil {
		err = allocate(fd, size)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("memory of %s, %d bytes: %w", name, size, advised(err)), f.Close())
	}
	return f, nil
}

// createFile makes memory that nothing is executed from: a host with vm.memfd_noexec=2
// refuses any other. A kernel before 6.3 does not know the flag.
func createFile(name string) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, err
}

// allocate is fallocate(2), which a signal may interrupt, as the runtime's own do.
func allocate(fd, size int) (err error) {
	for range 100 {
		if err = unix.Fallocate(fd, 0, 0, int64(size)); err != unix.EINTR {
			return err
		}
	}
	return err
}

// advised says what can be done about a refusal of the kernel.
func advised(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: give the channel a smaller size, or the host, or this process's unit, more memory", err)
	case errors.Is(err, unix.EFBIG): // and a SIGXFSZ, which the runtime ignores
		return fmt.Errorf("%w: raise LimitFSIZE of this process's unit, or give the channel a smaller size", err)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w: raise LimitNOFILE of this process's unit", err)
	}
	return err
}

// Seal ends all further ways to write to the memory but the mapping that is there, and
// all ways to change its size. The broker calls it when the one that writes has mapped.
func Seal(f *os.File) error {
	_, err := control(f, func(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sealsWanted) })
	if err != nil {
		return fmt.Errorf("seal %s: %w", f.Name(), err)
	}
	return nil
}

// checkSealed refuses memory that its owner could still shrink under a reader (SIGBUS)
// or that somebody else could still come to write.
func checkSealed(f *os.File) error {
	seals, err := control(f, func(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0) })
	if err != nil {
		return fmt.Errorf("%s is no sealable memory: %w", f.Name(), err)
	}
	if seals&sealsWanted != sealsWanted {
		return fmt.Errorf("%s has seals %#x, %#x are wanted", f.Name(), seals, sealsWanted)
	}
	return nil
}

func control(f *os.File, do func(fd int) (int, error)) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(fd uintptr) { n, err = do(int(fd)) }); cerr != nil {
		return 0, cerr
	}
	return n, err
}

// memory is a mapping. Words in it are reached by at; offsets are constants or have
// been checked by who has them.
type memory struct {
	b    []byte
	base unsafe.Pointer
}

// mapMemory maps all of f; its size must be one that want accepts.
func mapMemory(f *os.File, writable bool, want func(size int64) bool) (memory, error) {
	var st unix.Stat_t
	if _, err := control(f, func(fd int) (int, error) { return 0, unix.Fstat(fd, &st) }); err != nil {
		return memory{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if !want(st.Size) {
		return memory{}, fmt.Errorf("%s has %d bytes, which no such memory has", f.Name(), st.Size)
	}
	return mapBytes(f, int(st.Size), writable)
}

// mapHead maps for writing what lies before the lines: making a large ring costs no more
// mapping than a small one.
func mapHead(f *os.File) (memory, error) { return mapBytes(f, dataHeadBytes, true) }

// mapBytes maps for reading with all pages, for writing without: populate follows.
func mapBytes(f *os.File, size int, writable bool) (memory, error) {
	prot, flags := unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE
	if writable {
		prot, flags = unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED
	}
	var b []byte
	_, err := control(f, func(fd int) (n int, err error) {
		b, err = unix.Mmap(fd, 0, size, prot, flags)
		return 0, err
	})
	if err != nil {
		return memory{}, fmt.Errorf("map %s, %d bytes: %w", f.Name(), size, advised(err))
	}
	return memory{b, unsafe.Pointer(unsafe.SliceData(b))}, nil
}

// madvPopulateWrite is MADV_POPULATE_WRITE, Linux 5.14.
const madvPopulateWrite = 23

// populate makes all pages of a writable map present, which takes half a millisecond per MiB.
// Until then, and on an older kernel, the first touch of each costs a fault.
func (m memory) populate() { _ = unix.Madvise(m.b, madvPopulateWrite) }

// replace maps all of f read-only in the place of m, which has the same size, in one step:
// who looks there meanwhile sees the one or the other.
func (m memory) replace(f *os.File) error {
	_, err := control(f, func(fd int) (int, error) {
		_, err := unix.MmapPtr(fd, 0, m.base, uintptr(len(m.b)), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE|unix.MAP_FIXED)
		return 0, err
	})
	return err
}

func (m memory) unmap() error {
	if m.b == nil {
		return nil
	}
	return unix.Munmap(m.b)
}

func (m memory) word(off uintptr) *uint64 { return (*uint64)(unsafe.Add(m.base, off)) }
func (m memory) half(off uintptr) *uint32 { return (*uint32)(unsafe.Add(m.base, off)) }

func (m memory) load(off uintptr) uint64     { return atomic.LoadUint64(m.word(off)) }
func (m memory) loadHalf(off uintptr) uint32 { return atomic.LoadUint32(m.half(off)) }
func (m memory) store(off uintptr, v uint64) { atomic.StoreUint64(m.word(off), v) }
func (m memory) storeHalf(off uintptr, v uint32) {
	atomic.StoreUint32(m.half(off), v)
}

// checkHead refuses memory of another kind, version or layout.
func (m memory) checkHead(magic uint64, what string) error {
	if got := m.load(offMagic); got != magic {
		return fmt.Errorf("this is no %s of a ring: it begins with %#x", what, got)
	}
	if v := m.loadHalf(offVersion); v != Version {
		return fmt.Errorf("the %s has layout version %d, this program knows %d; update the older of both", what, v, Version)
	}
	if h := m.load(offHash); h != layoutHash {
		return fmt.Errorf("the %s has layout hash %016x, this program's is %016x: one of both was built from a changed layout", what, h, uint64(layoutHash))
	}
	return nil
}

func validLines(n uint64) bool { return n >= linesMin && n <= linesMax && bits.OnesCount64(n) == 1 }
