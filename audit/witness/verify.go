package witness

import (
	"errors"
	"fmt"

	"fire/audit/tlog"
)

// Relation is how a log stands to a head of it that somebody has remembered.
type Relation int

// The relations. Unknown comes with an error.
const (
	Unknown  Relation = iota
	Same              // that is the newest head
	Grown             // the log begins with what was remembered
	Replaced          // smaller, and whole for its own head: an older copy was put in its place
	Shrunk            // smaller, and not even its own head's entries are there: its files were cut
	Forked            // it holds other entries than those that were remembered
)

var relationNames = [...]string{"unknown", "same", "grown", "replaced by an older copy", "shrunk", "forked"}

// String is the relation in words.
func (r Relation) String() string { return relationNames[r] }

// Good says whether nothing that was remembered is missing.
func (r Relation) Good() bool { return r == Same || r == Grown }

var (
	// ErrPruned is of a remembered head that is older than the first entry that is left.
	ErrPruned = errors.New("what was remembered lies before the log's first entry that is left; compare a newer head")
	// ErrDamaged is of a log whose kept hashes do not lead to its own head.
	ErrDamaged = errors.New("the hashes that the log keeps do not lead to its own signed head: they were changed, or are missing")
)

// Finding is what VerifyAgainst has found.
type Finding struct {
	Relation   Relation
	Now, Then  tlog.Head
	RootBefore tlog.Hash // of the log's tree at Then's size, where it has one
}

// String is one line for a person.
func (f Finding) String() string {
	switch f.Relation {
	case Same:
		return fmt.Sprintf("the newest head of %s is the remembered one, of size %d", f.Now.Origin, f.Now.Size)
	case Grown:
		return fmt.Sprintf("%s has grown from %d to %d", f.Now.Origin, f.Then.Size, f.Now.Size)
	case Replaced:
		return fmt.Sprintf("%s was replaced by an older copy: it ends at %d, and %d was remembered; the first missing entry is %d", f.Now.Origin, f.Now.Size, f.Then.Size, f.Now.Size)
	case Shrunk:
		return fmt.Sprintf("%s has shrunk: its head says %d, not all of which is there, and %d was remembered", f.Now.Origin, f.Now.Size, f.Then.Size)
	case Forked:
		return fmt.Sprintf("%s was forked at or before entry %d: the root of size %d is %v, and %v was remembered", f.Now.Origin, f.Then.Size-1, f.Then.Size, f.RootBefore, f.Then.Root)
	}
	return fmt.Sprintf("nothing is known of %s", f.Now.Origin)
}

// VerifyAgainst compares a log, by its newest head and the hashes that it keeps, with a head that
// was remembered elsewhere: one that witnesses have cosigned, or one from a proof or evidence.
// Both heads must have been verified. The error is nil unless the relation is Unknown.
func VerifyAgainst(log tlog.Reader, now, then tlog.Head) (Finding, error) {
	f := Finding{Now: now, Then: then}
	if now.Origin != then.Origin {
		return f, fmt.Errorf("witness: %q and %q: %w", now.Origin, then.Origin, tlog.ErrOrigin)
	}
	whole := isWhole(log, now)
	switch {
	case now.Size < then.Size && whole == nil:
		f.Relation = Replaced
		return f, nil
	case now.Size < then.Size:
		f.Relation = Shrunk
		return f, nil
	case now.Size == then.Size && now.Root != then.Root:
		f.Relation, f.RootBefore = Forked, now.Root
		return f, nil
	case whole != nil:
		return f, whole
	case now.Size == then.Size:
		f.Relation, f.RootBefore = Same, now.Root
		return f, nil
	case then.Size < log.Edge().Size():
		return f, fmt.Errorf("witness: size %d of %s: %w", then.Size, now.Origin, ErrPruned)
	}
	var err error
	if f.RootBefore, err = tlog.RootAt(log, then.Size); err != nil {
		return f, fmt.Errorf("witness: %w: %w", ErrDamaged, err)
	}
	// A hash may have been changed that only the older tree needs. The log's own tree has that
	// root at that size only if it leads from there to the signed one.
	before := then
	before.Root = f.RootBefore
	proof, err := tlog.ProveGrowth(log, now, then.Size)
	if err == nil {
		err = tlog.CheckGrowth(proof, now, before)
	}
	if err != nil {
		return f, fmt.Errorf("witness: %w: %w", ErrDamaged, err)
	}
	f.Relation = Grown
	if f.RootBefore != then.Root {
		f.Relation = Forked
	}
	return f, nil
}

// isWhole says whether the kept hashes lead to the log's own head. A log that is pruned up to
// its very end has a root all the same.
func isWhole(log tlog.Reader, now tlog.Head) error {
	root, err := tlog.RootAt(log, now.Size)
	if err != nil {
		return fmt.Errorf("witness: %w: %w", ErrDamaged, err)
	}
	if root != now.Root {
		return fmt.Errorf("witness: %w: size %d has the root %v, signed is %v", ErrDamaged, now.Size, root, now.Root)
	}
	return nil
}
