package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"fire/audit/tlog"
)

// Keys are what a log signs with, the newest first, and all public keys that it ever had.
type Keys struct {
	Signing []*tlog.Key // more than one while keys overlap
	Known   []string    // verifier keys, the newest first
}

// KeyFile keeps a log's keys: lines "signing SECRET" and "known PUBLIC". Read and Write are of a
// file that only its owner may read.
type KeyFile struct {
	Read  func() ([]byte, error) // fs.ErrNotExist where there is none
	Write func([]byte) error     // durably, whole
}

// LoadKeys reads the keys of a log, or makes the first one.
func LoadKeys(f KeyFile, origin string, rand io.Reader) (*Keys, error) {
	b, err := f.Read()
	if errors.Is(err, fs.ErrNotExist) {
		k, err := tlog.NewKey(rand, origin)
		if err != nil {
			return nil, err
		}
		keys := &Keys{Signing: []*tlog.Key{k}, Known: []string{k.Verifier()}}
		return keys, f.Write(keys.format())
	}
	if err != nil {
		return nil, fmt.Errorf("audit: the log's keys: %w", err)
	}
	return parseKeys(b, origin)
}

func parseKeys(b []byte, origin string) (*Keys, error) {
	keys := &Keys{}
	for i, line := range strings.Split(string(bytes.TrimSpace(b)), "\n") {
		word, value, _ := strings.Cut(line, " ")
		switch word {
		case "signing":
			k, err := tlog.ReadKey(value)
			if err != nil {
				return nil, fmt.Errorf("audit: line %d of the log's keys: %w", i+1, err)
			}
			if k.Origin() != origin {
				return nil, fmt.Errorf("audit: the keys are of the log %q, and this is %q: the host has another name than before; put its old state folder aside", k.Origin(), origin)
			}
			keys.Signing = append(keys.Signing, k)
		case "known":
			if _, err := tlog.NewVerifiers(value); err != nil {
				return nil, fmt.Errorf("audit: line %d of the log's keys: %w", i+1, err)
			}
			keys.Known = append(keys.Known, value)
		default:
			return nil, fmt.Errorf("audit: line %d of the log's keys is none", i+1)
		}
	}
	if len(keys.Signing) == 0 {
		return nil, errors.New("audit: the file of the log's keys has none to sign with")
	}
	return keys, nil
}

// Save puts the keys where the next start finds them.
func (k *Keys) Save(f KeyFile) error { return f.Write(k.format()) }

func (k *Keys) format() []byte {
	var b bytes.Buffer
	for _, s := range k.Signing {
		fmt.Fprintf(&b, "signing %s\n", s.Secret())
	}
	for _, v := range k.Known {
		fmt.Fprintf(&b, "known %s\n", v)
	}
	return b.Bytes()
}

// inUse is the public keys that sign now, one a line.
func (k *Keys) inUse() string {
	var lines []string
	for _, s := range k.Signing {
		lines = append(lines, s.Verifier())
	}
	return strings.Join(lines, "\n")
}

// Rotated is k with a new key, which signs together with the old one until Settled.
func (k *Keys) Rotated(rand io.Reader) (*Keys, error) {
	if len(k.Signing) > 1 {
		return nil, errors.New("audit: the last rotation of the log's key is not settled yet")
	}
	n, err := tlog.NewKey(rand, k.Signing[0].Origin())
	if err != nil {
		return nil, err
	}
	return &Keys{Signing: []*tlog.Key{n, k.Signing[0]}, Known: append([]string{n.Verifier()}, k.Known...)}, nil
}

// Settled is k with the newest key alone to sign with.
func (k *Keys) Settled() *Keys { return &Keys{Signing: k.Signing[:1], Known: k.Known} }

// SetKeys lets the log sign with other keys from its next group on. They are of the same log, and
// whoever calls has put them where the next start finds them.
func (l *Log) SetKeys(k *Keys) error {
	if len(k.Signing) == 0 || k.Signing[0].Origin() != l.origin {
		return fmt.Errorf("audit: these are no keys of the log %q", l.origin)
	}
	l.keys.Store(k)
	return nil
}
