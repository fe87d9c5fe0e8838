package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// traced is two Disks in memory, the log's folder and the other one, which remember everything
// that was done to them, so that every state can be made that a crash could have left.
type traced struct {
	mu      sync.Mutex
	ops     []op
	now     map[string][]byte // as a reader sees it
	renamed map[string]string // open files follow their new names

	failEvery int // each so many syncs of a segment fails
	syncs     int
}

type op struct {
	kind     opKind
	name, to string
	at       int64
	data     []byte
	acked    int64 // of opAck: entries that were acknowledged by then
	failed   bool  // of opSync
}

type opKind int

const (
	opCreate opKind = iota
	opWrite
	opSync
	opRename
	opReplace
	opRemove
	opTruncate
	opAck
)

func newTraced() *traced { return &traced{now: map[string][]byte{}, renamed: map[string]string{}} }

// in is one of the two folders.
func (t *traced) in(folder string) Disk { return &tracedDisk{t, folder + "/"} }

func (t *traced) do(o op) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.kind == opSync && len(o.name) > 4 && t.failEvery > 0 {
		if t.syncs++; t.syncs%t.failEvery == 0 && bytes.HasSuffix([]byte(o.name), []byte(segmentSuffix)) {
			o.failed = true
		}
	}
	t.ops = append(t.ops, o)
	apply(t.now, o)
	if o.failed {
		return errors.New("injected: input/output error")
	}
	return nil
}

// apply does one thing to a set of files.
func apply(files map[string][]byte, o op) {
	switch o.kind {
	case opCreate:
		files[o.name] = make([]byte, o.at)
	case opWrite:
		b := files[o.name]
		if need := int(o.at) + len(o.data); need > len(b) {
			b = append(b, make([]byte, need-len(b))...)
		}
		copy(b[o.at:], o.data)
		files[o.name] = b
	case opRename:
		files[o.to] = files[o.name]
		delete(files, o.name)
	case opReplace:
		files[o.name] = o.data
	case opTruncate:
		if b := files[o.name]; int64(len(b)) > o.at {
			files[o.name] = slices.Clip(b[:o.at])
		}
	case opRemove:
		delete(files, o.name)
	}
}

type tracedDisk struct {
	t      *traced
	prefix string
}

func (d *tracedDisk) Create(name string, size int64) (File, error) {
	return &tracedFile{d.t, d.prefix + name}, d.t.do(op{kind: opCreate, name: d.prefix + name, at: size})
}

func (d *tracedDisk) Open(name string) (File, error) {
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	if _, ok := d.t.now[d.prefix+name]; !ok {
		return nil, fs.ErrNotExist
	}
	return &tracedFile{d.t, d.prefix + name}, nil
}

func (d *tracedDisk) Replace(name string, b []byte) error {
	return d.t.do(op{kind: opReplace, name: d.prefix + name, data: bytes.Clone(b)})
}

func (d *tracedDisk) Rename(from, to string) error {
	d.t.mu.Lock()
	d.t.renamed[d.prefix+from] = d.prefix + to
	d.t.mu.Unlock()
	return d.t.do(op{kind: opRename, name: d.prefix + from, to: d.prefix + to})
}

func (d *tracedDisk) Remove(name string) error {
	return d.t.do(op{kind: opRemove, name: d.prefix + name})
}

func (d *tracedDisk) List() ([]string, error) {
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	var out []string
	for n := range d.t.now {
		if rest, ok := bytes.CutPrefix([]byte(n), []byte(d.prefix)); ok {
			out = append(out, string(rest))
		}
	}
	slices.Sort(out)
	return out, nil
}

type tracedFile struct {
	t    *traced
	made string // its name when it was opened
}

func (f *tracedFile) name() string {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	if to, ok := f.t.renamed[f.made]; ok {
		return to
	}
	return f.made
}

func (f *tracedFile) ReadAt(b []byte, at int64) (int, error) {
	name := f.name()
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	all := f.t.now[name]
	if at >= int64(len(all)) {
		return 0, io.EOF
	}
	n := copy(b, all[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *tracedFile) WriteAt(b []byte, at int64) (int, error) {
	return len(b), f.t.do(op{kind: opWrite, name: f.name(), at: at, data: bytes.Clone(b)})
}

func (f *tracedFile) Sync() error { return f.t.do(op{kind: opSync, name: f.name()}) }

func (f *tracedFile) Size() (int64, error) {
	name := f.name()
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	return int64(len(f.t.now[name])), nil
}

func (f *tracedFile) Truncate(size int64) error {
	return f.t.do(op{kind: opTruncate, name: f.name(), at: size})
}

func (f *tracedFile) Close() error { return nil }

// crashes calls f with each state that a crash after some operation could have left: what was
// synced, and of what was not: nothing, all (the process alone was killed), all but a torn last
// write, or any sectors of it.
func (t *traced) crashes(r *rand.Rand, f func(state map[string][]byte, acked int64, what string) bool) (states int) {
	synced := map[string][]byte{}
	pending := map[string][]op{}
	var acked int64
	for i, o := range t.ops {
		switch o.kind {
		case opWrite:
			pending[o.name] = append(pending[o.name], o)
		case opSync:
			if !o.failed {
				for _, w := range pending[o.name] {
					if !w.failed {
						apply(synced, w)
					}
				}
				delete(pending, o.name)
			}
			for j := range pending[o.name] {
				pending[o.name][j].failed = true // no later sync brings it
			}
		case opRename:
			apply(synced, o)
			if p, ok := pending[o.name]; ok {
				for j := range p {
					p[j].name = o.to
				}
				pending[o.to] = p
				delete(pending, o.name)
			}
		case opAck:
			acked = max(acked, o.acked)
		default:
			apply(synced, o)
		}
		for variant := range variantsOf(pending) {
			state := maps.Clone(synced)
			for name := range pending {
				state[name] = bytes.Clone(state[name])
				crash(state, pending[name], variant, r)
			}
			states++
			if !f(state, acked, fmt.Sprintf("after operation %d of %d (%d %s), variant %d", i, len(t.ops), o.kind, o.name, variant)) {
				return states
			}
		}
	}
	return states
}

const sectorBytes = 512

func variantsOf(pending map[string][]op) int {
	for _, ops := range pending {
		for _, o := range ops {
			if len(o.data) > sectorBytes {
				return 8
			}
		}
	}
	if len(pending) == 0 {
		return 1
	}
	return 4
}

func crash(state map[string][]byte, ops []op, variant int, r *rand.Rand) {
	for i, o := range ops {
		switch last := i == len(ops)-1; {
		case variant == 0:
		case variant == 1 || !last && variant < 4:
			apply(state, o)
		case variant < 4: // torn
			o.data = o.data[:r.IntN(len(o.data)+1)]
			apply(state, o)
		default: // any of its sectors
			for from := 0; from < len(o.data); {
				to := min(len(o.data), from+sectorBytes-(int(o.at)+from)%sectorBytes)
				if r.IntN(2) == 0 {
					apply(state, op{kind: opWrite, name: o.name, at: o.at + int64(from), data: o.data[from:to]})
				}
				from = to
			}
		}
	}
}

// TestNoCrashLosesWhatWasAcknowledged makes every state of its traces, more than ten thousand.
func TestNoCrashLosesWhatWasAcknowledged(t *testing.T) {
	if raceOn {
		crashTrace(t, 0, 10, 0)
		return
	}
	states := crashTrace(t, 0, 120, 0) + crashTrace(t, 1, 120, 0) + crashTrace(t, 2, 120, 0) + crashTrace(t, 3, 20, 7)
	t.Logf("%d states", states)
	if states < 10000 {
		t.Errorf("%d states, 10000 are wanted", states)
	}
}

// crashTrace appends for some rounds, on a disk of which each so many syncs fail, and tries all
// states of the trace.
func crashTrace(t *testing.T, seed uint64, rounds, failEvery int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	tr := newTraced()
	tr.failEvery = failEvery
	w.cfg.SegmentBytes = 24 << 10
	w.deps.Disk, w.deps.Away = tr.in("log"), tr.in("away")
	l, _ := w.open()
	var facts [][]byte
	for range rounds {
		n := 1 + r.IntN(4)
		var all sync.WaitGroup
		var mu sync.Mutex
		got := map[int64][]byte{}
		for range n {
			e := fact(1, uint64(r.Uint32()))
			all.Go(func() {
				at, err := l.Append(t.Context(), e)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[at] = e
			})
		}
		all.Wait()
		for range n {
			facts = append(facts, got[int64(len(facts))])
		}
		_ = tr.do(op{kind: opAck, acked: int64(len(facts))})
	}
	w.close()
	cfg, deps := w.cfg, w.deps
	return tr.crashes(r, func(state map[string][]byte, acked int64, what string) bool {
		mem := newTraced()
		mem.now = state
		deps.Disk, deps.Away = mem.in("log"), mem.in("away")
		l, found, err := Open(cfg, deps)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return false
		}
		defer l.closeParts()
		if found.Size < acked {
			t.Errorf("%s: %d entries, %d were acknowledged", what, found.Size, acked)
			return false
		}
		for i := range min(found.Size, int64(len(facts))) {
			e, err := l.Entry(i)
			if err != nil || !bytes.Equal(e, facts[i]) {
				t.Errorf("%s: entry %d: %v", what, i, err)
				return false
			}
		}
		return true
	})
}
