package direct

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// An operator's cuts outlive this process: they lie in a file that is replaced whole before
// a cut, or its end, takes effect.
const revokedName = "revoked.json"

// revokedBytesMax bounds the file that is read at start.
const revokedBytesMax = 4 << 20

func (b *Broker) loadRevoked() error {
	if b.deps.Dir == "" {
		return nil
	}
	path := filepath.Join(b.deps.Dir, revokedName)
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && st.Size() > revokedBytesMax {
		err = fmt.Errorf("it has %d bytes, the limit is %d", st.Size(), revokedBytesMax)
	}
	var all []Revocation
	if err == nil {
		var text []byte
		if text, err = os.ReadFile(path); err == nil {
			err = json.Unmarshal(text, &all)
		}
	}
	if err != nil {
		return fmt.Errorf("the cuts in force, %s: %w; mend or remove the file: without it nobody is cut", path, err)
	}
	for _, r := range all {
		b.revoked[revocation{r.Channel, r.Service}] = r
	}
	return nil
}

// saveRevoked writes what is to be in force.
func (b *Broker) saveRevoked(all map[revocation]Revocation) error {
	if b.deps.Dir == "" {
		return nil
	}
	list := []Revocation{}
	for _, r := range all {
		list = append(list, r)
	}
	text, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(b.deps.Dir, revokedName), text, 0o600)
}
