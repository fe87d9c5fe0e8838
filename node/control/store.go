package control

import (
	"crypto/sha256"
	"encoding/json"
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
	path := filepath.Join(f.dir, name)
	b, err := pki.ReadPrivate(path, directoryBytesMax)
	if err != nil {
		return nil, err
	}
	content, err := unseal(b)
	if err != nil {
		return nil, fmt.Errorf("file %s is damaged: %w; restore it from a backup, since what it holds is nowhere else", path, err)
	}
	return content, nil
}

func (f folder) Write(name string, data []byte) error {
	return pki.WritePrivate(filepath.Join(f.dir, name), seal(data))
}

// sealed is a state file: a JSON document with the digest of its bytes. One flipped
// bit in a policy would still be JSON, and control would sign it.
type sealed struct {
	Format  string          `json:"format"`
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

const sealedFormat = "fire.state/v1"

// seal is json.Marshal of sealed that leaves the bytes of content as they are.
func seal(content []byte) []byte {
	return fmt.Appendf(nil, `{"format":%q,"sha256":"%x","content":%s}`+"\n", sealedFormat, sha256.Sum256(content), content)
}

func unseal(b []byte) ([]byte, error) {
	var s sealed
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.Format != sealedFormat {
		return nil, fmt.Errorf("its format is %q, want %q", s.Format, sealedFormat)
	}
	if s.SHA256 != fmt.Sprintf("%x", sha256.Sum256(s.Content)) {
		return nil, errors.New("its digest does not fit its content")
	}
	return s.Content, nil
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
