package control

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"fire/policy/pki"
	"fire/policy/reason"
)

// Disk is where control's state lives. Write returns nil only when the bytes
// survive a power cut, and until then the old content is untouched.
type Disk interface {
	Read(name string) ([]byte, error) // fs.ErrNotExist when there is none
	Write(name string, data []byte) error
}

// Files of the state folder. The authority keeps its own beside them.
const (
	directoryFile     = "directory.json"
	tokensFile        = "tokens.json"
	directoryBytesMax = 512 << 20
)

// folder is the Disk of a real control.
type folder struct{ dir string }

func (f folder) Read(name string) ([]byte, error) {
	return pki.ReadPrivate(filepath.Join(f.dir, name), directoryBytesMax)
}

func (f folder) Write(name string, data []byte) error {
	return pki.WritePrivate(filepath.Join(f.dir, name), data)
}

// read is Disk.Read with nil for an absent file.
func read(d Disk, name string) ([]byte, error) {
	b, err := d.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// notStored is the one error of a change that did not reach the disk.
func notStored(err error) error {
	return reason.New(reason.Of(err, reason.DiskFull), "nothing was changed: %w", fmt.Errorf("store the catalogue: %w", err))
}
