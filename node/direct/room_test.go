package direct

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
)

func TestRoomIsThatOfTheTightestGroup(t *testing.T) {
	root := t.TempDir()
	put := func(file, text string) {
		t.Helper()
		at := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("floor.slice/memory.max", "1000\n")
	put("floor.slice/memory.current", "700\n")
	put("floor.slice/memory.stat", "anon 50\nfile 600\nshmem 400\n")
	put("floor.slice/fire.service/memory.max", "max\n")
	put("floor.slice/fire.service/memory.current", "600\n")
	put("floor.slice/other.service/memory.max", "450\n")
	put("floor.slice/other.service/memory.current", "100\n")
	put("memory/box/memory.limit_in_bytes", "5000\n")
	put("memory/box/memory.usage_in_bytes", "4000\n")
	put("memory/box/memory.stat", "cache 0\ntotal_cache 700\ntotal_shmem 500\n")
	for _, c := range []struct {
		groups string
		room   int64
		group  string
	}{
		{"0::/floor.slice/fire.service\n", 500, "/floor.slice"}, // 200 of files can be dropped
		{"0::/floor.slice/other.service\n", 350, "/floor.slice/other.service"},
		{"0::/elsewhere\n", math.MaxInt64, ""},
		{"5:cpu:/box\n4:memory:/box\n0::/\n", 1200, "/box"},
		{"", math.MaxInt64, ""},
		{"nonsense\n0::../../floor.slice\n", 500, "/floor.slice"},
	} {
		if room, group := roomIn(root, c.groups); room != c.room || group != c.group {
			t.Errorf("%q: %d of %q, want %d of %q", c.groups, room, group, c.room, c.group)
		}
	}
}

// group makes a control group with a memory limit and says where a process joins it.
func group(t *testing.T, bytes int) string {
	t.Helper()
	for under, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(under, fmt.Sprintf("fire-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { // when its processes are gone
			for range 1000 {
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Errorf("%s stays", dir)
		})
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue // a folder like any other: this version of control groups is not here
		}
		if os.WriteFile(filepath.Join(dir, limit), []byte(fmt.Sprint(bytes)), 0) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("no control group with a memory limit can be made here")
	return ""
}

// The kernel would end a direct node that makes a ring for which its unit has no room.
func TestRingThatItsUnitHasNoRoomForIsRefusedAndNobodyEnds(t *testing.T) {
	socket := t.TempDir() + "/attach"
	b := start(t, "broker", socket, "", "", "FIRE_TEST_GROUP="+group(t, 48<<20)) // wide has 64 MiB
	start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	_, err := channel.OpenPublisher(t.Context(), channel.Options{Socket: socket, Channel: "wide", Service: "publisher"})
	if reason.Of(err, 0) != reason.RingUnavailable || strings.Count(err.Error(), "MemoryMax") != 1 || strings.Count(err.Error(), "wide") != 1 {
		t.Error(err)
	}
	b.until("event refused")
	if from := s.read(); s.read() <= from {
		t.Error("another channel stands still")
	}
}
