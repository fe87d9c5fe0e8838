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
// them, each with its flush. An error before the first of these leaves the subject as it was;
// one after it leaves it erased for everybody, and the rest is done when the store is next
// opened.
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
	s.forget(e.Subject, name, now)
	records, err := s.records()
	if err == nil {
		err = s.destroy(records)
	}
	if err != nil {
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
func (s *Store) forget(id ID, name nameTag, when int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID.drop(id)
	s.byName.drop(id)
	delete(s.names, name)
	p := s.places[id]
	p.erased, p.when = true, when
	s.places[id] = p
}

// records reads the whole file.
func (s *Store) records() ([]record, error) {
	c, err := scan(s.file, int64(s.count)*recordBytes)
	return c.records, err
}

// destroy overwrites each key whose subject is erased where it lies, and writes the file anew
// without them.
func (s *Store) destroy(records []record) error {
	gone := map[ID]bool{}
	for _, r := range records {
		if r.kind == erased {
			gone[r.id] = true
		}
	}
	kept, seen := make([]record, 0, len(records)), map[ID]bool{}
	for n, r := range records {
		switch {
		case r.kind == header:
		case r.kind == void, r.kind == live && gone[r.id]:
			nothing := record{kind: void, id: r.id}
			if _, err := s.file.WriteAt(nothing.append(nil), int64(n)*recordBytes); err != nil {
				return err
			}
		case r.kind == erased && seen[r.id]:
		default:
			seen[r.id] = seen[r.id] || r.kind == erased
			kept = append(kept, r)
		}
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	f, err := s.rewrite(kept)
	if err != nil {
		return err
	}
	places := make(map[ID]place, len(s.places)) // whoever has the turn alone writes to it
	for n, r := range kept {
		p := s.places[r.id]
		p.number = uint32(n + 1)
		places[r.id] = p
	}
	s.mu.Lock()
	old := s.file
	s.file, s.count, s.places = f, len(kept)+1, places
	s.mu.Unlock()
	return old.Close()
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
