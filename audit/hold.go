package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// LegalHold keeps what was recorded in a span of time from being pruned, and subjects from being
// erased, until it is lifted.
type LegalHold struct {
	Name string    `json:"name"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
	Set  time.Time `json:"set"`
}

// holdsName is the file of those in force: a signed note, its first line holdsMagic, its second the
// log's name, its third the list in JSON.
const (
	holdsName  = "holds"
	holdsMagic = "fire-audit-holds/v1"
	holdsMax   = 256
)

// Holds are those in force.
func (l *Log) Holds() ([]LegalHold, error) {
	b, err := readWhole(l.deps.Disk, holdsName, wholeBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit: the holds: %w", err)
	}
	known, err := tlog.NewVerifiers(l.keys.Load().Known...)
	if err != nil {
		return nil, err
	}
	return parseHolds(b, known, l.origin)
}

func parseHolds(b []byte, known *tlog.Verifiers, origin string) (out []LegalHold, err error) {
	text, err := known.OpenText(b)
	if err != nil {
		return nil, fmt.Errorf("audit: the holds: %w", err)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != holdsMagic || lines[1] != origin || json.Unmarshal([]byte(lines[2]), &out) != nil {
		return nil, errors.New("audit: the holds: they are of another log, or in no form that is known")
	}
	return out, nil
}

// SetHold puts one in force. It is in the log before it is in force, and in force when SetHold
// returns.
func (l *Log) SetHold(ctx context.Context, h LegalHold) error {
	l.pruning.Lock() // over I/O: see Prune
	defer l.pruning.Unlock()
	all, err := l.Holds()
	switch {
	case err != nil:
		return err
	case h.Name == "" || strings.ContainsAny(h.Name, "\n\t"):
		return errors.New("audit: a hold has a name of one line")
	case slices.ContainsFunc(all, func(o LegalHold) bool { return o.Name == h.Name }):
		return fmt.Errorf("audit: there is a hold %q already; lift it first, or take another name", h.Name)
	case len(all) >= holdsMax:
		return fmt.Errorf("audit: there are %d holds, the limit", holdsMax)
	case !h.To.After(h.From):
		return fmt.Errorf("audit: hold %q ends before it begins", h.Name)
	}
	if err := l.tellHold(ctx, h, "set", h.By, h.Why); err != nil {
		return err
	}
	return l.writeHolds(append(all, h))
}

// LiftHold ends one. It is in the log before it is lifted.
func (l *Log) LiftHold(ctx context.Context, name, by, why string) error {
	l.pruning.Lock() // over I/O: see Prune
	defer l.pruning.Unlock()
	all, err := l.Holds()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(o LegalHold) bool { return o.Name == name })
	if i < 0 {
		return fmt.Errorf("audit: there is no hold %q in %s", name, l.origin)
	}
	if err := l.tellHold(ctx, all[i], "lifted", by, why); err != nil {
		return err
	}
	return l.writeHolds(slices.Delete(all, i, i+1))
}

func (l *Log) tellHold(ctx context.Context, h LegalHold, verb, by, why string) error {
	var b entry.Builder
	b.Begin(nil, l.Now(entry.Hold))
	b.Str(entry.Actor, by)
	b.Str(entry.Verb, verb)
	b.Str(entry.Object, h.Name)
	b.Str(entry.Before, h.From.UTC().Format(time.RFC3339Nano))
	b.Str(entry.After, h.To.UTC().Format(time.RFC3339Nano))
	b.Str(entry.Detail, why)
	_, err := l.Append(ctx, b.Raw())
	return err
}

func (l *Log) writeHolds(all []LegalHold) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	note, err := tlog.SignText(holdsMagic+"\n"+l.origin+"\n"+string(text)+"\n", l.keys.Load().Signing...)
	if err != nil {
		return err
	}
	if err := l.deps.Disk.Replace(holdsName, note); err != nil {
		return fmt.Errorf("audit: the holds: %w", err)
	}
	return nil
}

// covers tells whether a segment has entries that the hold keeps.
func (h LegalHold) covers(s Held) bool { return !s.To.Before(h.From) && s.From.Before(h.To) }
