package audit

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// runAside does what the committer does not wait for: the spare segment, the .tree files of
// sealed ones, the sync of the head that lies away. It ends with stop.
func (l *Log) runAside(stop <-chan struct{}) {
	tick := time.NewTicker(awaySyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.spare.want:
			if err := l.spare.make(); err != nil {
				l.State.failed(fmt.Errorf("no spare segment: %w", err), l.deps.Now()) // the committer tries itself
			}
		case s := <-l.sealed:
			if err := l.writeTree(s); err != nil {
				l.State.failed(err, l.deps.Now())
			}
		case <-tick.C:
			if err := l.away.sync(); err != nil {
				l.State.failed(fmt.Errorf("the head that lies away: %w", err), l.deps.Now())
			}
		case <-stop:
			l.lastTrees()
			return
		}
	}
}

// lastTrees writes those that wait. On a disk that takes nothing the next start makes them.
func (l *Log) lastTrees() {
	for l.State.Stalled(l.deps.Now()) < stopWait {
		select {
		case s := <-l.sealed:
			if err := l.writeTree(s); err != nil {
				l.State.failed(err, l.deps.Now())
			}
		default:
			return
		}
	}
}

// sealedMax is how many segments wait for their .tree file, in memory.
const sealedMax = 16

// writeTree puts the hashes of a sealed part beside it and lets go of them in memory.
func (l *Log) writeTree(s *segment) error {
	l.mu.RLock()
	i := slices.IndexFunc(l.parts, func(p part) bool { return p.segment == s })
	var p part
	if i >= 0 {
		p = l.parts[i]
	}
	l.mu.RUnlock()
	if i < 0 || p.tree != nil {
		return nil
	}
	if err := p.shorten(); err != nil {
		return err
	}
	if err := p.makeTree(l.deps.Disk); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i = slices.IndexFunc(l.parts, func(p part) bool { return p.segment == s }); i >= 0 {
		l.parts[i] = p
	}
	return nil
}

// shorten ends a sealed segment's file behind its last group: nothing is to lie there, and the room
// is somebody else's.
func (p *part) shorten() error {
	size, err := p.file.Size()
	if err == nil && size > p.end {
		if err = p.file.Truncate(p.end); err == nil {
			err = p.file.Sync()
		}
	}
	if err != nil {
		return fmt.Errorf("audit: %s cannot be ended behind its last group: %w", p.name, err)
	}
	return nil
}

// makeTree writes the .tree file of a part that is in memory, and uses it.
func (p *part) makeTree(d Disk) error {
	name := treeName(p.name)
	if err := d.Replace(name, p.appendTree(nil)); err != nil {
		return fmt.Errorf("audit: %s: %w", name, err)
	}
	f, err := d.Open(name)
	if err != nil {
		return fmt.Errorf("audit: %s: %w", name, err)
	}
	if err := p.useTree(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("audit: %s: %w", name, err)
	}
	return nil
}

// sparePrefix begins the name of a segment that is made ahead, so that a group never finds the
// disk full: then the one before it can still be written to its end.
const sparePrefix = "spare-"

// spare makes segments ahead.
type spare struct {
	disk Disk
	size int64
	want chan struct{}

	mu   sync.Mutex
	n    int // names are never used twice: a file that was handed out is not made anew
	file File
	name string
}

func newSpare(d Disk, size int64) *spare {
	return &spare{disk: d, size: size, want: make(chan struct{}, 1)}
}

func (s *spare) wanted() {
	select {
	case s.want <- struct{}{}:
	default:
	}
}

// take is the spare, or a file that is made now.
func (s *spare) take(size int64) (File, string, error) {
	s.mu.Lock()
	f, name := s.file, s.name
	if f != nil && size <= s.size {
		s.file = nil
		s.mu.Unlock()
		return f, name, nil
	}
	s.n++
	name = fmt.Sprint(sparePrefix, s.n)
	s.mu.Unlock()
	f, err := s.disk.Create(name, max(size, s.size))
	return f, name, err
}

// make makes it. One goroutine calls it.
func (s *spare) make() error {
	s.mu.Lock()
	have := s.file != nil
	s.n++
	name := fmt.Sprint(sparePrefix, s.n)
	s.mu.Unlock()
	if have {
		return nil
	}
	f, err := s.disk.Create(name, s.size)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.name = f, name
	return nil
}

// close removes it: the next start makes its own.
func (s *spare) close() error {
	s.mu.Lock()
	f, name := s.file, s.name
	s.file = nil
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	_ = f.Close() // it holds nothing
	return s.disk.Remove(name)
}
