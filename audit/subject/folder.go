package subject

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// folder is where a store lives; tests put one in its place that can be cut off at any step.
type folder interface {
	Open(name string) (file, error)
	Create(name string) (file, error) // empty
	Rename(from, to string) error
	Remove(name string) error
	Sync() error
	Close() error
}

// file is one of its files.
type file interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

const (
	folderMode fs.FileMode = 0o700
	fileMode   fs.FileMode = 0o600
)

// disk is a folder of the file system. It stays open and locked: a second process would write
// over what the first has written.
type disk struct {
	dir string
	fd  *os.File
}

func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return nil, fmt.Errorf("subject: make folder: %w", err)
	}
	fd, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	if err := private(fd, true); err != nil {
		fd.Close()
		return nil, err
	}
	if err := syscall.Flock(int(fd.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fd.Close()
		return nil, fmt.Errorf("subject: folder %s is in use by another process: %w", dir, err)
	}
	return &disk{dir, fd}, nil
}

// private refuses what somebody else may read, or could put something else in the place of. The
// mode is of the open file, so that nobody swaps it between check and use.
func private(f *os.File, folder bool) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	what, right := "file", "600"
	if folder {
		what, right = "folder", "700"
	}
	if info.IsDir() != folder || !folder && !info.Mode().IsRegular() {
		return fmt.Errorf("subject: %s is no %s; move it away", f.Name(), what)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("subject: %s %s belongs to user %d; run: chown %d %s", what, f.Name(), st.Uid, os.Geteuid(), f.Name())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("subject: %s %s has mode %04o, others could read its keys; run: chmod %s %s", what, f.Name(), mode, right, f.Name())
	}
	return nil
}

func (d *disk) Open(name string) (file, error) { return d.open(name, os.O_RDWR) }

func (d *disk) Create(name string) (file, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d *disk) open(name string, flags int) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, fileMode)
	if err != nil {
		return nil, err
	}
	if err := private(f, false); err != nil {
		f.Close()
		return nil, err
	}
	return diskFile{f}, nil
}

func (d *disk) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to))
}

func (d *disk) Remove(name string) error { return os.Remove(filepath.Join(d.dir, name)) }
func (d *disk) Sync() error              { return d.fd.Sync() }
func (d *disk) Close() error             { return d.fd.Close() }

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// replace writes a whole file: after it returns nil the new content survives a power cut, before
// that the old one is untouched. The new file stays open.
func replace(d folder, name string, write func(file) error) (file, error) {
	temp := name + ".new"
	f, err := d.Create(temp)
	if err != nil {
		return nil, err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.Rename(temp, name)
	}
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
