package direct

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"fire/policy/reason"
)

// The kernel ends a process whose control group has no room for the memory that it asks for;
// it does not refuse. So the broker asks before it makes a large ring.

const (
	roomAskedFrom = 1 << 20  // bytes of a ring; smaller ones are not worth reading files for
	roomSpared    = 16 << 20 // bytes that this process may want besides
)

// roomFor refuses a ring that the control group has no room for.
func roomFor(channel string, bytes int) error {
	if bytes < roomAskedFrom {
		return nil
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil // no control groups
	}
	if room, group := roomIn("/sys/fs/cgroup", string(groups)); int64(bytes) > room-roomSpared {
		return reason.New(reason.RingUnavailable, "a ring of channel %s, %d bytes, does not fit: the memory limit of %s leaves %d, of which %d are spared for the direct node itself; raise MemoryMax of its unit, or give the channel a smaller size",
			channel, bytes, group, max(0, room), roomSpared)
	}
	return nil
}

// roomFiles are the files of a group's memory in the two versions of control groups.
type roomFiles struct{ under, limit, used, cache, shared string }

// roomIn is how much the tightest of the groups, and of those that they lie in, leaves.
func roomIn(root, groups string) (room int64, group string) {
	room = math.MaxInt64
	for line := range strings.Lines(groups) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		kinds, at, _ := strings.Cut(rest, ":")
		files := roomFiles{under: root, limit: "memory.max", used: "memory.current", cache: "file", shared: "shmem"}
		if kinds == "memory" { // version 1
			files = roomFiles{filepath.Join(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem"}
		} else if kinds != "" {
			continue
		}
		for at = path.Clean("/" + at); ; at = path.Dir(at) {
			if left, ok := files.left(at); ok && left < room {
				room, group = left, at
			}
			if at == "/" {
				break
			}
		}
	}
	return room, group
}

// left is what a group leaves, not counting what the kernel can drop of files; false when it
// has no limit.
func (f roomFiles) left(group string) (int64, bool) {
	dir := filepath.Join(f.under, filepath.FromSlash(group))
	limit, ok := numberIn(filepath.Join(dir, f.limit))
	if !ok {
		return 0, false
	}
	used, ok := numberIn(filepath.Join(dir, f.used))
	if !ok {
		return 0, false
	}
	stat, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
	files, shared := int64(0), int64(0)
	for line := range strings.Lines(string(stat)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
		case name == f.cache:
			files = n
		case name == f.shared:
			shared = n // is among files, and stays
		}
	}
	return limit - used + max(0, files-shared), true
}

func numberIn(file string) (int64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max" is none
	return n, err == nil
}
