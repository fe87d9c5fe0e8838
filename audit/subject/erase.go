package subject

import (
	"context"
	"fmt"

	"fire/audit/entry"
)

// Erasure is what somebody asks for.
type Erasure struct {
	Subject ID
	Actor   string // who asks, and where from
	Reason  string // why, and under what
}

// VerbErase is what entries of kind Erased say.
const VerbErase = "erase"

// Erase destroys a subject's key, for good, and gives back the entry that says so, for the log.
// When it returns an entry the key is nowhere in the folder: a record that it is erased was made
// safe, then its bytes were overwritten where they lay, then the file was written anew without
// them, each with its flush. Where it is refused the subject is as it was. After ErrBroken it is
// erased, or is not if already the first flush failed; the next OpenStore finds out which, ends
// what was begun, and Erased tells.
func (s *Store) Erase(ctx context.Context, e Erasure) ([]byte, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	if s.broken != nil {
		return nil, s.broken
	}
	s.mu.RLock()
	p, known := s.places[e.Subject]
	s.mu.RUnlock()
	switch {
	case !known:
		return nil, fmt.Errorf("%w: %v", ErrUnknown, e.Subject)
	case p.erased:
		return nil, fmt.Errorf("%w: %v", ErrErased, e.Subject)
	}
	if s.deps.Held != nil {
		if why, held := s.deps.Held(e.Subject); held {
			return nil, fmt.Errorf("%w: %v: %s", ErrHeld, e.Subject, why)
		}
	}
	name := s.nameOf(e.Subject, p)
	now, bound, sync, source := s.deps.Stamp()
	stone := record{kind: erased, durable: uint32(s.count), when: now, id: e.Subject}
	if err := s.add(stone.append(nil)); err != nil {
		return nil, err
	}
	s.forget(e.Subject, name, place{uint32(s.count - 1), true, now})
	if err := s.destroy(); err != nil {
		s.broken = fmt.Errorf("%w: subject %v is erased, its bytes may still be on the disk: %w", ErrBroken, e.Subject, err)
		return nil, s.broken
	}
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Erased, Sync: sync, Clock: source, Bound: bound, Time: now})
	b.Str(entry.Actor, e.Actor)
	b.Str(entry.Verb, VerbErase)
	b.Str(entry.Detail, e.Reason)
	b.Bytes(entry.Subject, e.Subject[:])
	return b.Raw(), nil
}

// nameOf is the name of a subject as its record has it, or, where that cannot be read any more,
// as memory has it, which takes longer.
func (s *Store) nameOf(id ID, p place) nameTag {
	if r, err := readRecord(s.file, p, id); err == nil {
		return r.name
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, of := range s.names {
		if of == id {
			return name
		}
	}
	return nameTag{}
}

// forget takes the subject out of memory: whoever asks from now on is told that it is erased.
func (s *Store) forget(id ID, name nameTag, stone place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID.drop(id)
	s.byName.drop(id)
	delete(s.names, name)
	s.places[id] = stone
}

// destroy overwrites each key whose subject is erased where it lies, and writes the file anew
// without them. It holds one piece of the file at a time. Only who has the turn writes to file,
// count and places, so reading them needs no lock here.
func (s *Store) destroy() error {
	err := s.walk(func(n uint32, r *record, stays bool) error {
		if stays || r.kind == header {
			return nil
		}
		nothing := record{kind: void, id: r.id}
		_, err := s.file.WriteAt(nothing.append(nil), int64(n)*recordBytes)
		return err
	})
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return err
	}
	places := make(map[ID]place, len(s.places))
	f, err := s.rewrite(len(s.places), func(put func(record) error) error {
		return s.walk(func(_ uint32, r *record, stays bool) error {
			if !stays {
				return nil
			}
			p := s.places[r.id]
			p.number = uint32(len(places) + 1)
			places[r.id] = p
			return put(*r)
		})
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.file
	s.file, s.count, s.places = f, len(places)+1, places
	s.mu.Unlock()
	return old.Close()
}

// walk goes through the records of the file; stays says that it is the one of its subject that
// memory points to. One that cannot be read is an erased subject's, or damage.
func (s *Store) walk(f func(n uint32, r *record, stays bool) error) error {
	buf, number := make([]byte, rewriteBytes), 0
	for number < s.count {
		b := buf[:min(len(buf), (s.count-number)*recordBytes)]
		if _, err := s.file.ReadAt(b, int64(number)*recordBytes); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[recordBytes:] {
			r, err := parse(b)
			if err != nil {
				r = record{kind: void, id: ID(b[16:32])}
			}
			p, known := s.places[r.id]
			if err != nil && !p.erased {
				return fmt.Errorf("%w: record %d: %w", ErrDamaged, number, err)
			}
			if err := f(uint32(number), &r, known && err == nil && p.number == uint32(number) && p.erased == (r.kind == erased)); err != nil {
				return err
			}
			number++
		}
	}
	return nil
}

// Gone is a subject whose key was destroyed.
type Gone struct {
	Subject ID
	When    int64 // nanoseconds since 1970
}

// Erased are all subjects that were erased. Whoever keeps the log compares them with its entries
// after a crash: one may have come between the erasure and its entry.
func (s *Store) Erased() (out []Gone) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, p := range s.places {
		if p.erased {
			out = append(out, Gone{id, p.when})
		}
	}
	return out
}
