package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Trail is the record of events on disk: one JSON line each, in order, in files of at most
// trailBytesMax of which the last trailFiles are kept. Every line is written before Record
// returns, and on the disk within trailSync.
type Trail struct {
	dir string

	mu    sync.Mutex
	file  *os.File
	bytes int64
	torn  bool // a part of a line may be behind them
	dirty bool
	last  []Event // newest last
}

const (
	trailName     = "events.jsonl"
	trailNext     = trailName + ".next" // while it is being made
	trailBytesMax = 64 << 20
	trailFiles    = 8
	trailSync     = 100 * time.Millisecond
	trailLast     = 1024 // kept in memory to be shown
)

// OpenTrail goes on in the folder's newest file.
func OpenTrail(dir string) (*Trail, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("trail of the direct node: %w", err)
	}
	t := &Trail{dir: dir}
	return t, t.open()
}

func (t *Trail) path(n int) string {
	if n == 0 {
		return filepath.Join(t.dir, trailName)
	}
	return filepath.Join(t.dir, fmt.Sprintf("%s.%d", trailName, n))
}

func (t *Trail) open() error {
	f, err := os.OpenFile(t.path(0), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("trail of the direct node: %w", err)
	}
	size, err := endOfLines(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	t.file, t.bytes = f, size
	return nil
}

// endOfLines cuts a line that a crash has left half written, and returns the size.
func endOfLines(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := st.Size()
	b := make([]byte, 1)
	for at := size; at > 0; at-- {
		if _, err := f.ReadAt(b, at-1); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			if at < size {
				return at, f.Truncate(at)
			}
			return at, nil
		}
	}
	if size > 0 {
		return 0, f.Truncate(0)
	}
	return 0, nil
}

// Record writes one event. An error leaves the file without a part of it.
func (t *Trail) Record(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return errors.New("the trail is closed")
	}
	if t.bytes > 0 && t.bytes+int64(len(line)) > trailBytesMax {
		if err := t.rotate(); err != nil {
			return err
		}
	}
	if err := t.mend(); err != nil {
		return err
	}
	if n, err := t.file.Write(line); err != nil {
		t.torn = n > 0
		return errors.Join(err, t.mend())
	}
	t.bytes += int64(len(line))
	t.dirty = true
	t.remember(e)
	return nil
}

// remember keeps an event to be shown. Digests, of which each lane has one a second, make room
// before anything else.
func (t *Trail) remember(e Event) {
	if len(t.last) == trailLast {
		oldest := max(0, slices.IndexFunc(t.last, func(e Event) bool { return e.Kind == Digest }))
		t.last = slices.Delete(t.last, oldest, oldest+1)
	}
	t.last = append(t.last, e)
}

// mend cuts the part of a line that was written before the disk was full.
func (t *Trail) mend() error {
	if !t.torn {
		return nil
	}
	err := t.file.Truncate(t.bytes)
	t.torn = err != nil
	return err
}

// rotate begins a new file. It is made first: on a full disk everything stays as it was.
func (t *Trail) rotate() error {
	if err := errors.Join(t.mend(), t.file.Sync()); err != nil {
		return err
	}
	next := filepath.Join(t.dir, trailNext)
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	for n := trailFiles - 1; n > 0 && err == nil; n-- {
		if err = os.Rename(t.path(n-1), t.path(n)); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(next, t.path(0))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := t.file
	t.file, t.bytes = f, 0
	return old.Close()
}

// Last returns the newest events, oldest first.
func (t *Trail) Last() []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Event(nil), t.last...)
}

// Run puts what was recorded on the disk, until ctx ends; then it closes the file.
func (t *Trail) Run(ctx context.Context) error {
	tick := time.NewTicker(trailSync)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := t.sync(); err != nil {
				return fmt.Errorf("trail of the direct node: %w", err) // what a failed fsync has lost, no second one brings back
			}
		case <-ctx.Done():
			return errors.Join(t.sync(), t.Close())
		}
	}
}

// Close ends the trail: what comes after is refused.
func (t *Trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	return err
}

// sync flushes outside of the lock: recording goes on meanwhile.
func (t *Trail) sync() error {
	t.mu.Lock()
	f, dirty := t.file, t.dirty
	t.dirty = false
	t.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // rotated meanwhile, and synced
		return err
	}
	return nil
}
