package audit

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
)

// faulty is a Disk that fails and hangs when it is told to.
type faulty struct {
	Disk
	mu       sync.Mutex
	full     bool // no file can be made
	failSync int  // so many syncs of segments fail from now on
	hang     chan struct{}
	hung     atomic.Int64 // who waits
}

var errDisk = errors.New("injected: no space left on device")

func (d *faulty) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *faulty) Create(name string, size int64) (File, error) {
	d.mu.Lock()
	full := d.full
	d.mu.Unlock()
	if full {
		return nil, errDisk
	}
	f, err := d.Disk.Create(name, size)
	return &faultyFile{f, d, name}, err
}

func (d *faulty) Open(name string) (File, error) {
	f, err := d.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d, name}, nil
}

type faultyFile struct {
	File
	d    *faulty
	name string
}

func (f *faultyFile) Sync() error {
	f.d.mu.Lock()
	hang := f.d.hang
	fail := f.d.failSync > 0 && !strings.HasPrefix(f.name, "head")
	if fail {
		f.d.failSync--
	}
	f.d.mu.Unlock()
	if hang != nil {
		f.d.hung.Add(1)
		<-hang
		f.d.hung.Add(-1)
	}
	if fail {
		return errors.New("injected: input/output error")
	}
	return f.File.Sync()
}
