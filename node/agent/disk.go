package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
)

// record is agent.json: what makes this host a member, apart from its keys.
type record struct {
	Format   string     `json:"format"`
	Node     string     `json:"node"`
	Domain   id.Domain  `json:"domain"`
	Controls []string   `json:"controls"`
	Bundle   pki.Bundle `json:"bundle"`
}

const (
	recordFile     = "agent.json"
	recordFormat   = "fire.agent/v1"
	recordBytesMax = 256 << 10
	copyFile       = "catalogue.json"
	copyBytesMax   = catalog.ToNodeBytesMax
	copyPause      = 500 * time.Millisecond // between two writes of the copy
)

// load reads what an earlier run left. No record means: not joined yet.
func (a *Agent) load() error {
	path := filepath.Join(a.host.Dir, recordFile)
	data, err := pki.ReadPrivate(path, recordBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := decodeRecord(data)
	if err != nil {
		return fmt.Errorf("file %s is damaged: %w; remove it and join again: fire token create", path, err)
	}
	if err := a.mine(r); err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	node, err := pki.LoadIdentity(a.host.Dir, r.Domain.Node(r.Node))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the key of node %s is missing beside %s; remove that file and join again: fire token create", r.Node, path)
	}
	if err != nil {
		return err
	}
	if err := a.verifier.SetBundle(r.Bundle); err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	a.known.Store(r)
	a.keys.Store((&keys{}).with(node))
	a.loadServices(r)
	a.loadCopy(r)
	return nil
}

// mine refuses a state folder of another host or mesh than the configuration names.
func (a *Agent) mine(r *record) error {
	if a.host.Name != "" && a.host.Name != r.Node {
		return fmt.Errorf("it belongs to node %s, but node.name is %s; mend node.name, or use another node.dir and join again", r.Node, a.host.Name)
	}
	if a.host.Domain != (id.Domain{}) && a.host.Domain != r.Domain {
		return fmt.Errorf("it belongs to %s, but the configuration says %s; mend mesh.name and mesh.region, or use another node.dir and join again", r.Domain, a.host.Domain)
	}
	return nil
}

func decodeRecord(data []byte) (*record, error) {
	var r record
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, err
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("its format is %q, want %q", r.Format, recordFormat)
	}
	if _, err := id.ParseName(r.Node); err != nil {
		return nil, err
	}
	if r.Bundle.Domain != r.Domain {
		return nil, fmt.Errorf("the bundle is of %s, the node of %s", r.Bundle.Domain, r.Domain)
	}
	if n := len(r.Controls); n == 0 || n > pki.ControlsMax {
		return nil, fmt.Errorf("it names %d controls, want 1 to %d", n, pki.ControlsMax)
	}
	return &r, r.Bundle.Check()
}

// store makes r durable, then known.
func (a *Agent) store(r *record) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := pki.WritePrivate(filepath.Join(a.host.Dir, recordFile), data); err != nil {
		return err
	}
	a.known.Store(r)
	return nil
}

// loadServices takes the service certificates that are left. A damaged one is no
// reason to stay down: it is asked for again.
func (a *Agent) loadServices(r *record) {
	k := a.keys.Load()
	for _, name := range a.serviceNames() {
		i, err := pki.LoadIdentity(a.host.Dir, r.Domain.Service(name))
		if err == nil {
			k = k.with(i)
		} else if !errors.Is(err, fs.ErrNotExist) {
			a.log.Warn("service certificate on disk not used, asking for a new one", "svc", name, "err", err)
		}
	}
	a.keys.Store(k)
}

// loadCopy starts from the signed copy. A bad one costs the start with control
// down, not the start: nothing is allowed until a good one comes.
func (a *Agent) loadCopy(r *record) {
	path := filepath.Join(a.host.Dir, copyFile)
	data, err := pki.ReadPrivate(path, copyBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var h *held
	if err == nil {
		h, err = openCopy(data, r.Bundle)
	}
	if err != nil {
		err = fmt.Errorf("catalogue copy %s cannot be used: %w; remove it and start with control up", path, err)
		a.log.Error("catalogue copy refused", "err", err)
		a.setTrouble(func(t *trouble) { t.copy = err })
		return
	}
	a.verifier.SetRevoked(h.view.RevokedSet())
	a.held.Store(h)
	a.board.floor(h.view, r.Node, a.spoken)
	a.log.Info("catalogue taken from disk", "version", h.head.Version, "age", a.now().Sub(h.view.SignedAt).Round(time.Second).String())
}

func openCopy(data []byte, trusted pki.Bundle) (*held, error) {
	var s catalog.Signed
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	state, err := s.Open(nil, trusted)
	if err != nil {
		return nil, err
	}
	view, err := catalog.Compile(state)
	if err != nil {
		return nil, err
	}
	view.SignedAt = s.SignedAt
	return &held{view: view, head: s.Head(), fromDisk: true}, nil
}

// keepCopy writes the newest catalogue, paced, and the last one at the end.
func (a *Agent) keepCopy(ctx context.Context) {
	for {
		select {
		case s := <-a.toDisk:
			a.writeCopy(s)
		case <-ctx.Done():
			select {
			case s := <-a.toDisk:
				a.writeCopy(s)
			default:
			}
			return
		}
		select {
		case <-time.After(copyPause):
		case <-ctx.Done():
		}
	}
}

func (a *Agent) writeCopy(s *catalog.Signed) {
	data, err := json.Marshal(s)
	if err == nil {
		err = pki.WritePrivate(filepath.Join(a.host.Dir, copyFile), data)
	}
	if err != nil {
		a.log.Error("catalogue copy not written, the older one stays", "version", s.Version, "err", err)
	}
	a.setTrouble(func(t *trouble) { t.copy = err })
}

// offerCopy replaces what waits for the disk: only the newest matters. The catalogue
// goroutine is the only caller, so the second send never blocks.
func (a *Agent) offerCopy(s *catalog.Signed) {
	select {
	case <-a.toDisk:
	default:
	}
	a.toDisk <- s
}
