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
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
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
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state folder: %w", err), f.Close())
	}
	return f.Close, nil
}
