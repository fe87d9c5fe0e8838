package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Facts are what a page says about its process.
type Facts struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started_at"`
	Role    string    `json:"role"`
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Cells   int       `json:"cells"`
	Used    int       `json:"cells_used"`
	Spilled uint64    `json:"edges_overflowed_total"` // calls of Edge that got the overflow cell
}

// Page is the writer's side. One per process and file.
type Page struct {
	// constant
	path string
	file *os.File // nil: anonymous memory
	mem  []byte

	// guarded by mu
	mu     sync.Mutex
	edges  map[EdgeKey]*Edge
	used   int
	closed bool
}

// Create makes the page at path with room for that many edges and the overflow
// cell, replacing what an ended process has left there in one step: a reader of the old
// one keeps the old one. The page of a process that lives is an error. The file's mode is 0640. An empty path gives a page in memory
// only, which no other process can read.
//
// The mapping stays for the life of the process; see the package comment.
func Create(path string, cells int) (*Page, error) {
	if cells < 1 || cells >= CellsMax {
		return nil, fmt.Errorf("meter page %s: %d cells, want 1 to %d", path, cells, CellsMax-1)
	}
	cells++ // the overflow cell
	size := headerBytes + cells*cellBytes
	if path == "" {
		mem, err := mapAnonymous(size)
		if err != nil {
			return nil, fmt.Errorf("meter page in memory, %d bytes: %w", size, err)
		}
		return newPage("", nil, mem, cells), nil
	}
	if pid, alive := holder(path); alive {
		return nil, fmt.Errorf("meter page %s: another fire, process %d, counts there; stop it, or give this one another name", path, pid)
	}
	f, mem, err := createFile(path, size)
	if err != nil {
		return nil, fmt.Errorf("meter page %s, %d bytes: %w", path, size, err)
	}
	p := newPage(path, f, mem, cells)
	if err := os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		f.Close()
		unmap(mem) // no Edge has been handed out yet
		return nil, fmt.Errorf("meter page %s: %w", path, err)
	}
	return p, nil
}

func createFile(path string, size int) (*os.File, []byte, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // O_EXCL, 0600
	if err != nil {
		return nil, nil, err
	}
	mem, err := func() ([]byte, error) {
		if err := f.Chmod(0o640); err != nil {
			return nil, err
		}
		if err := hold(f); err != nil {
			return nil, err
		}
		if err := f.Truncate(int64(size)); err != nil {
			return nil, err
		}
		if err := reserve(f, 0, headerBytes+cellBytes); err != nil {
			return nil, err
		}
		return mapShared(f, size)
	}()
	if err != nil {
		os.Remove(f.Name())
		f.Close()
		return nil, nil, err
	}
	return f, mem, nil
}

// newPage writes the header; cell 0 is the overflow cell and in use from the start.
func newPage(path string, f *os.File, mem []byte, cells int) *Page {
	p := &Page{path: path, file: f, mem: mem, edges: map[EdgeKey]*Edge{}, used: 1}
	p.writeKey(0, OverflowKey)
	p.word(offVersion).Store(LayoutVersion)
	p.word(offCells).Store(uint64(cells))
	p.word(offCellSize).Store(cellBytes)
	p.word(offPID).Store(uint64(os.Getpid()))
	p.word(offStart).Store(uint64(time.Now().UnixNano()))
	p.word(offUsed).Store(1)
	p.word(offHash).Store(layoutHash())
	p.word(offMagic).Store(magic)
	return p
}

// Describe writes who this process is into the header. Call it once, before the
// page is announced to anybody.
func (p *Page) Describe(role, node, version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	putName(p.mem[offRole:], role)
	putName(p.mem[offNode:], node)
	putName(p.mem[offRelease:], version)
}

// Path is where the page lives; "" for a page in memory.
func (p *Page) Path() string { return p.path }

// Edge returns the cell of k, making it when it is new. When the page or the disk
// is full it returns the shared overflow cell and counts that. It is the slow path:
// look an edge up once per connection and keep it.
func (p *Page) Edge(k EdgeKey) *Edge {
	k = EdgeKey{cut(k.Src), cut(k.Dst), cut(k.Side)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.edges[k]; e != nil {
		return e
	}
	off := headerBytes + p.used*cellBytes
	if off+cellBytes > len(p.mem) || p.reserve(off) != nil {
		p.word(offSpilled).Add(1)
		return p.cell(0)
	}
	p.writeKey(p.used, k)
	e := p.cell(p.used)
	p.edges[k] = e
	p.used++
	p.word(offUsed).Store(uint64(p.used)) // publishes the key
	return e
}

// Snapshot copies every cell in use. The overflow cell is shown once it was used.
func (p *Page) Snapshot() []EdgeSnapshot {
	p.mu.Lock()
	used := p.used
	p.mu.Unlock()
	buf := make([]byte, cellBytes)
	out := make([]EdgeSnapshot, 0, used)
	for n := range used {
		p.copyCell(n, buf)
		if s := decodeCell(buf); n > 0 || s.touched() {
			out = append(out, s)
		}
	}
	return out
}

// Facts returns the header's facts.
func (p *Page) Facts() Facts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return decodeFacts(p.mem[:headerBytes], len(p.mem))
}

// Close removes the file, so that no reader takes it for a living process. Edges
// stay usable: the mapping is kept. A second Close does nothing.
func (p *Page) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil || p.closed {
		return nil
	}
	p.closed = true
	ours, err := p.file.Stat()
	there, gone := os.Stat(p.path)
	err = errors.Join(err, p.file.Close())
	if gone != nil || !os.SameFile(ours, there) {
		return err // another's stands there by now
	}
	if e := os.Remove(p.path); e != nil && !os.IsNotExist(e) && err == nil {
		err = e
	}
	return err
}

func (p *Page) reserve(off int) error {
	if p.file == nil {
		return nil
	}
	return reserve(p.file, int64(off), cellBytes)
}

// word returns one header word.
//
// Proof: off is one of the constants of layout.go, all multiples of 8 below
// headerBytes <= len(p.mem); p.mem is a mapping and so starts on a page; it is
// never unmapped while p lives.
func (p *Page) word(off int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&p.mem[off]))
}

// cell returns cell n in place.
//
// Proof: the slice expression panics unless the whole cell lies in the mapping;
// headerBytes and cellBytes are multiples of 128 and a mapping starts on a page,
// so every word of Edge is aligned; TestLayoutMatchesTheDocument holds Edge's size
// and offsets against layout.go; the memory is not Go's, so the collector neither
// moves nor frees it.
func (p *Page) cell(n int) *Edge {
	off := headerBytes + n*cellBytes
	return (*Edge)(unsafe.Pointer(unsafe.SliceData(p.mem[off : off+cellBytes : off+cellBytes])))
}

func (p *Page) writeKey(n int, k EdgeKey) {
	cell := p.mem[headerBytes+n*cellBytes:]
	putName(cell[cellSrc:], k.Src)
	putName(cell[cellDst:], k.Dst)
	putName(cell[cellSide:], k.Side)
}

// copyCell copies cell n word by word, each word atomically.
func (p *Page) copyCell(n int, buf []byte) {
	off := headerBytes + n*cellBytes
	copy(buf[:cellOpened], p.mem[off:off+cellOpened]) // the key does not change once counted
	for at := cellOpened; at < cellBytes; at += 8 {
		// Proof: off and at are multiples of 8 and at < cellBytes, inside the mapping.
		w := (*atomic.Uint64)(unsafe.Pointer(&p.mem[off+at]))
		binary.NativeEndian.PutUint64(buf[at:], w.Load())
	}
}

func cut(s string) string { return s[:min(len(s), nameMax)] }

// putName writes the length last, so that a reader never shows half a name as whole.
func putName(b []byte, s string) {
	s = cut(s)
	b[0] = 0
	copy(b[1:nameBytes], s)
	b[0] = byte(len(s))
}
