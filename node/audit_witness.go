package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
	"fire/audit/witness"
	"fire/node/agent"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
)

// auditWitness is control's: it remembers the heads of the nodes' audit logs, and cosigns them. A
// node's keys are believed the first time; another key later only while the log signs with one
// that is known already.
type auditWitness struct {
	witness *witness.Witness
	key     *witness.Key
	domain  id.Domain
	path    string // of the keys
	slog    *slog.Logger
	once    sync.Once // closes it

	mu   sync.Mutex
	keys map[string][]string // of each log, by its origin
}

// openAuditWitness opens control's witness; what it finds is recorded in ledger.
func openAuditWitness(state string, d id.Domain, ledger *auditLog, log *slog.Logger) (*auditWitness, error) {
	w := &auditWitness{domain: d, path: filepath.Join(state, "witness-logs"), slog: log, keys: map[string][]string{}}
	var err error
	if w.key, err = witnessKey(filepath.Join(state, "witness-key"), d.Region+"."+d.Mesh+"/witness/control"); err != nil {
		return nil, err
	}
	const bytesMax = 4 << 20
	b, err := pki.ReadPrivate(w.path, bytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("the keys of witnessed logs: %w", err)
	default:
		if err := json.Unmarshal(b, &w.keys); err != nil {
			return nil, fmt.Errorf("the keys of witnessed logs in %s: %w", w.path, err)
		}
	}
	w.witness, err = witness.Open(witness.Config{Dir: filepath.Join(state, "witness"), Key: w.key, Logs: w.known, Report: func(e witness.Evidence) {
		log.Error("an audit log has shown a head that cannot be", "origin", e.Origin, "kind", e.Misdeed, "from", e.From)
		if ledger == nil {
			return
		}
		var b entry.Builder
		ctx, cancel := context.WithTimeout(context.Background(), actedWithin)
		defer cancel()
		if err := ledger.log.Add(ctx, witness.EvidenceEntry(&b, nil, ledger.log.Now(entry.Evidence), e)); err != nil {
			log.Error("evidence found no room in the audit log; its file is kept", "origin", e.Origin, "err", err)
		}
	}})
	return w, err
}

func witnessKey(path, name string) (*witness.Key, error) {
	const bytesMax = 4096
	b, err := pki.ReadPrivate(path, bytesMax)
	if err == nil {
		return witness.ReadKey(string(bytes.TrimSpace(b)))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the witness's key: %w", err)
	}
	k, err := witness.NewKey(rand.Reader, name)
	if err != nil {
		return nil, err
	}
	return k, pki.WritePrivate(path, []byte(k.Secret()+"\n"))
}

// known are the keys of a log.
func (w *auditWitness) known(origin string) ([]string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.keys[origin]
	return slices.Clone(k), ok
}

// cosign answers a node. It is asked of the node's own log alone.
func (w *auditWitness) cosign(ctx context.Context, node string, r *catalog.WitnessRequest) (*catalog.WitnessAnswer, error) {
	out := &catalog.WitnessAnswer{Key: w.key.Verifier()}
	if len(r.Body) == 0 {
		return out, nil
	}
	origin := auditOrigin(w.domain, node)
	if err := w.learn(origin, r); err != nil {
		return nil, err
	}
	checkpoint := checkpointOf(r.Body)
	if h, err := tlog.Claimed(checkpoint); err != nil || h.Origin != origin {
		return nil, reason.New(reason.NotPermitted, "%s has heads of %q cosigned, and of no other log", node, origin)
	}
	a := w.witness.Add(ctx, node, r.Body)
	out.Status, out.Type, out.Body = a.Status, a.Type, a.Body
	return out, nil
}

// checkpointOf is the checkpoint in an add-checkpoint request.
func checkpointOf(body []byte) []byte {
	_, checkpoint, _ := bytes.Cut(body, []byte("\n\n"))
	return checkpoint
}

// learn takes keys of a log that are new.
func (w *auditWitness) learn(origin string, r *catalog.WitnessRequest) error {
	if _, err := tlog.NewVerifiers(r.Keys...); err != nil || len(r.Keys) == 0 {
		return reason.New(reason.NotPermitted, "these are no keys of a log: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock() // over the write of a file: keys are learned once, and one after another
	have := w.keys[origin]
	var fresh []string
	for _, k := range r.Keys {
		if !slices.Contains(have, k) {
			fresh = append(fresh, k)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if len(have) > 0 {
		known, err := tlog.NewVerifiers(have...)
		if err != nil {
			return err
		}
		if _, err := known.Open(checkpointOf(r.Body)); err != nil {
			return reason.New(reason.NotPermitted, "the log %q has another key than before, and its head is not signed by the old one, too: %w", origin, err)
		}
	}
	all := append(fresh, have...)
	if len(all) > catalog.WitnessKeys {
		return reason.New(reason.NotPermitted, "the log %q has had %d keys, the limit", origin, len(have))
	}
	next := map[string][]string{}
	for o, k := range w.keys {
		next[o] = k
	}
	next[origin] = all
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := pki.WritePrivate(w.path, append(b, '\n')); err != nil {
		return err
	}
	w.keys = next
	return nil
}

// part closes the witness after all that asks it has ended.
func (w *auditWitness) part() part {
	return part{"audit witness", func(ctx context.Context) error { <-ctx.Done(); return w.close() }, stopGrace}
}

func (w *auditWitness) close() (err error) {
	if w != nil {
		w.once.Do(func() { err = w.witness.Close() })
	}
	return err
}

// cosigning has the heads of a host's log cosigned by control.
type cosigning struct {
	log   *auditLog
	agent *agent.Agent
	file  string

	mu        sync.Mutex
	submitter *witness.Submitter // nil: control's key is not known yet
	key       string
	problem   error
}

// keyEvery is how often control is asked for its key until it says it.
const keyEvery = 200 * time.Millisecond

// run asks for control's key and then offers heads until ctx ends.
func (c *cosigning) run(ctx context.Context) error {
	tick := time.NewTicker(keyEvery)
	defer tick.Stop()
	for {
		s, err := c.begin(ctx)
		c.mu.Lock()
		c.submitter, c.problem = s, err
		c.mu.Unlock()
		if err == nil {
			return s.Run(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *cosigning) begin(ctx context.Context) (*witness.Submitter, error) {
	a, err := c.agent.Witness(ctx, catalog.WitnessRequest{})
	if err != nil {
		return nil, err
	}
	name := "control"
	policy, err := witness.PolicyText(1, c.log.keys.Load().Known, []witness.Named{{Name: name, Verifier: a.Key}})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.key = a.Key
	c.mu.Unlock()
	return witness.NewSubmitter(witness.SubmitterConfig{Log: c.log.log, Policy: policy, File: c.file,
		Peers: []witness.Peer{{Name: name, Verifier: a.Key, Send: c.send}}})
}

func (c *cosigning) send(ctx context.Context, body []byte) (int, string, []byte, error) {
	a, err := c.agent.Witness(ctx, catalog.WitnessRequest{Keys: c.log.keys.Load().Known, Body: body})
	if err != nil {
		return 0, "", nil, err
	}
	return a.Status, a.Type, a.Body, nil
}

// cosigned is the newest checkpoint that control has cosigned, nil for none.
func (c *cosigning) cosigned() (tlog.Head, []byte) {
	if c == nil {
		return tlog.Head{}, nil
	}
	c.mu.Lock()
	s := c.submitter
	c.mu.Unlock()
	if s == nil {
		return tlog.Head{}, nil
	}
	return s.Cosigned()
}

// status is the witness's key, the newest size that it has cosigned, and what is wrong.
func (c *cosigning) status() (key string, size int64, problem string) {
	if c == nil {
		return "", 0, ""
	}
	c.mu.Lock()
	s, err := c.submitter, c.problem
	key = c.key
	c.mu.Unlock()
	if s != nil {
		var peers []witness.PeerStatus
		peers, err = s.Status()
		for _, p := range peers {
			size = max(size, p.Size)
			if p.Err != nil {
				err = p.Err
			}
		}
	}
	if err != nil {
		problem = err.Error()
	}
	return key, size, problem
}
