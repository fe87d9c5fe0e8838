package witness

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// disk is one folder. A test puts another in its place, which dies at each of its steps.
type disk interface {
	Names() ([]string, error)
	Read(name string) ([]byte, error) // fs.ErrNotExist
	Create(name string) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	Sync() error // of the folder: its names
	Close() error
}

type file interface {
	io.WriteCloser
	Sync() error
}

// unfinished ends the name of a file that does not count yet.
const unfinished = ".new"

// replace makes data the content of a file: when it returns nil that survives a power cut, when
// not, either content may be there. After a failed fsync nobody may trust what the same pages
// read as, so each try is a new file.
func replace(d disk, name string, data []byte) error {
	f, err := d.Create(name + unfinished)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := d.Rename(name+unfinished, name); err != nil {
		return err
	}
	return d.Sync()
}

// folder is a disk of the operating system. It holds its folder open for its life: an error of
// writing it back is told to who had it open before (fsync(2)).
type folder struct {
	path string
	dir  *os.File
}

// makeFolder makes a folder and what is missing above it, each durable in the one above: else a
// power cut takes away all that was synced below.
func makeFolder(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(path)
	if err := makeFolder(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	parent, err := os.Open(above)
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// openFolder makes the folder where it is absent. locked keeps a second process out.
func openFolder(path string, locked bool) (*folder, error) {
	if err := makeFolder(path); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if locked {
		if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("folder %s is in use by another process: %w", path, err), dir.Close())
		}
	}
	return &folder{path, dir}, nil
}

func (f *folder) Names() ([]string, error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func (f *folder) Read(name string) ([]byte, error) {
	r, err := os.Open(filepath.Join(f.path, name))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, fileBytesMax+1))
	if err == nil && len(data) > fileBytesMax {
		err = fmt.Errorf("file %s is larger than %d bytes", r.Name(), fileBytesMax)
	}
	return data, err
}

func (f *folder) Create(name string) (file, error) {
	return os.OpenFile(filepath.Join(f.path, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (f *folder) Rename(from, to string) error {
	return os.Rename(filepath.Join(f.path, from), filepath.Join(f.path, to))
}

func (f *folder) Remove(name string) error { return os.Remove(filepath.Join(f.path, name)) }
func (f *folder) Sync() error              { return f.dir.Sync() }
func (f *folder) Close() error             { return f.dir.Close() }

// fileBytesMax bounds what is read back: evidence is the largest, two heads and a proof in JSON.
const fileBytesMax = 8 * RequestBytesMax

// sweep removes what a crash has left unfinished, and gives the names of the rest.
func sweep(d disk) ([]string, error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if !strings.HasSuffix(n, unfinished) {
			out = append(out, n)
		} else if err := d.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return out, nil
}
