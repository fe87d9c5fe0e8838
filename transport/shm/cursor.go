package shm

import (
	"fmt"
	"os"
)

func openCursor(f *os.File, writable bool, epoch uint64) (memory, error) {
	m, err := mapMemory(f, writable, func(n int64) bool { return n == cursorBytes })
	if err != nil {
		return m, err
	}
	err = m.checkHead(magicCursor, "cursor")
	if e := m.load(offEpoch); err == nil && e != epoch {
		err = fmt.Errorf("the cursor is of epoch %d, the ring of %d", e, epoch)
	}
	if err != nil {
		m.unmap()
		return memory{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

// CursorPosition is where the reader of a cursor stands: where the reader that takes
// its place goes on.
func CursorPosition(f *os.File, epoch uint64) (uint64, error) {
	m, err := openCursor(f, false, epoch)
	if err != nil {
		return 0, err
	}
	at := m.load(offPosition)
	return at, m.unmap()
}
