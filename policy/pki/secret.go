package pki

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SecretRef names a secret that lives outside the configuration: "cred:NAME" is a
// systemd credential, "file:PATH" an absolute path with mode 0600 or tighter.
type SecretRef string

// SecretBytesMax bounds a secret, also systemd's own limit for one credential is 1 MiB.
const SecretBytesMax = 64 << 10

// UnmarshalText refuses everything but a reference, so that a key or token pasted
// into a configuration file is an error and never echoed.
func (r *SecretRef) UnmarshalText(b []byte) error {
	v := SecretRef(b)
	if err := v.check(); err != nil {
		return err
	}
	*r = v
	return nil
}

// MarshalText is the reference itself, which is no secret.
func (r SecretRef) MarshalText() ([]byte, error) { return []byte(r), nil }

func (r SecretRef) check() error {
	if r == "" {
		return nil
	}
	if name, ok := strings.CutPrefix(string(r), "cred:"); ok {
		if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
			return fmt.Errorf("secret reference cred:NAME needs a plain name without '/'")
		}
		return nil
	}
	if path, ok := strings.CutPrefix(string(r), "file:"); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("secret reference file:PATH needs an absolute path")
		}
		return nil
	}
	// The text may be the secret itself: it is not repeated.
	return fmt.Errorf("a secret may not stand here; put it into a file of mode 0600 and write file:/absolute/path, or cred:NAME for a systemd credential")
}

// Resolve reads the secret, without one trailing line end.
func (r SecretRef) Resolve() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	path, forbidden := "", os.FileMode(0o077)
	if name, ok := strings.CutPrefix(string(r), "cred:"); ok {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, fmt.Errorf("secret %s: CREDENTIALS_DIRECTORY is not set; start under systemd with LoadCredential=%s:PATH, or use file:PATH", r, name)
		}
		// systemd opens the file to the unit's user by an ACL, which stat shows as
		// group read (systemd.exec(5), Credentials); everything else is still refused.
		path, forbidden = filepath.Join(dir, name), 0o037
	} else if r == "" {
		return nil, fmt.Errorf("no secret reference is set")
	} else {
		path = strings.TrimPrefix(string(r), "file:")
	}
	data, err := readModed(path, SecretBytesMax, forbidden)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", r, err)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(data) == 0 {
		return nil, fmt.Errorf("secret %s: the file is empty", r)
	}
	return data, nil
}
