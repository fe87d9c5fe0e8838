package pki

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fire/policy/reason"

	"github.com/google/renameio/v2"
)

// Private files: what only the owner may read (keys, the token book, bundles that
// decide whom we trust). Files are 0600 in folders of 0700, whole or absent.

const (
	privateDirMode  fs.FileMode = 0o700
	privateFileMode fs.FileMode = 0o600
)

// MakePrivateDir creates dir (0700) or checks that it is ours and nobody else may
// enter it: the owner of a folder may put other keys and roots in the place of ours.
func MakePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, privateDirMode); err != nil {
		return fmt.Errorf("make private folder: %w", fullDisk(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check private folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder; move it away", dir)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("folder %s belongs to user %d, who could replace its keys; run as that user, or run: chown %d %s", dir, st.Uid, os.Geteuid(), dir)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("folder %s has mode %04o, others could read its keys; run: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// WritePrivate replaces path with data: after it returns nil the new content
// survives a power cut, before that the old content is untouched.
func WritePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(privateFileMode))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, fullDisk(err))
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, fullDisk(err))
	}
	if err := f.CloseAtomicallyReplace(); err != nil { // syncs the file, then renames
		return fmt.Errorf("write %s: %w", path, fullDisk(err))
	}
	return syncDir(dir)
}

// syncDir makes a rename inside dir durable (fsync(2), NOTES).
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, fullDisk(err))
	}
	return nil
}

// ReadPrivate reads a file of at most bytesMax that only its owner may read. The
// mode is taken from the open file, so that nobody can swap it between check and
// read. An absent file is fs.ErrNotExist.
func ReadPrivate(path string, bytesMax int64) ([]byte, error) {
	return readModed(path, bytesMax, 0o077)
}

func readModed(path string, bytesMax int64, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO put in its place must not hang the start
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; move it away", path)
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return nil, fmt.Errorf("file %s has mode %04o, others could read it; run: chmod 600 %s", path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > bytesMax {
		return nil, fmt.Errorf("file %s is larger than %d bytes", path, bytesMax)
	}
	return data, nil
}

// fullDisk gives "no space" and "quota" their reason code.
func fullDisk(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return reason.New(reason.DiskFull, "%w", err)
	}
	return err
}
