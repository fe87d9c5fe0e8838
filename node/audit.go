package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit"
	"fire/audit/clock"
	"fire/audit/entry"
	"fire/audit/order"
	"fire/audit/subject"
	"fire/audit/tlog"
	"fire/node/catalog"
	"fire/node/direct"
	"fire/node/proxy"
	"fire/policy/id"
	"fire/policy/pki"
)

// auditLog is a host's audit log, and what is known of it outside.
type auditLog struct {
	log     *audit.Log
	keys    atomic.Pointer[audit.Keys]
	known   atomic.Pointer[tlog.Verifiers]
	dir     string
	headDir string
	away    audit.Disk
	slog    *slog.Logger
	keyFile audit.KeyFile
	persons *subject.Store // nil: no value is of a person
	events  *auditEvents
	keeper  *audit.Keeper
	clock   *clock.Clock
	cosign  *cosigning                   // nil: nobody is asked to
	seen    atomic.Pointer[catalog.View] // in force
	ran     atomic.Bool
}

// auditOrigin is the name of a host's log.
func auditOrigin(d id.Domain, name string) string {
	return d.Region + "." + d.Mesh + "/audit/" + name
}

// openAudit opens the log of that name, nil where it is switched off.
func openAudit(settings audit.Settings, state, origin string, log *slog.Logger) (*auditLog, error) {
	if !settings.Enabled {
		return nil, nil
	}
	var found *audit.Found
	a := &auditLog{dir: within(state, settings.Dir, "audit"), headDir: within(state, settings.HeadDir, "audit-head"), slog: log}
	if err := pki.MakePrivateDir(state); err != nil {
		return nil, err
	}
	disk, err := openAuditFolder(a.dir)
	if err != nil {
		return nil, err
	}
	if a.away, err = openAuditFolder(a.headDir); err != nil {
		return nil, err
	}
	a.keyFile = auditKeyFile(filepath.Join(state, "audit-key"))
	keys, err := audit.LoadKeys(a.keyFile, origin, rand.Reader)
	if err != nil {
		return nil, err
	}
	known, err := tlog.NewVerifiers(keys.Known...)
	if err != nil {
		return nil, err
	}
	a.keys.Store(keys)
	a.known.Store(known)
	persons, err := a.openPersons(settings.PersonalTags, state)
	if err != nil {
		return nil, err
	}
	var base [8]byte
	_, _ = rand.Read(base[:]) // it does not fail
	first := binary.LittleEndian.Uint64(base[:]) >> 1
	if a.clock, err = clock.New(settings.Clock, clock.Deps{Append: a.tick, Source: first}); err != nil {
		return nil, err
	}
	a.log, found, err = audit.Open(settings.Config(origin), audit.Deps{Disk: disk, Away: a.away, Keys: keys, Now: time.Now, Log: log, Persons: persons, Stamp: a.clock.Stamp, Base: first})
	if fault, ok := errors.AsType[*audit.Fault](err); ok {
		return nil, fmt.Errorf("the audit log in %s does not start, since it is not what it has signed: %w; `fire audit verify %s` says more, and README.md what can be done", a.dir, fault, a.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("the audit log in %s: %w", a.dir, err)
	}
	if found.CutBytes > 0 {
		log.Warn("the audit log's half-written end was cut: nobody was told of it", "file", found.CutFile, "bytes", found.CutBytes, "entries", found.Size)
	}
	if a.events, err = newAuditEvents(a.log.Capture()); err != nil {
		return nil, errors.Join(err, a.log.Close())
	}
	a.keeper = audit.NewKeeper(a.log, settings.Retention(), known)
	a.first(found)
	return a, nil
}

// openControlAudit opens the log of a control: what was changed, and by whom. It lies beside the
// control's state, also where mesh.toml names folders for the host's.
func openControlAudit(settings audit.Settings, state string, d id.Domain, log *slog.Logger) (*auditLog, error) {
	for _, dir := range []*string{&settings.Dir, &settings.HeadDir} {
		if *dir != "" {
			*dir = filepath.Join(*dir, "control")
		}
	}
	return openAudit(settings, state, auditOrigin(d, "control"), log)
}

// within is a folder of the configuration, or the usual one.
func within(state, asked, usual string) string {
	switch {
	case asked == "":
		return filepath.Join(state, usual)
	case filepath.IsAbs(asked):
		return asked
	}
	return filepath.Join(state, asked)
}

func openAuditFolder(dir string) (audit.Disk, error) {
	if err := pki.MakePrivateDir(dir); err != nil {
		return nil, fmt.Errorf("the audit log's folder: %w", err)
	}
	return audit.OpenFolder(dir)
}

// auditKeyFile is the file of the log's keys: private, and replaced whole.
func auditKeyFile(path string) audit.KeyFile {
	const bytesMax = 1 << 20
	return audit.KeyFile{
		Read: func() ([]byte, error) {
			if _, err := os.Lstat(path); err != nil {
				return nil, err
			}
			return pki.ReadPrivate(path, bytesMax)
		},
		Write: func(b []byte) error { return pki.WritePrivate(path, b) },
	}
}

// first records that the log goes on, and what of it was cut.
func (a *auditLog) first(found *audit.Found) {
	var b entry.Builder
	b.Begin(nil, a.log.Now(entry.Log))
	b.Uint(entry.Count, uint64(found.Size))
	b.Str(entry.Verb, "opened")
	if found.CutBytes > 0 {
		b.Str(entry.Detail, fmt.Sprintf("%d bytes of a group that nobody was told of were cut from %s", found.CutBytes, found.CutFile))
	}
	b.Uint(entry.Process, uint64(os.Getpid()))
	if err := a.log.Add(context.Background(), b.Raw()); err != nil { // the queue is empty: it does not wait
		a.slog.Error("the audit log takes no entry", "err", err)
	}
}

// tickWithin is how long the clock's journal waits for a log whose queue is full. Its entries are
// counted: one that is lost leaves a hole in the journal's numbers.
const tickWithin = 50 * time.Millisecond

func (a *auditLog) tick(e []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), tickWithin)
	defer cancel()
	if err := a.log.Add(ctx, bytes.Clone(e)); err != nil && !errors.Is(err, audit.ErrClosed) {
		a.slog.Warn("the clock's journal found no room in the audit log", "origin", a.log.Origin(), "err", err)
	}
}

// connections is where the proxy leaves what it carries. It is nil, and not the nil of a type, where
// there is no log: the proxy asks whether there is.
func (a *auditLog) connections() proxy.Audit {
	if a == nil {
		return nil
	}
	return a.log.Capture()
}

// lanes is the same for the direct node.
func (a *auditLog) lanes() direct.Audit {
	if a == nil {
		return nil
	}
	return lanes{a.log.Capture()}
}

type lanes struct{ *audit.Capture }

func (l lanes) Lane(fields []byte, fix bool) (direct.Tape, error) {
	o := audit.Options{Full: audit.FullOpen, Fields: fields}
	if fix {
		o.Form = audit.FIX
	}
	return l.Source(o)
}

// parts is the log's writer.
func (a *auditLog) parts(host string) []part {
	if a == nil {
		return nil
	}
	parts := []part{{host + " audit log", a.run, stopGrace},
		{host + " audit keeper", a.keeper.Run, stopGrace}, {host + " clock", a.clock.Run, stopGrace}}
	if a.cosign != nil {
		parts = append(parts, part{host + " audit cosigning", a.cosign.run, stopGrace})
	}
	return parts
}

// run writes the log until ctx ends.
func (a *auditLog) run(ctx context.Context) error {
	a.ran.Store(true)
	var told sync.WaitGroup
	told.Go(func() {
		if err := a.reconcile(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, audit.ErrClosed) {
			a.slog.Error("erasures that are not in the audit log could not be told of", "origin", a.log.Origin(), "err", err)
		}
	})
	err := a.log.Run(ctx)
	told.Wait()
	if a.persons != nil {
		err = errors.Join(err, a.persons.Close())
	}
	return err
}

// openPersons opens the keys under which personal values are sealed. Erasures that a crash has kept
// out of the log are told of by first.
func (a *auditLog) openPersons(tags []int, state string) (p audit.Persons, err error) {
	if len(tags) == 0 {
		return p, nil
	}
	if p.Tags, err = order.NewPersonal(tags); err != nil {
		return p, err
	}
	a.persons, err = subject.OpenStore(filepath.Join(state, "audit-subjects"), subject.Deps{Stamp: func() (int64, uint32, entry.Sync, entry.ClockSource) { return a.clock.Stamp() }, Held: a.held})
	p.Named, p.Keys = tags, a.persons
	return p, err
}

// close is for a start that failed.
func (a *auditLog) close() error {
	if a == nil || a.ran.Load() {
		return nil
	}
	err := a.log.Close()
	if a.persons != nil {
		err = errors.Join(err, a.persons.Close())
	}
	return err
}
