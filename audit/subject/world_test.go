package subject

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"

	"fire/audit/entry"
)

// platter is a folder in memory that can be cut off at any step, and then says what a disk would
// have kept: all that was flushed, and of the rest what chance has it.
type platter struct {
	files map[string]*inode // as the process sees it
	safe  map[string]*inode // as it would be found after a power cut
	moves []func(map[string]*inode)
	steps int // that were taken
	cutAt int // 0: never
}

type inode struct {
	now, safe []byte
	writes    []write
}

type write struct {
	at   int64
	data []byte // nil: truncate
}

var errCut = errors.New("the power is off")

func newPlatter() *platter {
	return &platter{files: map[string]*inode{}, safe: map[string]*inode{}}
}

// step counts what changes something; the one that the power is cut at does not happen.
func (p *platter) step() error {
	p.steps++
	if p.cutAt > 0 && p.steps >= p.cutAt {
		return errCut
	}
	return nil
}

func (p *platter) Open(name string) (file, error) {
	i, ok := p.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &handle{p, i}, nil
}

func (p *platter) Create(name string) (file, error) {
	if err := p.step(); err != nil {
		return nil, err
	}
	i := &inode{}
	p.move(func(m map[string]*inode) { m[name] = i })
	return &handle{p, i}, nil
}

func (p *platter) move(f func(map[string]*inode)) {
	f(p.files)
	p.moves = append(p.moves, f)
}

func (p *platter) Rename(from, to string) error {
	if err := p.step(); err != nil {
		return err
	}
	i := p.files[from]
	p.move(func(m map[string]*inode) { delete(m, from); m[to] = i })
	return nil
}

func (p *platter) Remove(name string) error {
	if _, ok := p.files[name]; !ok {
		return fs.ErrNotExist
	}
	if err := p.step(); err != nil {
		return err
	}
	p.move(func(m map[string]*inode) { delete(m, name) })
	return nil
}

func (p *platter) Sync() error {
	if err := p.step(); err != nil {
		return err
	}
	for _, f := range p.moves {
		f(p.safe)
	}
	p.moves = nil
	return nil
}

func (p *platter) Close() error { return nil }

// after is what is found when the power is back: of what was not flushed any part, each write
// whole, not at all, torn at any byte, or some of its sectors.
func (p *platter) after(r *rand.Rand) *platter {
	out := newPlatter()
	names := map[string]*inode{}
	for n, i := range p.safe {
		names[n] = i
	}
	for _, f := range p.moves[:r.IntN(len(p.moves)+1)] {
		f(names)
	}
	for n, i := range names {
		b := append([]byte(nil), i.safe...)
		for _, w := range i.writes {
			switch r.IntN(4) {
			case 0:
				b = apply(b, w)
			case 1:
				if w.data != nil {
					b = apply(b, write{w.at, w.data[:r.IntN(len(w.data)+1)]})
				}
			case 2:
				b = sectors(b, w, r)
			}
		}
		out.files[n] = &inode{now: b, safe: append([]byte(nil), b...)}
		out.safe[n] = out.files[n]
	}
	return out
}

// sectors keeps some of a write's sectors, in no order.
func sectors(b []byte, w write, r *rand.Rand) []byte {
	for at := w.at; at < w.at+int64(len(w.data)); {
		end := min((at/512+1)*512, w.at+int64(len(w.data)))
		if r.IntN(2) == 0 {
			b = apply(b, write{at, w.data[at-w.at : end-w.at]})
		}
		at = end
	}
	return b
}

func apply(b []byte, w write) []byte {
	if w.data == nil {
		return b[:min(int64(len(b)), w.at)]
	}
	if end := w.at + int64(len(w.data)); int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[w.at:], w.data)
	return b
}

type handle struct {
	p *platter
	i *inode
}

func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	if at >= int64(len(h.i.now)) {
		return 0, io.EOF
	}
	n := copy(b, h.i.now[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) change(w write) error {
	if err := h.p.step(); err != nil {
		h.i.writes = append(h.i.writes, w) // perhaps a part of it
		return err
	}
	h.i.now, h.i.writes = apply(h.i.now, w), append(h.i.writes, w)
	return nil
}

func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	if err := h.change(write{at, append([]byte{}, b...)}); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *handle) Truncate(size int64) error { return h.change(write{at: size}) }
func (h *handle) Size() (int64, error)      { return int64(len(h.i.now)), nil }
func (h *handle) Close() error              { return nil }

func (h *handle) Sync() error {
	if err := h.p.step(); err != nil {
		return err
	}
	h.i.safe, h.i.writes = append([]byte(nil), h.i.now...), nil
	return nil
}

func stamp() (int64, uint32, entry.Sync, entry.ClockSource) {
	return 1_700_000_000_000_000_000, 850, entry.Synchronised, entry.ClockPTP
}

// sealed is a value that was given to the caller.
type sealed struct {
	id    ID
	name  string
	bytes []byte
}

func seal(t testing.TB, s *Store, name string) sealed {
	t.Helper()
	out, id, err := s.Seal(nil, []byte(name), []byte("values of "+name), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	return sealed{id, name, out}
}

// opens says what became of a value.
func (v sealed) opens(s *Store) error {
	got, err := s.Open(nil, v.id, v.bytes, []byte("ad"))
	if err == nil && string(got) != "values of "+v.name {
		return errors.New("other values")
	}
	return err
}

func open(t testing.TB, dir string, d Deps) *Store {
	t.Helper()
	if d.Stamp == nil {
		d.Stamp = stamp
	}
	s, err := OpenStore(dir, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
