package bench

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callCounter counts the system calls of the thread that has made it, where the kernel lets
// this user have the tracepoint (root, or perf_event_paranoid below 0). It has its own memory
// for what it looks at, so that a look allocates nothing.
type callCounter struct {
	fd   int // -1: they cannot be counted
	read [8]byte
	mem  runtime.MemStats
	own  func() uint64 // of a test: the mallocs so far that this program's code has made; may be nil
}

const sysEnter = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id"

func newCallCounter(own func() uint64) *callCounter {
	c, err := openCallCounter()
	if err != nil {
		c = &callCounter{fd: -1}
	}
	c.own = own
	return c
}

// whyNotCounted is empty where calls can be counted.
func whyNotCounted() string {
	c, err := openCallCounter()
	if err != nil {
		return err.Error()
	}
	c.close()
	return ""
}

func openCallCounter() (*callCounter, error) {
	b, err := os.ReadFile(sysEnter)
	if err != nil {
		return nil, fmt.Errorf("the kernel's tracepoints: %w", err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("tracepoint number: %w", err)
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("perf_event_open, which root or perf_event_paranoid below 0 allows: %w", err)
	}
	return &callCounter{fd: fd}, nil
}

func (c *callCounter) now() (n uint64, ok bool) {
	if c.fd < 0 {
		return 0, false
	}
	if got, err := unix.Read(c.fd, c.read[:]); got != len(c.read) || err != nil {
		return 0, false
	}
	return binary.NativeEndian.Uint64(c.read[:]), true
}

func (c *callCounter) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
}

// threadCounts is what a measuring thread has counted at a moment.
type threadCounts struct {
	Mallocs     uint64  `json:"mallocs"`
	Switches    uint64  `json:"switches"`
	Collections uint64  `json:"collections"`           // of the garbage collector, in this process
	Own         *uint64 `json:"own_mallocs,omitempty"` // Mallocs without the runtime's; nil: nobody asked
	Calls       *uint64 `json:"syscalls,omitempty"`    // nil: they cannot be counted here
}

// begin looks at the calls and the mallocs last, since at the same first: what these looks
// cost themselves is left out.
func (c *callCounter) begin() (t threadCounts) {
	t.Own = c.owned()
	t.Switches = switches()
	if c.fd >= 0 {
		t.Calls = new(uint64)
	}
	t.Mallocs, t.Collections = c.heap()
	if n, ok := c.now(); ok {
		*t.Calls = n
	} else {
		t.Calls = nil
	}
	return t
}

// since is what has happened from a beginning until now.
func (c *callCounter) since(t threadCounts) (d threadCounts) {
	n, ok := c.now()
	d.Mallocs, d.Collections = c.heap()
	d.Mallocs, d.Collections = d.Mallocs-t.Mallocs, d.Collections-t.Collections
	if d.Switches = switches() - t.Switches; ok && t.Calls != nil {
		d.Calls = new(uint64)
		*d.Calls = n - *t.Calls - 1 // the read that told this
	}
	if d.Own = c.owned(); d.Own != nil {
		*d.Own -= *t.Own
	}
	return d
}

func (c *callCounter) owned() *uint64 {
	if c.own == nil {
		return nil
	}
	n := c.own()
	return &n
}

func (c *callCounter) heap() (mallocs, collections uint64) {
	runtime.ReadMemStats(&c.mem)
	return c.mem.Mallocs, uint64(c.mem.NumGC)
}

// plus adds the other thread's.
func (t threadCounts) plus(o threadCounts) threadCounts {
	t.Mallocs += o.Mallocs
	t.Switches += o.Switches
	t.Collections += o.Collections
	t.Own = addCounts(t.Own, o.Own)
	if t.Calls == nil || o.Calls == nil {
		t.Calls = nil
		return t
	}
	n := *t.Calls + *o.Calls
	t.Calls = &n
	return t
}
