package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"
)

// formatText is what the file FORMAT of the folder says. Any other is thrown away: an index is
// made again sooner than it is converted.
const formatText = "fire audit index, format 2\n"

const (
	memtableBytes   = 8 << 20
	tableBytes      = 1 << 20
	blockCacheBytes = 8 << 20
	closeMax        = 10 * time.Second
)

var (
	errCorrupt = errors.New("the index was changed from outside")
	errGone    = errors.New("the index's folder was deleted")
	errInUse   = errors.New("another process has the index's folder")
)

// badgerOptions names every setting, so that a default that changes changes nothing here.
func badgerOptions(dir string, say badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.ValueDir = dir
	o.ReadOnly, o.InMemory, o.BypassLockGuard = false, false, false
	o.Logger, o.MetricsEnabled, o.NumGoroutines = say, false, 1
	o.SyncWrites = false // what is lost is made again
	o.NumVersionsToKeep = 1
	o.DetectConflicts = false // one writer
	o.Compression = options.Snappy
	o.ChecksumVerificationMode = options.OnBlockRead // whole tables are verified here
	o.EncryptionKey, o.NamespaceOffset, o.ExternalMagicVersion = nil, -1, 1

	// Memory: the memtable, two that are being written, and the cache of unpacked blocks. A
	// table's own index is mapped and not kept, without encryption: the index cache has no use.
	o.MemTableSize, o.NumMemtables = memtableBytes, 2
	o.BlockSize, o.BlockCacheSize, o.IndexCacheSize = 4<<10, blockCacheBytes, 0
	o.BloomFalsePositive = 0 // serves single keys; a search goes by prefixes

	// Tables are small, and twice that for each further level: while some are merged, up to 13
	// are being built in memory, each with several times its size.
	o.BaseTableSize, o.TableSizeMultiplier = tableBytes, 2
	o.BaseLevelSize, o.LevelSizeMultiplier, o.MaxLevels = 32<<20, 10, 7
	o.NumLevelZeroTables, o.NumLevelZeroTablesStall = 4, 12
	o.NumCompactors, o.CompactL0OnClose, o.LmaxCompaction = 2, false, false

	// Values: none is above 600 bytes, so all are in the tables, and the value log is an empty
	// file in which there is nothing to collect.
	o.ValueThreshold, o.VLogPercentile, o.VerifyValueChecksum = 1<<20, 0, false
	o.ValueLogFileSize, o.ValueLogMaxEntries = 1<<20, 1000
	return o
}

// store is one opening of the folder. Readers hold it while they look; it closes when the last
// has let go.
type store struct {
	db      *badger.DB
	dir     string // of Badger's files
	device  uint64
	inode   uint64
	version uint64 // of the next commit; Run's alone
	said    *listener

	closing atomic.Bool
	mu      sync.Mutex
	users   int
	idle    chan struct{} // closed when closing and nobody is left
}

// openStore opens dir/db, of which the caller has the lock. why is what was wrong with what was
// there and is thrown away.
func openStore(ctx context.Context, dir string, log *slog.Logger) (s *store, why string, err error) {
	s = &store{dir: filepath.Join(dir, "db"), said: &listener{log: log}, idle: make(chan struct{})}
	opt := badgerOptions(s.dir, s.said)
	if why, err = s.prepare(ctx, dir, opt); err != nil {
		return nil, why, err
	}
	if err = s.open(opt); errors.Is(err, errCorrupt) {
		why = err.Error()
		if err = os.RemoveAll(s.dir); err == nil {
			err = s.open(opt)
		}
	}
	if err != nil {
		return nil, why, err
	}
	s.db.SetDiscardTs(math.MaxUint64) // readers want the newest version alone
	s.version = s.db.MaxVersion() + 1
	return s, why, nil
}

// prepare leaves a folder that Badger can be trusted with.
func (s *store) prepare(ctx context.Context, dir string, opt badger.Options) (why string, err error) {
	name := filepath.Join(dir, "FORMAT")
	format, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	_, none := os.Stat(s.dir)
	switch {
	case errors.Is(none, os.ErrNotExist):
	case string(format) != formatText:
		why = fmt.Sprintf("its format is %.40q, not %q", format, formatText)
	default:
		if _, err := verifyFolder(ctx, s.dir, opt); ctx.Err() != nil {
			return "", ctx.Err()
		} else if err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		if err := os.RemoveAll(s.dir); err != nil {
			return why, err
		}
	}
	if string(format) != formatText {
		if err := os.WriteFile(name, []byte(formatText), 0o600); err != nil {
			return why, err
		}
	}
	return why, os.MkdirAll(s.dir, 0o700)
}

// open opens Badger. What it complains of meanwhile makes the folder corrupt: it leaves out
// tables and says so only there.
func (s *store) open(opt badger.Options) (err error) {
	defer recovered(&err)
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	s.said.take()
	if s.db, err = badger.OpenManaged(opt); err != nil {
		return err
	}
	if said := s.said.take(); said != "" {
		return errors.Join(fmt.Errorf("%w: %s", errCorrupt, said), s.db.Close())
	}
	s.device, s.inode, err = identity(s.dir)
	return err
}

func identity(path string) (device, inode uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, err
	}
	return uint64(st.Dev), st.Ino, nil
}

// gone says that the folder is not the one that was opened.
func (s *store) gone() bool {
	device, inode, err := identity(s.dir)
	if err == nil && (device != s.device || inode != s.inode) || errors.Is(err, syscall.ENOENT) {
		return true
	}
	_, err = os.Stat(filepath.Join(s.dir, badger.ManifestFilename))
	return errors.Is(err, os.ErrNotExist)
}

// hold keeps the store open until release. It is false once it closes.
func (s *store) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.users++
	return true
}

func (s *store) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 && s.closing.Load() {
		close(s.idle)
	}
}

// close waits for the readers, then for Badger, but for closeMax at most: it goes on trying to
// write a table for as long as the disk does not take it.
func (s *store) close() error {
	s.mu.Lock()
	s.closing.Store(true)
	if s.users == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	<-s.idle
	if err := os.MkdirAll(s.dir, 0o700); err != nil { // for its last table, where the folder was deleted
		return err
	}
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer recovered(&err)
		err = s.db.Close()
	}()
	t := time.NewTimer(closeMax)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("it could not be closed in %v: %s", closeMax, s.said.take())
	}
}

// listener hears what Badger says. Errors are kept, since some are said nowhere else.
type listener struct {
	log  *slog.Logger
	mu   sync.Mutex
	last string
}

// Errorf keeps the last error.
func (l *listener) Errorf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = fmt.Sprintf(format, args...)
}

// Warningf tells the log, at its lowest level.
func (l *listener) Warningf(format string, args ...any) {
	l.log.Debug("audit index: badger: " + fmt.Sprintf(format, args...))
}

// Infof is for nobody.
func (l *listener) Infof(string, ...any) {}

// Debugf is for nobody.
func (l *listener) Debugf(string, ...any) {}

func (l *listener) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.last
	l.last = ""
	return s
}

// folderLock is this process's claim to the folder.
type folderLock struct{ f *os.File }

func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w %s", errInUse, dir), f.Close())
	}
	return &folderLock{f}, nil
}

func (l *folderLock) release() error { return l.f.Close() }
