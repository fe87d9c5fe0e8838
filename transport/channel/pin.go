package channel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cpuFolder is where the kernel lists the processors; tests have their own.
const cpuFolder = "/sys/devices/system/cpu"

// cpusMax is how many a unix.CPUSet holds.
const cpusMax = 1024

// Pin ties the calling goroutine to its thread, and the thread to one processor, until undo
// is called by the same goroutine. A reader that spins stays on the core whose cache has the
// ring. Goroutines that are begun meanwhile are not tied.
func Pin(cpu int) (undo func(), err error) {
	if err := exists(cpuFolder, cpu); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err = unix.SchedGetaffinity(0, &before); err == nil {
		one.Set(cpu)
		err = unix.SchedSetaffinity(0, &one)
	}
	if err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("cpu %d is not allowed to this process, or offline; it may use %s", cpu, listOf(&before))
		}
		return nil, fmt.Errorf("pin to cpu %d: %w", cpu, err)
	}
	return func() {
		// A thread that stays pinned serves nobody else: locked, it ends with its goroutine.
		if unix.SchedSetaffinity(0, &before) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

// exists refuses a processor that the host does not have.
func exists(folder string, cpu int) error {
	if cpu >= 0 && cpu < cpusMax {
		if _, err := os.Stat(filepath.Join(folder, "cpu"+strconv.Itoa(cpu))); err == nil {
			return nil
		}
	}
	has, err := os.ReadFile(filepath.Join(folder, "present"))
	if err != nil {
		return fmt.Errorf("cpu %d: %w", cpu, err)
	}
	return fmt.Errorf("cpu %d does not exist; this host has %s", cpu, strings.TrimSpace(string(has)))
}

// FarMemory says that a processor and the memory of a ring are of different NUMA nodes: each
// message is then handed over between them, two to three times as slowly. It is "" for a
// good place, or where the kernel does not say.
func FarMemory(cpu int, ring interface{ MemoryNode() (node int, ok bool) }) string {
	memory, ok := ring.MemoryNode()
	if !ok {
		return ""
	}
	return far(cpuFolder, cpu, memory)
}

func far(folder string, cpu, memory int) string {
	at, err := filepath.Glob(filepath.Join(folder, "cpu"+strconv.Itoa(cpu), "node[0-9]*"))
	if err != nil || len(at) != 1 {
		return ""
	}
	node := strings.TrimPrefix(filepath.Base(at[0]), "node")
	if node == strconv.Itoa(memory) {
		return ""
	}
	return fmt.Sprintf("cpu %d is of NUMA node %s, the ring's memory of node %d; run the direct node and both ends on one node", cpu, node, memory)
}

// listOf is a set as the kernel writes it: 0-3,8.
func listOf(set *unix.CPUSet) string {
	var parts []string
	for cpu := 0; cpu < cpusMax; cpu++ {
		if !set.IsSet(cpu) {
			continue
		}
		from := cpu
		for set.IsSet(cpu + 1) {
			cpu++
		}
		part := strconv.Itoa(from)
		if cpu > from {
			part += "-" + strconv.Itoa(cpu)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}
