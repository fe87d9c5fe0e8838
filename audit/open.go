package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// Found is what opening a log has found and done.
type Found struct {
	Size     int64  // entries of the newest signed head
	CutBytes int64  // of a group that a crash had left half written, and nobody was told of
	CutFile  string // where
	Rebuilt  int    // .tree files that were missing or wrong
}

// Open reads what is in the folder and goes on behind its last signed head. Bytes behind that are
// of a group that nobody was told of, and are cut; anything else that is not as it should be is a
// *Fault, and the log does not start: it is evidence. It starts nothing.
func Open(cfg Config, deps Deps) (*Log, *Found, error) {
	if len(deps.Keys.Signing) == 0 || deps.Keys.Signing[0].Origin() != cfg.Origin || len(cfg.Origin) > originBytesMax {
		return nil, nil, fmt.Errorf("audit: log %q has no key of its name", cfg.Origin)
	}
	known, err := tlog.NewVerifiers(deps.Keys.Known...)
	if err != nil {
		return nil, nil, err
	}
	l := &Log{cfg: cfg, deps: deps, wake: make(chan struct{}, 1), spare: newSpare(deps.Disk, cfg.SegmentBytes), sealed: make(chan *segment, sealedMax)}
	l.disk, l.origin = deps.Disk, cfg.Origin
	l.inbox = newInbox(l.poke)
	if l.deps.Stamp == nil {
		l.deps.Stamp = func() (int64, uint32, entry.Sync, entry.ClockSource) {
			return deps.Now().UnixNano(), entry.BoundUnknown, entry.SyncUnknown, entry.ClockUnknown
		}
	}
	l.capture = newCapture(cfg.Rings, cfg.RingBytes, deps.Base, l.deps.Stamp, l.poke)
	l.keys.Store(deps.Keys)
	l.encoder.persons = deps.Persons
	o := opening{store: &l.store, known: known, mend: true}
	if err := o.run(); err != nil {
		return nil, nil, errors.Join(err, l.closeParts())
	}
	l.number, l.tree = o.number, o.tree
	if err := l.openAway(known); err != nil {
		return nil, nil, errors.Join(err, l.closeParts())
	}
	o.found.Size = l.head.Size
	l.State.Durable.Store(l.head.Size)
	l.State.signed.Store(o.signed)
	if n := len(l.parts); n > 0 && l.parts[n-1].tree == nil {
		l.current, l.used = l.parts[n-1].segment, l.parts[n-1].end
	}
	l.spare.wanted()
	return l, &o.found, nil
}

// openAway holds the log against the head that lies away.
func (l *Log) openAway(known *tlog.Verifiers) error {
	away, note, err := openAway(l.deps.Away, l.origin)
	if err != nil {
		return err
	}
	l.away = away
	if note == nil {
		return nil
	}
	head, err := known.Open(note)
	if err == nil {
		err = l.holdAgainst(head)
	}
	if err != nil {
		return errors.Join(err, away.file.Close())
	}
	return nil
}

// holdAgainst refuses a log that is shorter than a head that it has signed, or another.
func (s *store) holdAgainst(known tlog.Head) error {
	s.mu.RLock()
	size, least := s.head.Size, s.edge.Size()
	s.mu.RUnlock()
	switch {
	case known.Size > size:
		return &Fault{File: s.lastName(), Index: size, Kind: Incomplete,
			Why: fmt.Sprintf("the log ends here, and has signed a head of %d entries: its end was cut, or it was replaced by an older copy; entries %d to %d are missing", known.Size, size, known.Size-1)}
	case known.Size < least:
		return nil // older than what is kept
	}
	root, err := tlog.RootAt(s, known.Size)
	if err != nil {
		return fmt.Errorf("audit: the root of size %d: %w", known.Size, err)
	}
	if root != known.Root {
		return &Fault{File: s.lastName(), Index: known.Size, Kind: Tampered, Want: known.Root.String(), Got: root.String(),
			Why: fmt.Sprintf("the first %d entries are not those that were signed", known.Size)}
	}
	return nil
}

func (s *store) lastName() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.parts); n > 0 {
		return s.parts[n-1].name
	}
	return "(no segment)"
}

func (s *store) closeParts() error {
	for _, p := range s.parts {
		p.drop()
	}
	s.parts = nil
	return nil
}

// opening reads a folder of segments into a store.
type opening struct {
	store  *store
	known  *tlog.Verifiers
	mend   bool // whether files may be made, cut and removed
	tree   tlog.Frontier
	number uint64
	signed int64 // when the newest head was
	found  Found
}

func (o *opening) run() error {
	least, err := o.minimum()
	if err != nil {
		return err
	}
	names, err := o.names(least)
	if err != nil {
		return err
	}
	for i, name := range names {
		limit := int64(0) // of what is the part's: a segment that failed may hold the start of the next
		if i+1 < len(names) {
			limit, _, _ = parseSegmentName(names[i+1])
		}
		if err := o.part(name, limit, i+1 == len(names), least); err != nil {
			return err
		}
	}
	if len(names) == 0 && least != nil {
		return &Fault{File: "(no segment)", Index: least.Size, Kind: Incomplete, Why: "the log has a minimum index, and no segment: they were removed"}
	}
	return o.lastHead()
}

// names are the segments in order. What a crash has left of files that were being made, or
// removed, goes.
func (o *opening) names(least *minimum) ([]string, error) {
	all, err := o.store.disk.List()
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	names, gone := segmentsIn(all, least)
	for _, n := range names {
		_, number, _ := parseSegmentName(n)
		o.number = max(o.number, number)
	}
	if !o.mend {
		return names, nil
	}
	for _, n := range all {
		if strings.HasPrefix(n, sparePrefix) || strings.HasSuffix(n, ".next") || strings.HasSuffix(n, squeezedSuffix) && slices.Contains(all, strings.TrimSuffix(n, squeezedSuffix)) {
			if err := o.store.disk.Remove(n); err != nil {
				return nil, fmt.Errorf("audit: %w", err)
			}
		}
	}
	for _, n := range gone {
		if err := removeSegment(o.store.disk, n); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	return names, nil
}

// segmentsIn are the segments among the files of a folder, squeezed or not, in order, and those
// below the minimum, which are being removed.
func segmentsIn(files []string, least *minimum) (names, gone []string) {
	for _, n := range files {
		if plain := strings.TrimSuffix(n, squeezedSuffix); !slices.Contains(names, plain) {
			if _, _, ok := parseSegmentName(plain); ok {
				names = append(names, plain)
			}
		}
	}
	for least != nil && len(names) > 1 {
		if next, _, _ := parseSegmentName(names[1]); next > least.Size {
			break
		}
		gone, names = append(gone, names[0]), names[1:]
	}
	return names, gone
}

// part opens one segment and checks that it follows the one before.
func (o *opening) part(name string, limit int64, newest bool, least *minimum) error {
	f, err := openSegment(o.store.disk, name)
	if err != nil {
		return &Fault{File: name, Index: o.tree.Size(), Kind: faultOf(err), Why: err.Error()}
	}
	p := part{segment: &segment{name: name, file: f}, end: headerBytes}
	p.users.Store(1)
	if err := o.header(&p, least); err != nil {
		p.drop()
		return err
	}
	if newest || !o.useTree(&p, limit) {
		if err := o.walk(&p, limit, newest); err != nil {
			p.drop()
			return err
		}
		if !newest && o.mend && p.count > 0 {
			if err := p.makeTree(o.store.disk); err != nil {
				p.drop()
				return err
			}
			o.found.Rebuilt++
		}
	}
	if !newest && o.mend && p.count > 0 {
		if err := p.shorten(); err != nil {
			p.drop()
			return err
		}
	}
	if p.count == 0 && !newest { // it failed before its first group was whole
		p.drop()
		return nil
	}
	if limit > 0 && p.next() < limit {
		p.drop()
		return &Fault{File: name, Offset: p.end, Index: p.next(), Kind: Incomplete, Why: fmt.Sprintf("entries %d to %d are missing: the next segment begins at %d", p.next(), limit-1, limit)}
	}
	o.store.parts = append(o.store.parts, p)
	return nil
}

// faultOf is the kind of an error of opening a segment.
func faultOf(err error) FaultKind {
	if errors.Is(err, errSqueezed) {
		return Tampered
	}
	return Unreadable
}

// header reads a segment's first block into p and holds it against what came before.
func (o *opening) header(p *part, least *minimum) error {
	b := make([]byte, headerBytes)
	first, number, _ := parseSegmentName(p.name)
	bad := func(kind FaultKind, why string) error {
		return &Fault{File: p.name, Index: first, Kind: kind, Why: why}
	}
	if n, err := p.file.ReadAt(b, 0); n < headerBytes {
		return bad(Incomplete, fmt.Sprintf("its first block cannot be read: %v", err))
	}
	h, err := parseHeader(b)
	switch {
	case err != nil:
		return bad(Tampered, err.Error())
	case h.origin != o.store.origin && o.store.origin != "":
		return bad(Tampered, fmt.Sprintf("it is of the log %q, and this is %q", h.origin, o.store.origin))
	case h.first() != first || h.number != number:
		return bad(Tampered, fmt.Sprintf("it says that it is segment %d from entry %d", h.number, h.first()))
	}
	o.store.origin = h.origin
	p.before, p.number = h.before, h.number
	if len(o.store.parts) == 0 && o.tree.Size() == 0 {
		return o.oldest(p, least)
	}
	// A sealed part's tree is held against the next one's first block by verify; here its size.
	if o.tree.Size() > 0 && first == o.tree.Size() && o.tree.Root() != h.before.Root() {
		return bad(Tampered, fmt.Sprintf("the tree before it has the root %v, and its first block says %v", o.tree.Root(), h.before.Root()))
	}
	return nil
}

// oldest checks that nothing is missing before the first segment.
func (o *opening) oldest(p *part, least *minimum) error {
	want := int64(0)
	if least != nil {
		want = least.Size
	}
	if p.first() > want {
		return &Fault{File: p.name, Index: want, Kind: Incomplete, Why: fmt.Sprintf("the oldest segment begins at %d, and the log at %d: segments before it were removed", p.first(), want)}
	}
	if least != nil && p.first() == want && p.before.Root() != least.Root {
		return &Fault{File: p.name, Index: want, Kind: Tampered, Want: least.Root.String(), Got: p.before.Root().String(), Why: "the tree before it is not the one that was signed when it was pruned"}
	}
	o.store.edge = p.before
	return nil
}

// useTree tells whether a sealed part's .tree file is there and fits.
func (o *opening) useTree(p *part, limit int64) bool {
	f, err := o.store.disk.Open(treeName(p.name))
	if err != nil {
		return false
	}
	if err := p.useTree(f); err != nil || p.next() != limit {
		_ = f.Close()
		p.hashes.Store(nil)
		p.tree, p.count, p.end = nil, 0, headerBytes
		return false
	}
	o.tree = tlog.Frontier{} // the next first block says it
	return true
}

// walk reads a segment into memory, and cuts what a crash has left behind the newest one's end.
func (o *opening) walk(p *part, limit int64, newest bool) error {
	size, err := p.file.Size()
	if err != nil {
		return &Fault{File: p.name, Index: p.first(), Kind: Unreadable, Why: err.Error()}
	}
	fill := newFiller(p)
	w := walk{file: p.name, frames: frames{from: p.file, size: size, at: headerBytes}, tree: p.before, limit: limit, entry: fill.entry, group: fill.group}
	fault, err := w.run()
	if err != nil {
		return err
	}
	o.tree = w.tree
	if !newest {
		if fault != nil && (limit == 0 || w.tree.Size() < limit) {
			return fault
		}
		return nil // what a failed sync has left is not the log's
	}
	return o.tail(p, w.end, size, fault)
}

// tail judges what lies behind the last whole group. Only the group that was under way when the
// process or the machine died may lie there, whatever part of it has reached the disk: nobody was
// told of it. What was signed and told is held against the head that lies away, afterwards.
func (o *opening) tail(p *part, end, size int64, fault *Fault) error {
	if fault != nil && fault.Kind == Unreadable {
		return fault
	}
	rest, err := restOf(p.file, end, size)
	if err != nil {
		return &Fault{File: p.name, Offset: end, Index: p.next(), Kind: Unreadable, Why: err.Error()}
	}
	if len(rest) == 0 {
		return nil
	}
	if at, n := o.later(rest, p.next()); n > 0 {
		f := &Fault{File: p.name, Offset: end, Index: p.next(), Kind: Tampered, Why: "entries that were signed are damaged"}
		if fault != nil {
			f.Offset, f.Why, f.Want, f.Got = fault.Offset, fault.Why, fault.Want, fault.Got
		}
		f.Why += fmt.Sprintf("; groups that were signed later follow at offset %d, so this is no half-written end", end+at)
		return f
	}
	if !o.mend {
		return nil
	}
	if _, err := p.file.WriteAt(make([]byte, len(rest)), end); err != nil {
		return &Fault{File: p.name, Offset: end, Index: p.next(), Kind: Unreadable, Why: "the half-written end cannot be cut: " + err.Error()}
	}
	if err := p.file.Sync(); err != nil {
		return &Fault{File: p.name, Offset: end, Index: p.next(), Kind: Unreadable, Why: "the half-written end cannot be cut: " + err.Error()}
	}
	o.found.CutBytes, o.found.CutFile = int64(len(rest)), p.name
	return nil
}

// restOf is what lies behind end, without the zeros at its end.
func restOf(f File, end, size int64) ([]byte, error) {
	b := make([]byte, max(0, size-end))
	n, err := f.ReadAt(b, end)
	if n < len(b) && err != nil {
		return nil, err
	}
	return bytes.TrimRight(b[:n], "\x00"), nil
}

// later looks for a group that was signed after the one that is broken: the log writes no group
// before the one before it is on the disk, so the broken one was.
func (o *opening) later(rest []byte, next int64) (at int64, found int) {
	for i := 0; ; i++ {
		j := bytes.Index(rest[i:], []byte(trailerMagic))
		if j < 0 {
			return at, found
		}
		i += j
		if i < frameBytes {
			continue
		}
		b := rest[i-frameBytes:]
		n := frameBytes + int(b[2]) + int(b[3])<<8
		if n > len(b) {
			continue
		}
		t, err := parseTrailer(b[frameBytes:n])
		if err != nil || t.first <= next {
			continue
		}
		if _, err := o.known.Open(t.checkpoint); err == nil {
			if found++; found == 1 {
				at = int64(i - frameBytes)
			}
		}
	}
}

// lastHead verifies the newest head, and so everything before it.
func (o *opening) lastHead() error {
	s := o.store
	i := slices.IndexFunc(s.parts, func(p part) bool { return p.count > 0 })
	if i < 0 {
		s.head = tlog.Head{Origin: s.origin, Size: s.edge.Size(), Root: s.edge.Root()}
		return nil
	}
	p := &s.parts[len(s.parts)-1]
	for p.count == 0 {
		p = &s.parts[len(s.parts)-2]
	}
	fr := frames{from: p.file, size: p.end, at: p.last}
	_, body, err := fr.next()
	if err != nil {
		return &Fault{File: p.name, Offset: p.last, Index: p.next(), Kind: Tampered, Why: err.Error()}
	}
	t, err := parseTrailer(body)
	if err != nil {
		return &Fault{File: p.name, Offset: p.last, Index: p.next(), Kind: Tampered, Why: err.Error()}
	}
	head, err := o.known.Open(t.checkpoint)
	if err != nil {
		return &Fault{File: p.name, Offset: p.last, Index: p.next(), Kind: Tampered, Why: err.Error()}
	}
	s.head, s.note, o.signed = head, bytes.Clone(t.checkpoint), t.time
	return nil
}

// filler keeps the hashes of a segment that is walked.
type filler struct {
	p    *part
	work work
}

func newFiller(p *part) *filler {
	f := &filler{p: p}
	f.work.reset(&p.before)
	return f
}

func (f *filler) entry(_, offset int64, e []byte, leaf tlog.Hash) error {
	f.work.offsets = append(f.work.offsets, uint32(offset))
	f.work.note(e, leaf)
	return nil
}

func (f *filler) group(g *group) error {
	w := &f.work
	tree := w.before
	for _, leaf := range w.leaves {
		tree.Add(leaf, w.upper)
	}
	w.at, w.trailer = 0, g.at
	f.p.add(w)
	f.p.last, f.p.end = g.at, g.end
	w.reset(&tree)
	return nil
}
