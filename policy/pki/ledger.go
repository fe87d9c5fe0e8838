package pki

import (
	"sync"
	"time"

	"fire/policy/id"
)

// ledger remembers in memory which root the newest leaf of each holder chains to.
type ledger struct {
	mu         sync.Mutex
	leaves     map[leafKey]leafFact
	sealed     map[[32]byte]bool // roots that retired: nothing is added to them
	blindUntil time.Time         // leaves issued before this start, or not held for want of room, end by then
}

type leafKey struct {
	principal, node id.Principal
	serial          string // "" where a newer leaf replaces the older
}

type leafFact struct {
	root  [32]byte
	until time.Time
}

// LeavesMax bounds the ledger; beyond it a root retires by time alone.
const LeavesMax = 1 << 16

// add replaces the holder's older leaf: the holder asked for this one and uses it
// for every new connection. A service's leaf without a known holder stands alone.
// False: the root has retired.
func (l *ledger) add(k leafKey, root [32]byte, until, now time.Time) bool {
	if k.principal.Kind != id.KindService || k.node != k.principal {
		k.serial = ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed[root] {
		return false
	}
	if l.leaves == nil {
		l.leaves = map[leafKey]leafFact{}
	}
	if _, known := l.leaves[k]; !known && len(l.leaves) >= LeavesMax {
		l.prune(now)
		if len(l.leaves) >= LeavesMax {
			if until.After(l.blindUntil) {
				l.blindUntil = until
			}
			return true
		}
	}
	l.leaves[k] = leafFact{root: root, until: until}
	return true
}

// seal ends a root when no live leaf needs it; else it returns who does. unseal
// takes it back when the end could not be stored.
func (l *ledger) seal(root [32]byte, liveUntil, now time.Time) (live []leafKey, blindUntil time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(liveUntil) {
		live = l.holders(root, now)
		if blindUntil = earlier(l.blindUntil, liveUntil); len(live) > 0 || now.Before(blindUntil) {
			return live, blindUntil, false
		}
	}
	if l.sealed == nil {
		l.sealed = map[[32]byte]bool{}
	}
	l.sealed[root] = true
	return nil, time.Time{}, true
}

func (l *ledger) unseal(root [32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sealed, root)
}

// count is how many holders' newest leaves chain to root.
func (l *ledger) count(root [32]byte, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.holders(root, now))
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
}
