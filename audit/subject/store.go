package subject

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fire/audit/entry"
)

// Deps are what a store needs besides its folder. All may be absent.
type Deps struct {
	// Stamp gives the time of an entry, with what is known of it; audit/clock has one.
	Stamp func() (timeNanos int64, boundNanos uint32, sync entry.Sync, source entry.ClockSource)
	// Held says whether a hold covers a subject, and which: then it is not erased. It is asked
	// while no key is made, and may not call the store.
	Held func(ID) (why string, held bool)
}

// Store keeps the keys of all subjects of a log. All its functions may be called by several
// goroutines at a time.
type Store struct {
	deps   Deps
	dir    folder
	secret *secret
	nonces nonces

	turn   chan struct{} // whoever holds it writes to the folder
	broken error         // with the turn
	count  int           // of records in the file, with the turn

	mu     sync.RWMutex // for memory alone, never across I/O
	file   file
	places map[ID]place
	names  map[nameTag]ID
	byName cache[string]
	byID   cache[ID]
}

// place is where a subject's record lies.
type place struct {
	number uint32
	erased bool
	when   int64
}

// OpenStore opens the store of a folder, or makes one where there is none. An erasure that was
// cut off is brought to its end.
func OpenStore(dir string, d Deps) (*Store, error) {
	f, err := openDisk(dir)
	if err != nil {
		return nil, err
	}
	s, err := openStore(f, d)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func openStore(dir folder, d Deps) (*Store, error) {
	if d.Stamp == nil {
		d.Stamp = func() (int64, uint32, entry.Sync, entry.ClockSource) {
			return time.Now().UnixNano(), entry.BoundUnknown, entry.SyncUnknown, entry.ClockUnknown
		}
	}
	s := &Store{deps: d, dir: dir, turn: make(chan struct{}, 1)}
	s.nonces.run.Store(newRun())
	for _, name := range []string{recordsFile, keyFile} { // left by a start that was cut off
		if err := dir.Remove(name + ".new"); err != nil && !absent(err) {
			return nil, err
		}
	}
	f, err := dir.Open(recordsFile)
	if err != nil && !absent(err) {
		return nil, err
	}
	if s.secret, err = readSecret(dir, f == nil); err == nil {
		if f == nil {
			err = s.begin()
		} else {
			err = s.load(f)
		}
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return s, nil
}

// begin makes the file of a new store.
func (s *Store) begin() error {
	f, err := s.rewrite(0, func(func(record) error) error { return nil })
	if err != nil {
		return fmt.Errorf("subject: make %s: %w", recordsFile, err)
	}
	s.file, s.count, s.places, s.names = f, 1, map[ID]place{}, map[nameTag]ID{}
	return nil
}

// load reads the file, mends its end, and brings erasures to theirs.
func (s *Store) load(f file) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	c, err := scan(f, size)
	if err != nil {
		return err
	}
	if len(c.records) == 0 {
		return fmt.Errorf("%w: %s is empty", ErrDamaged, recordsFile)
	}
	if c.records[0].id != s.secret.check {
		return fmt.Errorf("%w: %s was written under another one; put that back", ErrStoreKey, recordsFile)
	}
	if c.cut {
		if err := errors.Join(f.Truncate(int64(len(c.records))*recordBytes), f.Sync()); err != nil {
			return err
		}
	}
	s.index(c.records)
	s.file, s.count = f, len(c.records)
	if c.undone {
		return s.destroy()
	}
	return nil
}

// index makes what memory holds of the records.
func (s *Store) index(records []record) {
	s.places, s.names = make(map[ID]place, len(records)), make(map[nameTag]ID, len(records))
	for n, r := range records {
		switch p, there := s.places[r.id]; {
		case r.kind == erased:
			s.places[r.id] = place{uint32(n), true, r.when}
		case r.kind == live && !(there && p.erased):
			s.places[r.id] = place{uint32(n), false, r.when}
		}
	}
	for _, r := range records {
		if r.kind == live && !s.places[r.id].erased {
			s.names[r.name] = r.id
		}
	}
}

// Close ends the store. Nothing waits to be written.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer s.release()
	if s.broken == nil {
		s.broken = errors.New("subject: the store is closed")
	}
	s.mu.RLock()
	f := s.file
	s.mu.RUnlock()
	return errors.Join(f.Close(), s.dir.Close())
}

func (s *Store) release() { <-s.turn }

// nameMax bounds a name.
const nameMax = 256

// Overhead is how much longer a sealed value is.
const Overhead = nonceBytes + tagBytes

// Seal adds the values, sealed under the key of whom name names, to dst: nonce, ciphertext, tag.
// Additional data is what must be shown again to open them. A name that is new gets its key,
// which is safe on disk before the first value is sealed under it; a name that was erased gets
// a new one, under a new id.
func (s *Store) Seal(dst, name, plain, ad []byte) (out []byte, id ID, err error) {
	s.mu.RLock()
	k := s.byName.young[string(name)]
	s.mu.RUnlock()
	if k == nil {
		if k, err = s.keyOf(name); err != nil {
			return dst, ID{}, err
		}
	}
	from := len(dst)
	dst = s.nonces.append(dst)
	return k.aead.Seal(dst, dst[from:len(dst):len(dst)], plain, ad), k.id, nil
}

// Open adds what was sealed to dst.
func (s *Store) Open(dst []byte, id ID, sealed, ad []byte) ([]byte, error) {
	s.mu.RLock()
	k := s.byID.young[id]
	s.mu.RUnlock()
	if k == nil {
		var err error
		if k, err = s.keyFor(id); err != nil {
			return dst, err
		}
	}
	if len(sealed) < Overhead {
		return dst, fmt.Errorf("%w: %d bytes", ErrTampered, len(sealed))
	}
	out, err := k.aead.Open(dst, sealed[:nonceBytes], sealed[nonceBytes:], ad)
	if err != nil {
		return dst, fmt.Errorf("%w: subject %v", ErrTampered, id)
	}
	return out, nil
}

// Find is the id that stands for a name now.
func (s *Store) Find(name []byte) (ID, bool) {
	tag := s.secret.tag(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok := s.names[tag]
	return id, ok
}

// Len is how many subjects there are, and how many of them are erased.
func (s *Store) Len() (all, erased int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.places), len(s.places) - len(s.names)
}

// keyOf finds or makes the key of a name.
func (s *Store) keyOf(name []byte) (*key, error) {
	if len(name) == 0 || len(name) > nameMax {
		return nil, ErrName
	}
	tag := s.secret.tag(name)
	for range rereadsMax {
		s.mu.RLock()
		id, known := s.names[tag]
		s.mu.RUnlock()
		if !known {
			if err := s.create([]nameTag{tag}); err != nil {
				return nil, err
			}
			continue
		}
		k, err := s.keyFor(id)
		if errors.Is(err, ErrErased) {
			continue // erased between the two: a new one is due
		}
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.names[tag] == id {
			s.byName.put(string(name), k)
		}
		s.mu.Unlock()
		return k, nil
	}
	return nil, ErrErased
}

// rereadsMax bounds how often a reader follows a file that is being replaced.
const rereadsMax = 8

// keyFor is the key of an id.
func (s *Store) keyFor(id ID) (*key, error) {
	var err error
	for range rereadsMax {
		s.mu.RLock()
		k := s.byID.old[id]
		p, known := s.places[id]
		f := s.file
		s.mu.RUnlock()
		switch {
		case !known:
			return nil, fmt.Errorf("%w: %v", ErrUnknown, id)
		case p.erased:
			return nil, fmt.Errorf("%w: %v", ErrErased, id)
		}
		if k == nil {
			if k, err = s.read(f, p, id); err != nil {
				if s.moved(f, p, id) {
					continue
				}
				return nil, err
			}
		}
		s.mu.Lock()
		if s.places[id].erased {
			s.mu.Unlock()
			continue
		}
		s.byID.put(id, k)
		s.mu.Unlock()
		return k, nil
	}
	return nil, err
}

// moved says that the file was replaced meanwhile, or the subject erased.
func (s *Store) moved(f file, p place, id ID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.file != f || s.places[id] != p
}

// read takes one key from the disk.
func (s *Store) read(f file, p place, id ID) (*key, error) {
	r, err := readRecord(f, p, id)
	if err != nil {
		return nil, err
	}
	return s.secret.unwrap(&r)
}

func readRecord(f file, p place, id ID) (record, error) {
	b := make([]byte, recordBytes)
	if _, err := f.ReadAt(b, int64(p.number)*recordBytes); err != nil {
		return record{}, fmt.Errorf("subject: read the key of %v: %w", id, err)
	}
	r, err := parse(b)
	if err != nil || r.kind != live || r.id != id {
		return record{}, fmt.Errorf("%w: record %d is not that of subject %v", ErrDamaged, p.number, id)
	}
	return r, nil
}

// Make makes the keys of all names that have none, with one flush for all: at the start of a
// day it saves each its own.
func (s *Store) Make(names ...[]byte) error {
	tags := make([]nameTag, 0, len(names))
	for _, name := range names {
		if len(name) == 0 || len(name) > nameMax {
			return ErrName
		}
		tags = append(tags, s.secret.tag(name))
	}
	return s.create(tags)
}

// create makes keys, and tells of them when they are safe.
func (s *Store) create(tags []nameTag) error {
	s.turn <- struct{}{}
	defer s.release()
	if s.broken != nil {
		return s.broken
	}
	when, _, _, _ := s.deps.Stamp()
	var raw []byte
	var made []record
	fresh := map[nameTag]bool{}
	for _, tag := range tags {
		s.mu.RLock()
		_, known := s.names[tag]
		all := len(s.places) + len(made)
		s.mu.RUnlock()
		if known || fresh[tag] {
			continue
		}
		if all >= SubjectsMax {
			return fmt.Errorf("%w: %d", ErrFull, SubjectsMax)
		}
		r, _, err := s.secret.newKey(tag, when)
		if err != nil {
			return err
		}
		fresh[tag], r.durable = true, uint32(s.count)
		made, raw = append(made, r), r.append(raw)
	}
	if len(made) == 0 {
		return nil
	}
	if err := s.add(raw); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range made {
		s.places[r.id] = place{uint32(s.count - len(made) + i), false, r.when}
		s.names[r.name] = r.id
	}
	return nil
}

// add puts records at the end of the file, safe. After a failed flush nobody knows what is on
// the disk, and another flush would not tell: nothing more is written.
func (s *Store) add(raw []byte) error {
	_, err := s.file.WriteAt(raw, int64(s.count)*recordBytes) // who holds the turn alone replaces the file
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		return s.broken
	}
	s.count += len(raw) / recordBytes
	return nil
}

// take waits for the turn.
func (s *Store) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rewrite makes the file anew, of a header and so many records that fill puts into it.
func (s *Store) rewrite(count int, fill func(put func(record) error) error) (file, error) {
	durable := uint32(count + 1) // all of them, since the file is flushed before it has its name
	return replace(s.dir, recordsFile, func(f file) error {
		head := record{kind: header, id: s.secret.check, durable: durable}
		buf, at := head.append(make([]byte, 0, rewriteBytes+recordBytes)), int64(0)
		flush := func() error {
			_, err := f.WriteAt(buf, at)
			at, buf = at+int64(len(buf)), buf[:0]
			return err
		}
		left := count
		err := fill(func(r record) error {
			r.durable = durable
			left--
			if buf = r.append(buf); len(buf) < rewriteBytes {
				return nil
			}
			return flush()
		})
		switch {
		case err != nil:
			return err
		case left != 0:
			return fmt.Errorf("%w: %d of %d subjects are not in it", ErrDamaged, left, count)
		case len(buf) == 0:
			return nil
		}
		return flush()
	})
}

// rewriteBytes is how much of a file is read or written at once.
const rewriteBytes = 1 << 16
