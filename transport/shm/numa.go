package shm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// MemoryNode is the NUMA node of the memory where the ring begins; false where the kernel
// does not say.
func (w *Writer) MemoryNode() (node int, ok bool) { return w.ring.node(dataHeadBytes) }

// MemoryNode is the NUMA node of the memory where the ring begins; false where the kernel
// does not say.
func (r *Reader) MemoryNode() (node int, ok bool) { return r.ring.node(dataHeadBytes) }

// node asks get_mempolicy(2) where the page at off is.
func (m memory) node(off uintptr) (int, bool) {
	const nodeOfAddress = 1 | 2 // MPOL_F_NODE, MPOL_F_ADDR
	var node int32
	_, _, errno := unix.Syscall6(unix.SYS_GET_MEMPOLICY, uintptr(unsafe.Pointer(&node)), 0, 0, uintptr(unsafe.Add(m.base, off)), nodeOfAddress, 0)
	return int(node), errno == 0
}
