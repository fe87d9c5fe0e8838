package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit/tlog"
)

// Verdict is what a verification came to.
type Verdict string

const (
	Good         Verdict = "good"
	IsTampered   Verdict = "tampered"
	IsIncomplete Verdict = "incomplete"
	CannotTell   Verdict = "cannot_tell"
)

// Verification is what to verify, and by which keys.
type Verification struct {
	Disk  Disk
	Away  Disk            // where the last head lies besides; nil: nobody asks
	Known *tlog.Verifiers // the log's keys
	// Upto ends a verification of a log that grows: what is behind that head is not looked at.
	// nil: everything, and nothing may lie behind the last signed head.
	Upto *tlog.Head
	// Heads are some that the log is known to have signed: those of witnesses.
	Heads []tlog.Head
	// Progress is told how many entries have been read, of how many; nil: nobody is.
	Progress func(entries, of int64)
	Workers  int           // 0: one a core
	Pace     func(n int64) // is told of bytes that were read, and may wait; nil: as fast as it goes

	live *store // of a log that grows
}

// Verify reads the log again up to its newest head, while it grows.
func (s *store) Verify(ctx context.Context, v Verification) (*Report, error) {
	head, _ := s.Head()
	v.Disk, v.Upto, v.live = s.disk, &head, s
	return Verify(ctx, v)
}

// Report is what a verification has found.
type Report struct {
	Verdict  Verdict   `json:"verdict"`
	Origin   string    `json:"origin"`
	Minimum  int64     `json:"minimum"`
	Size     int64     `json:"size"`
	Root     string    `json:"root"`
	HeadAt   time.Time `json:"head_time"`
	Entries  int64     `json:"entries_read"`
	Groups   int64     `json:"groups_read"`
	Bytes    int64     `json:"bytes_read"`
	Segments int       `json:"segments"`
	Faults   []*Fault  `json:"faults,omitempty"` // by index; the first is the first bad one
	Notes    []string  `json:"notes,omitempty"`
	Elapsed  float64   `json:"elapsed_s"`
}

// faultsMax bounds what a report lists.
const faultsMax = 64

// Verify reads every byte of a log again: each entry's hash, each group's root and signature, the
// files of hashes, the minimum, the head that lies away. It needs nothing but the folder and the
// public keys. An error means that ctx has ended; what is wrong with the log is in the report.
func Verify(ctx context.Context, v Verification) (*Report, error) {
	start := time.Now()
	c := &check{v: v, ctx: ctx}
	c.report.Verdict = Good
	c.run()
	r := &c.report
	slices.SortStableFunc(r.Faults, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	for _, f := range r.Faults {
		switch f.Kind {
		case Tampered:
			r.Verdict = IsTampered
		case Incomplete:
			if r.Verdict != IsTampered {
				r.Verdict = IsIncomplete
			}
		case Unreadable:
			if r.Verdict == Good {
				r.Verdict = CannotTell
			}
		}
	}
	r.Elapsed = time.Since(start).Seconds()
	return r, ctx.Err()
}

// check is a verification under way.
type check struct {
	v   Verification
	ctx context.Context

	names   []string
	least   *minimum  // nil: nothing was ever pruned
	headers []*header // nil where one is not readable
	read    atomic.Int64
	total   int64

	mu     sync.Mutex
	report Report
}

func (c *check) fault(f *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.report.Faults) < faultsMax {
		c.report.Faults = append(c.report.Faults, f)
	}
}

func (c *check) note(format string, a ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, a...))
}

func (c *check) run() {
	if !c.list() {
		return
	}
	c.minimum()
	ends := c.segments()
	if c.ctx.Err() != nil {
		return
	}
	c.chain(ends)
	c.known()
}

// list reads the folder and the first block of each segment.
func (c *check) list() bool {
	all, err := c.v.Disk.List()
	if err != nil {
		c.fault(&Fault{File: ".", Kind: Unreadable, Why: err.Error()})
		return false
	}
	if c.least, err = (&opening{store: &store{disk: c.v.Disk}, known: c.v.Known}).minimum(); err != nil {
		if fault, ok := errors.AsType[*Fault](err); ok {
			c.fault(fault)
		}
	}
	names, gone := segmentsIn(all, c.least)
	for _, n := range names {
		if first, _, _ := parseSegmentName(n); c.v.Upto == nil || first == 0 || first < c.v.Upto.Size { // else begun meanwhile
			c.names = append(c.names, n)
		}
	}
	for _, n := range gone {
		c.note("%s lies below the log's minimum, and its removal was not finished", n)
	}
	for _, n := range all {
		_, _, segment := parseSegmentName(strings.TrimSuffix(n, squeezedSuffix))
		switch {
		case strings.HasPrefix(n, sparePrefix):
			c.spare(n)
		case segment, strings.HasSuffix(n, treeSuffix), n == minimumName, strings.HasSuffix(n, ".next"):
		case n == holdsName:
			c.holds()
		default:
			c.note("%s is not the log's and was not read", n)
		}
	}
	if len(c.names) == 0 {
		c.fault(&Fault{File: ".", Kind: Incomplete, Why: "there is no segment"})
		return false
	}
	c.report.Segments = len(c.names)
	for _, n := range c.names {
		h, f := c.header(n)
		if f != nil {
			c.fault(f)
		} else if c.report.Origin == "" {
			c.report.Origin = h.origin
		}
		c.headers = append(c.headers, h)
	}
	return true
}

func (c *check) header(name string) (*header, *Fault) {
	first, number, _ := parseSegmentName(name)
	f, err := openSegment(c.v.Disk, name)
	if err != nil {
		return nil, &Fault{File: name, Index: first, Kind: faultOf(err), Why: err.Error()}
	}
	defer f.Close()
	if size, err := f.Size(); err == nil {
		c.total += size
	}
	b := make([]byte, headerBytes)
	if n, err := f.ReadAt(b, 0); n < headerBytes {
		return nil, &Fault{File: name, Index: first, Kind: Incomplete, Why: fmt.Sprintf("its first block cannot be read: %v", err)}
	}
	h, err := parseHeader(b)
	switch {
	case err != nil:
		return nil, &Fault{File: name, Index: first, Kind: Tampered, Why: err.Error()}
	case h.first() != first || h.number != number:
		return nil, &Fault{File: name, Index: first, Kind: Tampered, Why: fmt.Sprintf("it says that it is segment %d from entry %d", h.number, h.first())}
	case c.report.Origin != "" && h.origin != c.report.Origin:
		return nil, &Fault{File: name, Index: first, Kind: Tampered, Why: fmt.Sprintf("it is of the log %q, and those before it of %q", h.origin, c.report.Origin)}
	}
	return h, nil
}

// spare checks that a segment that was made ahead holds nothing.
func (c *check) spare(name string) {
	if c.v.Upto != nil {
		return // it may be in use by now
	}
	f, err := c.v.Disk.Open(name)
	if err != nil {
		c.fault(&Fault{File: name, Kind: Unreadable, Why: err.Error()})
		return
	}
	defer f.Close()
	size, _ := f.Size()
	if at := firstNonZero(f, 0, size); at >= 0 {
		c.fault(&Fault{File: name, Offset: at, Kind: Tampered, Why: "a segment that was only made ahead holds something"})
	}
}

// holds checks that those in force are as they were signed.
func (c *check) holds() {
	b, err := readWhole(c.v.Disk, holdsName, wholeBytesMax)
	if err == nil {
		_, err = c.v.Known.OpenText(b)
	}
	if err != nil {
		c.fault(&Fault{File: holdsName, Kind: Tampered, Why: err.Error()})
	}
}

// minimum checks that nothing is missing before the oldest segment.
func (c *check) minimum() {
	h := c.headers[0]
	if h == nil {
		return
	}
	c.report.Minimum = h.first()
	if c.least != nil && c.least.Origin != h.origin {
		c.fault(&Fault{File: minimumName, Kind: Tampered, Why: fmt.Sprintf("it is of the log %q", c.least.Origin)})
		return
	}
	o := opening{store: &store{disk: c.v.Disk}, known: c.v.Known}
	oldest := &part{segment: &segment{name: c.names[0], before: h.before}}
	if fault, ok := errors.AsType[*Fault](o.oldest(oldest, c.least)); ok {
		c.fault(fault)
	}
}

// end is where a segment's part of the log ends.
type end struct {
	tree  tlog.Frontier
	head  tlog.Head
	time  int64
	whole bool // read without a fault
}

// segments reads all of them, several at once: each says what the tree was before it.
func (c *check) segments() []end {
	ends := make([]end, len(c.names))
	next := atomic.Int64{}
	workers := c.v.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var all sync.WaitGroup
	for range min(workers, len(c.names)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(c.names)) && c.ctx.Err() == nil; i = next.Add(1) - 1 {
				if c.headers[i] != nil {
					ends[i] = c.segment(int(i))
				}
			}
		})
	}
	all.Wait()
	return ends
}

// chain checks that each segment goes on where the one before it has ended.
func (c *check) chain(ends []end) {
	for i := 1; i < len(ends); i++ {
		before, h := ends[i-1], c.headers[i]
		if h == nil || c.headers[i-1] == nil || !before.whole {
			continue
		}
		switch first := h.first(); {
		case before.tree.Size() < first:
			c.fault(&Fault{File: c.names[i], Index: before.tree.Size(), Kind: Incomplete,
				Why: fmt.Sprintf("entries %d to %d are missing: they lie in no segment", before.tree.Size(), first-1)})
		case before.tree.Root() != h.before.Root():
			c.fault(&Fault{File: c.names[i], Index: first, Kind: Tampered, Want: before.tree.Root().String(), Got: h.before.Root().String(),
				Why: "what its first block says of the tree before it is not so"})
		}
	}
	for i := len(ends) - 1; i >= 0; i-- {
		if e := ends[i]; e.head.Origin != "" {
			c.report.Size, c.report.Root, c.report.HeadAt = e.head.Size, e.head.Root.String(), timeOf(e.time)
			return
		}
	}
}

// known holds the log against heads that it has signed, wherever they were kept.
func (c *check) known() {
	heads := slices.Clone(c.v.Heads)
	if c.v.Away != nil {
		heads = append(heads, c.awayHeads()...)
	}
	if upto := c.v.Upto; upto != nil {
		switch r := &c.report; {
		case r.Size < upto.Size && len(r.Faults) == 0:
			c.fault(&Fault{File: c.names[len(c.names)-1], Index: r.Size, Kind: Incomplete, Why: fmt.Sprintf("the log ends here, and has signed a head of %d entries", upto.Size)})
		case r.Size == upto.Size && r.Root != upto.Root.String():
			c.fault(&Fault{File: c.names[len(c.names)-1], Index: r.Size, Kind: Tampered, Want: upto.Root.String(), Got: r.Root, Why: "the entries up to here are not those of the signed head"})
		}
		if c.v.live == nil {
			return // what lies behind it grows: nobody can tell it from a torn end
		}
	}
	if len(heads) == 0 || len(c.report.Faults) > 0 { // a log that is damaged does not lead to its heads either
		return
	}
	if c.v.live != nil {
		c.holdAgainst(c.v.live, heads)
		return
	}
	s := &store{disk: c.v.Disk, origin: c.report.Origin}
	o := opening{store: s, known: c.v.Known}
	if err := o.run(); err != nil {
		if f, ok := errors.AsType[*Fault](err); ok && len(c.report.Faults) == 0 {
			c.fault(f)
		}
		return
	}
	defer s.closeParts()
	c.holdAgainst(s, heads)
}

func (c *check) holdAgainst(s *store, heads []tlog.Head) {
	for _, h := range heads {
		if h.Origin != s.origin {
			c.fault(&Fault{File: awayName, Kind: Tampered, Why: fmt.Sprintf("a head that was kept is of the log %q", h.Origin)})
			continue
		}
		if fault, ok := errors.AsType[*Fault](s.holdAgainst(h)); ok {
			c.fault(fault)
		}
	}
}

// awayHeads reads both blocks of the head that lies away.
func (c *check) awayHeads() (out []tlog.Head) {
	f, err := c.v.Away.Open(awayName)
	if errors.Is(err, fs.ErrNotExist) {
		c.fault(&Fault{File: awayName, Kind: Incomplete, Why: "the head that lies away is not there"})
		return nil
	}
	if err != nil {
		c.fault(&Fault{File: awayName, Kind: Unreadable, Why: err.Error()})
		return nil
	}
	defer f.Close()
	a := awayHead{file: f}
	for turn := range int64(2) {
		b := make([]byte, awayBlockBytes)
		if n, err := f.ReadAt(b, turn*awayBlockBytes); n < len(b) {
			c.fault(&Fault{File: awayName, Offset: turn * awayBlockBytes, Kind: Unreadable, Why: fmt.Sprint("a block cannot be read: ", err)})
			continue
		}
		if allZero(b) {
			continue
		}
		note, err := a.read(turn)
		var h tlog.Head
		if err == nil {
			h, err = c.v.Known.Open(note)
		}
		if err == nil && !allZero(b[awayUsed(note):]) {
			err = errors.New("bytes that do not belong there")
		}
		if err != nil {
			c.fault(&Fault{File: awayName, Offset: turn * awayBlockBytes, Kind: Tampered, Why: err.Error()})
			continue
		}
		out = append(out, h)
	}
	return out
}

// segment reads one segment whole, with its .tree file.
func (c *check) segment(i int) (e end) {
	name, h := c.names[i], c.headers[i]
	f, err := openSegment(c.v.Disk, name)
	if err != nil {
		c.fault(&Fault{File: name, Index: h.first(), Kind: faultOf(err), Why: err.Error()})
		return e
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		c.fault(&Fault{File: name, Index: h.first(), Kind: Unreadable, Why: err.Error()})
		return e
	}
	s := &segmentCheck{check: c, name: name, part: part{segment: &segment{name: name, before: h.before}}}
	s.filler = newFiller(&s.part)
	s.tree(i+1 < len(c.names))
	w := walk{file: name, frames: frames{from: f, size: size, at: headerBytes}, tree: h.before, entry: s.entry, group: s.group}
	if i+1 < len(c.names) && c.headers[i+1] != nil {
		w.limit = c.headers[i+1].first()
	}
	if c.v.Upto != nil && (w.limit == 0 || c.v.Upto.Size < w.limit) {
		w.limit = max(1, c.v.Upto.Size)
	}
	fault, err := w.run()
	if err != nil {
		return e // ctx has ended
	}
	e = end{tree: w.tree, head: s.head, time: s.time, whole: fault == nil}
	if fault != nil {
		s.exact(fault)
		c.fault(fault)
	} else if at := firstNonZero(f, w.end, size); at >= 0 && c.v.Upto == nil {
		why := "bytes behind the last signed head: of a group that was under way, which the next start cuts, or somebody's"
		if w.limit > 0 {
			why = "bytes behind the segment's last group: of a sync that failed, which the next start cuts, or somebody's"
		}
		c.fault(&Fault{File: name, Offset: at, Index: w.tree.Size(), Kind: Incomplete, Why: why})
	}
	if fault == nil && (c.v.Upto == nil || w.tree.Size() < c.v.Upto.Size) { // else it holds more than was read
		s.compareTree()
	}
	c.mu.Lock()
	c.report.Groups += int64(w.groups)
	c.report.Entries += s.entries
	c.report.Bytes += w.end
	c.mu.Unlock()
	return e
}

// segmentCheck is the reading of one segment.
type segmentCheck struct {
	*check
	name    string
	part    part
	filler  *filler
	leaves  []byte // of the .tree file, to name the very entry
	treeRaw []byte
	head    tlog.Head
	time    int64
	entries int64
	bytes   int64
}

func (s *segmentCheck) entry(index, offset int64, e []byte, leaf tlog.Hash) error {
	s.entries++
	s.bytes += int64(len(e))
	if s.entries%1024 == 0 {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if s.v.Pace != nil {
			s.v.Pace(s.bytes)
			s.bytes = 0
		}
		if s.v.Progress != nil {
			s.v.Progress(s.read.Add(1024), s.total/300)
		}
	}
	return s.filler.entry(index, offset, e, leaf)
}

func (s *segmentCheck) group(g *group) error {
	head, err := s.v.Known.Open(g.checkpoint)
	if err != nil {
		s.fault(&Fault{File: s.name, Offset: g.at, Index: g.first, Kind: Tampered, Why: err.Error()})
	} else {
		s.head, s.time = head, g.time
	}
	return s.filler.group(g)
}

// tree reads the segment's .tree file. The newest segment has none.
func (s *segmentCheck) tree(due bool) {
	b, err := readWhole(s.v.Disk, treeName(s.name), 1<<31)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if due && s.v.Upto == nil {
			s.note("%s is not there; it is made again by the next start", treeName(s.name))
		}
	case err != nil:
		s.fault(&Fault{File: treeName(s.name), Index: s.part.first(), Kind: Unreadable, Why: err.Error()})
	default:
		s.treeRaw = b
		if n := len(b) - 4; n >= treeHeadBytes && crc32.Checksum(b[:n], castagnoli) == binary.LittleEndian.Uint32(b[n:]) {
			s.leaves = b[treeHeadBytes:n]
		}
	}
}

// exact names the entry of a group that was changed together with its checksum: the .tree file
// still knows the hashes.
func (s *segmentCheck) exact(f *Fault) {
	if f.Kind != Tampered {
		return
	}
	base := s.part.next()
	for i, leaf := range s.filler.work.leaves {
		at := int(base-s.part.first()) + i
		if (at+1)*tlog.HashBytes > len(s.leaves) {
			return
		}
		if was := tlog.Hash(s.leaves[at*tlog.HashBytes:][:tlog.HashBytes]); was != leaf {
			f.Index, f.Want, f.Got = base+int64(i), was.String(), leaf.String()
			f.Offset = int64(s.filler.work.offsets[i])
			f.Why = "the entry is not the one that was signed"
			return
		}
	}
}

// compareTree holds the .tree file against what the segment gives.
func (s *segmentCheck) compareTree() {
	if s.treeRaw == nil {
		return
	}
	want := s.part.appendTree(nil)
	if bytes.Equal(want, s.treeRaw) {
		return
	}
	at := 0
	for at < min(len(want), len(s.treeRaw)) && want[at] == s.treeRaw[at] {
		at++
	}
	s.fault(&Fault{File: treeName(s.name), Offset: int64(at), Index: s.part.first(), Kind: Tampered, Why: "the file of hashes is not that of the segment; the segment itself is as it was signed"})
}

// firstNonZero is the offset of the first byte in [from, to) that is not zero, -1 for none.
func firstNonZero(f File, from, to int64) int64 {
	buf := make([]byte, min(windowBytes, max(0, to-from)))
	for from < to {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if i := slices.IndexFunc(buf[:n], func(b byte) bool { return b != 0 }); i >= 0 {
			return from + int64(i)
		}
		if n == 0 || err != nil {
			return -1
		}
		from += int64(n)
	}
	return -1
}
