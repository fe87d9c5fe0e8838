package direct

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// FoundRing is a ring as the processes that hold its memory have it: its counters live there,
// so that they can be read while the direct node is stopped, hangs or is gone.
type FoundRing struct {
	Channel    string         `json:"channel"`
	Discipline string         `json:"discipline"` // broadcast, or lane: orders and rpc
	Epoch      uint64         `json:"epoch"`
	Lines      uint64         `json:"lines"`
	Created    time.Time      `json:"created"`
	Stat       shm.WriterStat `json:"stat"`
	HeldBy     []Holder       `json:"held_by"`
	Readers    []FoundReader  `json:"readers"`
	inode      inode          // of the memory
}

// FoundReader is a reader's cursor.
type FoundReader struct {
	Stat   shm.ReaderStat `json:"stat"`
	Lag    uint64         `json:"lag_lines"`
	P50    time.Duration  `json:"latency_p50_ns"`
	P99    time.Duration  `json:"latency_p99_ns"`
	HeldBy []Holder       `json:"held_by"`
}

// Holder is a process that has a memory open.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

type inode struct{ dev, ino uint64 }

// foundMax bounds the memories that one search looks at.
const foundMax = 65536

// memfdPrefix is how the kernel names memories of rings, cursors and gates.
const memfdPrefix = "/memfd:fire-"

// openMemories tells of each of them that a process has open: the path by which it can be opened
// again, and the name that its maker has given it, without fire-.
func openMemories(dir string, each func(m inode, path, name string)) error {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		path := filepath.Join(dir, "fd", fd.Name())
		link, err := os.Readlink(path)
		name, ok := strings.CutPrefix(link, memfdPrefix)
		var st unix.Stat_t
		if err == nil && ok && unix.Stat(path, &st) == nil {
			each(inode{st.Dev, st.Ino}, path, strings.TrimSuffix(name, " (deleted)"))
		}
	}
	return err
}

func commandOf(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, "comm")) // of a process that has just ended there is none
	return strings.TrimSpace(string(b))
}

// memoryFile is one memory and who holds it.
type memoryFile struct {
	path   string // of one descriptor, by which it is opened
	name   string // that its maker has given it, without fire-
	heldBy []Holder
}

// Find looks through the descriptors of the processes below proc ("/proc") and reads the rings
// among their memories. Unseen counts processes that this user may not look into. It maps
// read-only, and nobody on the path notices.
func Find(proc string) (rings []FoundRing, unseen int, err error) {
	files, unseen, err := memories(proc)
	if err != nil {
		return nil, unseen, err
	}
	rings = []FoundRing{}
	for id, f := range files {
		if r, ok := foundRing(f); ok {
			r.inode = id
			rings = append(rings, r)
		}
	}
	slices.SortFunc(rings, func(x, y FoundRing) int {
		return cmp.Or(cmp.Compare(x.Channel, y.Channel), cmp.Compare(x.Epoch, y.Epoch))
	})
	for i := range rings {
		rings[i].findReaders(files)
	}
	return rings, unseen, nil
}

// memories lists every memory that some process has open.
func memories(proc string) (map[inode]*memoryFile, int, error) {
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return nil, 0, fmt.Errorf("processes of this host: %w", err)
	}
	out, unseen, opened := map[inode]*memoryFile{}, 0, 0
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, d.Name())
		err = openMemories(dir, func(m inode, path, name string) {
			opened++
			if out[m] == nil {
				out[m] = &memoryFile{path: path, name: name}
			}
			if h := (Holder{pid, commandOf(dir)}); !slices.Contains(out[m].heldBy, h) {
				out[m].heldBy = append(out[m].heldBy, h)
			}
		})
		if errors.Is(err, os.ErrPermission) {
			unseen++
		}
		if opened > foundMax {
			return nil, unseen, fmt.Errorf("the processes of this host have more than %d memories open", foundMax)
		}
	}
	return out, unseen, nil
}

// foundRing reads a memory if it is a ring that has been sealed.
func foundRing(f *memoryFile) (r FoundRing, ok bool) {
	if !strings.HasPrefix(f.name, "ring-") {
		return r, false
	}
	file, err := os.Open(f.path)
	if err != nil {
		return r, false
	}
	defer file.Close()
	v, err := shm.OpenView(file)
	if err != nil {
		return r, false
	}
	defer v.Close()
	i := v.Info()
	r = FoundRing{Channel: i.Name, Discipline: "lane", Epoch: i.Epoch, Lines: i.Lines, Created: i.Created, Stat: v.Stat(), HeldBy: f.heldBy, Readers: []FoundReader{}}
	if i.Discipline == shm.Broadcast {
		r.Discipline = "broadcast"
	}
	return r, true
}

func (r *FoundRing) findReaders(files map[inode]*memoryFile) {
	for id, f := range files {
		if !strings.HasPrefix(f.name, "cursor-"+r.Channel) || id == r.inode {
			continue
		}
		file, err := os.Open(f.path)
		if err != nil {
			continue
		}
		if v, err := shm.OpenCursorView(file, r.Epoch); err == nil {
			s := v.Stat()
			r.Readers = append(r.Readers, FoundReader{Stat: s, Lag: r.Stat.Position - min(r.Stat.Position, s.Position),
				P50: s.Latency.Quantile(0.5), P99: s.Latency.Quantile(0.99), HeldBy: f.heldBy})
			_ = v.Close()
		}
		_ = file.Close()
	}
	slices.SortFunc(r.Readers, func(x, y FoundReader) int { return cmp.Compare(x.HeldBy[0].PID, y.HeldBy[0].PID) })
}
