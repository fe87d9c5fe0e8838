package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Reader looks at another process's page. It believes nothing in it: no length or
// offset of the file is used before it is held against the layout and the file's
// size, and names are shown with everything but printable ASCII replaced.
type Reader struct {
	path string
	file *os.File
}

// Open opens a page read-only and checks that it is one of this layout.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("meter page: %w", err)
	}
	r := &Reader{path: path, file: f}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("meter page %s: not a regular file", path)
	}
	if _, _, err := r.header(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// Facts reads the header's facts.
func (r *Reader) Facts() (Facts, error) {
	head, size, err := r.header()
	if err != nil {
		return Facts{}, err
	}
	return decodeFacts(head, size), nil
}

// Snapshot reads every cell in use.
func (r *Reader) Snapshot() ([]EdgeSnapshot, error) {
	head, size, err := r.header()
	if err != nil {
		return nil, err
	}
	return readCells(r.file, decodeFacts(head, size).Used)
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

func (r *Reader) header() ([]byte, int, error) {
	info, err := r.file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("meter page: %w", err)
	}
	head := make([]byte, headerBytes)
	if _, err := r.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("meter page: %w", err)
	}
	size := int(min(info.Size(), headerBytes+CellsMax*cellBytes))
	if err := checkHeader(head, size); err != nil {
		return nil, 0, fmt.Errorf("meter page %s: %w", r.path, err)
	}
	return head, size, nil
}

// Alive tells whether the process that writes the page still runs; also one that is stopped
// does.
func (r *Reader) Alive() bool { return held(r.file) }

// holder is the process that writes the page at path, if it lives.
func holder(path string) (pid int, alive bool) {
	r, err := Open(path)
	if err != nil {
		return 0, false
	}
	defer r.Close()
	if !r.Alive() {
		return 0, false
	}
	f, err := r.Facts()
	if err != nil {
		return 0, true
	}
	return f.PID, true
}

func checkHeader(head []byte, size int) error {
	switch at := binary.NativeEndian.Uint64; {
	case size < headerBytes+cellBytes:
		return fmt.Errorf("%d bytes are too few for a page", size)
	case at(head[offMagic:]) != magic:
		return errors.New("not a meter page")
	case at(head[offVersion:]) != LayoutVersion:
		return fmt.Errorf("layout version %d, this program reads %d; use the fire that wrote it",
			at(head[offVersion:]), LayoutVersion)
	case at(head[offHash:]) != layoutHash():
		return fmt.Errorf("layout hash %016x, this program reads %016x; use the fire that wrote it",
			at(head[offHash:]), layoutHash())
	}
	return nil
}

// decodeFacts clamps both counts to what a file of that size can hold.
func decodeFacts(head []byte, size int) Facts {
	at := func(off int) uint64 { return binary.NativeEndian.Uint64(head[off:]) }
	room := uint64(max(size-headerBytes, 0) / cellBytes)
	cells := min(at(offCells), room)
	return Facts{
		PID:     int(int32(at(offPID))),
		Started: time.Unix(0, int64(at(offStart))),
		Role:    getName(head[offRole:]),
		Node:    getName(head[offNode:]),
		Version: getName(head[offRelease:]),
		Cells:   int(cells),
		Used:    int(min(at(offUsed), cells)),
		Spilled: at(offSpilled),
	}
}

func readCells(src io.ReaderAt, used int) ([]EdgeSnapshot, error) {
	var out []EdgeSnapshot
	buf := make([]byte, cellBytes)
	for n := range used {
		if _, err := src.ReadAt(buf, int64(headerBytes+n*cellBytes)); err != nil {
			return nil, fmt.Errorf("meter page: cell %d: %w", n, err)
		}
		if s := decodeCell(buf); n > 0 || s.touched() {
			out = append(out, s)
		}
	}
	return out, nil
}

// decodeCell reads a copy of one cell; b is cellBytes long.
func decodeCell(b []byte) EdgeSnapshot {
	at := func(off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }
	return EdgeSnapshot{
		EdgeKey:       EdgeKey{getName(b[cellSrc:]), getName(b[cellDst:]), getName(b[cellSide:])},
		Opened:        at(cellOpened),
		Closed:        at(cellClosed),
		Refused:       at(cellRefused),
		Active:        int64(at(cellActive)),
		Requests:      at(cellRequests),
		Errors:        at(cellErrors),
		BytesOut:      at(cellOut),
		BytesIn:       at(cellIn),
		LastUnixNanos: int64(at(cellLast)),
		Reasons:       decodeReasons(b[cellReasons : cellReasons+16*reasonSlots]),
		Latency:       decodeHist(b[cellLatency : cellLatency+histBuckets+8*bucketCount]),
		Connect:       decodeHist(b[cellConnect : cellConnect+histBuckets+8*bucketCount]),
	}
}

func decodeReasons(b []byte) map[uint16]uint64 {
	var m map[uint16]uint64
	for ; len(b) >= 16; b = b[16:] {
		code, n := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
		if code == 0 || code > ReasonOther+1 || n == 0 {
			continue
		}
		if m == nil {
			m = map[uint16]uint64{}
		}
		m[uint16(code-1)] = addSat(m[uint16(code-1)], n)
	}
	return m
}

func decodeHist(b []byte) HistSnapshot {
	at := func(off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }
	s := HistSnapshot{under: at(histUnder), over: at(histOver), overSum: at(histOverSum)}
	for i := range bucketCount {
		if n := at(histBuckets + 8*i); n != 0 {
			s.cells = append(s.cells, bucketN{uint16(i), n})
		}
	}
	return s
}

func (s *EdgeSnapshot) touched() bool {
	return s.Opened|s.Closed|s.Refused|s.Requests|s.Errors|s.BytesOut|s.BytesIn != 0 || s.Active != 0 ||
		len(s.Reasons) > 0 || s.Latency.Count() > 0 || s.Connect.Count() > 0
}

// getName reads a name field; a length beyond the field is cut.
func getName(b []byte) string {
	name := make([]byte, min(int(b[0]), nameMax))
	for i := range name {
		if name[i] = b[1+i]; name[i] < 0x20 || name[i] > 0x7e {
			name[i] = '?'
		}
	}
	return string(name)
}
