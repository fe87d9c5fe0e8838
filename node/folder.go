package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fire/policy/pki"
)

// lockName is the file in a state folder that its one process holds.
const lockName = "lock"

// holdFolder makes the state folder and keeps every other process out of it: two controls
// on one folder would each believe its own book of tokens. The kernel lets go when this
// process ends, however it does.
func holdFolder(dir string) (release func() error, err error) {
	if err := pki.MakePrivateDir(dir); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			b, _ := io.ReadAll(io.LimitReader(f, 32)) // the number only helps
			return nil, fmt.Errorf("another fire, process %s, uses the state folder %s; stop it, or set another dir", strings.TrimSpace(string(b)), dir)
		}
		return nil, fmt.Errorf("state folder: lock %s: %w", f.Name(), err)
	}
	// Who holds it is only said, so a full disk may keep the number out.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f.Close, nil
}

// throwAway makes a folder for this process alone, and removes those that earlier ones have
// left because they were killed: they hold keys.
func throwAway() (string, error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), throwAwayName+"*")) // the pattern is right
	for _, dir := range old {
		removeAbandoned(dir)
	}
	return os.MkdirTemp("", throwAwayName)
}

const (
	throwAwayName = "fire-dev-"
	// abandonedAfter keeps the folder of a process that is just starting.
	abandonedAfter = time.Minute
)

// removeAbandoned removes a folder of this user whose process has ended.
func removeAbandoned(dir string) {
	st, err := os.Lstat(dir)
	if err != nil || !st.IsDir() || time.Since(st.ModTime()) < abandonedAfter {
		return
	}
	if owner, ok := st.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
		return
	}
	if _, err := os.Lstat(filepath.Join(dir, lockName)); err != nil {
		return
	}
	if release, err := holdFolder(dir); err == nil {
		_ = os.RemoveAll(dir) // what cannot be removed now is tried again by the next start
		_ = release()
	}
}
