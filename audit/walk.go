package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"fire/audit/tlog"
)

func onesCount(n int64) int { return bits.OnesCount64(uint64(n)) }

// Fault is a place where a log is not what it should be.
type Fault struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Index  int64  `json:"index"` // of the first entry that is concerned
	Want   string `json:"want,omitempty"`
	Got    string `json:"got,omitempty"`
	Why    string `json:"why"`
	Kind   FaultKind
}

// FaultKind says how bad it is.
type FaultKind string

const (
	Tampered   FaultKind = "tampered"   // what was signed is not what is there
	Incomplete FaultKind = "incomplete" // something is missing, or not signed
	Unreadable FaultKind = "unreadable" // the disk says no, or a later version wrote it
)

func (f *Fault) Error() string {
	s := fmt.Sprintf("%s, offset %d, entry %d: %s", f.File, f.Offset, f.Index, f.Why)
	if f.Want != "" || f.Got != "" {
		s += fmt.Sprintf(": %s, and should be %s", f.Got, f.Want)
	}
	return s
}

// errZero is of a place where nothing was ever written.
var errZero = errors.New("nothing was written here")

// frames reads the frames of a segment, one after another, from its second block on. It never
// believes a length before its sum is right.
type frames struct {
	from interface {
		ReadAt(b []byte, at int64) (int, error)
	}
	size int64 // of the file
	at   int64 // of the next frame
	buf  []byte
	base int64 // offset of buf
}

const (
	frameBytesMax = frameBytes + 1<<16 - 1
	windowBytes   = 1 << 20
)

// next returns the frame at f.at, which is valid until the following call. It is io.EOF at the
// end of the file and errZero where only zeros are left of what a frame needs.
func (f *frames) next() (kind byte, body []byte, err error) {
	b, err := f.window(frameBytes)
	if err != nil {
		return 0, nil, err
	}
	if len(b) < frameBytes {
		if allZero(b) {
			return 0, nil, io.EOF
		}
		return 0, nil, errors.New("half a frame at the end of the file")
	}
	if binary.LittleEndian.Uint64(b) == 0 {
		return 0, nil, errZero
	}
	n := frameBytes + int(binary.LittleEndian.Uint16(b[2:]))
	if kind = b[0]; kind != frameEntry && kind != frameTrailer || b[1] != 0 {
		return 0, nil, fmt.Errorf("no frame begins with %02x %02x", b[0], b[1])
	}
	if b, err = f.window(n); err != nil {
		return 0, nil, err
	}
	if len(b) < n {
		return 0, nil, errors.New("a frame that goes beyond the end of the file")
	}
	b = b[:n]
	if got, want := frameSum(b), binary.LittleEndian.Uint32(b[4:]); got != want {
		return 0, nil, fmt.Errorf("a frame has the checksum %08x, and says %08x", got, want)
	}
	f.at += int64(n)
	return kind, b[frameBytes:], nil
}

// window is at least n bytes from f.at on, fewer only at the end of the file.
func (f *frames) window(n int) ([]byte, error) {
	if have := f.base + int64(len(f.buf)) - f.at; f.at >= f.base && have >= int64(n) {
		return f.buf[f.at-f.base:], nil
	}
	if cap(f.buf) == 0 {
		f.buf = make([]byte, 0, min(windowBytes, max(0, f.size-f.at)))
	}
	b := f.buf[:min(int64(cap(f.buf)), max(0, f.size-f.at))]
	m, err := f.from.ReadAt(b, f.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &readError{err}
	}
	f.buf, f.base = b[:m], f.at
	return f.buf, nil
}

// readError is the disk's own word, told apart from what it has given.
type readError struct{ err error }

func (e *readError) Error() string { return "it cannot be read: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// group is what a walk tells of a group when its trailer is reached.
type group struct {
	trailer
	offset int64 // of its first frame
	at     int64 // of its trailer
	end    int64 // behind it
	head   tlog.Head
}

// walk reads a segment from its first entry on, with the tree as it was before it, and holds
// every group against its own checkpoint's claim (signatures are the caller's to verify). The
// callbacks may be nil. It returns what is wrong, or nil at the end of what was written.
type walk struct {
	file   string
	frames frames
	tree   tlog.Frontier // after the last whole group
	end    int64         // of the last whole group
	groups int
	limit  int64 // groups from this index on are not the log's; 0: all are
	hasher tlog.Hasher

	entry func(index, offset int64, e []byte, leaf tlog.Hash) error
	group func(g *group) error

	leaves []tlog.Hash // of the group under way
}

// run walks up to the end, or to the first place that is not as it should be.
func (w *walk) run() (*Fault, error) {
	w.end = w.frames.at
	for {
		f, err := w.one()
		if f != nil || err != nil {
			return f, err
		}
		if w.frames.at < 0 {
			return nil, nil
		}
	}
}

// one walks one group; frames.at is -1 after the last.
func (w *walk) one() (*Fault, error) {
	start := w.frames.at
	if w.limit > 0 && w.tree.Size() >= w.limit {
		w.frames.at = -1
		return nil, nil
	}
	w.leaves = w.leaves[:0]
	next := w.tree.Size()
	for {
		offset := w.frames.at
		kind, body, err := w.frames.next()
		switch {
		case (err == io.EOF || err == errZero) && offset == start:
			w.frames.at = -1
			return nil, nil
		case err == io.EOF, err == errZero:
			return w.fault(Incomplete, offset, next, "a group has no end"), nil
		case err != nil:
			if _, disk := errors.AsType[*readError](err); disk {
				return w.fault(Unreadable, offset, next, err.Error()), nil
			}
			return w.fault(Tampered, offset, next, err.Error()), nil
		case kind == frameTrailer:
			return w.close(start, offset, body)
		}
		leaf := w.hasher.Leaf(body)
		w.leaves = append(w.leaves, leaf)
		if w.entry != nil {
			if err := w.entry(next, offset, body, leaf); err != nil {
				return nil, err
			}
		}
		next++
	}
}

// close holds a group against its trailer.
func (w *walk) close(start, offset int64, body []byte) (*Fault, error) {
	t, err := parseTrailer(body)
	if err != nil {
		return w.fault(Tampered, offset, w.tree.Size(), err.Error()), nil
	}
	if t.first != w.tree.Size() || int(t.count) != len(w.leaves) || int64(t.bytes) != offset-start || t.count == 0 {
		return w.differs(offset, fmt.Sprintf("%d entries from %d in %d bytes", t.count, t.first, t.bytes),
			fmt.Sprintf("%d entries from %d in %d bytes", len(w.leaves), w.tree.Size(), offset-start), "a group is not what its end says"), nil
	}
	head, err := tlog.Claimed(t.checkpoint)
	if err != nil {
		return w.fault(Tampered, offset, t.first, err.Error()), nil
	}
	tree := w.tree
	for _, leaf := range w.leaves {
		tree.Add(leaf, nil)
	}
	if head.Size != tree.Size() || head.Root != tree.Root() {
		return w.differs(offset, fmt.Sprintf("%d entries, root %v", head.Size, head.Root), fmt.Sprintf("%d entries, root %v", tree.Size(), tree.Root()),
			"the entries up to here are not those of the signed head"), nil
	}
	w.tree, w.end = tree, w.frames.at
	w.groups++
	if w.group != nil {
		return nil, w.group(&group{t, start, offset, w.frames.at, head})
	}
	return nil, nil
}

func (w *walk) fault(k FaultKind, offset, index int64, why string) *Fault {
	return &Fault{File: w.file, Offset: offset, Index: index, Why: why, Kind: k}
}

func (w *walk) differs(offset int64, want, got, why string) *Fault {
	return &Fault{File: w.file, Offset: offset, Index: w.tree.Size(), Want: want, Got: got, Why: why, Kind: Tampered}
}
