package bench

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callCounter counts the system calls of the thread that has made it, where the kernel lets
// this user have the tracepoint (root, or perf_event_paranoid below 0).
type callCounter struct{ fd int }

const sysEnter = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id"

// newCallCounter is nil where it cannot be had.
func newCallCounter() *callCounter {
	b, err := os.ReadFile(sysEnter)
	if err != nil {
		return nil
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return nil
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil
	}
	return &callCounter{fd}
}

func (c *callCounter) now() (n uint64, ok bool) {
	var b [8]byte
	if c == nil {
		return 0, false
	}
	if got, err := unix.Read(c.fd, b[:]); got != len(b) || err != nil {
		return 0, false
	}
	return binary.NativeEndian.Uint64(b[:]), true
}

func (c *callCounter) close() {
	if c != nil {
		_ = unix.Close(c.fd)
	}
}

// threadCounts is what a measuring thread has counted at a moment.
type threadCounts struct {
	Mallocs  uint64  `json:"mallocs"`
	Switches uint64  `json:"switches"`
	Calls    *uint64 `json:"syscalls,omitempty"` // nil: they cannot be counted here
}

// begin looks at the calls last, end first: what these looks cost themselves is left out.
func (c *callCounter) begin() threadCounts {
	t := threadCounts{Mallocs: mallocs(), Switches: switches()}
	if n, ok := c.now(); ok {
		t.Calls = &n
	}
	return t
}

// since is what has happened from a beginning until now.
func (c *callCounter) since(t threadCounts) (d threadCounts) {
	if n, ok := c.now(); ok && t.Calls != nil {
		n -= *t.Calls + 1 // the read that told this
		d.Calls = &n
	}
	d.Mallocs, d.Switches = mallocs()-t.Mallocs, switches()-t.Switches
	return d
}

// plus adds the other thread's.
func (t threadCounts) plus(o threadCounts) threadCounts {
	t.Mallocs += o.Mallocs
	t.Switches += o.Switches
	if t.Calls == nil || o.Calls == nil {
		t.Calls = nil
		return t
	}
	n := *t.Calls + *o.Calls
	t.Calls = &n
	return t
}
