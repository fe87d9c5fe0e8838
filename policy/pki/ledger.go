package pki

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"fire/policy/id"
)

// ledger remembers which root the newest leaf of each holder chains to. It is a
// journal on disk: a leaf is signed only after its line is durable, so a restarted
// control knows as much as before. One line of JSON per leaf; a torn last line
// belongs to a leaf that nobody got.
type ledger struct {
	path string
	turn chan struct{} // one writer of the file at a time; holds one value
	torn bool          // the last write failed part-way, or never came; belongs to the turn

	mu      sync.Mutex // guards what follows; never held while writing
	leaves  map[leafKey]leafFact
	sealed  map[[32]byte]bool      // roots that retired: nothing is added to them
	blind   map[[32]byte]time.Time // end of leaves that are not held one by one; the zero root means any
	pending []byte                 // lines not yet handed to a writer
	queued  uint64                 // lines ever queued
	durable uint64                 // of those, known to be on disk
	lines   int                    // in the file
}

type leafKey struct {
	principal, node id.Principal
	serial          string // "" where a newer leaf replaces the older
}

type leafFact struct {
	root  [32]byte
	until time.Time
}

// leafLine is a leafKey with its leafFact. No principal: blind.
type leafLine struct {
	Principal id.Principal `json:"id"`
	Node      id.Principal `json:"node"`
	Serial    string       `json:"serial,omitempty"`
	Root      string       `json:"root"`
	Until     time.Time    `json:"until"`
}

const (
	ledgerFile     = "leaves.journal"
	ledgerBytesMax = 64 << 20
	ledgerSlack    = 4096 // lines beyond four per live leaf before the file is rewritten

	// LeavesMax bounds what is held one by one; beyond it a root retires by time alone.
	LeavesMax = 1 << 16
)

// openLedger replays the journal. An absent one beside an authority that has issued
// already is taken as knowing nothing: every leaf there is ends by until.
func openLedger(path string, until, now time.Time) (*ledger, error) {
	l := &ledger{path: path, turn: make(chan struct{}, 1), leaves: map[leafKey]leafFact{}, sealed: map[[32]byte]bool{}, blind: map[[32]byte]time.Time{}}
	data, err := ReadPrivate(path, ledgerBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		l.blind[[32]byte{}] = until
		return l, l.rewrite(now)
	}
	if err != nil {
		return nil, err
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	for line := range bytes.Lines(data[:end]) {
		if err := l.replay(line); err != nil {
			return nil, fmt.Errorf("file %s is damaged: %w; remove it, an old root then retires a day later", path, err)
		}
	}
	return l, l.rewrite(now)
}

func (l *ledger) replay(line []byte) error {
	var f leafLine
	if err := json.Unmarshal(line, &f); err != nil {
		return err
	}
	var root [32]byte
	if n, err := hex.Decode(root[:], []byte(f.Root)); err != nil || n != len(root) {
		return fmt.Errorf("root %q", f.Root)
	}
	l.enter(leafKey{f.Principal, f.Node, f.Serial}, leafFact{root, f.Until}, f.Until)
	return nil
}

// enter puts a fact in its place, or only its end where there is no room. The
// caller holds mu, or is the only one.
func (l *ledger) enter(k leafKey, f leafFact, now time.Time) {
	if _, known := l.leaves[k]; !known && len(l.leaves) >= LeavesMax {
		l.prune(now)
	}
	if _, known := l.leaves[k]; k.principal == (id.Principal{}) || !known && len(l.leaves) >= LeavesMax {
		if f.until.After(l.blind[f.root]) {
			l.blind[f.root] = f.until
		}
		return
	}
	l.leaves[k] = f
}

// add replaces the holder's older leaf: the holder asked for this one and uses it
// for every new connection. A service's leaf without a known holder stands alone.
// False: the root has retired.
func (l *ledger) add(k leafKey, root [32]byte, until, now time.Time) (bool, error) {
	if k.principal.Kind != id.KindService || k.node != k.principal {
		k.serial = ""
	}
	line, err := lineOf(k, leafFact{root, until})
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	if l.sealed[root] {
		l.mu.Unlock()
		return false, nil
	}
	before, known := l.leaves[k]
	l.enter(k, leafFact{root, until}, now)
	l.pending = append(l.pending, line...)
	l.queued++
	at := l.queued
	l.mu.Unlock()
	if err := l.commit(at, now); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if known {
			l.leaves[k] = before // its holder has no newer leaf
		}
		return false, fmt.Errorf("store the issued leaf: %w", err)
	}
	return true, nil
}

func lineOf(k leafKey, f leafFact) ([]byte, error) {
	b, err := json.Marshal(leafLine{k.principal, k.node, k.serial, hex.EncodeToString(f.root[:]), f.until.UTC().Round(0)})
	return append(b, '\n'), err
}

// commit returns once line number at is on disk. Callers that waited while another
// wrote find their line in that write: one fsync serves all of them.
func (l *ledger) commit(at uint64, now time.Time) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	if l.durable >= at {
		l.mu.Unlock()
		return nil
	}
	data, upTo := l.pending, l.queued
	l.pending = nil
	l.lines += bytes.Count(data, []byte{'\n'})
	full := l.lines > 4*len(l.leaves)+ledgerSlack
	l.mu.Unlock()
	if l.torn || full {
		err := l.rewrite(now)
		if l.torn = err != nil; err != nil {
			return err
		}
	} else if err := l.write(data); err != nil {
		l.torn = true // lines of this batch may be lost: the next one writes all anew
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable = upTo
	return nil
}

func (l *ledger) write(lines []byte) error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(lines); err != nil {
		return fullDisk(err)
	}
	return fullDisk(f.Sync())
}

// rewrite replaces the journal by what is live. The caller has the turn, or is the
// only one.
func (l *ledger) rewrite(now time.Time) error {
	l.mu.Lock()
	l.prune(now)
	var b bytes.Buffer
	lines := 0
	keep := func(k leafKey, f leafFact) error {
		line, err := lineOf(k, f)
		b.Write(line)
		lines++
		return err
	}
	var err error
	for root, until := range l.blind {
		err = errors.Join(err, keep(leafKey{}, leafFact{root, until}))
	}
	for k, f := range l.leaves {
		err = errors.Join(err, keep(k, f))
	}
	l.lines = lines
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return WritePrivate(l.path, b.Bytes())
}

// seal ends a root when no live leaf needs it; else it returns who does. unseal
// takes it back when the end could not be stored.
func (l *ledger) seal(root [32]byte, now time.Time) (live []leafKey, blindUntil time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live = l.holders(root, now)
	if blindUntil = later(l.blind[root], l.blind[[32]byte{}]); len(live) > 0 || now.Before(blindUntil) {
		return live, blindUntil, false
	}
	l.sealed[root] = true
	return nil, time.Time{}, true
}

func (l *ledger) unseal(root [32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sealed, root)
}

// count is how many holders' newest leaves chain to root, and when the last ends.
func (l *ledger) count(root [32]byte, now time.Time) (n int, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live := l.holders(root, now)
	if blind := later(l.blind[root], l.blind[[32]byte{}]); now.Before(blind) {
		until = blind
	}
	for _, k := range live {
		until = later(until, l.leaves[k].until)
	}
	return len(live), until
}

// holders are the live leaves of one root. The caller holds mu.
func (l *ledger) holders(root [32]byte, now time.Time) (live []leafKey) {
	l.prune(now)
	for k, f := range l.leaves {
		if f.root == root {
			live = append(live, k)
		}
	}
	return live
}

// prune forgets leaves that have ended. The caller holds mu.
func (l *ledger) prune(now time.Time) {
	for k, f := range l.leaves {
		if now.After(f.until) {
			delete(l.leaves, k)
		}
	}
	for root, until := range l.blind {
		if now.After(until) {
			delete(l.blind, root)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
