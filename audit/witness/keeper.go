package witness

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// perLogMax is how many pieces of one kind are kept of one log: the first are worth most, and a
// log that forks with every head must not crowd out another.
const perLogMax = 8

// keeper owns the folder of evidence.
type keeper struct {
	disk disk
	max  int
	turn chan struct{} // holds one value while somebody writes

	mu   sync.Mutex // guards what follows; never held across I/O
	list []Evidence
	told map[string]bool // of which log and kind something was once not kept: told once; bounded by the catalogue
}

// errFull is why a piece was not kept.
var errFull = errors.New("the folder of evidence has as many as it may; move old ones away and start again")

func (k *keeper) load(d disk, max int) error {
	k.disk, k.max, k.turn, k.told = d, max, make(chan struct{}, 1), map[string]bool{}
	names, err := sweep(d)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if !strings.HasSuffix(n, ".json") {
			continue
		}
		raw, err := d.Read(n)
		if err != nil {
			return err
		}
		e, err := ParseEvidence(raw)
		if err != nil { // kept as it is; the witness works without it
			e = Evidence{Err: fmt.Errorf("file %s: %w", n, err)}
		}
		e.File = n
		if k.list = append(k.list, e); len(k.list) >= max {
			break
		}
	}
	return nil
}

// keep stores a piece that is new, and says whether it is to be told. The answer to the request
// does not depend on it.
func (k *keeper) keep(e Evidence) (Evidence, bool) {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	name := e.name()
	k.mu.Lock()
	known, room := k.place(e, name)
	k.mu.Unlock()
	if known {
		return e, false
	}
	if !room {
		e.Err = errFull
		return e, true
	}
	if err := replace(k.disk, name, e.Format()); err != nil {
		e.Err = err
		k.mu.Lock()
		defer k.mu.Unlock()
		first := !k.told["failed "+e.kind()]
		k.told["failed "+e.kind()] = true
		return e, first
	}
	e.File = name
	k.mu.Lock()
	k.list = append(k.list, e)
	k.mu.Unlock()
	return e, true
}

// place says whether a piece is known, and whether there is room. What anybody can bring about
// by sending an old head again takes half of the folder at most: a fork always has the rest.
func (k *keeper) place(e Evidence, name string) (known, room bool) {
	same, words := 0, 0
	for _, o := range k.list {
		if o.File == name {
			return true, false
		}
		if o.Origin == e.Origin && o.Misdeed == e.Misdeed {
			same++
		}
		if o.Misdeed != MisdeedFork {
			words++
		}
	}
	if same < perLogMax && len(k.list) < k.max && (e.Misdeed == MisdeedFork || words < k.max/2) {
		return false, true
	}
	first := !k.told["full "+e.kind()]
	k.told["full "+e.kind()] = true
	return !first, false
}

// kind is what a bound is for.
func (e Evidence) kind() string { return string(e.Misdeed) + " " + e.Origin }

// keep stores evidence and tells whoever wants to know.
func (w *Witness) keep(e Evidence) {
	e, news := w.evidence.keep(e)
	if news && w.cfg.Report != nil {
		w.cfg.Report(e)
	}
}

// Evidence is what is kept, the oldest files first.
func (w *Witness) Evidence() []Evidence {
	w.evidence.mu.Lock()
	defer w.evidence.mu.Unlock()
	out := slices.Clone(w.evidence.list)
	slices.SortStableFunc(out, func(a, b Evidence) int { return a.Time.Compare(b.Time) })
	return out
}
