package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Disk is a folder as the log uses it. Tests put others in its place, which record, fill up,
// hang, or lose what was not synced.
type Disk interface {
	// Create makes a file of size bytes, all zero and with room on the disk for them.
	Create(name string, size int64) (File, error)
	Open(name string) (File, error)
	Replace(name string, b []byte) error // the whole file, durably: the old one, or the new
	Rename(from, to string) error        // durably
	Remove(name string) error
	List() ([]string, error) // sorted
}

// File is one file of a Disk.
type File interface {
	ReadAt(b []byte, at int64) (int, error)
	WriteAt(b []byte, at int64) (int, error)
	Truncate(size int64) error
	Sync() error // of data and size; after an error nobody knows what is on the disk
	Size() (int64, error)
	Close() error
}

// folder is the Disk that is one. Its own descriptor stays open: what is made or renamed in it
// is synced by it, and an error of that is seen.
type folder struct {
	path string
	dir  *os.File
}

// OpenFolder makes the folder, for this user alone, and is it.
func OpenFolder(path string) (Disk, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	return openFolder(path)
}

func openFolder(path string) (*folder, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &folder{path, d}, nil
}

func (d *folder) Create(name string, size int64) (_ File, err error) {
	f, err := os.OpenFile(d.in(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		// Not Truncate: a sparse file finds the disk full in the middle of a group.
		if err = unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
			err = fmt.Errorf("no room for %d MiB in %s: %w", size>>20, d.path, err)
		}
	}
	if err == nil {
		err = errors.Join(f.Sync(), d.dir.Sync())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(d.in(name)))
	}
	return osFile{f}, nil
}

func (d *folder) Open(name string) (File, error) {
	f, err := os.OpenFile(d.in(name), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) { // a copy that somebody verifies
		f, err = os.OpenFile(d.in(name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *folder) Replace(name string, b []byte) error {
	next := d.in(name + ".next")
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(next, d.in(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return d.dir.Sync()
}

func (d *folder) Rename(from, to string) error {
	return errors.Join(os.Rename(d.in(from), d.in(to)), d.dir.Sync())
}

func (d *folder) Remove(name string) error {
	return errors.Join(os.Remove(d.in(name)), d.dir.Sync())
}

func (d *folder) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, err
}

func (d *folder) in(name string) string { return filepath.Join(d.path, name) }

type osFile struct{ *os.File }

func (f osFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// OpenCopy is a folder that is there already, to be read.
func OpenCopy(path string) (Disk, error) {
	d, err := openFolder(path)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return d, nil
}
