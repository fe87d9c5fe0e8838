package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"fire/audit/tlog"
)

// minimum is where a log that was pruned begins. It is a signed note of its own form, and not an
// old head, which anybody could lay beside a folder from which segments were taken:
//
//	fire-audit-minimum/v1
//	<origin>
//	<size>
//	<root of that size, base64>
type minimum struct{ tlog.Head }

const (
	minimumName  = "minimum"
	minimumMagic = "fire-audit-minimum/v1"
)

func (m *minimum) sign(keys []*tlog.Key) ([]byte, error) {
	return tlog.SignText(fmt.Sprintf("%s\n%s\n%d\n%v\n", minimumMagic, m.Origin, m.Size, m.Root), keys...)
}

func parseMinimum(text string) (*minimum, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != minimumMagic || lines[4] != "" {
		return nil, errors.New("it is no minimum of a log")
	}
	size, err := strconv.ParseInt(lines[2], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[3])
	if err != nil || err2 != nil || size < 0 || len(root) != tlog.HashBytes {
		return nil, errors.New("it is no minimum of a log")
	}
	return &minimum{tlog.Head{Origin: lines[1], Size: size, Root: tlog.Hash(root)}}, nil
}

// minimum reads the file, nil where nothing was ever pruned.
func (o *opening) minimum() (*minimum, error) {
	b, err := readWhole(o.store.disk, minimumName, wholeBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Fault{File: minimumName, Kind: Unreadable, Why: err.Error()}
	}
	text, err := o.known.OpenText(b)
	var m *minimum
	if err == nil {
		m, err = parseMinimum(text)
	}
	if err == nil && o.store.origin != "" && m.Origin != o.store.origin {
		err = fmt.Errorf("it is of the log %q", m.Origin)
	}
	if err != nil {
		return nil, &Fault{File: minimumName, Kind: Tampered, Why: err.Error()}
	}
	return m, nil
}

// wholeBytesMax bounds the small files that are read at once.
const wholeBytesMax = 1 << 20

// readWhole reads a small file.
func readWhole(d Disk, name string, most int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, fmt.Errorf("it has %d bytes, %d at most", n, most)
	}
	b := make([]byte, n)
	if got, err := f.ReadAt(b, 0); got < len(b) {
		return nil, err
	}
	return b, nil
}
