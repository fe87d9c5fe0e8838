package shm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// StartAt moves a lane's reader that has polled nothing yet: to where the writer has
// promised to write nothing over. A broadcast's reader begins at the mark by itself.
func (r *Reader) StartAt(position uint64) error {
	if r.ring.info.Discipline == Broadcast {
		return nil // its messages are counted from the ring's start, so they say nothing here
	}
	if r.messages != 0 || r.err != nil {
		return fmt.Errorf("ring %s: its reader has begun", r.ring.info.Name)
	}
	r.pos = position
	storeRelease(r.own.word(offPosition), position)
	return nil
}

// Position is the line up to which messages are published. It may be called from any
// goroutine, and is the end of some message then.
func (w *Writer) Position() uint64 { return w.ring.load(offWritten + 8*countPosition) }

// Readers is how many cursors the writer respects.
func (w *Writer) Readers() int { return len(*w.readers.Load()) }

// Hash is the layout hash that both ends must have.
func Hash() uint64 { return layoutHash }

// SameMemory tells whether two files are one memory, whatever their descriptors.
func SameMemory(a, b *os.File) bool {
	var x, y unix.Stat_t
	return unix.Fstat(int(a.Fd()), &x) == nil && unix.Fstat(int(b.Fd()), &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
